"""The published encodings: what the code makes today, and what msgpack and hashlib alone make of them."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

import pytest

from consensus.types.address import parse_address
from consensus.types.codec import Codec, encode
from consensus.types.errors import Rejected
from consensus.types.hashing import Tag
from consensus.types.keys import verify
from consensus.types.params import DEV
from consensus.types.transaction import BAD_SIGNATURE, signature_checks
from tests.vectors import extremes, generate_encodings, plain
from vm.registry import OPERATIONS, TRANSACTION, check_stateless
from vm.rules import Rules

FILE = generate_encodings.HERE / "encodings.json"
VECTORS = json.loads(FILE.read_text())
raw = bytes.fromhex
GENESIS = raw(VECTORS["genesis"])
RECORDS = dict(extremes.records())
EXTREMES = {row["record"]: row for row in VECTORS["extremes"]["records"]}


def words_of(row: dict[str, Any]) -> str:
    """A case's name."""
    return f"{row.get('type', '')} {row['words']}".strip()


def test_the_vectors_are_what_the_code_makes_today() -> None:
    """A change that moves one says so in its commit."""
    assert generate_encodings.files()["encodings.json"] == FILE.read_text()


def test_every_tag_is_published_and_hashes_so() -> None:
    assert [row["tag"] for row in VECTORS["tags"]] == [tag.value.decode() for tag in Tag]
    for row in VECTORS["tags"]:
        assert plain.hashed(row["tag"]).hex() == row["empty"]
        assert plain.hashed(row["tag"], b"abc").hex() == row["abc"]


def test_the_page_on_encoding_says_what_each_tag_is_for() -> None:
    page = (FILE.parents[2] / "docs" / "protocol" / "encoding.md").read_text("utf-8")
    assert [row["tag"] for row in VECTORS["tags"] if f"`{row['tag']}`" not in page] == []


def test_lists_of_none_to_nine_items_have_the_root_of_rfc_6962s_recursion() -> None:
    assert [len(row["items"]) for row in VECTORS["lists"]] == list(range(10))
    for row in VECTORS["lists"]:
        assert plain.list_root([raw(item) for item in row["items"]]).hex() == row["root"]


def test_addresses_of_all_kinds_are_hashed_and_spelled_so() -> None:
    assert {row["kind"] for row in VECTORS["addresses"]} == {0, 1, 2}
    for row in VECTORS["addresses"]:
        told = plain.fields_of(row["x"])
        content = {0: lambda x: x, 1: plain.encoded, 2: lambda x: x.encode("ascii")}[row["kind"]](told)
        address = plain.address(row["kind"], content)
        assert address.hex() == row["address"]
        assert row["text"].keys() == {"eub", "teub", "deub"}
        for prefix, text in row["text"].items():
            assert plain.spelled(prefix, address) == text
            assert parse_address(text, prefix) == address


@pytest.mark.parametrize("row", VECTORS["refused_addresses"], ids=words_of)
def test_a_text_that_is_no_address_of_the_network_is_refused(row: dict[str, Any]) -> None:
    with pytest.raises(Rejected) as caught:
        parse_address(row["text"], "eub")
    assert caught.value.reason.code == row["code"]


# ------------------------------------------------------------------ transactions


