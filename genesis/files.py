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
from typing import Any

import msgspec

from consensus.types.address import PREFIXES
from consensus.types.errors import Fault, Reason, Rejected
from consensus.types.genesis import GENESIS, Genesis, genesis_hash
from consensus.types.naming import from_named, to_named

GENESIS_INVALID = Reason(
    2520,
    "genesis_invalid",
    "path:text why:text",
    "{path} is not a valid genesis file: {why}.",
    "Get the file again from whoever runs the network and compare its hash with theirs.",
)


def to_document(genesis: Genesis) -> dict[str, Any]:
    """The JSON object of a genesis record, its hash first."""
    return {"genesis_hash": genesis_hash(genesis).hex(), **to_named(genesis, genesis.prefix)}


def from_document(document: Any, path: str = "genesis.json") -> Genesis:
    """Read a JSON object; raise `Fault(GENESIS_INVALID)`."""
    try:
        if not isinstance(document, dict) or document.get("prefix") not in PREFIXES:
            raise ValueError("it is not an object with the prefix eub, teub or deub")
        stated = document.get("genesis_hash")
        content = {k: v for k, v in document.items() if k != "genesis_hash"}
        record = from_named(content, Genesis, document["prefix"], "genesis")
        genesis = GENESIS.decode(msgspec.msgpack.encode(record))
    except (ValueError, KeyError, TypeError, Rejected) as error:
        raise Fault(GENESIS_INVALID, path=path, why=str(error)) from None
    found = genesis_hash(genesis).hex()
    if stated != found:
        raise Fault(GENESIS_INVALID, path=path, why=f"it states the hash {stated}, its record has {found}")
    return genesis


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
