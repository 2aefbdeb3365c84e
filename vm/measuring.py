"""The course of a window, a step in every block: seed, sample beacon, close, announcement.

Here: `run`, in that order; what a close does to every spark, false shares, void windows, who is credited;
misses that an outage excuses.
Not here: the arithmetic (consensus/resource), proofs (vm/resource.py), paying the pool (vm/epoch.py).
Keeps: at most one window at a time; each lives by the parameters of its announcement; a void window
changes nothing but false shares; D moves only when a window closes, so it is fixed before the seed is.
"""

from __future__ import annotations

from collections.abc import Generator

from msgspec.structs import replace

from consensus.resource import windows as rules
from consensus.resource.difficulty import (
    BARRED_EPOCHS,
    credited_tiles,
    false_share_slash,
    next_difficulty,
    next_speed,
)
from consensus.resource.proof import SHARE_BYTES, Claim
from consensus.resource.windows import Window
from consensus.types.codec import Record, Uint
from consensus.types.receipt import EventKind
from vm import members, outage, stake
from vm.claims import Judge, claims_in_slices
from vm.head import epoch_of
from vm.members import Register
from vm.slices import SLICE_RECORDS
from vm.spark import SPARKS, Spark, is_bonded, proving_capacity
from vm.state import Namespace, State, Table
from vm.windows import CAPACITY_MAX, PROOFS, WINDOWS, LastWindow, counted, last_window


class Missed(Record, frozen=True):
    """What a spark has lost in the running epoch by sending no proof, keyed by its address."""

    capacity: Uint
    """Of S; it comes back if the epoch turns out to be an outage."""


MISSED = Table(Namespace.MISSED, Missed)
PROFILE = 1
"""The profile of every window that is announced by this version."""

ANNOUNCED = EventKind(
    1552, "window_announced", "window:height last:height closes:height",
    "A window opens at {window}; proofs count up to {last}, and it closes at {closes}.",
)  # fmt: skip
CLOSED = EventKind(
    1553, "window_closed", "window:height proofs:count shares:count credited:count",
    "The window opened at {window} closed: {proofs} proofs of {shares} shares, {credited} sparks credited.",
)  # fmt: skip
VOID = EventKind(
    1554, "window_void", "window:height proofs:count covered:count capacity:count",
    "The window opened at {window} is void: its {proofs} proofs came from too few sparks "
    "({covered} of {capacity} proved compute); nobody's figures change.",
)  # fmt: skip
FALSE_SHARE = EventKind(
    1555, "false_share_slashed", "account:address window:height index:count taken:eubc until:count",
    "Share {index} of {account} in the window opened at {window} is false: {taken} taken, "
    "barred from proving until epoch {until}.",
)  # fmt: skip


def run(state: State, parent: bytes, judge: Judge) -> Generator[None, None, None]:
    """Do what the running window, or a new one, has to do in this block; `parent` is the parent's id."""
    height = state.block.height
    last = last_window(state)
    if last is not None and not last.is_closed:
        window = last.window
        if height == rules.opens_at(window) + 1:
            last = replace(last, seed=rules.window_seed(last.announcing_beacon, parent))
            state.put(WINDOWS, b"", last)
        if height == rules.sample_beacon_at(window):
            last = replace(last, sample_beacon=state.block.beacon)
            state.put(WINDOWS, b"", last)
        if height == rules.closes_at(window):
            yield from _close(state, last, judge)
    elif rules.is_announced(state.block.beacon, state.block.params.resource.window_wait_blocks):
        yield from _announce(state, last)


def _announce(state: State, last: LastWindow | None) -> Generator[None, None, None]:
    """Begin a window. Its record replaces the last one's, whose heights nobody needs any more."""
    block, params = state.block, state.block.params.resource
    window = Window(
        block.height,
        PROFILE,
        params.window_blocks,
        params.grace_blocks,
        params.verify_blocks,
        params.difficulty_min,
        params.verify_budget,
    )
    capacity = 0
    for index, address in enumerate(members.addresses(state, Register.SPARKS)):
        if index % SLICE_RECORDS == 0:
            yield
        spark = state.get(SPARKS, address)
        assert spark is not None, "who is listed has a record"
        capacity += proving_capacity(spark, block.epoch)
    void, void_before = (last.was_void, last.was_void_before) if last is not None else (False, False)
    begun = LastWindow(
        window,
        block.beacon,
        None,
        None,
        min(capacity, CAPACITY_MAX),
        0,
        0,
        False,
        void,
        void_before,
        counted(state),
    )
    state.put(WINDOWS, b"", begun)
    state.emit(
        ANNOUNCED(
            window=rules.opens_at(window),
            last=rules.last_proof_at(window),
            closes=rules.closes_at(window),
        )
    )


