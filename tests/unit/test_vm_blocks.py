"""Blocks: what makes one invalid, and that building never includes what validation refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from consensus.types.amounts import eubc
from consensus.types.block import COMMIT_MALFORMED, Block, Header, commit_hash, txs_root
from consensus.types.errors import Fault, Reason
from consensus.types.genesis import Upgrade
from consensus.types.params import DEV
from consensus.types.transaction import Candidate
from tests.world import World
from vm import inclusion, transition, validity
from vm.account import Transfer
from vm.fees import Room
from vm.inclusion import Broken, include
from vm.operation import Cost, Operation
from vm.registry import OPERATION_OF, decode_candidate
from vm.rules import VERSION_UNSUPPORTED
from vm.state import State
from vm.transition import FULL_MAX, TRANSACTION_REFUSED, BlockInvalid, apply_block, apply_in_slices

Change = Callable[[Header], Header]


def stated(**fields: Any) -> Change:
    """A header with other fields."""
    return lambda header: msgspec.structs.replace(header, **fields)


def refusal_of(world: World, block: Block) -> Reason:
    """Why a validator refuses the block."""
    candidates = [decode_candidate(raw, world.rules) for raw in block.transactions]
    with pytest.raises(BlockInvalid) as refusal:
        world.validate(block, candidates)
    return refusal.value.reason


@pytest.fixture
def world() -> World:
    """Four validators, a few blocks in."""
    world = World(validators=4)
    world.blocks(3)
    return world


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (stated(version=2), validity.WRONG_VERSION),
        (stated(height=5), validity.WRONG_HEIGHT),
        (stated(height=3), validity.WRONG_HEIGHT),
        (stated(parent=bytes(32)), validity.WRONG_PARENT),
        (stated(proposer=bytes(20)), validity.WRONG_PROPOSER),
        (stated(round=2**32), validity.WRONG_PROPOSER),
        (stated(reveal=bytes(32)), validity.WRONG_REVEAL),
        (stated(validators_hash=bytes(32)), validity.WRONG_HASH),
        (stated(txs_root=bytes(32)), validity.WRONG_HASH),
        (stated(last_commit_hash=bytes(32)), validity.WRONG_HASH),
        (lambda h: stated(time_ms=h.time_ms - 1)(h), validity.BLOCK_TOO_EARLY),
    ],
)
def test_a_header_that_states_something_else_is_refused(world: World, change: Change, reason: Reason) -> None:
    block, _ = world.build([])
    world.validate(block, [])
    assert refusal_of(world, msgspec.structs.replace(block, header=change(block.header))) is reason


def test_a_later_round_has_its_own_proposer(world: World) -> None:
    block, _ = world.build([], round_=1)
    world.validate(block, [])
    if world.proposer(0) != world.proposer(1):
        wrong = stated(round=0)(block.header)
        assert refusal_of(world, msgspec.structs.replace(block, header=wrong)) is validity.WRONG_PROPOSER


def with_commit(block: Block, **fields: Any) -> Block:
    """A block whose last commit has other fields, named by its header."""
    commit = msgspec.structs.replace(block.last_commit, **fields)
    header = msgspec.structs.replace(block.header, last_commit_hash=commit_hash(commit))
    return msgspec.structs.replace(block, header=header, last_commit=commit)


def test_a_commit_must_hold_more_than_two_thirds_of_valid_signatures(world: World) -> None:
    block, _ = world.build([])
    commit = block.last_commit
    assert commit is not None
    two = with_commit(block, bitmap=b"\x03", signatures=commit.signatures[:2])
    assert refusal_of(world, two) is validity.COMMIT_TOO_WEAK
    swapped = (commit.signatures[1], commit.signatures[0], *commit.signatures[2:])
    assert refusal_of(world, with_commit(block, signatures=swapped)) is validity.COMMIT_UNSIGNED
    other = with_commit(block, block_id=bytes(32))
    assert refusal_of(world, other) is validity.COMMIT_OF_ANOTHER_BLOCK
    for bitmap in (b"\x0f\x00", b"\x1f", b"\x07"):
        assert refusal_of(world, with_commit(block, bitmap=bitmap)) is COMMIT_MALFORMED


def test_every_block_but_the_first_carries_a_commit(world: World) -> None:
    block, _ = world.build([])
    header = msgspec.structs.replace(block.header, last_commit_hash=commit_hash(None))
    bare = msgspec.structs.replace(block, header=header, last_commit=None)
    assert refusal_of(world, bare) is validity.COMMIT_MISSING


def test_a_block_larger_than_the_network_allows_is_refused(world: World) -> None:
    for field, value in (("block_bytes_max", 100), ("block_transactions_max", 1)):
        for _ in range(2):
            world.submit("alice", Transfer(world["bob"].address, 1))
        block, outcome = world.build(world.pending)
        assert len(outcome.included) == 2
        rules = world.rules
        chain = msgspec.structs.replace(rules.params.chain, **{field: value})
        world.rules = rules._replace(params=msgspec.structs.replace(rules.params, chain=chain))
        assert refusal_of(world, block) is validity.BLOCK_TOO_LARGE
        world.rules, world.pending = rules, []


def test_one_transaction_that_may_not_stand_there_makes_the_block_invalid(world: World) -> None:
    world.submit("alice", Transfer(world["bob"].address, 1))
    world.submit("bob", Transfer(world["bob"].address, 1), nonce=9)
    good, bad = world.pending
    block, outcome = world.build(world.pending)
    assert list(outcome.included) == [good]
    header = msgspec.structs.replace(block.header, txs_root=txs_root([good.wtxid, bad.wtxid]))
    forged = Block(header, (good.raw, bad.raw), block.last_commit)
    with pytest.raises(BlockInvalid) as refusal:
        world.validate(forged, [good, bad])
    assert refusal.value.reason is TRANSACTION_REFUSED
    assert refusal.value.facts == {
        "index": 1,
        "wtxid": bad.wtxid,
        "code": inclusion.WRONG_NONCE.code,
    }


def test_a_builder_stops_when_it_has_enough(world: World) -> None:
    for _ in range(5):
        world.submit("alice", Transfer(world["bob"].address, 1))
    asked: list[None] = []

    def enough() -> bool:
        asked.append(None)
        return len(asked) > 2

    _, outcome = world.build(world.pending, enough=enough)
    assert (len(outcome.included), len(outcome.skipped)) == (2, 0)


def test_building_and_validating_give_one_outcome(world: World) -> None:
    """`World.block` compares roots and receipts of both; here the writes as well."""
    for name, amount in (("alice", 5), ("bob", eubc(20_000)), ("carol", 1), ("carol", 2)):
        world.submit(name, Transfer(world["dora"].address, amount))
    world.submit("alice", Transfer(world["bob"].address, 1), max_price=0)
    block, built = world.build(world.pending)
    assert len(built.skipped) == 1
    outcome = world.validate(block, list(built.included))
    assert outcome.writes == built.writes
    assert outcome.receipts == built.receipts
    assert outcome.touched == built.touched


def test_execution_pauses_between_slices(world: World) -> None:
    for _ in range(130):
        world.submit("alice", Transfer(world["bob"].address, 1))
    running = apply_in_slices(
        world.state, world.rules, world.header(), world.last_commit, world.pending, strict=True
    )
    pauses = sum(1 for _ in running)
    assert pauses >= 3


def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every transfer of 13 grains meet a bug of ours, after it has written."""
    honest = OPERATION_OF[Transfer]

    def apply(state: Any, call: Any, payload: Transfer) -> None:
        honest.apply(state, call, payload)
        assert payload.amount != 13, "a bug"

    changed: Operation = honest._replace(apply=apply)
    monkeypatch.setitem(OPERATION_OF, Transfer, changed)


