"""What a validator says: proposals and votes, made durable, signed and sent, in this order.

Here: the order F1 to F4 around one signature.
Not here: when something is said (consensus/agreement), the log (height_log.py), the guard (guard.py).
Keeps: F1, F3 the log holds everything so far, the block included, before a signature; F2, F4 the guard
remembers it before it is sent. When the disk refuses, nothing is said and the log falls silent.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog
import trio

from consensus.agreement.effects import SignAndSendProposal, SignVote
from consensus.agreement.inputs import ProposalReceived, VoteReceived
from consensus.agreement.messages import Proposal, Vote
from consensus.types.block import Block
from consensus.types.codec import encode
from consensus.types.errors import Fault
from eubchain.node.arrivals import Arrival
from eubchain.node.guard import Refusal, Signer
from eubchain.node.height_log import HeightLog
from eubchain.node.network import Network

log = structlog.get_logger("engine")


class Voice:
    """Says for one validator key what agreement asks; returns what the machine is to hear of itself."""

    def __init__(self, signer: Signer, network: Network) -> None:
        self._signer, self._network = signer, network

    async def propose(
        self, height_log: HeightLog, effect: SignAndSendProposal, block: Block
    ) -> Arrival | None:
        """Sign and send a proposal; None when nothing was said."""
        if not height_log.holds(effect.block_id):
            height_log.append_block(effect.block_id, encode(block))

        def sign() -> bytes | Refusal:
            height_log.sync()  # F1
            return self._signer.sign_proposal(
                effect.height, effect.round, effect.block_id, effect.valid_round
            )  # F2

        signature = await _signed(height_log, sign, "proposal", effect.height, effect.round)
        if signature is None:
            return None
        proposal = Proposal(effect.height, effect.round, effect.block_id, effect.valid_round, signature)
        if effect.polka is not None:
            self._network.send(effect.polka)
        self._network.send(proposal)
        event = ProposalReceived(proposal, block.header.round, is_timely=True)
        return Arrival(effect.height, event, is_own=True)

    async def vote(
        self, height_log: HeightLog, effect: SignVote, me: int, block: Block | None
    ) -> Arrival | None:
        """Sign and send a vote as the member `me` of the set; `block` is what a vote not for nil names."""
        assert (block is None) == (effect.block_id is None), "whoever votes for a block holds it"
        if effect.block_id is not None and not height_log.holds(effect.block_id):
            height_log.append_block(effect.block_id, encode(block))

        def sign() -> bytes | Refusal:
            height_log.sync()  # F3
            return self._signer.sign_vote(effect.kind, effect.height, effect.round, effect.block_id)  # F4

        signature = await _signed(height_log, sign, "vote", effect.height, effect.round)
        if signature is None:
            return None
        vote = Vote(effect.kind, effect.height, effect.round, effect.block_id, me, signature)
        self._network.send(vote)
        return Arrival(effect.height, VoteReceived(vote), is_own=True)


async def _signed(
    height_log: HeightLog, sign: Callable[[], bytes | Refusal], what: str, height: int, round_: int
) -> bytes | None:
    try:
        signature = await trio.to_thread.run_sync(sign)
    except Fault as fault:
        height_log.fall_silent(fault)
        return None
    if isinstance(signature, Refusal):
        log.warning(f"no {what} is signed", why=signature.why, height=height, round=round_)
        return None
    return signature
