"""Attacks on whether a window counts and who is excused: outages staged, windows made void, proofs left out.

Those with a cartel run real blocks in memory, as the tests do; counting of shares is drawn (Poisson, seeded).
"""

from __future__ import annotations

import numpy as np

from consensus.resource.difficulty import SHARES_TARGET, credited_tiles, next_difficulty, next_speed
from consensus.resource.proof import SHARES_MAX
from consensus.resource.windows import Window, is_void, last_proof_at, opens_at, takes_proofs_at
from consensus.types.amounts import eubc
from consensus.types.params import MAIN
from scripts.experiments.verdict import COSTLY, OPEN, UNPROFITABLE, Figure
from tests.market import grant_of, post_of
from tests.proving import TILES, Provers, always, edited
from vm.claims import take_as_true
from vm.epoch import REWARD_PAID
from vm.measuring import VOID
from vm.outage import OUTAGE
from vm.task import events
from vm.task.payloads import Offer, Resources, Windows
from vm.task.records import TASKS, TaskState
from vm.windows import PROOFS

CARTEL = ("s0", "s1", "s2", "s3")
WORKER = "worker"
CARTEL_EACH, WORKER_TILES = 320, 1_920
"""Tiles a window of each: the cartel holds two fifths of ΣS, enough to void windows and stage outages."""
SMALL = Resources(0, 0, 1, 2**20, 2**20)
HELD_EPOCHS = 10
DUST = Windows(offer=2, grant=4, start=2, run=1, review=2)


def _cartel() -> Provers:
    """The cartel and the worker, with the S of what they could compute."""
    world = Provers((*CARTEL, WORKER), difficulty=WORKER_TILES // SHARES_TARGET)
    world.verdicts = take_as_true
    for name in CARTEL:
        edited(world, name, capacity=CARTEL_EACH << 16)
    edited(world, WORKER, capacity=WORKER_TILES << 16)
    return world


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
    world = _cartel()
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


def resting_in_turn() -> Figure:
    """Hold more than a third of ΣS, stay away together as often as that makes a window void."""
    world, windows, computed = _cartel(), 12, 0
    for name in CARTEL:
        edited(world, name, difficulty=CARTEL_EACH // SHARES_TARGET)
    for _ in range(windows):
        world.until_open()
        must = world.window.was_void and world.window.was_void_before
        computed += must
        for name in (*CARTEL, WORKER) if must else (WORKER,):
            world.prove(name, TILES[:SHARES_TARGET])
        world.block()
        world.until_closed()
    kept = world.spark(CARTEL[0]).capacity / (CARTEL_EACH << 16)
    says = (
        f"two fifths of ΣS that compute in {computed} of {windows} windows keep {kept:.2f} of their S: two "
        "void windows in a row are taken for the network's fault, the third counts for whoever is missing"
    )
    return Figure("resting in turn", OPEN, kept, "of S", says, kept == 1 and 3 * computed == windows)


def unlucky_windows_voided() -> Figure:
    """One spark with two fifths of ΣS sends its proof only when it was lucky, or when it must."""
    best = max(_lucky(least / 100) for least in (0, 90, 100, 105, 110, 120))
    honest = _lucky(0)
    says = (
        f"S over T is {best:.2f} for a spark with two fifths of ΣS that makes its unlucky windows void, "
        f"{honest:.2f} for one that does not; below a third of ΣS nothing becomes void"
    )
    return Figure("unlucky windows voided", OPEN, best, "S/T", says, 1.05 < best < 1.15 and honest < 1.01)


def _lucky(least: float, windows: int = 6_000) -> float:
    """Mean of S over T of a spark that withholds what falls short of `least` times T, while it may."""
    draw, tiles = np.random.default_rng(3), 10**6
    difficulty, speed, total = tiles // SHARES_TARGET, tiles << 16, 0.0
    others = 3 * speed // 2
    voids = (False, False)
    for _ in range(windows):
        shares = min(SHARES_MAX, int(draw.poisson(tiles / difficulty)))
        is_sent = shares * difficulty >= least * tiles or all(voids)
        void = is_void(others + (speed if is_sent else 0), others + speed, *voids)
        if not void:
            speed = next_speed(speed, credited_tiles(shares, difficulty))
            difficulty = next_difficulty(difficulty, shares, MAIN.resource.difficulty_min)
        voids = (void, voids[0])
        total += speed / 65536 / tiles
    return total / windows


def _window() -> Window:
    """A window of the main network."""
    params = MAIN.resource
    return Window(
        1_000, 1, params.window_blocks, params.grace_blocks, params.verify_blocks, params.difficulty_min,
        params.verify_budget,
    )  # fmt: skip


def searching_into_grace() -> Figure:
    """Go on while the grace blocks run, and send in time for the very last one."""
    window = _window()
    last = max(h for h in range(opens_at(window), opens_at(window) + 100) if takes_proofs_at(window, h))
    gain = (last - 1 - opens_at(window)) / window.window_blocks - 1
    lost = 1 - next_speed(2**40, 0) / 2**40
    says = (
        f"{100 * gain:.0f} % more compute for who sends one block before the end; a proof that is not in "
        f"that block costs {100 * lost:.1f} % of S, and whoever proposes it can leave it out"
    )
    return Figure("searching into the grace blocks", COSTLY, 100 * gain, "%", says, 0 < gain < 0.101)


def proofs_left_out() -> Figure:
    """Proposers leave out what a rival sends when its search ends, in all blocks that are left for it."""
    window, power = _window(), 1 / 3
    blocks = last_proof_at(window) - opens_at(window) - window.window_blocks
    chance = power**blocks
    lost = chance * (1 - next_speed(2**40, 0) / 2**40)
    victims = next(v for v in range(100) if is_void(100 - v, 100, False, False))
    says = (
        f"a third of power proposes all {blocks} grace blocks of {100 * chance:.1f} % of windows: a rival's "
        f"S falls by {100 * lost:.2f} % a window; leaving out {victims} % of ΣS or more makes it void"
    )
    return Figure("proofs left out", COSTLY, 100 * lost, "% of S", says, lost < 0.002 and victims == 34)


def signatures_held_back() -> Figure:
    """A quarter of power and a little stays out of half of an epoch's commits: that excuses all absence."""
    bonds = [eubc(2_800), eubc(2_400), eubc(2_400), eubc(2_400)]
    world = Provers(("alice",), validators=4, bonds=bonds, params=always())
    paid = []
    for is_away in (False, True):
        seen = len(world.events(REWARD_PAID.code))
        end = world.epoch + HELD_EPOCHS  # many, since who proposes is drawn
        while world.epoch < end:
            thin = is_away and world.height % 2 == 0
            world.block(absent={"v0"} if thin else set())
        facts = world.events(REWARD_PAID.code)[seen:]
        paid.append(sum(int(amount) for account, amount in facts if account == world["v0"].address))
    outages = len(world.events(OUTAGE.code))
    lost = 1 - paid[1] / paid[0]
    says = (
        f"28 % of power that stays out of every second commit makes {outages} epochs of {2 * HELD_EPOCHS} "
        f"outages, in which no miss counts: it costs {100 * lost:.0f} % of its own block rewards"
    )
    return Figure(
        "signatures held back", COSTLY, 100 * lost, "%", says, outages == HELD_EPOCHS and lost > 0.2
    )


EXPERIMENTS = (
    staged_outage,
    resting_in_turn,
    unlucky_windows_voided,
    searching_into_grace,
    proofs_left_out,
    signatures_held_back,
)
