"""Write encodings.json: how everything is encoded, hashed, signed and addressed, and what is refused.

Here: the cases and the call of each rule. Not here: the least and the most of a record (extremes.py), the
comparison and another implementation's look at it (tests/unit/test_encoding_vectors.py), the samples.
Bytes are hexadecimal; inside `fields` a byte string is {"hex": "…"} and an array a list. Rewrite the file
with `python -m tests.vectors.generate_encodings`; a commit that moves a figure says so.
"""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgpack
from msgspec import to_builtins

from consensus.types.address import PREFIXES, format_address, key_address, multisig_address, protocol_address
from consensus.types.amounts import eubc
from consensus.types.block import Block, Commit, Header, block_id, commit_hash, txs_root
from consensus.types.codec import encode
from consensus.types.genesis import (
    Balance,
    Genesis,
    GenesisValidator,
    Upgrade,
    Vesting,
    genesis_hash,
    possession_hash,
)
from consensus.types.hashing import Tag, list_root, tagged_hash
from consensus.types.params import DEV, MAIN, TEST
from consensus.types.receipt import Event, Receipt, receipts_root
from consensus.types.transaction import (
    Body,
    EvidenceAuth,
    Transaction,
    sign_hash,
    txid_of,
    wtxid_of,
)
from consensus.types.vote import PRECOMMIT, vote_hash
from consensus.validators import Validator, validators_hash
from tests.vectors.extremes import RULE, extreme, records
from tests.vectors.refusals import refused_addresses, refused_encodings, refused_envelopes
from tests.vectors.sample_transactions import (
    ALICE,
    BOB,
    CHAIN_ID,
    GENESIS,
    HASH,
    KEYS,
    evidence_samples,
    payload_samples,
    signed_by_one,
    signed_by_several,
)
from vm.account import Transfer
from vm.registry import OPERATION_OF
from vm.stake import Bond

HERE = Path(__file__).parent
SHOWN_BYTES_MAX = 400
"""Larger extremes are published by their size and hash."""


def told(value: Any) -> Any:
    """A decoded object for JSON."""
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    return [told(part) for part in value] if isinstance(value, list) else value


def fields(encoding: bytes) -> Any:
    """What an encoding says, field by field."""
    return told(msgpack.unpackb(encoding, raw=False))


# ------------------------------------------------------------------ transactions


def row_of(words: str, transaction: Transaction[Any]) -> dict[str, Any]:
    """One transaction with its parts and hashes."""
    body, auth, raw = (encode(part) for part in (transaction.body, transaction.auth, transaction))
    return {
        "words": words,
        "type": OPERATION_OF[type(transaction.body.payload)].name,
        "fields": fields(raw),
        "body": body.hex(),
        "auth": auth.hex(),
        "bytes": raw.hex(),
        "sign_hash": sign_hash(GENESIS, body).hex(),
        "txid": txid_of(GENESIS, body).hex(),
        "wtxid": wtxid_of(raw).hex(),
    }


def transaction_vectors() -> list[dict[str, Any]]:
    """Every type by one key; multisig accounts; evidence."""
    found = [row_of("one key", signed_by_one(n, payload)) for n, payload in enumerate(payload_samples())]
    for count, threshold, chosen in (
        (1, 1, (0,)), (3, 2, (0, 1)), (3, 2, (0, 2)), (8, 1, (7,)), (9, 3, (0, 7, 8)), (16, 16, range(16)),
    ):  # fmt: skip
        named = ", ".join(str(number) for number in chosen)
        transaction = signed_by_several(KEYS[:count], threshold, chosen)
        found.append(row_of(f"{threshold} of {count} keys: {named}", transaction))
    for payload in evidence_samples():
        body = Body(1, CHAIN_ID, bytes(20), 0, 0, 0, 0, payload)
        found.append(row_of("evidence", Transaction(body, EvidenceAuth())))
    return found


# ------------------------------------------------------------------ the rest


def tag_vectors() -> list[dict[str, str]]:
    """Every tag, of nothing and of three bytes."""
    return [
        {"tag": tag.value.decode(), "empty": tagged_hash(tag).hex(), "abc": tagged_hash(tag, b"abc").hex()}
        for tag in Tag
    ]


def list_vectors() -> list[dict[str, Any]]:
    """Roots of lists of 0 … 9 items, of differing lengths."""
    lists = [[bytes([size]) * number for number in range(size)] for size in range(10)]
    return [{"items": [item.hex() for item in items], "root": list_root(items).hex()} for items in lists]


def address_vectors() -> list[dict[str, Any]]:
    """All three kinds under every prefix."""
    public = [key.public for key in KEYS]
    cases: list[tuple[int, Any, bytes]] = [(0, told(key), key_address(key)) for key in public[:3]]
    for threshold, count in ((1, 1), (2, 3), (16, 16)):
        keys = public[:count]
        cases.append((1, told([threshold, keys]), multisig_address(threshold, keys)))
    cases += [(2, name, protocol_address(name)) for name in ("resource", "audit")]
    return [
        {"kind": kind, "x": x, "address": address.hex()}
        | {"text": {prefix: format_address(address, prefix) for prefix in PREFIXES}}
        for kind, x, address in cases
    ]


