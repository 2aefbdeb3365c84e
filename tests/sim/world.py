"""A network of simulated validators under one seed.

Here: putting nodes, liars, clock and network together; waiting for conditions; crashes.
Keeps: one seed, one history: a failing seed fails again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from random import Random

from consensus.agreement.effects import Decide
from consensus.agreement.messages import Proposal, Vote
from consensus.agreement.replay import replay
from consensus.types.address import key_address
from consensus.validators import TOTAL_POWER, Validator, divide
from eubchain.node.wal import read_wal
from tests.sim.checkers import SignatureLog, check_agreement, check_chain
from tests.sim.liars.twin import Twin
from tests.sim.network import CALM, Clock, Faults, Network
from tests.sim.node import GENESIS, SimNode
from tests.sim.signatures import SimKey

REPLAY_EVERY = 3
"""Replaying each height of each node at its end would be a quarter of all work."""


class World:
    """Validators with these weights; `liars` says which of them are not honest, and how."""

    def __init__(
        self, seed: int, weights: Sequence[int], liars: Mapping[int, type[SimNode]] | None = None
    ) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.clock = Clock()
        self.network = Network(self.clock, self.random)
        self.lines: set[str] = set()
        self.signatures = SignatureLog()
        self.recoveries: list[int] = []
        """Virtual ms from each start after a crash to that life's first signature."""
        self.size = len(weights)
        """Members of the set; a twin's second machine comes on top."""
        secrets = (blake2b(b"validator %d" % i, digest_size=32).digest() for i in range(len(weights)))
        keys = sorted((SimKey(secret) for secret in secrets), key=lambda k: key_address(k.public))
        powers = divide(TOTAL_POWER, weights)
        self.validators = tuple(
            Validator(key_address(key.public), key.public, power)
            for key, power in zip(keys, powers, strict=True)
        )
        kinds = liars or {}
        self.nodes = [kinds.get(i, SimNode)(self, i, key) for i, key in enumerate(keys)]
        for seat in [seat for seat, kind in sorted(kinds.items()) if kind is Twin]:
            self.nodes.append(Twin(self, len(self.nodes), keys[seat], seat))
        for node in self.nodes:
            node.start()

    @property
    def honest(self) -> list[SimNode]:
        return [node for node in self.nodes if node.is_honest]

    def height(self) -> int:
        """The height that every honest node has reached."""
        return min(len(node.ledger) for node in self.honest)

    def run(self, milliseconds: int) -> None:
        """Let time pass."""
        self.clock.run_until(lambda: False, milliseconds)

    def until(self, is_done: Callable[[], bool], limit_ms: int = 120_000) -> None:
        """Let time pass until the condition holds."""
        where = [(len(n.ledger), n.is_up, n.state and (n.state.round, n.state.stage)) for n in self.nodes]
        assert self.clock.run_until(is_done, limit_ms), f"liveness: seed {self.seed} is stuck: {where}"

    def until_height(self, height: int, limit_ms: int = 120_000) -> None:
        self.until(lambda: self.height() >= height, limit_ms)

    def faults(self, faults: Faults) -> None:
        self.network.faults = faults

    def split(self, *sides: Sequence[int]) -> None:
        """Only nodes of one side hear each other; no sides heals the split."""
        self.network.sides = {index: side for side, members in enumerate(sides) for index in members}

    def crash_sometime(self, index: int) -> None:
        """Crash a node at one of its next disk operations and start it again a while later."""
        node = self.nodes[index]
        if node.is_up:
            node.disk.crash_at = self.random.randint(1, 60)

    def restart_all(self) -> None:
        """Start whoever is down."""
        for node in self.nodes:
            node.disk.crash_at = None
            if not node.is_up:
                node.start()

    def lose(self, index: int, name: str) -> None:
        """A file disappears from a node that is down."""
        node = self.nodes[index]
        assert not node.is_up
        node.disk.names.pop(name, None)

    def heal(self) -> None:
        """Everything works again from now on."""
        self.faults(CALM)
        self.split()
        self.network.muffled = {}
        self.network.censor = None
        self.restart_all()

    # -- told by nodes

    def signed(self, node: SimNode, message: Proposal | Vote) -> None:
        if node.is_honest:
            self.signatures.add(node, message)
            if node.woke_ms is not None:
                self.recoveries.append(self.clock.now_ms - node.woke_ms)
                node.woke_ms = None

    def decided(self, node: SimNode, effect: Decide) -> None:
        assert effect.height == len(node.ledger)

    def check_replay(self, node: SimNode) -> None:
        """The log gives back exactly the state it was written from; looked at every third time."""
        if (node.index + len(node.ledger)) % REPLAY_EVERY:
            return
        contents = read_wal(node.disk, GENESIS)
        assert contents is not None
        assert node.state is not None
        assert replay(node.state.start, contents.inputs()).state == node.state

    def check(self) -> None:
        """Everything that must hold at any time."""
        check_agreement(self.honest)
        for node in self.honest:
            check_chain(node)
