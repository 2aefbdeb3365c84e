"""Sparks that prove in a world of the rules: windows reached, proofs built and sent.

Here: `Provers`: a world with registered sparks, heights of windows, true and false proofs.
Not here: the prover itself (spark_node/prover), which one test runs for real; the others claim tiles at a
difficulty of one, where every tile is a share, or very high, where none is.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from consensus.resource.proof import Claim, Share, make_proof, parse_shares
from consensus.resource.windows import closes_at, last_proof_at, opens_at
from consensus.types.amounts import eubc
from consensus.types.codec import encode
from consensus.types.params import DEV, Params
from consensus.types.receipt import Receipt
from tests.world import World
from vm.claims import judge_here
from vm.head import epoch_of
from vm.resource import Prove
from vm.spark import SPARKS, Hardware, RegisterSpark, Spark
from vm.stake import Bond
from vm.state import Call, State
from vm.transition import Outcome
from vm.validator import VALIDATORS
from vm.windows import WINDOWS, LastWindow

HARDWARE = Hardware("cpu", 0, 0, 4, 2**33, 2**36)
RECIPIENT = "age1" + "q" * 58
TILES: list[Share] = [(p, q) for p in range(7) for q in range(8)]
"""56 tiles, the most that a proof holds."""


def always(params: Params = DEV, **changes: int) -> Params:
    """Parameters under which every height after a close announces a window."""
    resource = replace(params.resource, window_wait_blocks=1, **changes)
    return replace(params, resource=resource)


class Provers(World):
    """A world whose sparks are registered; a window is announced at every chance."""

    def __init__(
        self,
        sparks: Sequence[str] = ("alice",),
        *,
        difficulty: int = 1,
        params: Params | None = None,
        validators: int = 1,
        bonds: Sequence[int] = (),
    ) -> None:
        super().__init__(params or always(), validators, sparks, bonds=bonds)
        self.false_tile: Share | None = None
        """A tile that every verdict finds false, as if its ticket were too high."""
        self.verdicts = self._verdict
        for name in sparks:
            self.submit(name, Bond(eubc(100)))
            self.submit(name, RegisterSpark(RECIPIENT, HARDWARE, 2, True, difficulty))
        self.until_epoch_end()
        # The window that is running was announced before anybody could prove in it.
        self.until_closed()

    @property
    def window(self) -> LastWindow:
        """The last window announced."""
        found = self.read(WINDOWS, b"")
        assert isinstance(found, LastWindow), "a window was announced"
        return found

    def spark(self, name: str) -> Spark:
        """The record of a spark."""
        found = self.read(SPARKS, self[name].address)
        assert isinstance(found, Spark), f"{name} has a spark"
        return found

    def epoch_of(self, height: int) -> int:
        """The epoch of a height."""
        return epoch_of(height, self.params.chain.epoch_blocks)

    def next_state(self) -> State:
        """A state as transactions of the next block find it, apart from its window's own step."""
        return self.view_at(self.height + 1)

    def view_at(self, height: int) -> State:
        """The head's state as if `height` were the block that runs."""
        view = self.view
        return State(self.state, view.block._replace(height=height))

    def call(self, name: str) -> Call:
        """A call by this person."""
        return Call(self[name].address, bytes(32), bytes(32))

    def until_announced(self) -> None:
        """Produce blocks until a new window is announced."""
        while self.height == 0 or self.read(WINDOWS, b"") is None or self.window.is_closed:
            self.block()

    def until_open(self) -> int:
        """Produce blocks until the next is the first that may hold a proof; returns the window's name."""
        self.until_announced()
        if self.height > opens_at(self.window.window):
            self.until_closed()
            self.until_announced()
        self.until_height(opens_at(self.window.window))
        return opens_at(self.window.window)

    def until_proofs_end(self) -> None:
        """Produce blocks until the last that may hold a proof."""
        self.until_height(last_proof_at(self.window.window))

    def until_closed(self) -> Outcome:
        """Produce blocks up to the one that closes the running window; returns its outcome."""
        self.until_announced()
        self.until_height(closes_at(self.window.window) - 1)
        return self.block()

    def _verdict(self, claim: Claim) -> int:
        shares = parse_shares(claim.shares)
        lie = next((i for i in claim.checked if shares[i] == self.false_tile), None)
        if lie is not None:
            return lie
        # At a difficulty of one every tile is a share: nothing to recompute.
        return len(shares) if claim.difficulty == 1 else judge_here(claim)

    def receipts_of_next(self) -> list[Receipt]:
        """Produce a block of what is pending; the receipts of its transactions."""
        return list(self.block().receipts[:-1])

    def prove(self, name: str, shares: Sequence[Share] = TILES) -> bytes:
        """Send a proof of these tiles in the open window; returns the txid."""
        return self.submit(name, Prove(make_proof(opens_at(self.window.window), shares)))

    def all_prove(self, *names: str, shares: Sequence[Share] = TILES) -> Outcome:
        """Reach the next window, let these prove in its first block, and close it."""
        self.until_open()
        for name in names:
            self.prove(name, shares)
        self.block()
        return self.until_closed()


def edited(world: World, name: str, table: str = "spark", **changes: int) -> None:
    """Change a record at the head behind the rules' back."""
    kind = {"spark": SPARKS, "validator": VALIDATORS}[table]
    key = world[name].address
    found = world.read(kind, key)
    world.state.write({kind.prefix + key: encode(replace(found, **changes))})
