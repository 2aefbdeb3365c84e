"""The least and the most of every record: the bounds of its schema, field by field.

Here: `extreme`, the walk over a schema; `RECORDS`, what the reference lists.
Not here: the file (generate_encodings.py).
Keeps: the rule that the file states, so that another implementation can make the same objects.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from enum import IntEnum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from msgspec import Meta

import vm
from consensus.types.codec import INTEGER_MAX, Record
from consensus.types.transaction import Body, Transaction
from scripts.reference.records import SECTIONS
from spark_node.job import Job
from vm.account import Transfer
from vm.registry import OPERATIONS
from vm.state import Table

RULE = (
    "least: 0 or the bound; the shortest bytes, of 0x00; the shortest text, of its alphabet's first "
    "letter; nil where it may be; false; the first member of a union. most: 2**63 - 1 or the bound; the "
    "longest bytes, of 0xff, 300 where there is no bound; the longest text, of its alphabet's last "
    "letter, or of U+10FFFF where it has none, for a bound on text counts characters; true; the last "
    "member of a union; arrays as long as they may be, but at most 300 elements, and 2 where there is "
    "no bound. The payload of a body is a transfer."
)
UNBOUNDED_BYTES, ELEMENTS_MAX, UNBOUNDED_ELEMENTS = 300, 300, 2
TEXTS = {
    r"^[a-z0-9._:/@-]+\Z": ("-", "z"),
    r"^[\x21-\x7e]+\Z": ("!", "~"),
    r"^age1[0-9a-z]{58}\Z": ("age1" + "0" * 58, "age1" + "z" * 58),
    r"^[A-Za-z_][A-Za-z0-9_]{0,127}\Z": ("A", "z" * 128),
}
"""Least and most letter of a pattern with a bound, or the whole text where the pattern bounds it itself."""


def records() -> Iterator[tuple[str, Any]]:
    """Every record of the reference that stands by itself, with its name; once each."""
    for module in pkgutil.walk_packages(vm.__path__, "vm."):
        importlib.import_module(module.name)  # each declares its tables
    seen: set[str] = set()
    payloads = (operation.payload for operation in OPERATIONS)
    stored = (Table.registry[number].record for number in sorted(Table.registry))
    for record in (*(r for _, listed in SECTIONS for r in listed), *payloads, *stored):
        name = f"{record.__module__}.{record.__name__}"
        if name not in seen and record is not Job:  # its own bounds end far above the 64 KiB of a job
            seen.add(name)
            yield name, record[Transfer] if record in (Transaction, Body) else record


def extreme(schema: Any, most: bool) -> Any:
    """The least or the most object of a schema."""
    meta: dict[str, Any] = {}
    while get_origin(schema) is Annotated:
        schema, *notes = get_args(schema)
        for note in notes:
            if isinstance(note, Meta):
                meta |= {k: getattr(note, k) for k in _BOUNDS if getattr(note, k) is not None}
    origin, arguments = get_origin(schema), get_args(schema)
    if origin in (Union, UnionType):
        return _of_union(arguments, most)
    if origin is Literal:
        return arguments[-1 if most else 0]
    if origin in (tuple, list):
        return _of_array(origin, arguments, meta, most)
    if isinstance(schema, TypeVar):
        return extreme(Transfer, most)
    record = origin or schema
    if issubclass(record, Record):
        hints = get_type_hints(record, include_extras=True)
        return record(*(extreme(hints[field], most) for field in record.__struct_fields__))
    return _of_scalar(schema, meta, most)


_BOUNDS = ("ge", "gt", "le", "lt", "min_length", "max_length", "pattern")


def _of_union(members: tuple[Any, ...], most: bool) -> Any:
    if not most and NoneType in members:
        return None
    kept = [member for member in members if member is not NoneType]
    return extreme(kept[-1 if most else 0], most)


def _of_array(origin: Any, arguments: tuple[Any, ...], meta: dict[str, Any], most: bool) -> Any:
    if origin is tuple and arguments[-1] is not Ellipsis:
        return tuple(extreme(argument, most) for argument in arguments)
    count = meta.get("min_length", 0)
    if most:
        count = min(meta.get("max_length", UNBOUNDED_ELEMENTS), ELEMENTS_MAX)
    return origin([extreme(arguments[0], most)]) * count if count else origin()


def _of_scalar(schema: Any, meta: dict[str, Any], most: bool) -> Any:
    if schema is bool:
        return most
    if issubclass(schema, IntEnum):
        return max(schema) if most else min(schema)
    if schema is int:
        least = meta.get("ge", meta["gt"] + 1 if "gt" in meta else 0)
        return meta.get("le", meta["lt"] - 1 if "lt" in meta else INTEGER_MAX) if most else least
    if schema is bytes:
        return b"\xff" * meta.get("max_length", UNBOUNDED_BYTES) if most else bytes(meta.get("min_length", 0))
    assert schema is str, f"a schema has no {schema}"
    letters = TEXTS[meta["pattern"]] if "pattern" in meta else ("\x00", "\U0010ffff")
    if len(letters[1]) > 1:
        return letters[most]
    return letters[most] * (meta.get("max_length", UNBOUNDED_BYTES) if most else meta.get("min_length", 0))
