"""Attacks that need a chain: blocks stuffed against proofs, registration inside a window, staged outages.

They run real blocks of the rules in memory, as the tests do.
"""

from __future__ import annotations

from consensus.resource.difficulty import SHARES_TARGET
from consensus.resource.proof import SHARES_MAX, make_proof
from consensus.resource.windows import takes_proofs_at
from consensus.types.amounts import eubc
from consensus.types.params import DEV, MAIN, TEST
from scripts.experiments.verdict import IMPOSSIBLE, UNPROFITABLE, Figure
from tests.market import grant_of, post_of
from tests.proving import HARDWARE, RECIPIENT, TILES, Provers, always, edited
from vm.account import Transfer
from vm.claims import take_as_true
from vm.fees import lane_bytes, lane_units
from vm.measuring import VOID
from vm.resource import SPARK_TOO_NEW, Prove
from vm.spark import RegisterSpark
from vm.stake import Bond
from vm.task import events
from vm.task.payloads import Offer, Resources, Windows
from vm.task.records import TASKS, TaskState
from vm.windows import PROOFS

PROOF_BYTES = 700
"""A signed `resource.prove` of 56 shares, rounded up."""


def block_stuffing() -> Figure:
    """Pay any price for every ordinary unit: the lane still takes proofs, at the least price."""
    narrow = always()
    world = Provers(params=narrow)
    world.until_open()
    payload = Prove(make_proof(world.window.window.announced + 1, TILES))
    for _ in range(40):
        world.submit("v0", Transfer(world["alice"].address, 1), tip=900, max_price=1_000)
    world.submit("alice", payload)
    receipt = world.receipts_of_next()[-1]
    price = receipt.fee // receipt.units
    rooms = []
    for params in (DEV, TEST, MAIN):
        units = PROOF_BYTES + params.fees.proof + SHARES_MAX * params.fees.share + params.fees.new_entry
        each_block = min(lane_units(params) // units, lane_bytes(params) // PROOF_BYTES)
        blocks = params.resource.window_blocks + params.resource.grace_blocks
        rooms.append(each_block * blocks / params.resource.max_sparks)
    shown = ", ".join(f"{room:.1f}" for room in rooms)
    says = f"the lane of one window holds {shown} proofs a spark (dev, test, main), at {price} grain a unit"
    holds = min(rooms) > 1 and price == DEV.fees.min_price
    return Figure("block stuffing over proofs", IMPOSSIBLE, min(rooms), "proofs a spark", says, holds)


def registration_inside() -> Figure:
    """Register once a window is announced, with a key chosen for its seed: the window does not count it."""
    world = Provers()
    world.until_announced()
    world.submit("v0", Bond(eubc(5)))
    world.submit("v0", RegisterSpark(RECIPIENT, HARDWARE, 1, True, 1))
    opened = world.until_open()
    code = world.do("v0", Prove(make_proof(opened, TILES))).code
    says = f"refused with error {code} ({SPARK_TOO_NEW.name}); a later epoch's windows count"
    return Figure("registration inside a window", IMPOSSIBLE, code, "error", says, code == SPARK_TOO_NEW.code)


CARTEL = ("s0", "s1", "s2", "s3")
WORKER = "worker"
CARTEL_EACH, WORKER_TILES = 320, 1_920
"""Tiles a window of each: the cartel holds two fifths of ΣS, enough to void windows and stage outages."""
SMALL = Resources(0, 0, 1, 2**20, 2**20)
DUST = Windows(offer=2, grant=4, start=2, run=1, review=2)


def _step(world: Provers) -> None:
    """A block; the worker proves in it when its window takes proofs."""
    is_open = takes_proofs_at(world.window.window, world.height + 1)
    if is_open and world.read(PROOFS, world[WORKER].address) is None:
        world.prove(WORKER, TILES[:SHARES_TARGET])
    world.block()


def _fail_own_tasks(world: Provers) -> None:
    """The cartel posts a dust task for each of its sparks, and lets all of them run out."""
    maximum = 40 * world.params.resource.gas_floor
    tasks = [
        world.submit(
            "v0", post_of(windows=DUST, maximum=maximum, resources=SMALL, allow=(world[name].address,))
        )
        for name in CARTEL
    ]
    _step(world)
    for name, task in zip(CARTEL, tasks, strict=True):
        world.submit(name, Offer(task, 0, maximum, 1))
    while any(world.read(TASKS, task).state == TaskState.OPEN for task in tasks):
        _step(world)
    for task in tasks:
        world.submit("v0", grant_of(task))
    _step(world)


def _rested(epochs: int, is_staged: bool) -> tuple[float, Provers]:
    """The share of its S that a cartel has left after so many epochs without computing a tile."""
    world = Provers((*CARTEL, WORKER), difficulty=WORKER_TILES // SHARES_TARGET)
    world.verdicts = take_as_true
    for name in CARTEL:
        edited(world, name, capacity=CARTEL_EACH << 16)
    edited(world, WORKER, capacity=WORKER_TILES << 16)
    world.until_epoch_end()
    for _ in range(epochs):
        end = world.epoch
        if is_staged:
            _fail_own_tasks(world)
        while world.epoch == end:
            _step(world)
    world.check()
    return world.spark(CARTEL[0]).capacity / (CARTEL_EACH << 16), world


def staged_outage() -> Figure:
    """Fail one's own tasks together in every epoch and never compute: are misses excused with them?"""
    epochs = 6
    rested, plain = _rested(epochs, is_staged=False)
    staged, world = _rested(epochs, is_staged=True)
    returned, burned = (
        len(world.events(event.code)) for event in (events.FORFEIT_RETURNED, events.FORFEIT_BURNED)
    )
    voids = len(plain.events(VOID.code))
    says = (
        f"two fifths of ΣS fail their own tasks in {epochs} epochs and compute nothing: {returned} forfeits "
        f"return, {burned} burn, and S falls to {staged:.2f}, as it does without ({rested:.2f})"
    )
    holds = staged == rested < 1 and returned > 0 and burned == 0 and voids > 0
    return Figure("outage by dust tasks", UNPROFITABLE, staged, "of S", says, holds)


EXPERIMENTS = (block_stuffing, registration_inside, staged_outage)
