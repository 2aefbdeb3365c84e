"""Believing a block of peers without their blocks: the light client's way, over requests between nodes.

Here: `Lead`: what is stood on (the genesis record, or the block that a person trusts), the way from there to
a later header through one peer, other peers as witnesses.
Not here: the rules (consensus/light.py), the same over RPC (eubchain/client/light.py), when trust is asked
for (trust_gate.py).
Keeps: a header is believed only by the rules of light clients; a peer that gives one that breaks them is to
blame; two believed blocks of one height stop everything.
Errors: raises 1921 trust_expired, 1923 chain_forked, `PeerFault` 2402, `Fault` 2410, 2411, 2570.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import structlog

from consensus.light import (
    LIGHT_BLOCK,
    LightBlock,
    Terms,
    Trust,
    Trusted,
    check_age,
    compare,
    follow_steps,
    trust_block,
)
from consensus.types.block import block_id
from consensus.types.codec import encode
from consensus.types.errors import Fault, Reason
from p2p.faults import PeerFault, blaming
from p2p.frames import Kind
from p2p.messages import GetLightBlock, read_body
from p2p.net import REQUEST_TIMEOUT_S, Net

log = structlog.get_logger("snapshots")

WITNESSES_MAX = 3

HEADER_NOT_KEPT = Reason(
    2570,
    "header_not_kept",
    "peer:text height:height",
    "{peer} does not keep the header of height {height} with its commit.",
    "Nothing to do: another peer is asked.",
)


class Believed(NamedTuple):
    """A block that the way led to."""

    trusted: Trusted
    block: LightBlock | None
    """None for the genesis, of which there is none."""


class Lead:
    """Leads from what is trusted to later headers."""

    def __init__(
        self, net: Net, terms: Terms, start: Trusted, trust: Trust | None, clock_ms: Callable[[], int]
    ) -> None:
        """`start` is the genesis record; it is stood on when a person has named no block."""
        self._net, self._terms, self._trust, self._clock_ms = net, terms, trust, clock_ms
        self._base = None if trust is not None else Believed(start, None)

    async def to(self, height: int, peer: str) -> Believed:
        """The block of a height, believed on the word of nobody but its validators."""
        base = await self._anchor(peer)
        if height == base.trusted.height:
            return base
        blocks: dict[int, LightBlock] = {}
        with blaming(Kind.GET_LIGHT_BLOCK):
            steps = follow_steps(self._terms, base.trusted, height, self._clock_ms())
            wanted = next(steps)
        while True:
            blocks[wanted] = await self._ask(peer, wanted)
            try:
                with blaming(Kind.GET_LIGHT_BLOCK):
                    wanted = steps.send(blocks[wanted])
            except StopIteration as end:
                trace: list[Trusted] = end.value
                return Believed(trace[-1], blocks[height])

    async def _anchor(self, peer: str) -> Believed:
        if self._base is not None:
            check_age(self._terms, self._base.trusted, self._clock_ms())
            return self._base
        assert self._trust is not None, "without trust there is the genesis"
        block = await self._ask(peer, self._trust.height)
        with blaming(Kind.GET_LIGHT_BLOCK):
            trusted = trust_block(self._terms, self._trust, block)
        check_age(self._terms, trusted, self._clock_ms())
        self._base = Believed(trusted, block)
        return self._base

    async def _ask(self, peer: str, height: int) -> LightBlock:
        body = encode(GetLightBlock(height))
        answer = await self._net.request(peer, Kind.GET_LIGHT_BLOCK, body, REQUEST_TIMEOUT_S)
        if answer is None:
            raise Fault(HEADER_NOT_KEPT, peer=peer, height=height)
        return read_body(LIGHT_BLOCK, Kind.GET_LIGHT_BLOCK, answer)

    async def hear_witnesses(
        self, believed: Believed, peers: Iterable[str], accuse: Callable[[str, PeerFault], None]
    ) -> int:
        """How many peers have the same block; raise `Fault` 1923 when one proves another."""
        agreeing = asked = 0
        height = believed.trusted.height
        for peer in peers:
            if asked == WITNESSES_MAX or believed.block is None:
                break
            try:
                theirs = await self._ask(peer, height)
                asked += 1
                if block_id(self._terms.genesis, theirs.header) == believed.trusted.block_id:
                    agreeing += 1
                    continue
                other = await self.to(height, peer)
            except PeerFault as fault:
                accuse(peer, fault)
                continue
            except Fault as fault:
                log.debug("a witness is silent", peer=peer, why=str(fault))
                continue
            if other.block is not None and other.trusted.block_id != believed.trusted.block_id:
                fork = compare(self._terms, believed.block, other.block)
                assert fork is not None, "their ids differ"
                raise fork.fault(peer)
        return agreeing
