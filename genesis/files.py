"""Genesis files: the genesis record as JSON with named fields, for people to read and compare.

Here: record to JSON and back, the hash that stands in the file.
Not here: making a record (builder.py), the state it starts (vm/genesis.py).
Keeps: reading gives exactly the record that was written; a file whose record does not have the
hash it states is refused, so one changed byte never goes unnoticed.
Errors: 2520 genesis_invalid.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import msgspec

from consensus.types.address import ADDRESS_BYTES, PREFIXES, format_address, parse_address
from consensus.types.codec import Address, Record
from consensus.types.errors import Fault, Reason, Rejected
from consensus.types.genesis import GENESIS, Genesis, genesis_hash

GENESIS_INVALID = Reason(
    2520,
    "genesis_invalid",
    "path:text why:text",
    "{path} is not a valid genesis file: {why}.",
    "Get the file again from whoever runs the network and compare its hash with theirs.",
)


def to_document(genesis: Genesis) -> dict[str, Any]:
    """The JSON object of a genesis record, its hash first."""
    return {"genesis_hash": genesis_hash(genesis).hex(), **_named(genesis, genesis.prefix)}


def _named(value: Any, prefix: str, hint: Any = None) -> Any:
    if isinstance(value, Record):
        hints = get_type_hints(type(value), include_extras=True)
        return {f: _named(getattr(value, f), prefix, hints[f]) for f in value.__struct_fields__}
    if isinstance(value, tuple):
        return [_named(item, prefix) for item in value]
    if isinstance(value, bytes):
        is_address = len(value) == ADDRESS_BYTES and hint == Address
        return format_address(value, prefix) if is_address else value.hex()
    return value


def from_document(document: Any, path: str = "genesis.json") -> Genesis:
    """Read a JSON object; raise `Fault(GENESIS_INVALID)`."""
    try:
        if not isinstance(document, dict) or document.get("prefix") not in PREFIXES:
            raise ValueError("it is not an object with the prefix eub, teub or deub")
        stated = document.get("genesis_hash")
        content = {k: v for k, v in document.items() if k != "genesis_hash"}
        record = _positional(content, Genesis, document["prefix"], "genesis")
        genesis = GENESIS.decode(msgspec.msgpack.encode(record))
    except (ValueError, KeyError, TypeError, Rejected) as error:
        raise Fault(GENESIS_INVALID, path=path, why=str(error)) from None
    found = genesis_hash(genesis).hex()
    if stated != found:
        raise Fault(GENESIS_INVALID, path=path, why=f"it states the hash {stated}, its record has {found}")
    return genesis


def _positional(value: Any, hint: Any, prefix: str, where: str) -> Any:
    """Turn named fields into the positional form that the codec checks."""
    if isinstance(hint, type) and issubclass(hint, Record):
        hints = get_type_hints(hint, include_extras=True)
        if not isinstance(value, dict) or set(value) != set(hint.__struct_fields__):
            raise ValueError(f"{where} must have exactly the fields {', '.join(hint.__struct_fields__)}")
        return [_positional(value[f], hints[f], prefix, f"{where}.{f}") for f in hint.__struct_fields__]
    if hint == Address:
        return parse_address(value, prefix)
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    if get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{where} must be a list")
        inner = get_args(hint)[0]
        return [_positional(item, inner, prefix, f"{where}[{i}]") for i, item in enumerate(value)]
    if hint is bytes:
        return bytes.fromhex(value)
    return value


def write_genesis(path: Path, genesis: Genesis) -> None:
    """Store the record as JSON."""
    path.write_text(json.dumps(to_document(genesis), indent=2) + "\n", "utf-8")


def read_genesis(path: Path) -> Genesis:
    """Load a genesis file; raise `Fault(GENESIS_INVALID)`."""
    try:
        document = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise Fault(GENESIS_INVALID, path=str(path), why=why) from None
    return from_document(document, str(path))