def block_vectors() -> dict[str, Any]:
    """Headers with their ids, commits with their hashes, a block, a set."""
    members = tuple(
        Validator(key_address(key.public), key.public, power)
        for key, power in zip(KEYS[:3], (333_333_334, 333_333_333, 333_333_333), strict=True)
    )
    ordered = tuple(sorted(members, key=lambda member: member.address))
    hashes = [bytes([number]) * 32 for number in range(1, 9)]
    first = Header(1, 1, 0, 1_700_000_000_500, GENESIS, ALICE, commit_hash(None), *hashes[:6])
    first_id = block_id(GENESIS, first)
    secrets = {key.public: key for key in KEYS}
    signatures = [secrets[ordered[i].key].sign(vote_hash(GENESIS, PRECOMMIT, 1, 4, first_id)) for i in (0, 2)]
    commit = Commit(4, first_id, b"\x05", tuple(signatures))
    transactions = [encode(signed_by_one(1, Transfer(BOB, 1))), encode(signed_by_one(2, Bond(eubc(1))))]
    root = txs_root([wtxid_of(raw) for raw in transactions])
    second = Header(
        1, 2, 4, 1_700_000_001_000, first_id, BOB, commit_hash(commit), root, hashes[2], hashes[3],
        validators_hash(ordered), validators_hash(ordered), hashes[7],
    )  # fmt: skip
    largest = extreme(Header, most=True)
    return {
        "headers": [
            {"fields": fields(encode(h)), "encoding": encode(h).hex(), "id": block_id(GENESIS, h).hex()}
            for h in (first, second, largest)
        ],
        "commits": [
            {"fields": fields(encode(c)), "encoding": encode(c).hex(), "hash": commit_hash(c).hex()}
            for c in (None, commit)
        ],
        "block": encode(Block(second, tuple(transactions), commit)).hex(),
        "sets": [
            {"fields": fields(encode(v)), "encoding": encode(v).hex(), "hash": validators_hash(v).hex()}
            for v in (ordered[:1], ordered)
        ],
    }


def receipt_vectors() -> dict[str, Any]:
    """Receipts and the root over them, the block's own last."""
    receipts = [
        Receipt(0, 1_234, 2_468, (), (Event(600, (HASH, ALICE, eubc(5), 1, 2**63 - 1)),)),
        Receipt(1110, 300, 300, (ALICE, 0, 2**63 - 1, b"\xff" * 64), ()),
        Receipt(0, 0, 0, (), (Event(1251, (BOB, 7)), Event(1252, ()))),
    ]
    return {
        "receipts": [
            {"fields": fields(encode(receipt)), "encoding": encode(receipt).hex()} for receipt in receipts
        ],
        "root": receipts_root(receipts).hex(),
    }


def genesis_vectors() -> list[dict[str, Any]]:
    """Genesis records with the published parameters, and the proof of possession that a validator signs."""
    possession = possession_hash(CHAIN_ID, ALICE)
    voter = GenesisValidator(ALICE, "alice", KEYS[2].public, KEYS[2].sign(possession), eubc(10_000), HASH)
    found = []
    for name, prefix, params in (("dev", "deub", DEV), ("test", "teub", TEST), ("main", "eub", MAIN)):
        lock = Vesting(BOB, eubc(5), 1_700_000_000_000, 1_700_000_000_001, 1, 4)
        genesis = Genesis(
            1, CHAIN_ID, prefix, 1_700_000_000_000, params, (Upgrade(1_000_000, 2),),
            (Balance(BOB, eubc(9)),), (lock,), (voter,),
        )  # fmt: skip
        raw = encode(genesis)
        found.append({
            "params": name, "fields": fields(raw), "encoding": raw.hex(), "hash": genesis_hash(genesis).hex(),
            "possession_of": ALICE.hex(), "possession_hash": possession.hex(),
        })  # fmt: skip
    return found


def extreme_vectors() -> dict[str, Any]:
    """The least and the most of every record; large ones by size and SHA-256."""
    rows = []
    for name, record in records():
        row: dict[str, Any] = {"record": name}
        for which in ("least", "most"):
            raw = encode(extreme(record, which == "most"))
            small = len(raw) <= SHOWN_BYTES_MAX
            row[which] = raw.hex() if small else {"bytes": len(raw), "sha256": sha256(raw).hexdigest()}
        rows.append(row)
    return {"rule": RULE, "records": rows}


def files() -> dict[str, str]:
    """The text of the file."""
    content = {
        "chain_id": CHAIN_ID,
        "genesis": GENESIS.hex(),
        "tags": tag_vectors(),
        "lists": list_vectors(),
        "addresses": address_vectors(),
        "refused_addresses": refused_addresses(),
        "transactions": transaction_vectors(),
        "refused_encodings": refused_encodings(),
        "refused_envelopes": refused_envelopes(),
        "blocks": block_vectors(),
        "receipts": receipt_vectors(),
        "genesis_records": genesis_vectors(),
        "extremes": extreme_vectors(),
    }
    return {"encodings.json": json.dumps(to_builtins(content), indent=1) + "\n"}


if __name__ == "__main__":
    for file_name, text in files().items():
        (HERE / file_name).write_text(text)
        print(f"{file_name}: {len(text)} bytes")
