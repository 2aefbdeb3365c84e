"""The garbler: besides taking part, it sends what no honest node would."""

from __future__ import annotations

import trio

from consensus.agreement.messages import Certificate, Proposal, Vote
from consensus.types.codec import encode
from p2p.frames import BODY_BYTES_MAX, Kind
from p2p.messages import Status, Transactions
from tests.sim.whole.liars.liar import Liar

PAUSE_MS = (100, 2_000)


class Garbler(Liar):
    """Noise under every kind, wrong signatures, members beyond the set, certificates of one, far heights."""

    def begin(self, nursery: trio.Nursery) -> None:
        if self.is_lying:
            nursery.start_soon(self._garble)

    async def _garble(self) -> None:
        assert self.net is not None
        while True:
            await trio.sleep(self.random.randint(*PAUSE_MS) / 1000)
            if self.others:
                kind, body = self._garbage()
                self.net.send(self.random.choice(self.others), kind, body[: BODY_BYTES_MAX[kind]])

    def _garbage(self) -> tuple[Kind, bytes]:
        random = self.random
        height, round_ = self.height + 1, random.choice([0, 1, 5, 2**32 - 1])
        junk, block_id = random.randbytes(64), random.randbytes(32)
        spoken = [kind for kind in Kind if Kind.HELLO < kind < Kind.GET_BLOCKS]
        return random.choice(
            [
                (random.choice(spoken), random.randbytes(random.randint(0, 200))),
                (Kind.VOTE, encode(Vote(1, height, round_, None, random.randrange(4), junk))),
                (Kind.VOTE, encode(Vote(2, height, round_, block_id, 400, junk))),
                (Kind.CERTIFICATE, encode(Certificate(2, height, round_, block_id, b"\x01", (junk,)))),
                (Kind.CERTIFICATE, encode(Certificate(1, height, round_, block_id, b"\x0f", (junk,) * 4))),
                (Kind.PROPOSAL, encode(Proposal(height, round_, block_id, None, junk))),
                (Kind.STATUS, encode(Status(height + 10**6, 1, 0, block_id, 0))),
                (Kind.TRANSACTIONS, encode(Transactions((random.randbytes(150), b"")))),
                (Kind.EVIDENCE, random.randbytes(300)),
            ]
        )
