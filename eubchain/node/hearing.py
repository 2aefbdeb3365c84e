"""Hearing what validators say: every message is routed by height and verified before agreement gets it.

Here: proposals, votes and certificates from peers, their signatures checked in batches by the workers,
the clock's verdict on a proposal, messages of the next height kept until it begins.
Not here: connections (p2p), the blocks themselves (proposed.py), counting (consensus/agreement).
Keeps: nothing unverified reaches the engine, in the order in which each peer said it; a repeated
message costs no second check; what waits is bounded and the oldest loses.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import structlog
import trio

from consensus.agreement.inputs import (
    CertificateReceived,
    ProposalReceived,
    RecordedInput,
    StartHeight,
    VoteReceived,
)
from consensus.agreement.messages import (
    CERTIFICATE,
    VOTE,
    Certificate,
    Vote,
    certificate_checks,
    proposal_check,
    vote_check,
)
from consensus.agreement.proposer import proposer_index
from consensus.types.block import block_id
from consensus.types.errors import Rejected
from consensus.types.params import ChainParams
from consensus.types.transaction import SignatureCheck
from eubchain.node.clock_watch import ClockWatch
from eubchain.node.workers import VerifyPool
from p2p.faults import MESSAGE_MALFORMED, PeerFault
from p2p.frames import Kind
from p2p.messages import PROPOSAL_MESSAGE, ProposalMessage, read_body
from vm.rules import Rules

log = structlog.get_logger("network")

WAITING_MAX = 4096
"""Messages that wait for the workers."""
AHEAD_MAX = 2048
"""Messages of the next height, kept until it begins."""
SEEN_MAX = 8192
BATCH_CHECKS_MAX = 400
DELAY_GROWTH_ROUNDS_MAX = 40

Message = ProposalMessage | Vote | Certificate


class Heard(NamedTuple):
    """A message as it came."""

    peer: str
    kind: Kind
    body: bytes
    message: Message
    arrived_ms: int


def is_timely(time_ms: int, arrived_ms: int, round_: int, chain: ChainParams) -> bool:
    """PBTS: recv − msg_delay(r) − precision ≤ time ≤ recv + precision."""
    growth = min(round_, DELAY_GROWTH_ROUNDS_MAX)
    delay_ms = chain.msg_delay_ms * 11**growth // 10**growth
    earliest = arrived_ms - delay_ms - chain.precision_ms
    return earliest <= time_ms <= arrived_ms + chain.precision_ms


class Hearing:
    """Verifies what peers say about the present height and hands it on."""

    def __init__(
        self,
        rules: Rules,
        pool: VerifyPool,
        deliver: Callable[[int, RecordedInput], Awaitable[None]],
        heard: Callable[[Heard], None],
        accuse: Callable[[str, PeerFault], None],
    ) -> None:
        self._rules, self._pool = rules, pool
        self._deliver, self._heard, self._accuse = deliver, heard, accuse
        self.clock = ClockWatch(rules.params.chain)
        self._start: StartHeight | None = None
        self._waiting: deque[Heard] = deque()
        self._ahead: deque[Heard] = deque(maxlen=AHEAD_MAX)
        self._seen: OrderedDict[bytes, None] = OrderedDict()
        self._arrived = trio.Event()

    def at_height(self, start: StartHeight) -> None:
        """A height begins: forget the one before, take what was kept for this one."""
        self._start = start
        self._seen.clear()
        self._waiting.clear()
        kept, self._ahead = self._ahead, deque(maxlen=AHEAD_MAX)
        for heard in kept:
            self._route(heard)

    def take(self, peer: str, kind: Kind, body: bytes, arrived_ms: int) -> None:
        """Take a message from a peer; raise `PeerFault` 2402 for what cannot be read."""
        message: Message
        if kind is Kind.VOTE:
            message = read_body(VOTE, kind, body)
        elif kind is Kind.CERTIFICATE:
            message = read_body(CERTIFICATE, kind, body)
        else:
            message = read_body(PROPOSAL_MESSAGE, kind, body)
        self._route(Heard(peer, kind, body, message, arrived_ms))

    def _route(self, heard: Heard) -> None:
        if self._start is None:
            return
        message = heard.message
        height = message.proposal.height if isinstance(message, ProposalMessage) else message.height
        if height == self._start.height + 1:
            self._ahead.append(heard)
        elif height == self._start.height and heard.body not in self._seen:
            if len(self._waiting) >= WAITING_MAX:
                self._waiting.popleft()  # whoever said it says it again while the height is undecided
            self._waiting.append(heard)
            self._arrived.set()

    async def run(self) -> None:
        """Verify and hand on until cancelled."""
        while True:
            while not self._waiting:
                self._arrived = trio.Event()
                await self._arrived.wait()
            await self._verify_some()

    async def _verify_some(self) -> None:
        """One batch for the workers; its messages go on in order."""
        start = self._start
        assert start is not None, "messages wait only for a height"
        batch: list[tuple[Heard, int]] = []
        checks: list[SignatureCheck] = []
        while self._waiting and len(checks) < BATCH_CHECKS_MAX:
            heard = self._waiting.popleft()
            if heard.body in self._seen:
                continue
            try:
                needed = self._checks(heard.message, start)
            except Rejected as refusal:
                why = str(refusal)
                self._accuse(heard.peer, PeerFault(MESSAGE_MALFORMED, kind=int(heard.kind), why=why))
                continue
            self._remember(heard.body)
            checks += needed
            batch.append((heard, len(needed)))
        verdicts = await self._pool.signatures(checks)
        position = 0
        for heard, count in batch:
            is_signed = all(verdicts[position : position + count])
            position += count
            if not is_signed:
                why = "a signature does not verify"
                self._accuse(heard.peer, PeerFault(MESSAGE_MALFORMED, kind=int(heard.kind), why=why))
            else:
                self._heard(heard)
                await self._deliver(start.height, self._event(heard))

    def _remember(self, body: bytes) -> None:
        self._seen[body] = None
        if len(self._seen) > SEEN_MAX:
            self._seen.popitem(last=False)

    def _checks(self, message: Message, start: StartHeight) -> list[SignatureCheck]:
        """What must verify; raises `Rejected` for what no honest peer sends."""
        genesis, validators = self._rules.genesis, start.validators
        match message:
            case Vote():
                return [vote_check(message, genesis, validators)]
            case Certificate():
                return certificate_checks(message, genesis, validators)
        proposal, header = message.proposal, message.header
        if block_id(genesis, header) != proposal.block_id or header.height != proposal.height:
            raise Rejected(MESSAGE_MALFORMED, kind=int(Kind.PROPOSAL), why="the header is of another block")
        key = validators[proposer_index(start, proposal.round)].key
        return [proposal_check(proposal, genesis, key)]

    def _event(self, heard: Heard) -> RecordedInput:
        message = heard.message
        match message:
            case Vote():
                return VoteReceived(message)
            case Certificate():
                return CertificateReceived(message)
        chain, header = self._rules.params.chain, message.header
        timely = is_timely(header.time_ms, heard.arrived_ms, message.proposal.round, chain)
        if message.proposal.valid_round is None:
            self.clock.heard(header.proposer, header.time_ms, heard.arrived_ms)
        return ProposalReceived(message.proposal, header.round, timely)
