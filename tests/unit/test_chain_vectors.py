"""The published chain: told again byte for byte, replayed from its genesis record, read without our code."""

from __future__ import annotations

import json
from typing import Any

import pytest

from consensus.types.block import BLOCK, HEADER, Block, block_id
from consensus.types.genesis import GENESIS
from consensus.types.reader import MemoryState
from consensus.types.receipt import RECEIPT, receipts_root
from consensus.types.tree import empty_tree, update_tree
from tests.vectors import generate_chain, plain
from tests.world import verify_all
from vm import head as heads
from vm.genesis import genesis_writes
from vm.registry import OPERATIONS, TRANSACTION, decode_candidate
from vm.rules import rules_of
from vm.task.judging import JUDGED
from vm.transition import apply_block
from vm.validity import check_block

FILE = generate_chain.HERE / "chain.json"
CHAIN = json.loads(FILE.read_text())
BLOCKS: list[dict[str, Any]] = CHAIN["blocks"]
raw = bytes.fromhex
GENESIS_HASH = raw(CHAIN["genesis_hash"])
HEADER_FIELDS = (
    "version", "height", "round", "time_ms", "parent", "proposer", "last_commit_hash", "txs_root",
    "state_root", "receipts_root", "validators_hash", "next_validators_hash", "reveal",
)  # fmt: skip


def read_block(row: dict[str, Any]) -> Block:
    """A block put together from its row."""
    transactions = [raw(told) for told in row["transactions"]]
    joined = b"\x93" + raw(row["header"]) + plain.packed([]) + raw(row["last_commit"])
    bare = BLOCK.decode(joined)
    return Block(bare.header, tuple(transactions), bare.last_commit)


def test_the_story_told_again_gives_the_same_bytes() -> None:
    """Every run has another seed for the hashes of strings, and so another order of sets."""
    assert generate_chain.files()["chain.json"] == FILE.read_text()


def test_the_genesis_record_alone_and_the_blocks_give_every_root() -> None:
    """Each block is checked as a validator does, executed, and its three outcomes compared."""
    genesis = GENESIS.decode(raw(CHAIN["genesis"]))
    rules = rules_of(genesis)
    assert rules.genesis == GENESIS_HASH
    state, tree, parent = MemoryState(), empty_tree(), rules.genesis
    state.write(genesis_writes(genesis))
    tree.apply(update_tree(tree, state.entries))
    assert tree.root.hex() == CHAIN["genesis_state_root"]
    for row in BLOCKS:
        block = read_block(row)
        header = block.header
        candidates = [decode_candidate(told, rules) for told in block.transactions]
        check_block(heads.view(state, rules), rules, block, candidates, parent, verify_all)
        outcome = apply_block(state, rules, header, block.last_commit, candidates, strict=True)
        update = update_tree(tree, outcome.writes)
        assert update.root == header.state_root == raw(row["state_root"]), header.height
        assert [RECEIPT.decode(raw(told)) for told in row["receipts"]] == list(outcome.receipts)
        assert receipts_root(list(outcome.receipts)) == header.receipts_root == raw(row["receipts_root"])
        assert outcome.next_validators_hash == header.next_validators_hash
        state.write(outcome.writes)
        tree.apply(update)
        parent = block_id(rules.genesis, header)
        assert parent.hex() == row["id"]
    assert [[key.hex(), value.hex()] for key, value in sorted(state.entries.items())] == CHAIN["final_state"]


def test_the_chain_tells_of_every_transaction_that_this_version_accepts() -> None:
    told = {
        type(TRANSACTION.decode(raw(transaction)).body.payload)
        for row in BLOCKS
        for transaction in row["transactions"]
    }
    judged = {operation.payload for operation in JUDGED}
    assert told == {operation.payload for operation in OPERATIONS} - judged
    rounds = [HEADER.decode(raw(row["header"])).round for row in BLOCKS]
    assert max(rounds) > 0, "some blocks were proposed in a later round"