@pytest.mark.parametrize("row", VECTORS["transactions"], ids=words_of)
def test_a_transaction_is_encoded_hashed_and_signed_so(row: dict[str, Any]) -> None:
    """From its fields to its bytes, its three hashes, its sender and every signature, without our code."""
    body, auth = plain.fields_of(row["fields"])
    whole = plain.packed(row["fields"])
    assert whole.hex() == row["bytes"] == "92" + row["body"] + row["auth"]
    assert plain.unpacked(whole) == [body, auth]
    packed = raw(row["body"])
    digest = plain.hashed("EUB-tx", GENESIS, packed)
    assert digest.hex() == row["sign_hash"]
    assert plain.hashed("EUB-txid", GENESIS, packed).hex() == row["txid"]
    assert plain.hashed("EUB-wtx", whole).hex() == row["wtxid"]
    if auth[0] == 0:
        sender, signed = plain.address(0, auth[1]), [(auth[1], auth[2])]
    elif auth[0] == 1:
        _, threshold, keys, bitmap, signatures = auth
        sender = plain.address(1, plain.encoded([threshold, keys]))
        chosen = [key for i, key in enumerate(keys) if bitmap[i // 8] >> i % 8 & 1]
        assert len(chosen) == threshold
        assert len(bitmap) == (len(keys) + 7) // 8
        signed = list(zip(chosen, signatures, strict=True))
    else:
        sender, signed = bytes(20), []
        _, kind, height, round_, key, a, sig_a, b, sig_b = body[7]
        for (block_id, valid_round), signature in ((a, sig_a), (b, sig_b)):
            said = [kind, height, round_, block_id, *([valid_round] if kind == 0 else [])]
            digest_said = plain.hashed("EUB-vote", GENESIS, plain.encoded(said))
            assert plain.is_signed(key, digest_said, signature)
    assert body[2] == sender
    for key, signature in signed:
        assert plain.is_signed(key, digest, signature)
    assert encode(TRANSACTION.decode(whole)) == whole


def test_every_type_of_transaction_is_published_and_one_txid_can_have_two_wtxids() -> None:
    rows = VECTORS["transactions"]
    assert {row["type"] for row in rows} == {operation.name for operation in OPERATIONS}
    both = [row for row in rows if row["words"].startswith("2 of 3")]
    assert len({row["txid"] for row in both}) == 1
    assert len({row["wtxid"] for row in both}) == len(both) == 2


@pytest.mark.parametrize("row", VECTORS["refused_encodings"], ids=words_of)
def test_what_is_no_encoding_of_a_transaction_is_refused(row: dict[str, Any]) -> None:
    data = raw(row["bytes"])
    with pytest.raises(Rejected) as caught:
        TRANSACTION.decode(data)
    assert caught.value.reason.code == 1001
    if row["fault"] == "form":
        with pytest.raises((AssertionError, ValueError)):
            plain.unpacked(data)
    else:
        plain.unpacked(data)


@pytest.mark.parametrize("row", VECTORS["refused_envelopes"], ids=words_of)
def test_an_envelope_that_does_not_authorise_is_refused(row: dict[str, Any]) -> None:
    rules = Rules(GENESIS, VECTORS["chain_id"], "deub", 0, DEV, ())
    transaction = TRANSACTION.decode(raw(row["bytes"]))
    if row["code"] == BAD_SIGNATURE.code:
        check_stateless(transaction, rules)
        assert not all(verify(*check) for check in signature_checks(transaction, GENESIS))
    else:
        with pytest.raises(Rejected) as caught:
            check_stateless(transaction, rules)
        assert caught.value.reason.code == row["code"]


# ------------------------------------------------------------------ blocks, receipts, genesis


def test_headers_commits_sets_and_a_block_are_encoded_and_hashed_so() -> None:
    blocks = VECTORS["blocks"]
    for row in blocks["headers"]:
        assert plain.packed(row["fields"]).hex() == row["encoding"]
        assert plain.hashed("EUB-block", GENESIS, raw(row["encoding"])).hex() == row["id"]
    for tag, rows in (("EUB-commit", blocks["commits"]), ("EUB-valset", blocks["sets"])):
        for row in rows:
            assert plain.packed(row["fields"]).hex() == row["encoding"]
            assert plain.hashed(tag, raw(row["encoding"])).hex() == row["hash"]
    header, transactions, commit = plain.unpacked(raw(blocks["block"]))
    first, second = blocks["headers"][:2]
    assert header == plain.fields_of(second["fields"])
    assert header[4].hex() == first["id"] == commit[1].hex()
    assert header[6].hex() == blocks["commits"][1]["hash"]
    assert plain.list_root([plain.hashed("EUB-wtx", told) for told in transactions]) == header[7]
    members = plain.fields_of(blocks["sets"][1]["fields"])
    assert header[10].hex() == blocks["sets"][1]["hash"]
    said = plain.hashed("EUB-vote", GENESIS, plain.encoded([2, 1, commit[0], commit[1]]))
    for position, signature in zip((0, 2), commit[3], strict=True):
        assert plain.is_signed(members[position][1], said, signature)


def test_receipts_and_their_root_are_so() -> None:
    rows = VECTORS["receipts"]["receipts"]
    for row in rows:
        assert plain.packed(row["fields"]).hex() == row["encoding"]
    root = plain.list_root([raw(row["encoding"]) for row in rows])
    assert root.hex() == VECTORS["receipts"]["root"]


def test_genesis_records_of_all_networks_are_encoded_and_hashed_so() -> None:
    for row in VECTORS["genesis_records"]:
        assert plain.packed(row["fields"]).hex() == row["encoding"]
        assert plain.hashed("EUB-genesis", raw(row["encoding"])).hex() == row["hash"]
        chain_id, (voter,) = row["fields"][1], plain.fields_of(row["fields"])[8]
        said = plain.hashed("EUB-possess", chain_id.encode(), b"\x00", voter[0])
        assert said.hex() == row["possession_hash"]
        assert plain.is_signed(voter[2], said, voter[3])


# ------------------------------------------------------------------ extremes


def test_the_extremes_of_every_record_are_published() -> None:
    assert list(EXTREMES) == list(RECORDS)


@pytest.mark.parametrize("name", EXTREMES)
@pytest.mark.parametrize("which", ["least", "most"])
def test_a_record_at_its_extremes_survives_the_wire(name: str, which: str) -> None:
    """Decoded to the same object by its schema; canonical for plain msgpack too."""
    record, published = RECORDS[name], EXTREMES[name][which]
    value = extremes.extreme(record, which == "most")
    data = encode(value)
    assert Codec[Any](record).decode(data) == value
    if isinstance(published, str):
        assert data.hex() == published
    else:
        assert (len(data), sha256(data).hexdigest()) == (published["bytes"], published["sha256"])
    plain.unpacked(data)
