"""What agreement costs: messages and bytes a height by kind, rounds, and the machine's own time.

Here: `measure`, of whole nodes in fair weather, quiet and under payments; `table`.
Not here: throughput and finality of real processes (scripts/benchmarks).
Keeps: every message is counted once for each receiver, as a frame with its header; time is virtual but
for the machine's steps, which are timed as they really run.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any, NamedTuple
from unittest.mock import patch

from consensus.agreement.machine import step
from eubchain.node import engine
from p2p.frames import HEADER_BYTES, Kind, answer_frames
from tests.sim.whole.checks import stored
from tests.sim.whole.running import collect_rarely
from tests.sim.whole.town import Plan, Town, play

FIRST = 2
"""The first heights are not measured: nodes still greet each other."""
PAYMENTS = 20.0
"""Payments a second of a loaded network: enough to see what each costs."""
ANSWER = "ANSWER"


class Measured(NamedTuple):
    """Sums over all nodes and the measured heights."""

    validators: int
    heights: int
    seconds: float
    """Of virtual time."""
    rounds: tuple[int, ...]
    """In which each height was decided."""
    transactions: int
    messages: dict[str, int]
    """By kind, each counted for each receiver."""
    bytes: dict[str, int]
    steps: int
    """Inputs that the machines took."""
    steps_s: float
    """Real processor time of all steps."""


class _Meter:
    def __init__(self) -> None:
        self.messages: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        self.steps = 0
        self.steps_s = 0.0
        self.is_on = False

    def hear(self, sender: int, kind: Kind, body: bytes) -> None:
        if self.is_on:
            self.messages[kind.name] += 1
            self.bytes[kind.name] += HEADER_BYTES + len(body)

    def hear_answer(self, sender: int, body: bytes | None) -> None:
        if self.is_on:
            for part in answer_frames(body):
                self.messages[ANSWER] += 1
                self.bytes[ANSWER] += len(part)

    def step(self, state: Any, event: Any) -> Any:
        began = time.process_time()
        change = step(state, event)
        if self.is_on:
            self.steps += 1
            self.steps_s += time.process_time() - began
        return change


def measure(validators: int, heights: int, payments: float = 0.0, seed: int = 0) -> Measured:
    """Let so many validators agree on so many heights, and count."""
    collect_rarely()
    meter = _Meter()
    virtual_ms: list[int] = []

    async def story(town: Town) -> None:
        town.wire.taps[:] = [meter.hear]
        town.wire.answer_taps.append(meter.hear_answer)
        await town.until_height(FIRST)
        meter.is_on, began_ms = True, town.now_ms()
        await town.until_height(FIRST + heights)
        meter.is_on = False
        virtual_ms.append(town.now_ms() - began_ms)
        town.check()

    with patch.object(engine, "step", meter.step):
        town = play(seed, Plan([1] * validators, users=False, payments=payments), story)
    found = [stored(town.nodes[0], height) for height in range(FIRST + 1, FIRST + heights + 1)]
    finals = [each for each in found if each is not None]
    assert len(finals) == heights
    return Measured(
        validators, heights, virtual_ms[0] / 1000, tuple(each.commit.round for each in finals),
        sum(len(each.block.transactions) for each in finals), dict(meter.messages), dict(meter.bytes),
        meter.steps, meter.steps_s,
    )  # fmt: skip


def table(measured: Measured) -> str:
    """A line a kind: of the whole network and of one node, a height."""
    m = measured
    lines = [
        f"{m.validators} validators, {m.heights} heights in {m.seconds:.1f} virtual seconds, "
        f"{m.transactions} transactions, rounds {sorted(Counter(m.rounds).items())}",
        f"{'kind':18} {'messages/height':>16} {'bytes/height':>13} {'sent by a node':>15} {'bytes':>9}",
    ]
    for name in sorted(m.messages, key=lambda each: -m.bytes[each]):
        messages, size = m.messages[name] / m.heights, m.bytes[name] / m.heights
        lines.append(
            f"{name.lower():18} {messages:16,.1f} {size:13,.0f} {messages / m.validators:15,.1f} "
            f"{size / m.validators:9,.0f}"
        )
    messages, size = sum(m.messages.values()) / m.heights, sum(m.bytes.values()) / m.heights
    lines.append(
        f"{'all':18} {messages:16,.1f} {size:13,.0f} {messages / m.validators:15,.1f} "
        f"{size / m.validators:9,.0f}"
    )
    steps = m.steps / m.heights / m.validators
    lines.append(
        f"step(): {steps:,.0f} inputs a height and node, {m.steps_s / m.steps * 1e6:.0f} µs each, "
        f"{steps * m.steps_s / m.steps * 1e3:.1f} ms a height and node"
    )
    return "\n".join(lines)


def run(validators: int) -> None:
    """Print both tables; fewer heights of more nodes, whose messages grow with the square."""
    heights = max(4, 80 // validators)
    for title, payments in (("quiet", 0.0), (f"{PAYMENTS:.0f} payments a second", PAYMENTS)):
        print(f"{title}: {table(measure(validators, heights, payments))}\n", flush=True)
