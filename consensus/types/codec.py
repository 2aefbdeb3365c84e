"""The canonical encoding: msgpack arrays of a typed schema, one byte string per object.

Here: `Record` (the base of everything that is hashed, signed or stored), field types with their
bounds, `encode` and `Codec.decode`.
Not here: the records themselves (beside what they describe).
Keeps: decode(encode(x)) == x, and a byte string that decodes is the only encoding of its object:
the schema fixes arity and types, integers lie in 0 … 2**63-1, nesting is at most `NESTING_MAX`
(no schema here is deeper), and the re-encoding is compared byte for byte.
Errors: 1001 malformed, 1002 oversized.
"""

from __future__ import annotations

import re
from types import NoneType, UnionType
from typing import Annotated, Any, Generic, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from consensus.types.errors import Reason, Rejected

INTEGER_MAX = 2**63 - 1
"""The largest integer of the protocol; no negative one exists."""
NESTING_MAX = 8
"""Depth of arrays in any encoded object; the outermost array is level 1."""
SUPPLY_MAX = 10**17
"""Grains that can ever exist: 10**9 EUBC. No amount in a payload is larger."""
PRICE_MAX = 10**9
"""Bound of max_price and tip, grains per unit."""

MALFORMED = Reason(
    1001,
    "malformed",
    "what:text",
    "This is not a valid encoding: {what}.",
    "Build it with the client library, or check it against docs/protocol.md, section Encoding.",
)
OVERSIZED = Reason(
    1002,
    "oversized",
    "size:count limit:count",
    "This is {size} bytes; the limit is {limit}.",
    "Split it, or move bulk data into a task's input files.",
)

Uint = Annotated[int, msgspec.Meta(ge=0, le=INTEGER_MAX)]
Amount = Annotated[int, msgspec.Meta(ge=1, le=SUPPLY_MAX)]
"""Grains in a payload: 1 … 10**17."""
Price = Annotated[int, msgspec.Meta(ge=0, le=PRICE_MAX)]
"""Grains per unit."""
Hash32 = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Key32 = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
"""A BIP-340 x-only public key."""
Sig64 = Annotated[bytes, msgspec.Meta(min_length=64, max_length=64)]
"""A BIP-340 signature."""
Address = Annotated[bytes, msgspec.Meta(min_length=20, max_length=20)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[a-z0-9._:/@-]+\Z")]
"""A name or reason: ASCII, so that no Unicode table of a Python version takes part in consensus."""


class Record(
    msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True, gc=False, weakref=False
):
    """A positional msgpack array with exact arity. Fields carry no defaults on the wire."""


R = TypeVar("R")

_encoder = msgspec.msgpack.Encoder()


def encode(value: Any) -> bytes:
    """Encode a record, or an array of them, canonically (msgpack's shortest forms)."""
    return _encoder.encode(value)


class Codec(Generic[R]):
    """Decodes one schema, refusing whatever is not the canonical encoding of an object of it."""

    def __init__(self, schema: Any, size_max: int = 2**26) -> None:
        self._schema = schema
        self._size_max = size_max
        self._decoder = msgspec.msgpack.Decoder(schema)

    def decode(self, data: bytes) -> R:
        """Return the object; raise `Rejected(MALFORMED)` naming the field, or `OVERSIZED`."""
        if len(data) > self._size_max:
            raise Rejected(OVERSIZED, size=len(data), limit=self._size_max)
        try:
            value: R = self._decoder.decode(data)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise Rejected(MALFORMED, what=self._explain(error, data)) from None
        if _encoder.encode(value) != data:
            raise Rejected(MALFORMED, what="an integer, text or array is not in its shortest form")
        return value

    def _explain(self, error: BaseException, data: bytes) -> str:
        if isinstance(error, RecursionError):
            return "arrays nest too deeply"
        text = str(error)
        match = re.search(r" - at `\$(.*)`$", text)
        if match is None:
            return text.replace("`", "")
        try:
            content = msgspec.msgpack.decode(data)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            content = None  # then positions stand where the names of a union's member would
        path = field_path(self._schema, [int(i) for i in re.findall(r"\[(\d+)\]", match[1])], content)
        return f"{path or 'the whole'}: {text[: match.start()].replace('`', '')}"


def field_path(schema: Any, indices: list[int], content: Any = None) -> str:
    """Turn the positions of a nested array into field names, as far as the schema names them.

    `content` is the array decoded without a schema: its tags tell the members of a union apart.
    """
    names: list[str] = []
    for index in indices:
        schema = _member(schema, content)
        origin, arguments = get_origin(schema), get_args(schema)
        record = schema if origin is None else origin
        if isinstance(record, type) and issubclass(record, Record):
            tagged = record.__struct_config__.tag is not None
            position = index - 1 if tagged else index
            fields = record.__struct_fields__
            if not 0 <= position < len(fields):
                names.append("type" if position < 0 else str(index))
                break
            names.append(fields[position])
            schema = get_type_hints(record, include_extras=True)[fields[position]]
            if isinstance(schema, TypeVar):
                schema = arguments[0] if arguments else None
            elif arguments and getattr(schema, "__parameters__", ()):
                schema = schema[arguments]  # a generic record hands its argument down
        else:
            names.append(str(index))
            schema = arguments[0] if origin in (tuple, list) and arguments else None
        content = content[index] if isinstance(content, list) and index < len(content) else None
    return ".".join(names)


def _member(schema: Any, content: Any) -> Any:
    """Strip annotations, and choose the member of a union that the content's tag names."""
    while get_origin(schema) is Annotated:
        schema = get_args(schema)[0]
    if get_origin(schema) not in (Union, UnionType):
        return schema
    members = [member for member in get_args(schema) if member is not NoneType]
    if len(members) == 1:
        return _member(members[0], content)
    tag = content[0] if isinstance(content, list) and content else None
    for member in members:
        config = getattr(member, "__struct_config__", None)
        if tag is not None and config is not None and config.tag == tag:
            return member
    return None if tag is None else members[0]  # every member calls its tag `type`
