"""The splitter: lets one victim decide, and tempts everybody else to decide something different."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio

from consensus.agreement.inputs import VoteReceived
from consensus.agreement.messages import VOTE, Certificate, Proposal, Vote
from consensus.types.errors import Fault, Rejected
from consensus.types.vote import PRECOMMIT
from eubchain.node.arrivals import Arrival
from p2p.frames import Kind
from tests.sim.whole.liars.liar import Liar, Message


class Splitter(Liar):
    """Precommits in round 0 for the victim's ears only; later proposes something new, as if nobody locked.

    Only the lock of those who precommitted with the victim, and the polka they ask for before they
    give it up, stand between this and a fork. Its own machine believes what the many were told and does
    not hear the victim, or it would decide with it; and it helps nobody to catch up.
    """

    is_hiding = True
    """A story may let it wait for a height whose next round is its own."""

    def __init__(self, *arguments: Any) -> None:
        self.bait: dict[tuple[int, int], bytes] = {}
        """What it proposed instead, by height and round, and votes for whatever it is locked on."""
        self._preparing: dict[tuple[int, int], trio.Event] = {}
        """Rounds whose bait is being built; its votes wait for it."""
        super().__init__(*arguments)

    def is_hidden(self, vote: Vote) -> bool:
        """Whether only the victim hears it."""
        return self.is_hiding and vote.kind == PRECOMMIT and vote.round == 0

    @property
    def victim(self) -> str:
        """Its neighbour."""
        operators = self.town.operators
        return self.town.nodes[(self.index + 1) % len(operators)].name

    def make_network(self, peers: Any) -> Any:
        network = super().make_network(peers)
        if self.is_lying:
            assert self.net is not None
            hear = self.net.hear
            self.net.hear = lambda peer, kind, body: (  # type: ignore[method-assign]  # the deafness
                None if self._is_unwelcome(peer, kind, body) else hear(peer, kind, body)
            )
            peers.sync.answer = lambda body: None
        return network

    def _is_unwelcome(self, peer: str, kind: Kind, body: bytes) -> bool:
        if kind in (Kind.STATUS, Kind.CERTIFICATE):
            return peer == self.victim
        try:
            vote = VOTE.decode(body) if kind is Kind.VOTE else None
        except Rejected:
            return False
        return vote is not None and vote.kind == PRECOMMIT and peer == self.victim

    def say(self, message: Message) -> None:
        match message:
            case Vote():
                self.nursery.start_soon(self._say_vote, message)
            case Certificate(kind=kind) if kind == PRECOMMIT:
                pass
            case Proposal(round=round_) if round_ > 0 and self.random.random() < 0.8:
                self._preparing[message.height, round_] = trio.Event()
                self.nursery.start_soon(self._propose_bait, message)
            case _:
                super().say(message)

    def begin(self, nursery: trio.Nursery) -> None:
        if self.is_lying:
            voice: Any = self.engine._voice
            voice.vote = self._believing(voice.vote)

    def _believing(self, speak: Callable[..., Awaitable[Arrival | None]]) -> Any:
        async def vote(*arguments: Any) -> Arrival | None:
            said = await speak(*arguments)
            if (
                said is None
                or not isinstance(said.event, VoteReceived)
                or not self.is_hidden(said.event.vote)
            ):
                return said
            return said._replace(event=VoteReceived(self.vote_for(said.event.vote, None)))

        return vote

    async def _say_vote(self, vote: Vote) -> None:
        if (vote.height, vote.round) in self._preparing:
            await self._preparing[vote.height, vote.round].wait()
        told = self.vote_for(vote, self.bait.get((vote.height, vote.round), vote.block_id))
        for peer in self.others:
            self.tell(
                peer, self.vote_for(vote, None) if self.is_hidden(vote) and peer != self.victim else told
            )

    async def _propose_bait(self, said: Proposal) -> None:
        """Something new, now and then as if it had had a polka long ago."""
        try:
            executed = await self.production.build(said.round)
        except Fault:
            return
        finally:
            self._preparing.pop((said.height, said.round)).set()
        if self.engine.state is None or self.engine.state.height != said.height:
            return
        self.keep(executed.block_id, executed.block)
        self.bait[said.height, said.round] = executed.block_id
        lie = self.propose(said, executed.block_id, self.random.choice([None, None, said.round - 1]))
        for peer in self.others:
            self.tell(peer, lie)
