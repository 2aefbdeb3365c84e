"""Twins (arXiv:2004.10617), enumerated: every way to split the network and to draw leaders for some rounds.

Here: `Scenario`, the list of all of them up to renaming, playing one with the real machine.
Not here: clocks, disks, signatures (world.py, whole/), random twins (agreement_seeds.py).
Keeps: a scenario has one validator on two machines that know nothing of each other, or two such; each
round has two splits, one for what leads to its precommits and one for these; then everybody hears
everybody and must decide. What is checked (no two decisions, quorums behind them, nothing said twice,
life) is counted here anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import combinations_with_replacement, product
from typing import NamedTuple

from consensus.agreement import effects as do
from consensus.agreement.evidence import DoubleSign
from consensus.agreement.inputs import (
    BlockBuilt,
    BlockChecked,
    BlockReceived,
    CertificateReceived,
    ProposalReceived,
    RecordedInput,
    StartHeight,
    TimeoutFired,
    TimeoutKind,
    VoteReceived,
)
from consensus.agreement.machine import commit_of, step
from consensus.agreement.messages import Certificate, Proposal, Vote, commit_certificate
from consensus.agreement.proposer import proposer_index
from consensus.types.vote import PRECOMMIT
from consensus.validators import TOTAL_POWER, Validator, ValidatorSet, divide
from tests.sim.outcome import Outcome, in_words

SIGNATURE = bytes(64)
HEALED_PHASES_MAX = 12
"""Rounds after healing within which all must decide: enough for an honest proposer to be drawn."""
Message = Proposal | Vote | Certificate


class Scenario(NamedTuple):
    """Who is twinned, who hears whom, who proposes."""

    validators: int
    twins: int
    """Seats 0 … twins − 1 run on two machines each."""
    leaders: tuple[int, ...]
    """The seat that proposes, by round."""
    sides: tuple[tuple[int, ...], ...]
    """By split, two a round, the side of each machine: those of the seats in order, then the second ones."""


@lru_cache
def validator_set(count: int) -> ValidatorSet:
    """Of equal power."""
    powers = divide(TOTAL_POWER, [1] * count)
    return tuple(Validator(bytes([i]) * 20, bytes([i + 1]) * 32, power) for i, power in enumerate(powers))


@lru_cache(maxsize=4_096)
def beacon_for(count: int, leaders: tuple[int, ...]) -> bytes:
    """A beacon that draws these proposers."""
    for number in range(10**6):
        start = StartHeight(1, validator_set(count), None, number.to_bytes(32, "big"), 0)
        if all(proposer_index(start, r) == leader for r, leader in enumerate(leaders)):
            return start.beacon
    raise AssertionError("some beacon draws them")


# -- enumeration


def scenarios(validators: int, twins: int, rounds: int) -> Iterator[Scenario]:
    """All with two sides a split, each once up to renaming honest ones, twins, machines and sides.

    A machine's part in a scenario is its row, a bit a split; a scenario is two rows for each twin and one
    for each honest validator, and whose turn each round is. The first machine is on side 0 throughout.
    """
    rows = range(4**rounds)
    pairs = list(combinations_with_replacement(rows, 2))
    turns = list(product(range(validators), repeat=rounds))
    seen = set()
    for second in rows:
        for others in combinations_with_replacement(pairs, twins - 1):
            for honest in combinations_with_replacement(rows, validators - twins):
                for leaders in turns:
                    if not _in_order(honest, leaders, twins):
                        continue  # the same as with its equals renamed, without working out its name
                    pairs_here = ((0, second), *others)
                    name = _name(pairs_here, honest, leaders)
                    if name not in seen:
                        seen.add(name)
                        yield _scenario(pairs_here, honest, leaders)


Row = int
Pair = tuple[Row, Row]


def _in_order(honest: Sequence[Row], leaders: tuple[int, ...], twins: int) -> bool:
    """Whether of honest ones with equal rows, which stand side by side, the first leads first."""
    return all(
        leader <= twins
        or honest[leader - twins] != honest[leader - twins - 1]
        or leader - 1 in leaders[:round_]
        for round_, leader in enumerate(leaders)
    )


def _name(twins: Sequence[Pair], honest: Sequence[Row], leaders: tuple[int, ...]) -> object:
    """The same for scenarios that differ in names only: the least, whichever machine is the first."""
    turns = [0] * (len(twins) + len(honest))
    for round_, leader in enumerate(leaders):
        turns[leader] |= 1 << round_
    names = []
    for first in {row for pair in twins for row in pair}:
        twin_parts = sorted(
            (min(a ^ first, b ^ first), max(a ^ first, b ^ first), turns[seat])
            for seat, (a, b) in enumerate(twins)
        )
        honest_parts = sorted((row ^ first, turns[len(twins) + i]) for i, row in enumerate(honest))
        names.append((tuple(twin_parts), tuple(honest_parts)))
    return min(names)


def _scenario(twins: Sequence[Pair], honest: Sequence[Row], leaders: tuple[int, ...]) -> Scenario:
    machines = [pair[0] for pair in twins] + list(honest) + [pair[1] for pair in twins]
    sides = tuple(tuple(row >> split & 1 for row in machines) for split in range(2 * len(leaders)))
    return Scenario(len(twins) + len(honest), len(twins), leaders, sides)


@lru_cache
def all_scenarios() -> tuple[Scenario, ...]:
    """Four validators with a twin over two rounds, then seven with two over one."""
    return (*scenarios(4, 1, 2), *scenarios(7, 2, 1))


def run_seed(number: int) -> Outcome:
    """Play one of all scenarios, by its place among them."""
    scenario = all_scenarios()[number]
    name = f"{scenario.validators} validators, {scenario.twins} of them on two machines"
    counts = {f"scenarios of {name}": 1}
    violation = ""
    try:
        scene = play(scenario)
    except (AssertionError, LookupError, ValueError, TypeError) as error:
        violation = f"{in_words(error)} in {scenario}"
    else:
        counts["decided while the network was split"] = scene.is_decided_split
        counts["a twin was caught signing twice"] = any(machine.evidence for machine in scene.honest)
    splits = sum(len(set(sides)) > 1 for sides in scenario.sides)
    return Outcome(number, not violation, int(not violation), splits + scenario.twins, violation, counts)


# -- playing


class Machine:
    """A machine whose blocks are at once valid when they are here."""

    def __init__(self, scene: Scene, index: int, seat: int, start: StartHeight) -> None:
        self.scene, self.index, self.seat = scene, index, seat
        self.timeouts: set[tuple[TimeoutKind, int]] = set()
        self.wanted: set[bytes] = set()
        self.held: set[bytes] = set()
        self.said: dict[tuple[int, int], bytes | None] = {}
        """What it voted, by round and kind."""
        self.decision: do.Decide | None = None
        self.evidence: list[DoubleSign] = []
        self.state, effects = step(None, start)
        self._perform(effects)

    @property
    def is_decided(self) -> bool:
        return self.decision is not None

    def hear(self, *events: RecordedInput) -> None:
        """Take inputs in order."""
        for event in events:
            self.state, effects = step(self.state, event)
            self._perform(effects)

    def _perform(self, effects: do.Effects) -> None:
        for effect in effects:
            match effect:
                case do.BuildBlock(round=round_):
                    block_id = bytes([self.index + 1, round_]) * 16
                    self.scene.blocks[block_id] = (round_, self.scene.phase)
                    self.held.add(block_id)
                    self.hear(BlockBuilt(round_, block_id))
                case do.SignAndSendProposal(round=round_, block_id=block_id, valid_round=valid_round):
                    if effect.polka is not None:
                        self.scene.say(self, effect.polka)
                    proposal = Proposal(1, round_, block_id, valid_round, SIGNATURE)
                    self.scene.say(self, proposal)
                    self.hear(self.scene.arrived(proposal))
                case do.SignVote(kind=kind, round=round_, block_id=block_id):
                    assert (round_, kind) not in self.said, "double signing: a machine votes twice"
                    self.said[round_, kind] = block_id
                    vote = Vote(kind, 1, round_, block_id, self.seat, SIGNATURE)
                    if kind == PRECOMMIT:
                        self.scene.precommits.append((self.index, vote))
                    else:
                        self.scene.say(self, vote)
                    self.hear(VoteReceived(vote))
                case do.ScheduleTimeout(kind=kind, round=round_):
                    self.timeouts.add((kind, round_))
                case do.RequestBlock(block_id=block_id):
                    self.wanted.add(block_id)
                    self.look_for_blocks()
                case do.RequestValidity(block_id=block_id):
                    self.hear(BlockChecked(block_id, True))
                case do.Rebroadcast(messages=messages):
                    for message in messages:
                        self.scene.say(self, message)
                case do.Decide():
                    self.decision = effect
                case do.ReportEvidence(evidence=evidence):
                    self.evidence.append(evidence)
                case do.Diverged():
                    raise AssertionError("validity: diverged over a block that all find valid")

    def look_for_blocks(self) -> None:
        """Take what somebody within hearing holds."""
        for block_id in sorted(self.wanted):
            if block_id in self.held or self.scene.is_near(self, block_id):
                self.wanted.discard(block_id)
                self.held.add(block_id)
                self.hear(BlockReceived(block_id))

    def fire(self, kind: TimeoutKind) -> None:
        """Let a timeout of the current round end."""
        if not self.is_decided and (kind, self.state.round) in self.timeouts:
            if kind is not TimeoutKind.REBROADCAST:
                self.timeouts.discard((kind, self.state.round))
            self.hear(TimeoutFired(kind, self.state.round))

    def repeat(self) -> None:
        """Say again what others may have missed; who has decided shows the commit."""
        if self.decision is not None:
            self.scene.say(self, commit_certificate(commit_of(self.state), 1))
        else:
            self.timeouts.add((TimeoutKind.REBROADCAST, self.state.round))
            self.fire(TimeoutKind.REBROADCAST)


class Scene:
    """All machines of a scenario and who hears whom now."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.phase = 0
        self.sides: Sequence[int] = scenario.sides[0]
        self.blocks: dict[bytes, tuple[int, int]] = {}
        """Round in which each was built, and the scene's own count of rounds then."""
        self.is_decided_split = False
        """Whether somebody decided before healing."""
        self.outbox: list[tuple[int, Message]] = []
        self.precommits: list[tuple[int, Message]] = []
        """Of the running round; they are heard under its second split."""
        self.machines: list[Machine] = []
        count, twins = scenario.validators, scenario.twins
        beacon = beacon_for(count, scenario.leaders)
        for index, seat in enumerate([*range(count), *range(twins)]):
            start = StartHeight(1, validator_set(count), seat, beacon, 0)
            self.machines.append(Machine(self, index, seat, start))

    @property
    def honest(self) -> list[Machine]:
        return [machine for machine in self.machines if machine.seat >= self.scenario.twins]

    def say(self, speaker: Machine, message: Message) -> None:
        self.outbox.append((speaker.index, message))

    def is_near(self, seeker: Machine, block_id: bytes) -> bool:
        """Whether somebody on this side holds a block."""
        side = self.sides[seeker.index]
        return any(self.sides[m.index] == side and block_id in m.held for m in self.machines)

    def arrived(self, message: Message) -> RecordedInput:
        """A message as an input; a block is timely in the phase in which it was built."""
        match message:
            case Vote():
                return VoteReceived(message)
            case Certificate():
                return CertificateReceived(message)
            case Proposal(block_id=block_id):
                round_, phase = self.blocks[block_id]
                return ProposalReceived(message, round_, phase == self.phase)

    def deliver(self) -> None:
        """Until nobody says anything; every second machine hears a wave in the opposite order."""
        while self.outbox:
            wave, self.outbox = self.outbox, []
            for machine in self.machines:
                heard = wave if machine.index % 2 else wave[::-1]
                for speaker, message in heard:
                    if speaker != machine.index and self.sides[speaker] == self.sides[machine.index]:
                        machine.hear(self.arrived(message))
            for machine in self.machines:
                machine.look_for_blocks()

    def one_round(self, sides: Sequence[int], sides_of_precommits: Sequence[int]) -> None:
        """A round's time: what is left of the last round, then this round's waits."""
        self.sides = sides
        if self.phase:
            for machine in self.machines:
                machine.fire(TimeoutKind.PRECOMMIT)
                machine.repeat()
                machine.look_for_blocks()
        self.deliver()
        for kind in (TimeoutKind.PROPOSE, TimeoutKind.PREVOTE):
            for machine in self.machines:
                machine.fire(kind)
            self.deliver()
        self.sides = sides_of_precommits
        # What they lead to, such as a next round's proposal, is only said once that has begun.
        self.outbox, self.precommits = self.precommits, []
        self.deliver()
        self.phase += 1
        self.check()

    def check(self) -> None:
        """No two honest decisions, and behind each more than two thirds that said so."""
        decided = {m.decision.block_id for m in self.honest if m.decision is not None}
        assert len(decided) <= 1, "agreement: two decisions"
        members = validator_set(self.scenario.validators)
        for machine in self.honest:
            if machine.decision is None:
                continue
            round_, block_id = machine.decision.round, machine.decision.block_id
            seats = {m.seat for m in self.machines if m.said.get((round_, PRECOMMIT)) == block_id}
            assert 3 * sum(members[seat].power for seat in seats) > 2 * TOTAL_POWER, "validity: weak commit"


def play(scenario: Scenario) -> Scene:
    """Play it to the end, which is everybody's decision."""
    scene = Scene(scenario)
    for first in range(0, len(scenario.sides), 2):
        scene.one_round(*scenario.sides[first : first + 2])
    scene.is_decided_split = any(machine.is_decided for machine in scene.honest)
    together = [0] * len(scene.machines)
    for _ in range(HEALED_PHASES_MAX):
        if all(machine.is_decided for machine in scene.honest):
            scene.check()
            return scene
        scene.one_round(together, together)
    where = [(machine.seat, machine.state.round, machine.state.stage) for machine in scene.machines]
    raise AssertionError(f"liveness: undecided {HEALED_PHASES_MAX} rounds after healing: {where}")
