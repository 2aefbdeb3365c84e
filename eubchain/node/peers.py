"""A node among its peers: what arrives is routed, what the engine says is sent.

Here: the engine's `Network` over a `Net`, greetings and status, who is a validator, what is passed on to
whom; wiring of hearing, proposed blocks, gossip, sync and the snapshots' desk.
Not here: the links (p2p), verification (hearing.py), blocks (proposed.py, sync.py), gossip (gossip.py),
snapshots (snapshot_desk.py).
Keeps: validators tell each other everything directly, so between two of them little is passed on; whoever
breaks a rule loses its connection; every queue on the way is bounded.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

import structlog
import trio

from consensus.agreement.inputs import RecordedInput, StartHeight
from consensus.agreement.messages import Certificate, Proposal, Vote
from consensus.types.block import Block
from consensus.types.codec import encode
from consensus.types.hashing import Tag, tagged_hash
from consensus.types.keys import SecretKey, verify
from eubchain.ledger.ledger import Ledger
from eubchain.ledger.snapshot_folder import SnapshotFolder
from eubchain.mempool import Mempool
from eubchain.node.evidence_gossip import EvidenceGossip
from eubchain.node.gossip import Gossip
from eubchain.node.hearing import Heard, Hearing
from eubchain.node.network import Final
from eubchain.node.passing import PassingOn
from eubchain.node.proposed import ProposedBlocks
from eubchain.node.snapshot_desk import SnapshotDesk
from eubchain.node.sync import Sync
from eubchain.node.trust_gate import TrustGate
from eubchain.node.workers import VerifyPool
from eubchain.rpc.backend import Submitted
from p2p.faults import HELLO_FALSE, PeerFault
from p2p.frames import Kind
from p2p.messages import (
    BLOCK_PART,
    PROTOCOL_VERSION,
    STATUS,
    Hello,
    ProposalMessage,
    Status,
    read_body,
)
from p2p.net import Event, Frame, Net, PeerDown, PeerUp, Request, next_events
from vm.rules import Rules

log = structlog.get_logger("network")

PASSED_ON = 2
"""Validators to which a validator passes on what it hears of agreement."""
STATUS_S = 2.0
"""Between two status messages when nothing happens: the heartbeat."""


class Node(Protocol):
    """What peers need of the node."""

    async def deliver(self, height: int, event: RecordedInput) -> None:
        """To the engine: a verified input."""
        ...

    async def deliver_block(self, block_id: bytes, block: Block) -> None:
        """To the engine: a whole block."""
        ...

    async def overtake(self, blocks: Sequence[Final]) -> None:
        """To the engine: final blocks."""
        ...


class Peer:
    """What a peer has said of itself."""

    def __init__(self, hello: Hello) -> None:
        self.hello = hello
        self.status = Status(hello.height, 0, 0, None, 0)

    @property
    def is_validator(self) -> bool:
        """Whether it greeted with a validator key; which stands in the set is the engine's to know."""
        return self.hello.validator_key is not None


def greeting(
    rules: Rules, peer_id: str, height: int, moniker: str, address: str, key: SecretKey | None
) -> Hello:
    """This node's greeting; the validator key vouches for the peer id."""
    signature = None if key is None else key.sign(_vouching(rules.genesis, peer_id))
    public = None if key is None else key.public
    text = moniker[:32]
    return Hello(PROTOCOL_VERSION, rules.chain_id, rules.genesis, height, text, address, public, signature)


def _vouching(genesis: bytes, peer_id: str) -> bytes:
    return tagged_hash(Tag.HELLO, genesis, peer_id.encode())


