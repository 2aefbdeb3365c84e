"""Hearing what validators say: every message is routed by height and verified before agreement gets it.

Here: proposals, votes and certificates from peers, their signatures checked in batches by the workers,
the clock's verdict on a proposal, messages of the next height kept until it begins, precommits of the one
before, which the next block's commit may hold.
Not here: connections (p2p), the blocks themselves (proposed.py), counting (consensus/agreement).
Keeps: nothing unverified reaches the engine, in the order in which each peer said it; what says nothing
new costs no second check, though its signatures be others; what waits is bounded and the oldest loses.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, TypeVar

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
from consensus.types.vote import PRECOMMIT
from eubchain.node.clock_watch import ClockWatch
from eubchain.node.workers import VerifyPool
from p2p.faults import MESSAGE_MALFORMED, PeerFault
from p2p.frames import Kind
from p2p.messages import PROPOSAL_MESSAGE, ProposalMessage, read_body
from vm.rules import Rules

log = structlog.get_logger("network")

WAITING_MAX = 4096
WAITING_BYTES_MAX = 16 * 2**20
"""Messages that wait for the workers."""
AHEAD_BYTES_MAX = 256 * 1024
"""Messages of the next height, kept until it begins: so much from each peer, for they are not verified yet.
The votes of a hundred validators are a tenth of it."""
SEEN_MAX = 8192
KNOWN_MAX = 32_768
REMEMBERED_MS = 10_000
"""What is said again after so long is heard again: agreement may have had no use for it at first, as for a
vote of a round that it had not reached."""
SPOKEN_MAX = 128
"""Things that one validator is heard to say of a height within `REMEMBERED_MS`: an honest one says some
twenty. One that signs as many as it likes would have all of them checked and passed on."""
BATCH_CHECKS_MAX = 400
DELAY_GROWTH_ROUNDS_MAX = 40

Message = ProposalMessage | Vote | Certificate
K = TypeVar("K")


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


def _height_of(message: Message) -> int:
    return message.proposal.height if isinstance(message, ProposalMessage) else message.height


def _what_is_said(message: Message) -> tuple[object, ...]:
    """The message without its signatures: anybody can make many certificates of one set of votes."""
    match message:
        case Vote():
            return "vote", message.height, message.kind, message.round, message.block_id, message.validator
        case Certificate():
            return "certificate", message.height, message.kind, message.round, message.block_id
    said = message.proposal
    return "proposal", said.height, said.round, said.block_id, said.valid_round


def _authors(message: Message, start: StartHeight) -> Sequence[int]:
    """The validator that says it, by position in the set; of a certificate nobody, for two thirds do."""
    match message:
        case Vote():
            return (message.validator,)
        case Certificate():
            return ()
    return (proposer_index(start, message.proposal.round),)


def _remember(kept: OrderedDict[K, None], what: K, most: int) -> None:
    kept[what] = None
    if len(kept) > most:
        kept.popitem(last=False)


class Waiting:
    """Messages in order, bounded in number and bytes; the oldest loses, for whoever said it says it again
    while the height is undecided.
    """

    def __init__(self, most: int, bytes_most: int) -> None:
        self._most, self._bytes_most = most, bytes_most
        self._queue: deque[Heard] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, heard: Heard) -> None:
        """Put it last."""
        self._queue.append(heard)
        self._bytes += len(heard.body)
        while len(self._queue) > self._most or self._bytes > self._bytes_most:
            self.take()

    def take(self) -> Heard:
        """The oldest."""
        heard = self._queue.popleft()
        self._bytes -= len(heard.body)
        return heard

    def take_all(self) -> list[Heard]:
        """All in order; nothing is left."""
        taken = list(self._queue)
        self._queue.clear()
        self._bytes = 0
        return taken


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
        self._before: StartHeight | None = None
        """The height before, for precommits that come late."""
        self._waiting = Waiting(WAITING_MAX, WAITING_BYTES_MAX)
        self._ahead: dict[str, Waiting] = {}
        """By peer: a flood of one displaces nothing of another."""
        self._seen: OrderedDict[bytes, None] = OrderedDict()
        """Bodies whose check has begun."""
        self._known: OrderedDict[tuple[object, ...], None] = OrderedDict()
        """What has been said and verified, whatever its signatures."""
        self._spoken: Counter[int] = Counter()
        """How much of it each validator has said."""
        self._remembers_since_ms = 0
        self._arrived = trio.Event()

    def at_height(self, start: StartHeight) -> None:
        """A height begins: forget the one before but for late precommits, take what was kept for this one."""
        last = self._start
        if last is None or last.height != start.height:  # a height may be entered twice
            self._before = last if last is not None and last.height + 1 == start.height else None
        late = ("vote", start.height - 1, PRECOMMIT)
        self._known = OrderedDict((what, None) for what in self._known if what[:3] == late)
        self._start = start
        self._seen.clear()
        self._spoken.clear()
        for heard in self._waiting.take_all():
            self._route(heard)
        kept, self._ahead = self._ahead, {}
        for queue in kept.values():
            for heard in queue.take_all():
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
        height = _height_of(message)
        if not 0 <= heard.arrived_ms - self._remembers_since_ms < REMEMBERED_MS:
            self._remembers_since_ms = heard.arrived_ms
            self._seen.clear()
            self._known.clear()
            self._spoken.clear()
        if height == self._start.height + 1:
            queue = self._ahead.get(heard.peer)
            if queue is None:
                queue = self._ahead[heard.peer] = Waiting(WAITING_MAX, AHEAD_BYTES_MAX)
            queue.add(heard)
        elif self._set_of(message, height) is not None and not self._is_known(heard):
            self._waiting.add(heard)
            self._arrived.set()

    def _set_of(self, message: Message, height: int) -> StartHeight | None:
        """The height whose set has to have signed the message; None when it is of no use any more."""
        start, before = self._start, self._before
        if start is not None and height == start.height:
            return start
        is_late = isinstance(message, Vote) and message.kind == PRECOMMIT
        return before if is_late and before is not None and height == before.height else None

    def _is_known(self, heard: Heard) -> bool:
        return heard.body in self._seen or _what_is_said(heard.message) in self._known

    async def run(self) -> None:
        """Verify and hand on until cancelled."""
        while True:
            while not self._waiting:
                self._arrived = trio.Event()
                await self._arrived.wait()
            await self._verify_some()

    async def _verify_some(self) -> None:
        """One batch for the workers; its messages go on in order."""
        batch: list[tuple[Heard, int, Sequence[int]]] = []
        checks: list[SignatureCheck] = []
        once: set[tuple[object, ...]] = set()
        asked: Counter[int] = Counter()
        again: list[Heard] = []
        while self._waiting and len(checks) < BATCH_CHECKS_MAX:
            heard = self._waiting.take()
            start = self._set_of(heard.message, _height_of(heard.message))
            if start is None or self._is_known(heard):
                continue
            authors = _authors(heard.message, start)
            if any(self._spoken[author] >= SPOKEN_MAX for author in authors):
                continue
            what = _what_is_said(heard.message)
            if what in once or any(self._spoken[a] + asked[a] >= SPOKEN_MAX for a in authors):
                again.append(heard)  # looked at should what came first be forged
                continue
            once.add(what)
            asked.update(authors)
            try:
                needed = self._checks(heard.message, start)
            except Rejected as refusal:
                why = str(refusal)
                self._accuse(heard.peer, PeerFault(MESSAGE_MALFORMED, kind=int(heard.kind), why=why))
                continue
            _remember(self._seen, heard.body, SEEN_MAX)
            checks += needed
            batch.append((heard, len(needed), authors))
        verdicts = await self._pool.signatures(checks)
        position = 0
        for heard, count, authors in batch:
            is_signed = all(verdicts[position : position + count])
            position += count
            if not is_signed:
                why = "a signature does not verify"
                self._accuse(heard.peer, PeerFault(MESSAGE_MALFORMED, kind=int(heard.kind), why=why))
            else:
                _remember(self._known, _what_is_said(heard.message), KNOWN_MAX)
                self._spoken.update(authors)
                self._heard(heard)
                await self._deliver(_height_of(heard.message), self._event(heard))
        for heard in again:
            self._route(heard)

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
