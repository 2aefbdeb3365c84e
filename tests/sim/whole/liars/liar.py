"""What liars have in common: a mouth between engine and peers, a key without a guard, and repentance.

Here: `Liar`, `Mouth`, signing past the guard. Not here: any particular lie (the files beside this one).
Keeps: once its power passes a third, because others left the set, a liar turns honest: what the protocol
promises holds only below.
"""

from __future__ import annotations

from typing import Any

from consensus.agreement.messages import Certificate, Proposal, Vote
from consensus.types.block import Block
from consensus.types.codec import encode
from consensus.types.vote import proposal_hash, vote_hash
from eubchain.node.network import Network
from eubchain.node.peers import Peers
from p2p.frames import Kind
from p2p.messages import ProposalMessage
from tests.sim.whole.node import WholeNode

Message = Proposal | Vote | Certificate


class Mouth:
    """The engine's network, through which a liar says something else."""

    def __init__(self, liar: Liar, peers: Peers) -> None:
        self._liar, self._peers = liar, peers

    def send(self, message: Message) -> None:
        self._liar.say(message)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._peers, name)


class Liar(WholeNode):
    """An honest node but for what its file changes."""

    is_honest = False
    is_lying = True

    def repent(self) -> None:
        """Be honest from the next life on, which begins at once."""
        if self.is_lying:
            self.is_lying = False
            self.crash()

    def make_network(self, peers: Peers) -> Network:
        if not self.is_lying:
            return peers
        return Mouth(self, peers)  # type: ignore[return-value]  # it delegates what it does not say

    def say(self, message: Message) -> None:
        """Tell everybody; a lie says something else here."""
        self.peers.send(message)

    # -- tools of lies

    @property
    def others(self) -> list[str]:
        return [] if self.net is None else sorted(self.net.connected)

    def tell(self, peer: str, message: Message) -> None:
        """Say it to one peer."""
        assert self.net is not None
        match message:
            case Vote():
                self.net.send(peer, Kind.VOTE, encode(message))
            case Certificate():
                self.net.send(peer, Kind.CERTIFICATE, encode(message))
            case Proposal(block_id=identity):
                block = self.peers.proposed.block(identity)
                assert block is not None
                self.net.send(peer, Kind.PROPOSAL, encode(ProposalMessage(message, block.header)))
                for part in self.peers.proposed.parts(identity):
                    self.net.send(peer, Kind.BLOCK_PART, part)

    def keep(self, identity: bytes, block: Block) -> None:
        """Have a block at hand for whoever asks."""
        self.peers.proposed.keep(identity, block)

    def vote_for(self, vote: Vote, block_id: bytes | None) -> Vote:
        """The same vote, for something else."""
        text = vote_hash(self.rules.genesis, vote.kind, vote.height, vote.round, block_id)
        return Vote(vote.kind, vote.height, vote.round, block_id, vote.validator, self.key.sign(text))

    def propose(self, said: Proposal, block_id: bytes, valid_round: int | None) -> Proposal:
        """The same proposal, of something else."""
        text = proposal_hash(self.rules.genesis, said.height, said.round, block_id, valid_round)
        return Proposal(said.height, said.round, block_id, valid_round, self.key.sign(text))
