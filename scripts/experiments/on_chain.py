"""Attacks that need a chain: blocks stuffed against proofs, registration inside a window.

They run real blocks of the rules in memory, as the tests do.
"""

from __future__ import annotations

from consensus.resource.proof import SHARES_MAX, make_proof
from consensus.types.amounts import eubc
from consensus.types.params import DEV, MAIN, TEST
from scripts.experiments.verdict import COSTLY, IMPOSSIBLE, Figure
from tests.proving import HARDWARE, RECIPIENT, TILES, Provers, always
from vm.account import Transfer
from vm.fees import lane_bytes, lane_units
from vm.resource import SPARK_TOO_NEW, Prove
from vm.spark import RegisterSpark
from vm.stake import Bond

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
    says = (
        f"the lane of one window holds {shown} proofs a spark (dev, test, main), at {price} grain a unit; "
        "who fills it with due steps of prepared tasks leaves proofs the base price, or a void window"
    )
    holds = min(rooms) > 1 and price == DEV.fees.min_price
    return Figure("block stuffing over proofs", COSTLY, min(rooms), "proofs a spark", says, holds)


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


EXPERIMENTS = (block_stuffing, registration_inside)