# ------------------------------------------------------------------ without our code


def plain_header(row: dict[str, Any]) -> dict[str, Any]:
    """A header's fields by name."""
    return dict(zip(HEADER_FIELDS, plain.unpacked(raw(row["header"])), strict=True))


def test_ids_parents_and_roots_follow_from_the_bytes() -> None:
    parent, time_ms, validators = GENESIS_HASH, 0, b""
    assert plain.hashed("EUB-genesis", raw(CHAIN["genesis"])) == GENESIS_HASH
    for height, row in enumerate(BLOCKS, 1):
        header = plain_header(row)
        assert (header["height"], header["parent"]) == (height, parent)
        assert header["time_ms"] >= time_ms + 500
        transactions = [raw(told) for told in row["transactions"]]
        wtxids = [plain.hashed("EUB-wtx", told) for told in transactions]
        assert plain.list_root(wtxids) == header["txs_root"]
        assert plain.list_root([raw(told) for told in row["receipts"]]) == header["receipts_root"]
        assert len(row["receipts"]) == len(transactions) + 1
        assert plain.hashed("EUB-commit", raw(row["last_commit"])) == header["last_commit_hash"]
        last_commit = plain.unpacked(raw(row["last_commit"]))
        assert (last_commit is None) == (height == 1)
        assert last_commit is None or last_commit[1] == parent
        assert not validators or validators == header["validators_hash"]
        validators, time_ms = header["next_validators_hash"], header["time_ms"]
        parent = plain.hashed("EUB-block", GENESIS_HASH, raw(row["header"]))
        assert parent.hex() == row["id"]


@pytest.mark.parametrize(("told", "root"), [
    ("genesis_state", CHAIN["genesis_state_root"]),
    ("final_state", BLOCKS[-1]["state_root"]),
])  # fmt: skip
def test_a_whole_state_has_the_root_that_is_stated(told: str, root: str) -> None:
    entries = {raw(key): raw(value) for key, value in CHAIN[told]}
    assert len(entries) > 16, "more than one bucket"
    assert plain.state_root(entries).hex() == root
    for value in entries.values():
        plain.unpacked(value)


@pytest.mark.parametrize(("height", "state"), [(1, "genesis_state"), (len(BLOCKS), "final_state")])
def test_a_commit_is_signed_by_the_set_in_state(height: int, state: str) -> None:
    """V of the height stands in state under its epoch's first height; every signature is BIP-340's."""
    header = plain_header(BLOCKS[height - 1])
    stored = {raw(key): raw(value) for key, value in CHAIN[state]}
    first = (height - 1) // 20 * 20 + 1
    (members,) = plain.unpacked(stored[b"\x09" + first.to_bytes(8, "big")])
    assert members == sorted(members)
    assert plain.hashed("EUB-valset", plain.encoded(members)) == header["validators_hash"]
    commit = CHAIN["last_commit"] if height == len(BLOCKS) else BLOCKS[height]["last_commit"]
    round_, identity, bitmap, signatures = plain.unpacked(raw(commit))
    assert identity.hex() == BLOCKS[height - 1]["id"]
    said = plain.encoded([2, height, round_, identity])
    digest = plain.hashed("EUB-vote", GENESIS_HASH, said)
    signers = [m for i, m in enumerate(members) if bitmap[i // 8] >> i % 8 & 1]
    assert 3 * sum(power for _, _, power in signers) > 2 * 10**9
    for (_, key, _), signature in zip(signers, signatures, strict=True):
        assert plain.is_signed(key, digest, signature)


def test_reveals_lead_from_the_genesis_beacon_to_the_last() -> None:
    beacon = plain.hashed("EUB-beacon", GENESIS_HASH)
    for row in BLOCKS:
        beacon = plain.hashed("EUB-beacon", beacon, plain_header(row)["reveal"])
    head = next(raw(value) for key, value in CHAIN["final_state"] if key == "01")
    assert plain.unpacked(head)[4] == beacon
