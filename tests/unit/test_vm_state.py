"""The overlay, the due queue and kept beacons."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.types.params import DEV
from consensus.types.reader import MemoryState
from tests.world import World
from vm import beacons, due, funds
from vm.due import DUE, DueKind
from vm.funds import ACCOUNTS, Account
from vm.state import BlockContext, State

KEYS = [bytes([i]) * 20 for i in range(6)]


def state_at(height: int, reader: MemoryState | None = None, most: int = 256) -> State:
    """A state with nothing but a height."""
    chain = msgspec.structs.replace(DEV.chain, max_due_per_block=most)
    params = msgspec.structs.replace(DEV, chain=chain)
    beacon = height.to_bytes(32, "big")
    context = BlockContext(height, 0, 0, beacon, 1, bytes(20), params, bytes(32), "x")
    return State(reader or MemoryState(), context)


operations = st.lists(
    st.tuples(st.sampled_from(["put", "delete", "begin", "undo"]), st.sampled_from(KEYS), st.integers(0, 9)),
    max_size=40,
)


@given(before=st.dictionaries(st.sampled_from(KEYS), st.integers(0, 9)), steps=operations)
def test_an_overlay_is_a_dict_that_can_go_back(
    before: dict[bytes, int], steps: list[tuple[str, bytes, int]]
) -> None:
    """Against a plain model: reads, scans, undo, and writes that bring the reader to the same content."""
    first = state_at(0)
    for key, value in before.items():
        first.put(ACCOUNTS, key, Account(value, 0))
    reader = MemoryState()
    reader.write(first.finish())
    state, model, saved = state_at(1, reader), dict(before), dict(before)
    state.begin()
    for step, key, value in steps:
        if step == "put":
            state.put(ACCOUNTS, key, Account(value, 0))
            model[key] = value
        elif step == "delete" and key in model:
            state.delete(ACCOUNTS, key)
            del model[key]
        elif step == "begin":
            state.begin()
            saved = dict(model)
        elif step == "undo":
            state.undo()
            model = dict(saved)
        found = {k: record.nonce for k, record in state.scan(ACCOUNTS)}
        assert found == model
        assert list(found) == sorted(found)
        record = state.get(ACCOUNTS, key)
        assert (None if record is None else record.nonce) == model.get(key)
    writes = state.finish()
    assert list(writes) == sorted(writes)
    reader.write(writes)
    after = {k: r.nonce for k, r in state_at(1, reader).scan(ACCOUNTS)}
    assert after == model


def test_what_is_undone_is_not_written() -> None:
    state = state_at(1)
    state.begin()
    state.put(ACCOUNTS, KEYS[0], Account(1, 0))
    state.supply.issued += 5
    state.undo()
    assert state.supply.issued == 0
    assert [key for key in state.finish() if key[0] == ACCOUNTS.number] == []


def test_a_supply_that_does_not_add_up_stops_the_block() -> None:
    state = state_at(1)
    state.supply.balances += 1
    with pytest.raises(AssertionError, match="not conserved"):
        state.finish()


def test_a_scan_stops_at_its_limit() -> None:
    state = state_at(1)
    for key in KEYS:
        state.put(ACCOUNTS, key, funds.NEW_ACCOUNT)
    assert [k for k, _ in state.scan(ACCOUNTS, KEYS[1], KEYS[5], 3)] == KEYS[1:4]


def test_entries_fire_in_order_of_height_kind_and_id() -> None:
    state = state_at(1)
    due.schedule(state, 5, DueKind.TASK_FORGET, b"b")
    due.schedule(state, 5, DueKind.UNBONDING, b"z")
    due.schedule(state, 3, DueKind.TASK_FORGET, b"c")
    due.schedule(state, 5, DueKind.TASK_FORGET, b"a")
    due.schedule(state, 6, DueKind.UNBONDING, b"y")
    due.schedule(state, 4, DueKind.UNBONDING, b"x")
    due.unschedule(state, 4, DueKind.UNBONDING, b"x")
    reader = MemoryState()
    reader.write(state.finish())
    fired: list[tuple[bytes, int]] = []
    later = state_at(5, reader)

    def note(_: State, entry: bytes, due_height: int) -> None:
        fired.append((entry, due_height))

    due.fire(later, {DueKind.UNBONDING: note, DueKind.TASK_FORGET: note})
    assert fired == [(b"c", 3), (b"z", 5), (b"a", 5), (b"b", 5)]
    assert due.is_scheduled(later, 6, DueKind.UNBONDING, b"y")


def test_the_queue_stops_at_its_limit_and_goes_on_in_the_next_block() -> None:
    reader = MemoryState()
    state = state_at(1, reader)
    for i in range(5):
        due.schedule(state, 2, DueKind.UNBONDING, bytes([i]))
    reader.write(state.finish())
    fired: list[int] = []

    def busy(at: State, entry: bytes, due_height: int) -> None:
        fired.append(entry[0])
        for key in KEYS[:2]:
            at.put(ACCOUNTS, key, Account(entry[0], 0))

    for height, expected in ((2, [0, 1]), (3, [0, 1, 2, 3]), (4, [0, 1, 2, 3, 4])):
        state = state_at(height, reader, most=5)
        due.fire(state, {DueKind.UNBONDING: busy})
        beacons.keep_for_late_entries(state)
        assert fired == expected
        reader.write(state.finish())
    assert state_at(4, reader).scan(DUE) == []


def test_a_beacon_is_kept_while_an_entry_due_then_waits() -> None:
    reader = MemoryState()
    state = state_at(1, reader, most=1)
    for i in range(3):
        due.schedule(state, 2, DueKind.UNBONDING, bytes([i]))
    due.schedule(state, 3, DueKind.UNBONDING, b"\x07")
    reader.write(state.finish())
    seen: list[tuple[int, bytes]] = []

    def draw(at: State, entry: bytes, due_height: int) -> None:
        seen.append((due_height, beacons.beacon_at(at, due_height)))

    for height in range(2, 6):
        state = state_at(height, reader, most=1)
        due.fire(state, {DueKind.UNBONDING: draw})
        beacons.keep_for_late_entries(state)
        reader.write(state.finish())
    assert seen == [(at, at.to_bytes(32, "big")) for at in (2, 2, 2, 3)]
    assert state_at(5, reader).scan(beacons.BEACONS) == [], "and forgotten when nothing waits"


def test_a_handler_may_take_another_entry_back() -> None:
    state = state_at(1)
    for entry in (b"a", b"b"):
        due.schedule(state, 1, DueKind.UNBONDING, entry)
    fired: list[bytes] = []

    def only_me(at: State, entry: bytes, due_height: int) -> None:
        fired.append(entry)
        due.unschedule(at, 1, DueKind.UNBONDING, b"b")

    due.fire(state, {DueKind.UNBONDING: only_me})
    assert fired == [b"a"]


def test_equal_histories_give_equal_states() -> None:
    states = []
    for _ in range(2):
        world = World(validators=3)
        world.until_epoch_end()
        states.append(world.state.entries)
    assert states[0] == states[1]
