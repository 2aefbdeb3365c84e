"""Attacks that need a chain: blocks stuffed against proofs, registration inside a window.

They run real blocks of the rules in memory, as the tests do.
"""

from __future__ import annotations

from msgspec.structs import replace

from consensus.resource.proof import SHARES_MAX, make_proof
from consensus.resource.windows import opens_at, takes_proofs_at
from consensus.types.amounts import eubc
from consensus.types.params import DEV, MAIN, TEST
from consensus.types.receipt import OK
from scripts.experiments.verdict import COSTLY, IMPOSSIBLE, Figure
from tests.proving import HARDWARE, RECIPIENT, TILES, Provers, always
from vm.account import Transfer
from vm.fees import lane_bytes, lane_units
from vm.head import head
from vm.resource import SPARK_TOO_NEW, Prove
from vm.spark import SPARKS_FULL, RegisterSpark
from vm.stake import Bond

PROOF_BYTES = 700
"""A signed `resource.prove` of 56 shares, rounded up."""


def _stuff(world: Provers) -> None:
    """Fill the next block's ordinary room with transfers that tip."""
    for _ in range(80):
        world.submit("v0", Transfer(world["alice"].address, 1), tip=900, max_price=1_000)


def block_stuffing() -> Figure:
    """Pay any price for every ordinary unit: the lane still takes proofs, at the least price."""
    chain = replace(always().chain, block_units_max=16_000, transaction_bytes_max=4_000)
    world = Provers(params=replace(always(), chain=chain))
    while head(world.view).base_price < 5 or not takes_proofs_at(world.window.window, world.height + 1):
        _stuff(world)
        world.block()
    base = head(world.view).base_price
    _stuff(world)
    payload = Prove(make_proof(opens_at(world.window.window), TILES))
    txid = world.submit("alice", payload, max_price=DEV.fees.min_price)
    left_out = len(world.block().skipped)
    receipt = world.receipts[txid]
    price = receipt.fee // receipt.units
    rooms = []
    for params in (DEV, TEST, MAIN):
        units = PROOF_BYTES + params.fees.proof + SHARES_MAX * params.fees.share + params.fees.new_entry
        each_block = min(lane_units(params) // units, lane_bytes(params) // PROOF_BYTES)
        blocks = params.resource.window_blocks + params.resource.grace_blocks
        rooms.append(each_block * blocks / params.resource.max_sparks)
    shown = ", ".join(f"{room:.1f}" for room in rooms)
    says = (
        f"{left_out} transfers find no room at {base} grains a unit, a proof does at {price}; the lane of a "
        f"window holds {shown} proofs a spark (dev, test, main); who fills it with due steps of prepared "
        "tasks leaves proofs the base price, or a void window"
    )
    holds = min(rooms) > 1 and left_out > 0 and price == DEV.fees.min_price < base
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


def squatted_register() -> Figure:
    """Take all places for sparks: whoever bonds more than the smallest of them comes in all the same."""
    squatters = ("a", "b", "c")
    world = Provers(squatters, params=always(max_sparks=len(squatters)))
    register = RegisterSpark(RECIPIENT, HARDWARE, 1, True, 1)
    newcomer = "alice"
    world.succeed("v0", Transfer(world[newcomer].address, eubc(200)))
    world.succeed(newcomer, Bond(eubc(100)))
    refused = world.do(newcomer, register).code
    world.succeed(newcomer, Bond(eubc(1)))
    taken = world.do(newcomer, register).code
    least = MAIN.resource.max_sparks * MAIN.resource.spark_bond // eubc(1)
    says = (
        f"{MAIN.resource.max_sparks} places at the least bond bind {least:,} EUBC; who has as much as "
        f"the smallest is refused ({refused}), with 1 EUBC more it takes its place"
    )
    holds = refused == SPARKS_FULL.code and taken == OK
    return Figure("squatted register", COSTLY, least, "EUBC bound", says, holds)


EXPERIMENTS = (block_stuffing, registration_inside, squatted_register)
