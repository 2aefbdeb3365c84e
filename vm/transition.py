"""The state transition: one block on one state, the same for building, validating, syncing and replay.

Here: `apply_block`, the order of a block's steps, what a builder leaves out.
Not here: what a header must be (vm/validity.py), each transaction (vm/inclusion.py), the epoch's end
(vm/epoch.py), roots of the state (the caller asks the tree).
Keeps: the outcome is a function of (reader, rules, header, last commit, transactions) alone, for a verdict
on a proof is one of the state; what strict application refuses, building leaves out, so a block that was
built always applies.
Errors: 1902 transaction_refused.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import Any, NamedTuple

from consensus.beacon import next_beacon
from consensus.types.block import Commit, Header
from consensus.types.errors import Reason, Rejected
from consensus.types.reader import StateReader
from consensus.types.receipt import OK, Receipt
from consensus.types.transaction import Candidate
from consensus.validators import ValidatorSet, proposer, validators_hash
from vm import beacons, due, epoch, fees, measuring, rewards
from vm import head as heads
from vm import tally as tallies
from vm import validator as operators
from vm.claims import Judge, judge_here
from vm.fees import Room
from vm.funds import ACCOUNTS
from vm.head import HEADS, Head
from vm.inclusion import BLOCK_FULL, Broken, include
from vm.registry import DUE_HANDLERS
from vm.rules import Rules
from vm.slices import SLICE_DRAWS, SLICE_TRANSACTIONS, to_the_end
from vm.state import BlockContext, State
from vm.validity import BlockInvalid

MISSED_ROUNDS_MAX = 1_000
"""Rounds of a height that are counted as missed; a later round's proposer is found all the same.

A header may name any round below 2**32, so counting them all would let one stop the network. After so many
rounds the tally says what it has to: a height takes days by then, and all of a set's turns have come.
"""

FULL_MAX = 256
"""A builder stops when so many found no room: smaller ones may have fitted, but not many more do."""

TRANSACTION_REFUSED = Reason(
    1902,
    "transaction_refused",
    "index:count wtxid:hash code:count",
    "Transaction {index} of the block ({wtxid}) may not stand in it: error {code}.",
    "The proposer is faulty or runs other rules; the block is refused.",
)


class Skipped(NamedTuple):
    """A candidate that a builder left out, and why: a refusal, or a bug of ours."""

    candidate: Candidate[Any]
    cause: Rejected | Broken


class Outcome(NamedTuple):
    """What a block does."""

    included: tuple[Candidate[Any], ...]
    skipped: tuple[Skipped, ...]
    """While building only."""
    writes: dict[bytes, bytes | None]
    """Every written key in order of namespaces and keys; None deletes."""
    receipts: tuple[Receipt, ...]
    """One per transaction, then the block's own."""
    touched: tuple[tuple[bytes, ...], ...]
    """Per receipt, the accounts whose balance it wrote: what a history index lists."""
    next_set: ValidatorSet
    """V(h + 1)."""
    next_validators_hash: bytes


def keep_going() -> bool:
    """The stopping rule of whoever applies all candidates: never enough."""
    return False


def apply_block(
    reader: StateReader,
    rules: Rules,
    header: Header,
    last_commit: Commit | None,
    candidates: Iterable[Candidate[Any]],
    *,
    strict: bool,
    enough: Callable[[], bool] = keep_going,
    judge: Judge = judge_here,
) -> Outcome:
    """Execute a block in one go; see `apply_in_slices`."""
    return to_the_end(
        apply_in_slices(
            reader, rules, header, last_commit, candidates, strict=strict, enough=enough, judge=judge
        )
    )


def apply_in_slices(
    reader: StateReader,
    rules: Rules,
    header: Header,
    last_commit: Commit | None,
    candidates: Iterable[Candidate[Any]],
    *,
    strict: bool,
    enough: Callable[[], bool] = keep_going,
    judge: Judge = judge_here,
) -> Generator[None, None, Outcome]:
    """Execute a block on the state of its parent, pausing after every slice; returns the outcome.

    Reads height, round, time, proposer and reveal of the header, not its roots. Candidates were decoded
    by this network's registry and their signatures hold. `strict` raises `BlockInvalid` at the first
    transaction that may not stand in the block; otherwise it is left out, and no more are taken once
    `enough()`. `Broken` in strict application passes to the caller. `judge` gives the verdicts on proofs of
    resource when their window closes: those known ahead, or computed on the spot.
    """
    state, parent = _open(reader, rules, header)
    state.begin()
    _advance_reveal(state, header)
    yield from _count_and_mint(state, header, parent, last_commit)
    yield from measuring.run(state, header.parent, judge)
    before_transactions = state.events
    filled = yield from _fill(state, candidates, strict, enough)
    state.begin()
    _accrue_tips(state, header.proposer, filled.tips)
    yield from due.fire_in_slices(state, DUE_HANDLERS)
    beacons.keep_for_late_entries(state)
    base_price = fees.next_base_price(state.block.base_price, filled.units_used, rules.params)
    yield
    if header.height % rules.params.chain.epoch_blocks == 0:
        yield from epoch.end(state)
    next_set = heads.validators_at(state, header.height + 1)
    assert next_set, "a set follows every set"
    beacon = state.block.beacon
    state.put(HEADS, b"", Head(header.height, header.time_ms, header.version, base_price, beacon))
    own = Receipt(OK, 0, 0, (), (*before_transactions, *state.events))
    touched_last = tuple(state.written(ACCOUNTS))
    writes = yield from state.finish_in_slices()
    return Outcome(
        tuple(filled.included),
        tuple(filled.skipped),
        writes,
        (*filled.receipts, own),
        (*filled.touched, touched_last),
        next_set,
        validators_hash(next_set),
    )