class Peers:
    """Implements `eubchain.node.network.Network`; `run` it beside the engine."""

    def __init__(
        self,
        net: Net,
        rules: Rules,
        ledger: Ledger,
        mempool: Mempool,
        pool: VerifyPool,
        take: Callable[[list[bytes]], Awaitable[list[Submitted]]],
        is_validator: bool,
        gate: TrustGate | None = None,
        snapshots: SnapshotFolder | None = None,
    ) -> None:
        self.net, self._rules, self._ledger, self._mempool = net, rules, ledger, mempool
        self._is_validator, self._gate = is_validator, gate
        self._peers: dict[str, Peer] = {}
        self._turn = 0
        """Whose turn it is to be passed on what a validator said."""
        self._start: StartHeight | None = None
        self._round: Callable[[], int] = lambda: 0
        self._node: Node | None = None
        self._pushed: set[bytes] = set()
        self.hearing = Hearing(rules, pool, self._deliver, self._pass_on, self._accuse)
        self.passing = PassingOn(self._pass_between)
        chain = rules.params.chain
        self.proposed = ProposedBlocks(net, rules.genesis, self, self._deliver_block, chain)
        self.gossip = Gossip(net, mempool, take)
        self.evidence = EvidenceGossip(net, mempool)
        self.sync = Sync(net, ledger, rules, pool, self, self._overtake, gate)
        self.desk = SnapshotDesk(snapshots)
        self._wants, self._wanted = trio.open_memory_channel[bytes](64)
        self._news = trio.Event()

    def bind(self, node: Node, round_of: Callable[[], int], take_evidence: Callable[[bytes], bool]) -> None:
        """Give what only the finished node has: its engine, its round, its admission of evidence.

        `take_evidence` says whether a transaction of evidence is new; raises `Rejected` for a false one.
        """
        self._node, self._round, self.evidence.take = node, round_of, take_evidence

    async def _deliver(self, height: int, event: RecordedInput) -> None:
        assert self._node is not None, "bound before it runs"
        if self._gate is None or self._start is None or self._gate.admits(self._start):
            await self._node.deliver(height, event)

    async def _deliver_block(self, block_id: bytes, block: Block) -> None:
        assert self._node is not None, "bound before it runs"
        await self._node.deliver_block(block_id, block)

    async def _overtake(self, blocks: Sequence[Final]) -> None:
        assert self._node is not None, "bound before it runs"
        await self._node.overtake(blocks)

    # ------------------------------------------------------------ Network, for the engine

    def send(self, message: Proposal | Vote | Certificate) -> None:
        """Send to every peer."""
        match message:
            case Vote():
                self.net.broadcast(Kind.VOTE, encode(message))
            case Certificate():
                self.net.broadcast(Kind.CERTIFICATE, encode(message))
            case Proposal(block_id=identity):
                block = self.proposed.block(identity)
                if block is None:
                    return
                self.net.broadcast(Kind.PROPOSAL, encode(ProposalMessage(message, block.header)))
                if identity not in self._pushed:
                    self._pushed.add(identity)
                    for part in self.proposed.parts(identity):
                        self.net.broadcast(Kind.BLOCK_PART, part)

    def offer_block(self, block_id: bytes, block: Block, wtxids: Sequence[bytes] = ()) -> None:
        """Keep a block of this height for whoever asks; its parts follow its proposal."""
        self.proposed.keep(block_id, block, wtxids)

    def want_block(self, block_id: bytes) -> None:
        """Gather a block in a task of its own."""
        try:
            self._wants.send_nowait(block_id)
        except trio.WouldBlock:
            log.error("too many blocks are wanted at a time", block=block_id.hex())

    def at_height(self, start: StartHeight) -> None:
        """A height begins."""
        self._start = start
        self._pushed.clear()
        self.proposed.at_height(start.height)
        self.passing.at_height(start.height)
        self.hearing.at_height(start)
        self._say_status()

    def peers_height(self) -> int:
        """The highest height that a peer reports; 0 without peers."""
        return max((peer.status.height for peer in self._peers.values()), default=0)

    def is_connected(self) -> bool:
        """Whether a peer has greeted and is still there."""
        return bool(self._peers)

    def is_behind(self) -> bool:
        """Whether final blocks are on their way."""
        return self.sync.is_behind()

    # ------------------------------------------------------------ for blocks and sync

    def transaction(self, wtxid: bytes) -> bytes | None:
        """The bytes of a transaction that is here, its check over or not."""
        candidate = self._mempool.by_wtxid(wtxid)
        return candidate.raw if candidate is not None else self.gossip.arriving.get(wtxid)

    def hold(self, block: bytes, wtxids: Sequence[bytes]) -> None:
        """Keep the transactions of a live proposal that wait here."""
        self._mempool.hold(block, wtxids)

    def release(self) -> None:
        """No proposal is alive."""
        self._mempool.release()

    def likely_holders(self, height: int) -> list[str]:
        """Peers at this height or the next: members of the set first, then those nearest."""
        members = {v.key for v in self._start.validators} if self._start is not None else set()
        near = [
            (p.hello.validator_key not in members, abs(p.status.height + 1 - height), name)
            for name, p in self._peers.items()
        ]
        return [name for _, distance, name in sorted(near) if distance <= 1]

    def peers_ahead(self, height: int) -> list[str]:
        """Peers whose ledger holds this height, the highest first."""
        able = [
            (-peer.status.height, name)
            for name, peer in self._peers.items()
            if peer.status.lowest <= height <= peer.status.height
        ]
        return [name for _, name in sorted(able)]

    def spread_evidence(self, raw: bytes) -> None:
        """Tell every peer of evidence."""
        self.evidence.spread(raw)

    def validator_peers(self) -> int:
        """Connected peers that are validators."""
        return sum(1 for peer in self._peers.values() if peer.is_validator)

    def describe(self) -> list[dict[str, Any]]:
        """The peers, for `net_peers`."""
        told = []
        for facts in self.net.peers():
            peer = self._peers.get(facts.peer)
            if peer is not None:
                told.append(
                    {
                        "id": facts.peer,
                        "moniker": facts.moniker,
                        "address": facts.address,
                        "direction": "out" if facts.is_outbound else "in",
                        "validator": peer.is_validator,
                        "height": peer.status.height,
                        "score": facts.score,
                        "bytes_in": facts.bytes_in,
                        "bytes_out": facts.bytes_out,
                        "connected_s": int(facts.since_s),
                    }
                )
        return told

    # ------------------------------------------------------------ tasks

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take part until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen)
            nursery.start_soon(self._heartbeat)
            nursery.start_soon(self.hearing.run)
            nursery.start_soon(self.passing.run)
            nursery.start_soon(self.proposed.run)
            nursery.start_soon(self.gossip.run)
            nursery.start_soon(self.sync.run)
            nursery.start_soon(self.desk.run)
            nursery.start_soon(self._gather, nursery)
            task_status.started()

    async def _gather(self, nursery: trio.Nursery) -> None:
        async for identity in self._wanted:
            nursery.start_soon(self.proposed.get, identity)

    async def _heartbeat(self) -> None:
        while True:
            await trio.sleep(STATUS_S)
            self._say_status()
            self.evidence.offer_again()

    def _say_status(self) -> None:
        self.net.broadcast(Kind.STATUS, self._status())

    def _status(self) -> bytes:
        meta = self._ledger.meta
        return encode(
            Status(meta.height, meta.lowest, self._round(), self.proposed.wanted, len(self._mempool))
        )

    async def _listen(self) -> None:
        with suppress(trio.EndOfChannel):
            while True:
                for event in await next_events(self.net.events):
                    try:
                        self._take(event)
                    except PeerFault as fault:
                        self._accuse(event.peer, fault)

    def _accuse(self, peer: str, fault: PeerFault) -> None:
        self.net.accuse(peer, fault)

    def _take(self, event: Event) -> None:
        match event:
            case Frame():
                if event.peer in self._peers:
                    self._take_frame(event)
            case Request():
                self._answer(event)
            case PeerUp(peer=peer, hello=hello):
                self._greet(peer, hello)
            case PeerDown(peer=peer, why=why):
                if self._peers.pop(peer, None) is not None:
                    self.gossip.peer_down(peer)
                    log.info("peer left", peer=peer, why=why, peers=len(self._peers))

    def _greet(self, peer: str, hello: Hello) -> None:
        if hello.validator_key is not None:
            signed = hello.signature is not None and verify(
                hello.validator_key, _vouching(self._rules.genesis, peer), hello.signature
            )
            if not signed:
                raise PeerFault(HELLO_FALSE)
        self._peers[peer] = Peer(hello)
        log.info("peer joined", peer=peer, moniker=hello.moniker, peers=len(self._peers))
        self.net.send(peer, Kind.STATUS, self._status())
        self.gossip.peer_up(peer)
        self.evidence.peer_up(peer)

    def _take_frame(self, event: Frame) -> None:
        kind, body = event.kind, event.body
        match kind:
            case Kind.VOTE | Kind.PROPOSAL | Kind.CERTIFICATE:
                self.hearing.take(event.peer, kind, body, event.arrived_ms)
            case Kind.STATUS:
                self._peers[event.peer].status = read_body(STATUS, kind, body)
            case Kind.BLOCK_PART:
                self.proposed.take_part(event.peer, read_body(BLOCK_PART, kind, body))
            case Kind.EVIDENCE:
                self.evidence.hear(event.peer, body, self._peers)
            case _:
                self.gossip.take(event.peer, kind, body)

    def _answer(self, event: Request) -> None:
        if event.kind in (Kind.GET_SNAPSHOTS, Kind.GET_CHUNK):
            self.desk.take(event)
            return
        answer: bytes | None = None
        try:
            if event.kind in (Kind.GET_PROPOSED, Kind.GET_TRANSACTIONS):
                answer = self.proposed.answer(event.kind, event.body)
            elif event.kind is Kind.GET_BLOCKS:
                answer = self.sync.answer(event.body)
            elif event.kind is Kind.GET_LIGHT_BLOCK:
                answer = self.sync.answer_light(event.body)
        finally:
            event.answer(answer)

    def _pass_on(self, heard: Heard) -> None:
        """A message was verified: remember who knows its block, pass it to those not told directly."""
        if isinstance(heard.message, ProposalMessage):
            proposal = heard.message.proposal
            self.proposed.heard_of(proposal.block_id, proposal.height, heard.peer)
        others = [(name, peer) for name, peer in self._peers.items() if name != heard.peer]
        for name, peer in others:
            if not (self._is_validator and peer.is_validator):
                self.net.send(name, heard.kind, heard.body)
        if self._is_validator:
            self.passing.hold(heard)

    def _pass_between(self, heard: Heard) -> None:
        """To a few validators, in turn: not every line between two of them need stand."""
        direct = [name for name, peer in self._peers.items() if name != heard.peer and peer.is_validator]
        for offset in range(min(PASSED_ON, len(direct))):
            self.net.send(direct[(self._turn + offset) % len(direct)], heard.kind, heard.body)
        self._turn += PASSED_ON
