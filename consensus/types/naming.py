"""Records as JSON with named fields, and back: for genesis files, RPC answers and people.

Here: both directions, driven by the records' own annotations.
Not here: what is hashed or signed (types/codec.py).
Keeps: from_named(to_named(x)) has the encoding of x. Addresses are bech32m, other bytes hex, amounts
decimal strings of grains, so that no JavaScript number rounds them.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from consensus.types.address import ADDRESS_BYTES, format_address, parse_address
from consensus.types.codec import Address, Amount, Record


@cache
def _hints(record: type[Record]) -> dict[str, Any]:
    return get_type_hints(record, include_extras=True)


def to_named(value: Any, prefix: str, hint: Any = None) -> Any:
    """A record (or a list of them) as JSON; `prefix` is the network's for addresses."""
    if isinstance(value, Record):
        hints = _hints(type(value))
        return {f: to_named(getattr(value, f), prefix, hints[f]) for f in value.__struct_fields__}
    if isinstance(value, tuple | list):
        arguments = get_args(hint) if get_origin(hint) is tuple else ()
        return [to_named(item, prefix, arguments[0] if arguments else None) for item in value]
    if isinstance(value, bytes):
        is_address = len(value) == ADDRESS_BYTES and hint == Address
        return format_address(value, prefix) if is_address else value.hex()
    if isinstance(value, int) and hint == Amount:
        return str(value)
    return value


def from_named(value: Any, hint: Any, prefix: str, where: str) -> Any:
    """JSON as the positional form that the codec of `hint` checks; raise ValueError or `Rejected`."""
    if isinstance(hint, type) and issubclass(hint, Record):
        hints = _hints(hint)
        if not isinstance(value, dict) or set(value) != set(hint.__struct_fields__):
            raise ValueError(f"{where} must have exactly the fields {', '.join(hint.__struct_fields__)}")
        return [from_named(value[f], hints[f], prefix, f"{where}.{f}") for f in hint.__struct_fields__]
    if hint == Address:
        return parse_address(_text(value, where), prefix)
    if hint == Amount:
        text = _text(value, where)
        if not text.isascii() or not text.isdigit():
            raise ValueError(f"{where} must be grains as a decimal string")
        return int(text)
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    if get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{where} must be a list")
        inner = get_args(hint)[0]
        return [from_named(item, inner, prefix, f"{where}[{i}]") for i, item in enumerate(value)]
    return bytes.fromhex(_text(value, where)) if hint is bytes else value


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{where} must be a text")
    return value