class _Filled(NamedTuple):
    """What step 6 did."""

    included: list[Candidate[Any]]
    skipped: list[Skipped]
    receipts: list[Receipt]
    touched: list[tuple[bytes, ...]]
    tips: int
    units_used: int


def _fill(
    state: State, candidates: Iterable[Candidate[Any]], strict: bool, enough: Callable[[], bool]
) -> Generator[None, None, _Filled]:
    """Step 6: the transactions, in order."""
    room = Room(state.block.params)
    included: list[Candidate[Any]] = []
    skipped: list[Skipped] = []
    receipts: list[Receipt] = []
    touched: list[tuple[bytes, ...]] = []
    tips = full = 0
    left_out: dict[bytes, int] = {}
    """The nonce that was left out, by sender: what follows it cannot stand in the block either."""
    for index, candidate in enumerate(candidates):
        if index % SLICE_TRANSACTIONS == 0:
            yield
        if enough() or full >= FULL_MAX:
            break
        body = candidate.transaction.body
        if body.nonce > left_out.get(body.sender, body.nonce):
            continue
        try:
            receipt, tip = include(state, room, candidate)
        except (Rejected, Broken) as cause:
            if strict:
                _refuse(index, candidate, cause)
            skipped.append(Skipped(candidate, cause))
            full += isinstance(cause, Rejected) and cause.reason is BLOCK_FULL
            left_out.setdefault(body.sender, body.nonce)
            continue
        if left_out:
            left_out.pop(body.sender, None)
        tips += tip
        included.append(candidate)
        receipts.append(receipt)
        touched.append(tuple(state.written(ACCOUNTS)))
    yield
    return _Filled(included, skipped, receipts, touched, tips, room.units_used)


def _open(reader: StateReader, rules: Rules, header: Header) -> tuple[State, Head]:
    """Step 1: height, time, beacon, version; the context in which everything below runs."""
    raw = reader.get(HEADS.prefix)
    assert raw is not None, "the genesis writes the first head"
    parent = HEADS.decode(raw)
    assert header.height == parent.height + 1, "the reader is at the parent"
    rules.require_version(header.height)
    assert header.version == rules.version_at(header.height), "the header was checked"
    epoch_number = heads.epoch_of(header.height, rules.params.chain.epoch_blocks)
    context = BlockContext(
        header.height,
        header.time_ms,
        epoch_number,
        next_beacon(parent.beacon, header.reveal),
        parent.base_price,
        header.proposer,
        rules.params,
        rules.genesis,
        rules.chain_id,
        rules.vesting,
    )
    return State(reader, context), parent


def _advance_reveal(state: State, header: Header) -> None:
    """Step 2: what was revealed is the proposer's new commitment."""
    operators.advance_reveal(state, header.proposer, header.reveal)


def _count_and_mint(
    state: State, header: Header, parent: Head, last_commit: Commit | None
) -> Generator[None, None, None]:
    """Steps 3 and 4: the tally of the last commit and of this proposal, then the reward."""
    counting = tallies.Counting(tallies.tally(state))
    before: ValidatorSet = ()
    signers: list[int] = []
    power_signed = 0
    if last_commit is not None:
        before = heads.validators_at(state, header.height - 1) or ()
        signers = last_commit.signers(len(before))
        power_signed = counting.commit(before, signers)
    now = heads.validators_at(state, header.height)
    assert now, "a height has validators"
    missed = []
    for round_ in range(min(header.round, MISSED_ROUNDS_MAX)):
        missed.append(proposer(now, parent.beacon, header.height, round_).address)
        if round_ % SLICE_DRAWS == SLICE_DRAWS - 1:
            yield
    counting.proposal(header.proposer, missed)
    rewards.mint(state, counting, before, signers, power_signed, header.proposer)
    counting.store(state)


def _refuse(index: int, candidate: Candidate[Any], cause: Rejected | Broken) -> None:
    if isinstance(cause, Broken):
        raise cause
    raise BlockInvalid(
        TRANSACTION_REFUSED, index=index, wtxid=candidate.wtxid, code=cause.reason.code
    ) from cause


def _accrue_tips(state: State, proposer_address: bytes, tips: int) -> None:
    """Tips were moved to `accrued` one by one; the proposer's row takes them at once."""
    if tips:
        counting = tallies.Counting(tallies.tally(state))
        counting.accrue(proposer_address, tips)
        counting.store(state)
