"""A due queue that somebody fills runs late; nothing may break by that, and nobody may gain."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from consensus.types.amounts import eubc
from consensus.types.params import DEV, Params
from tests.world import World
from vm import fees
from vm import head as heads
from vm.due import DUE
from vm.outage import EPOCHS
from vm.spark import Hardware, RegisterSpark
from vm.stake import Bond
from vm.task import events
from vm.task.payloads import Grant, Offer, Post, Resources, Role, SeatEnvelope, Windows
from vm.task.records import FORFEITS

RECIPIENT = "age1" + "q" * 58
HARDWARE = Hardware("cpu", 0, 0, 4, 2**33, 2**36)
FLOOD = 120
"""Tasks that expire just before the forfeit is due; a block fires one entry."""
EPOCH_BLOCKS = 8
WINDOWS_START = 2


@pytest.fixture(autouse=True)
def unpaid(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network whose queue can be filled beyond what it does: on a real one its work is paid in units."""
    monkeypatch.setattr(fees, "due_units", lambda params: 0)


def slow() -> Params:
    """Short epochs, decisions kept for five of them, one due entry a block."""
    chain = replace(DEV.chain, epoch_blocks=EPOCH_BLOCKS, max_due_per_block=1)
    voters = replace(DEV.validators, unbonding_epochs=3)
    return replace(DEV, chain=chain, validators=voters)


def post(offer: int) -> Post:
    role = Role("main", 1, True, eubc(1), Resources(0, 0, 1, 2**30, 2**30))
    return Post(0, 0, (role,), 0, (), (), Windows(offer, 20, WINDOWS_START, 4, 2), 0, False, None, b"spec")


def vanished(world: World, place: int) -> int:
    """A seat whose spark does not start; the height at which it is late, at this place of an epoch."""
    world.succeed("bob", Bond(eubc(50)))
    world.succeed("bob", RegisterSpark(RECIPIENT, HARDWARE, 2, True, 1))
    task = world.submit("alice", post(2))
    world.block()
    world.succeed("bob", Offer(task, 0, eubc(1), 4))
    while not world.events(events.MATCHED.code):
        world.block()
    while (world.height + 1 + WINDOWS_START) % EPOCH_BLOCKS != place:
        world.block()
    world.succeed("alice", Grant(task, bytes(32), (SeatEnvelope(0, b"sealed"),)))
    return world.height + WINDOWS_START


def test_a_forfeit_that_fires_many_epochs_late_is_decided_by_its_own_epoch() -> None:
    """Its epoch's decision is kept for it; without it the chain would stop there."""
    world = World(slow())
    vanishes = vanished(world, 1)
    for _ in range(FLOOD):
        world.submit("carol", post(vanishes - world.height))
    world.block()
    while not list(world.view.scan(FORFEITS)):
        world.block()
    assert world.height == vanishes
    ((key, _),) = world.view.scan(FORFEITS)
    epoch = int.from_bytes(key[:8], "big")
    while list(world.view.scan(FORFEITS)):
        world.block()
    assert world.epoch > epoch + slow().validators.evidence_epochs + slow().validators.unbonding_epochs
    assert world.events(events.FORFEIT_BURNED.code)
    world.check()
    while list(world.view.scan(DUE, stop=world.height.to_bytes(8, "big"))):
        world.block()
    world.until_epoch_end()
    kept = [int.from_bytes(key, "big") for key, _ in world.view.scan(EPOCHS)]
    assert min(kept) > epoch, "what no forfeit waits for is forgotten"


def test_whoever_failed_in_an_outage_is_excused_however_late_the_queue_notices() -> None:
    """The epoch in which the clock ran out decides, not the one in which somebody let the entry fire."""
    world = World(slow(), validators=7)
    vanishes = vanished(world, 5)
    for _ in range(3 * EPOCH_BLOCKS):
        world.submit("carol", post(vanishes - world.height - 1))
    outage = heads.epoch_of(vanishes, EPOCH_BLOCKS)
    while not list(world.view.scan(FORFEITS)):
        world.block(absent=["v5", "v6"] if world.epoch == outage else [])
    assert world.epoch > outage + 1, "its own epoch is over"
    while list(world.view.scan(FORFEITS)):
        world.block()
    assert world.events(events.FORFEIT_RETURNED.code)
    assert not world.events(events.FORFEIT_BURNED.code)
    world.check()
