"""A validator that signs twice, as a process: `python -m tests.liar_process start --home DIR`.

Here: the real node with another voice: after every vote it signs and sends one for something else, past
the guard, with the same key.
Not here: what becomes of it (tests/functional/playbooks/test_equivocation.py).
"""

from __future__ import annotations

from consensus.agreement.effects import SignVote
from consensus.agreement.messages import Vote
from consensus.types.block import Block
from consensus.types.keys import SecretKey
from consensus.types.vote import vote_hash
from eubchain.cli.main import main
from eubchain.node import engine
from eubchain.node.arrivals import Arrival
from eubchain.node.guard import Signer, SignerGuard
from eubchain.node.height_log import HeightLog
from eubchain.node.network import Network
from eubchain.node.voice import Voice

FIRST_LIE_HEIGHT = 6
"""The network has met by then, so that everybody hears it."""


class ForkedTongue(Voice):
    """Says one thing and another."""

    def __init__(self, signer: Signer, network: Network) -> None:
        super().__init__(signer, network)
        assert isinstance(signer, SignerGuard)
        self._key: SecretKey = signer._key
        self._genesis: bytes = signer._genesis
        self._wire = network

    async def vote(
        self, height_log: HeightLog, effect: SignVote, me: int, block: Block | None
    ) -> Arrival | None:
        """Vote, and vote for the opposite: nil instead of a block, a block of nobody's instead of nil."""
        said = await super().vote(height_log, effect, me, block)
        if effect.height >= FIRST_LIE_HEIGHT:
            other = bytes(32) if effect.block_id is None else None
            hashed = vote_hash(self._genesis, effect.kind, effect.height, effect.round, other)
            lie = Vote(effect.kind, effect.height, effect.round, other, me, self._key.sign(hashed))
            self._wire.send(lie)
        return said


if __name__ == "__main__":
    vars(engine)["Voice"] = ForkedTongue  # the liar's whole difference
    main()
