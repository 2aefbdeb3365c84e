"""Seeds of agreement alone: stand-ins for blocks, so that thousands of them take minutes.

Here: drawing validators, liars and misfortunes from a seed, and running it.
Not here: whole nodes (node_seeds.py), the command (campaign.py), fixed scenarios (test_agreement_sim.py).
Keeps: liars hold less than a third of the power, so nothing may ever fork, and all must live after healing.
"""

from __future__ import annotations

from collections import Counter
from random import Random

from consensus.types.errors import Fault
from consensus.validators import is_honest_part
from tests.sim.liars.double_proposer import DoubleProposer
from tests.sim.liars.equivocator import Equivocator
from tests.sim.liars.garbler import Garbler
from tests.sim.liars.silent import Silent
from tests.sim.liars.splitter import Splitter
from tests.sim.liars.twin import Twin
from tests.sim.liars.withholder import Withholder
from tests.sim.network import CALM, Faults
from tests.sim.node import SimNode
from tests.sim.outcome import Outcome, in_words
from tests.sim.whole.running import collect_rarely
from tests.sim.world import World

LIARS: tuple[type[SimNode], ...] = (
    Equivocator, Garbler, Silent, Splitter, Twin, Withholder, DoubleProposer,
)  # fmt: skip
WEIGHTS = ([1], [1, 1], [1, 1, 1], [1] * 4, [1] * 7, [30, 30, 20, 10, 5, 5], [24, 24, 24, 24, 4])
TROUBLES = ("network", "split", "crash", "crash", "blackout", "muffle", "calm")
TROUBLES_MAX = 8
HEALING_MS_MAX = 400_000
"""Virtual time; rounds grow long where liars propose many of them."""


def draw_world(seed: int, random: Random) -> World:
    """Validators and, in most seeds, liars below a third."""
    weights = random.choice(WEIGHTS)
    world = World(seed, weights)
    liars: dict[int, type[SimNode]] = {}
    power = 0
    for seat in random.sample(range(len(weights)), len(weights)):
        more = world.validators[seat].power
        if random.random() < 0.5 and not is_honest_part(power + more):
            liars[seat] = random.choice(LIARS)
            power += more
    return World(seed, weights, liars)


def trouble(world: World, random: Random) -> str:
    """One misfortune, and some time to suffer it; returns its name."""
    count = len(world.nodes)
    kind = random.choice(TROUBLES)
    match kind:
        case "network":
            slowest_ms = random.choice([50, 300, 1_500])
            world.faults(Faults(random.choice([0.0, 0.05, 0.3]), random.choice([0.0, 0.2]), (1, slowest_ms)))
        case "split":
            members = random.sample(range(count), count)
            cut = random.randint(0, count)
            world.split(members[:cut], members[cut:])
        case "crash":
            for _ in range(random.randint(1, 3)):
                world.crash_sometime(random.randrange(count))
        case "blackout":
            for node in world.nodes:
                if node.is_up:
                    node.crash(power=random.random() < 0.7)
        case "muffle":
            world.network.muffled = {random.randrange(count): random.random()}
        case "calm":
            world.faults(CALM)
            world.split()
            world.network.muffled = {}
    world.run(random.randint(500, 8_000))
    if random.random() < 0.7:
        world.restart_all()
    world.check()
    return kind


def run_seed(seed: int) -> Outcome:
    """Run one seed to its end."""
    collect_rarely()
    random = Random(seed)
    world = draw_world(seed, random)
    faults, violation = 0, ""
    counts = Counter(
        f"liar: {type(node).__name__.lower()}" for node in world.nodes[: world.size] if not node.is_honest
    )
    try:
        for _ in range(random.randint(1, TROUBLES_MAX)):
            faults += 1
            counts[f"fault: {trouble(world, random)}"] += 1
        world.heal()
        world.until_height(max(len(node.ledger) for node in world.honest) + 3, HEALING_MS_MAX)
        world.check()
    except (AssertionError, Fault, LookupError, ValueError, TypeError) as error:
        violation = in_words(error)
    heights = max(len(node.ledger) for node in world.honest)
    return Outcome(seed, not violation, heights, faults, violation, counts, tuple(world.recoveries))