def test_a_bug_of_ours_is_left_out_by_a_builder_and_named_to_a_validator(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(monkeypatch)
    bad = world.submit("alice", Transfer(world["bob"].address, 13))
    good = world.submit("bob", Transfer(world["alice"].address, 1))
    candidates: list[Candidate[Any]] = list(world.pending)
    _, outcome = world.build(candidates)
    assert [c.txid for c in outcome.included] == [good]
    assert isinstance(outcome.skipped[0].cause, Broken)
    assert outcome.skipped[0].candidate.txid == bad
    alone, _ = world.build([candidates[1]])
    assert alone.header.state_root == world.complete(world.header(), outcome).state_root
    with pytest.raises(Broken) as failure:
        apply_block(world.state, world.rules, world.header(), world.last_commit, candidates, strict=True)
    assert failure.value.candidate.txid == bad


def test_a_full_block_leaves_the_rest_for_the_next(world: World) -> None:
    chain = msgspec.structs.replace(DEV.chain, block_transactions_max=3)
    world.rules = world.rules._replace(params=msgspec.structs.replace(DEV, chain=chain))
    for _ in range(5):
        world.submit("alice", Transfer(world["bob"].address, 1))
    outcome = world.block()
    assert len(outcome.included) == 3
    cause = outcome.skipped[0].cause
    assert isinstance(cause, inclusion.Rejected)
    assert cause.reason is inclusion.BLOCK_FULL


def test_no_block_is_executed_under_a_version_that_this_release_lacks() -> None:
    world = World()
    world.blocks(2)
    world.rules = world.rules._replace(versions=(Upgrade(4, 2),))
    world.block()
    world.rules.require_version(3)
    with pytest.raises(Fault) as fault:
        world.block()
    assert fault.value.reason is VERSION_UNSUPPORTED
    assert fault.value.facts == {"height": 4, "version": 2}


def test_a_bug_in_the_question_whether_something_is_due_is_named_too(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_due(state: Any, call: Any, payload: Transfer) -> bool:
        raise KeyError(payload.amount)

    changed: Operation = OPERATION_OF[Transfer]._replace(is_due=is_due)
    monkeypatch.setitem(OPERATION_OF, Transfer, changed)
    world.submit("alice", Transfer(world["bob"].address, 1))
    block, outcome = world.build(world.pending)
    assert isinstance(outcome.skipped[0].cause, Broken)
    empty, _ = world.build([])
    assert block == empty, "nothing of it remains"


def test_an_operation_that_declares_too_few_entries_is_a_bug(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = OPERATION_OF[Transfer]._replace(cost=lambda payload, fees: Cost(1, 0))
    monkeypatch.setitem(OPERATION_OF, Transfer, changed)
    world.submit("alice", Transfer(world["dora"].address, 1))
    world.submit("alice", Transfer(world["bob"].address, 1), nonce=0)
    _, outcome = world.build(world.pending)
    assert isinstance(outcome.skipped[0].cause, Broken)
    assert len(outcome.included) == 1


def test_one_that_is_left_out_costs_a_builder_no_tries_of_what_follows_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its sender's next ones cannot stand in the block; a run of sixty-four would cost as many tries."""
    world = World()
    tried = counting_tries(monkeypatch)
    for nonce in range(1, 20):  # the first is missing
        world.submit("alice", Transfer(world["bob"].address, 1), nonce=nonce)
    world.submit("carol", Transfer(world["bob"].address, 1))
    _, outcome = world.build(world.pending)
    assert len(tried) == 2
    assert [c.transaction.body.sender for c in outcome.included] == [world["carol"].address]


def test_the_same_nonce_again_may_stand_where_the_first_could_not(world: World) -> None:
    world.submit("alice", Transfer(world["bob"].address, 1), nonce=0, valid_until=0)
    world.submit("alice", Transfer(world["bob"].address, 2), nonce=0)
    world.submit("alice", Transfer(world["bob"].address, 3), nonce=1)
    _, outcome = world.build(world.pending)
    assert [c.transaction.body.payload.amount for c in outcome.included] == [2, 3]


def test_a_builder_stops_when_many_found_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full block is full: what waits behind it is not tried, however much that is."""
    params = msgspec.structs.replace(DEV, chain=msgspec.structs.replace(DEV.chain, block_transactions_max=5))
    world = World(params, people=tuple(f"p{number}" for number in range(400)))
    tried = counting_tries(monkeypatch)
    for number in range(400):
        world.submit(f"p{number}", Transfer(world["p0"].address, 1))
    _, outcome = world.build(world.pending)
    assert len(outcome.included) == 5
    assert len(tried) == 5 + FULL_MAX


def counting_tries(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """txids that a block tried to include."""
    tried: list[bytes] = []

    def counted(state: State, room: Room, candidate: Candidate[Any]) -> Any:
        tried.append(candidate.txid)
        return include(state, room, candidate)

    monkeypatch.setattr(transition, "include", counted)
    return tried