def _close(state: State, last: LastWindow, judge: Judge) -> Generator[None, None, None]:
    """Let the verdicts enter state."""
    assert last.sample_beacon is not None, "the sample beacon comes before the close"
    proved, covered = yield from _judged(state, last, judge)
    window = rules.opens_at(last.window)
    is_void = rules.is_void(covered, last.capacity, last.was_void, last.was_void_before)
    if is_void:
        state.emit(
            VOID(
                window=window,
                proofs=last.proofs,
                covered=min(covered, CAPACITY_MAX),
                capacity=last.capacity,
            )
        )
    else:
        credited = yield from _measure(state, last.window, proved)
        _list_credited(state, credited)
        state.emit(CLOSED(window=window, proofs=last.proofs, shares=last.shares, credited=len(credited)))
    closed = replace(
        last,
        is_closed=True,
        was_void=is_void,
        was_void_before=last.was_void,
        counted=last.counted + (not is_void),
    )
    state.put(WINDOWS, b"", closed)


def _judged(
    state: State, last: LastWindow, judge: Judge
) -> Generator[None, None, tuple[dict[bytes, int | None], int]]:
    """Delete the proofs; return what each proved, none of the false, by account, and the S they cover."""
    proved: dict[bytes, int | None] = {}
    covered = 0
    found = yield from claims_in_slices(state, last)
    for index, (address, claim) in enumerate(found):
        if index % SLICE_RECORDS == 0:
            yield
        count = len(claim.shares) // SHARE_BYTES
        # A proof without shares claims nothing that could be false.
        verdict = judge(claim) if claim.checked else count
        if verdict == count:
            proved[address] = count
            spark = state.get(SPARKS, address)
            assert spark is not None, "only sparks prove"
            covered += spark.capacity
        else:
            proved[address] = None
            _punish(state, claim, verdict)
        state.delete(PROOFS, address)
    return proved, covered


def _punish(state: State, claim: Claim, index: int) -> None:
    """A false share: one percent, and no proofs for some epochs. What is taken burns."""
    address = claim.account
    bonded = stake.stake(state, address).bonded
    unbonding = stake.slashable(state, address) - bonded
    taken = stake.slash(state, address, false_share_slash(bonded, unbonding))
    state.supply.burned += taken
    spark = state.get(SPARKS, address)
    assert spark is not None, "only sparks prove"
    until = state.block.epoch + BARRED_EPOCHS
    state.put(SPARKS, address, replace(spark, banned_until=until))
    state.emit(FALSE_SHARE(account=address, window=claim.window, index=index, taken=taken, until=until))


def _measure(
    state: State, window: Window, proved: dict[bytes, int | None]
) -> Generator[None, None, list[bytes]]:
    """Move D and S of every registered spark; return those credited, by address.

    Whoever retired meanwhile is credited nothing: its S fades as if it had missed.
    """
    credited: list[bytes] = []
    due_in = epoch_of(rules.last_proof_at(window), state.block.params.chain.epoch_blocks)
    is_decided = due_in < state.block.epoch
    is_excused = is_decided and outage.was_outage(state, due_in)
    for index, address in enumerate(members.addresses(state, Register.SPARKS)):
        if index % SLICE_RECORDS == 0:
            yield
        spark = state.get(SPARKS, address)
        assert spark is not None, "who is listed has a record"
        shares = proved.get(address)
        if shares is None:
            # An outage excuses whoever was not there, never whoever claimed what is false.
            is_false = address in proved
            if spark.capacity and (is_false or not is_excused):
                _miss(state, address, spark, is_final=is_false or is_decided)
            continue
        tiles = credited_tiles(shares, spark.difficulty)
        if tiles and is_bonded(state, address):
            credited.append(address)
        moved = replace(
            spark,
            difficulty=next_difficulty(spark.difficulty, shares, window.difficulty_min),
            capacity=next_speed(spark.capacity, tiles),
        )
        state.put(SPARKS, address, moved)
    return credited


def _miss(state: State, address: bytes, spark: Spark, *, is_final: bool) -> None:
    """No proof counts like one of nothing; unless that is final, the epoch may still become an outage."""
    capacity = next_speed(spark.capacity, 0)
    state.put(SPARKS, address, replace(spark, capacity=capacity))
    if not is_final:
        before = state.get(MISSED, address)
        lost = spark.capacity - capacity + (0 if before is None else before.capacity)
        state.put(MISSED, address, Missed(min(lost, CAPACITY_MAX)))


def settle_misses(state: State, was_outage: bool) -> Generator[None, None, None]:
    """At an epoch's end: give back what was lost in an outage, and forget."""
    for index, (address, missed) in enumerate(state.scan(MISSED)):
        if index % SLICE_RECORDS == 0:
            yield
        spark = state.get(SPARKS, address)
        assert spark is not None, "only sparks miss"
        if was_outage:
            state.put(SPARKS, address, replace(spark, capacity=spark.capacity + missed.capacity))
        state.delete(MISSED, address)


def _list_credited(state: State, credited: list[bytes]) -> None:
    """Make these the sparks that share the resource pool until another window closes."""
    before = dict.fromkeys(members.addresses(state, Register.CREDITED))
    now = dict.fromkeys(credited)
    for address in before:
        if address not in now:
            members.remove(state, Register.CREDITED, 0, address)
    for address in now:
        if address not in before:
            members.add(state, Register.CREDITED, 0, address)
