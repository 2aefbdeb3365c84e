"""A year of nodes of mixed size, presence and honesty: `python -m scripts.experiments.year [--days D]`.

Here: drawing the nodes, windows and epochs by the rules of the main network, what came of them.
What is drawn (seeded): sizes, presence, how many shares a machine finds (Poisson), beacons. What is not: D,
S, power, weights, sets, proposers and payments are computed by consensus/ itself. Left out: the market
(every node keeps the ρ_w it is drawn with), transactions, networks.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import dataclass, field

import numpy as np

from consensus.beacon import next_beacon
from consensus.resource import windows
from consensus.resource.difficulty import (
    BARRED_EPOCHS,
    credited_tiles,
    false_share_slash,
    next_difficulty,
    next_speed,
)
from consensus.resource.proof import SHARES_MAX
from consensus.resource.weight import epoch_weight, pool_payments, resource_powers, voting_weight
from consensus.types.amounts import PPB, eubc
from consensus.types.hashing import Tag, tagged_hash
from consensus.types.params import MAIN
from consensus.validators import TOTAL_POWER, Candidate, make_set, proposer
from vm.rewards import block_reward

DRAWS_PER_EPOCH = 24
"""Heights of an epoch whose proposer is drawn; all 3,600 would only take longer."""
LIE_CHANCE = 0.02
"""A liar claims a false share in so many of its windows."""


@dataclass
class Node:
    """A validator that also proves."""

    address: bytes
    tiles: int
    """What it computes in a window, T."""
    bond: int
    presence: float
    """The chance that it proves in a window."""
    is_liar: bool
    standing: int
    """ρ_w, parts per billion."""
    difficulty: int
    speed: int = 0
    barred_until: int = 0
    weight_before: int = 0
    drawn: int = 0
    expected: float = 0.0
    earned: float = 0.0
    pooled: int = 0
    """Of what it earned, from the resource pool; grains."""
    slashed: int = 0
    ratios: list[float] = field(default_factory=list)
    """S over T at the end of each tenth epoch, once it is steady."""


@dataclass
class Course:
    """What a run counts beside the nodes."""

    windows: int = 0
    void: int = 0
    false: int = 0
    credited: list[int] = field(default_factory=list)
    last_void: bool = False
    void_before: bool = False


def drawn_nodes(count: int, draw: np.random.Generator) -> list[Node]:
    """Sizes and bonds over two orders of magnitude; half always on, one in twenty-five a liar."""
    tiles = np.exp(draw.normal(math.log(5e6), 1.0, count)).astype(int)
    bonds = np.exp(draw.normal(math.log(40_000), 0.8, count))
    presence = draw.choice([1.0, 0.95, 0.8], count, p=[0.5, 0.3, 0.2])
    return [
        Node(
            tagged_hash(Tag.ADDRESS, i.to_bytes(4, "big"))[:20],
            int(tiles[i]),
            max(MAIN.validators.min_bond, int(eubc(1) * bonds[i])),
            1.0 if i % 25 == 7 else float(presence[i]),
            i % 25 == 7,
            int(draw.integers(PPB // 2, 8 * PPB // 10)),
            min(MAIN.resource.difficulty_start_max, max(64, int(tiles[i]) // 32)),
        )
        for i in range(count)
    ]


def close_window(nodes: list[Node], epoch: int, course: Course, draw: np.random.Generator) -> None:
    """One window: who is there proves; liars are found, since not crowded means all is checked."""
    course.windows += 1
    able = [node for node in nodes if epoch >= node.barred_until]
    total = sum(node.speed for node in able)
    there = [node for node in able if draw.random() < node.presence]
    found = draw.poisson([node.tiles / node.difficulty for node in there])
    proved: dict[bytes, int] = {}
    covered = 0
    for node, count in zip(there, found, strict=True):
        if node.is_liar and draw.random() < LIE_CHANCE:
            course.false += 1
            taken = false_share_slash(node.bond, 0)
            node.bond, node.slashed = node.bond - taken, node.slashed + taken
            node.barred_until = epoch + BARRED_EPOCHS
        else:
            proved[node.address] = min(SHARES_MAX, int(count))
            covered += node.speed
    is_void = windows.is_void(covered, total, course.last_void, course.void_before)
    course.last_void, course.void_before = is_void, course.last_void
    course.void += is_void
    if is_void:
        return
    course.credited = []
    for index, node in enumerate(nodes):
        shares = proved.get(node.address)
        tiles = credited_tiles(shares, node.difficulty) if shares is not None else 0
        if shares is not None:
            node.difficulty = next_difficulty(node.difficulty, shares, MAIN.resource.difficulty_min)
        node.speed = next_speed(node.speed, tiles)
        if tiles:
            course.credited.append(index)


def end_epoch(nodes: list[Node], epoch: int, course: Course, beacon: bytes) -> None:
    """Power, weight, the set, its proposers in the epoch that follows, and what is paid."""
    speeds = [node.speed if epoch >= node.barred_until else 0 for node in nodes]
    powers = resource_powers(
        list(zip(speeds, [node.bond for node in nodes], strict=True)), MAIN.resource.s_ref
    )
    candidates = []
    for node, power in zip(nodes, powers, strict=True):
        now = epoch_weight(power, node.standing)
        can_vote = node.bond >= MAIN.validators.min_bond
        u = voting_weight(now, node.weight_before, can_vote)
        node.weight_before = now
        candidates.append(Candidate(node.address, node.address, u, node.bond))
    chosen = make_set(candidates, len(nodes))
    height = 1 + (epoch + 1) * MAIN.chain.epoch_blocks
    reward = block_reward(MAIN.validators, height) * MAIN.chain.epoch_blocks
    by_address = {node.address: node for node in nodes}
    for member in chosen:
        node = by_address[member.address]
        node.expected += DRAWS_PER_EPOCH * member.power / TOTAL_POWER
        node.earned += 0.3 * reward * member.power / TOTAL_POWER
    for offset in range(DRAWS_PER_EPOCH if chosen else 0):
        node = by_address[proposer(chosen, beacon, height + offset, 0).address]
        node.drawn += 1
        node.earned += 0.2 * reward / DRAWS_PER_EPOCH
    paid = [nodes[i] for i in course.credited if epoch >= nodes[i].barred_until]
    payments = pool_payments(reward // 2, [(node.speed, node.standing) for node in paid])
    for node, payment in zip(paid, payments, strict=True):
        node.earned += payment
        node.pooled += payment
    if epoch % 10 == 0 and course.windows > 30:
        for node, speed in zip(nodes, speeds, strict=True):
            node.ratios.append(speed / 65536 / node.tiles)


def run(count: int, days: float, seed: int) -> dict[str, float]:
    """Simulate, and sum up."""
    draw = np.random.default_rng(seed)
    nodes, course = drawn_nodes(count, draw), Course()
    blocks = int(days * 86_400_000 / MAIN.chain.block_interval_ms)
    params, epoch_blocks = MAIN.resource, MAIN.chain.epoch_blocks
    length = 1 + params.window_blocks + params.grace_blocks + params.verify_blocks
    closes_at = int(draw.geometric(1 / params.window_wait_blocks)) + length
    beacon = bytes(32)
    for epoch in range(blocks // epoch_blocks):
        while closes_at <= (epoch + 1) * epoch_blocks:
            close_window(nodes, epoch, course, draw)
            closes_at += int(draw.geometric(1 / params.window_wait_blocks)) + length
        beacon = next_beacon(beacon, epoch.to_bytes(32, "big"))
        end_epoch(nodes, epoch, course, beacon)
    return figures(nodes, course)


def gini(values: list[float]) -> float:
    """0 when all have the same, towards 1 when one has all."""
    ordered = sorted(values)
    count, total = len(ordered), sum(ordered)
    weighted = sum((2 * rank - count - 1) * value for rank, value in enumerate(ordered, 1))
    return weighted / (count * total) if total else 0.0


def figures(nodes: list[Node], course: Course) -> dict[str, float]:
    """χ² of proposers against power, S over T of those always on, and how equal it all is."""
    chi = sum((node.drawn - node.expected) ** 2 / node.expected for node in nodes if node.expected > 0)
    steady = [r for node in nodes if node.presence == 1 and not node.is_liar for r in node.ratios]
    liars = [node for node in nodes if node.is_liar]
    honest = [node for node in nodes if not node.is_liar]
    paid = [node.pooled / (node.tiles * node.standing) for node in honest if node.presence == 1]
    cheats = [node.pooled / (node.tiles * node.standing) for node in liars]
    return {
        "nodes": len(nodes),
        "windows": course.windows,
        "void": course.void,
        "false_shares": course.false,
        "chi_squared": round(chi, 1),
        "degrees": sum(node.expected > 0 for node in nodes) - 1,
        "speed_ratio": round(float(np.mean(steady)), 4) if steady else 0.0,
        "speed_ratio_sd": round(float(np.std(steady)), 4) if steady else 0.0,
        "liars_slashed": round(
            sum(n.slashed for n in liars) / max(1, sum(n.bond + n.slashed for n in liars)), 4
        ),
        "liars_pool": round(float(np.mean(cheats) / np.mean(paid)), 3) if cheats and paid else 0.0,
        "gini_compute": round(gini([float(node.tiles) for node in nodes]), 3),
        "gini_bond": round(gini([float(node.bond) for node in nodes]), 3),
        "gini_rewards": round(gini([node.earned for node in nodes]), 3),
    }


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="scripts/year")
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--days", type=float, default=365)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    found = run(asked.nodes, asked.days, asked.seed)
    if asked.json:
        print(json.dumps(found))
    else:
        print("\n".join(f"{name:<16} {value:>12,}" for name, value in found.items()))
        spread = math.sqrt(2 * found["degrees"])
        away = (found["chi_squared"] - found["degrees"]) / spread if spread else 0.0
        print(f"year: proposers follow power (χ² is {away:+.1f} standard deviations from its mean)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
