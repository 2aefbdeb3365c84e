"""Validators of different stake, compute and reputation make blocks in proportion to what follows from it.

In memory, with real blocks. Standing is written into state, because no transaction of this version moves the
part of it that weight reads; `scripts/proportion` shows stake and compute on a network of processes.
"""

from __future__ import annotations

from collections import Counter

from msgspec.structs import replace

from consensus.resource.reputation import Standing
from consensus.types.amounts import PPB, eubc
from consensus.types.codec import encode
from consensus.types.params import DEV
from tests.proving import HARDWARE, RECIPIENT
from tests.world import World
from vm.spark import SPARKS, RegisterSpark
from vm.standing import STANDINGS

BLOCKS = 400
EPOCH_BLOCKS = 100
CHI_SQUARE_MAX = 24.3
"""Of four degrees of freedom, what one run in 15,000 exceeds."""
RARE = 10**9
"""No window is announced: compute stays as it is written."""
KINDS = {
    "v0": (10_000, 0, None),
    "v1": (20_000, 0, None),
    "v2": (10_000, 400, None),
    "v3": (10_000, 400, (0, 1)),
    "v4": (10_000, 400, (1, 0)),
}
"""EUBC bonded; tiles a window; whether audits confirmed much good and much bad, None for nothing."""


def test_blocks_follow_stake_compute_and_reputation() -> None:
    """Five validators, four hundred blocks: the draw explains every difference, and each factor shows."""
    params = replace(
        DEV,
        chain=replace(DEV.chain, epoch_blocks=EPOCH_BLOCKS),
        resource=replace(DEV.resource, window_wait_blocks=RARE),
    )
    world = World(params, len(KINDS), (), bonds=[eubc(bond) for bond, _, _ in KINDS.values()])
    for name, (_, tiles, _) in KINDS.items():
        if tiles:
            world.submit(name, RegisterSpark(RECIPIENT, HARDWARE, 1, False, 1))
    world.block()
    _write(world)
    world.until_epoch_end()
    world.until_epoch_end()  # of two weights in a row the smaller one votes
    expected, proposed = Counter[bytes](), Counter[bytes]()
    for _ in range(BLOCKS):
        for member in world.validators:
            expected[member.address] += member.power
        world.block()
        proposed[world.headers[-1].proposer] += 1
    of = {name: expected[world[name].address] / PPB for name in KINDS}
    chi_square = sum((proposed[world[name].address] - of[name]) ** 2 / of[name] for name in KINDS)
    assert chi_square < CHI_SQUARE_MAX
    assert of["v1"] > 1.5 * of["v0"], "twice the stake"
    assert of["v2"] > 1.3 * of["v0"], "the same stake, and a third of the compute"
    assert of["v3"] < 0.8 * of["v2"] < 0.8 * of["v4"], "the same of both, and another reputation"
    world.check()


def _write(world: World) -> None:
    """Compute and standing as a longer past would have left them."""
    writes: dict[bytes, bytes | None] = {}
    for name, (_, tiles, past) in KINDS.items():
        key = world[name].address
        if tiles:
            spark = replace(world.read(SPARKS, key), capacity=tiles << 16)
            writes[SPARKS.prefix + key] = encode(spark)
        if past is not None:
            # Far beyond what its income could weigh against.
            good, bad = (part * eubc(1_000_000) for part in past)
            writes[STANDINGS.prefix + key] = encode(Standing(good, bad, 0, 0, 0, 0))
    world.state.write(writes)
