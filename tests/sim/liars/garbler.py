"""The garbler: besides taking part, it sends what no honest node would."""

from __future__ import annotations

from typing import Any

from consensus.agreement.messages import Certificate, Proposal, Vote
from consensus.types.codec import encode
from tests.sim.node import Bytes, Decided, Offer, SimBlock, SimNode, Stored, id_of


class Garbler(SimNode):
    """Wrong signatures, validators beyond the set, certificates of one, proposals out of turn."""

    is_honest = False

    def broadcast(self, message: Any) -> None:
        super().broadcast(message)
        super().broadcast(self._garbage())

    def _garbage(self) -> Any:
        random = self.network.random
        height, round_ = len(self.ledger) + 1, random.choice([0, 1, 5, 2**32 - 1])
        junk, block_id = random.randbytes(64), random.randbytes(32)
        data = encode(SimBlock(height, min(round_, 9), self.index, self.clock.now_ms, block_id, 0))
        certificate = Certificate(random.choice([1, 2]), height, round_, block_id, b"\x0f", (junk,) * 4)
        return random.choice(
            [
                Vote(random.choice([1, 2]), height, round_, None, random.randrange(4), junk),
                Vote(1, height, round_, block_id, 400, junk),
                certificate,
                Certificate(2, height, round_, block_id, b"\x01", (junk,)),
                Certificate(2, height, round_, block_id, b"\xff", (junk,)),
                Offer(Proposal(height, round_, id_of(data), None, junk), data, True),
                Offer(Proposal(height, round_, id_of(data), round_, junk), data, True),
                Bytes(data),
                Decided(height, Stored(data, certificate.commit() if certificate.kind == 2 else _none())),
            ]
        )


def _none() -> Any:
    return Certificate(2, 1, 0, bytes(32), b"", ()).commit()
