"""A validator of the simulation: the real machine, log, guard and recovery over simulated edges.

Here: carrying out effects, taking messages, catching up, crashing and starting again.
Not here: the rules (consensus/agreement); blocks are small stand-ins with a parent, a time and a salt.
"""

from __future__ import annotations

from collections import deque
from hashlib import blake2b
from typing import Any, NamedTuple

from consensus.agreement import effects as do
from consensus.agreement.evidence import DoubleSign
from consensus.agreement.inputs import (
    BlockBuilt,
    BlockChecked,
    BlockReceived,
    CertificateReceived,
    ProposalReceived,
    RecordedInput,
    StartHeight,
    TimeoutFired,
    VoteReceived,
)
from consensus.agreement.machine import step
from consensus.agreement.messages import (
    Certificate,
    Proposal,
    Vote,
    certificate_checks,
    commit_certificate,
    proposal_check,
    vote_check,
)
from consensus.agreement.proposer import is_mine, proposer_index
from consensus.agreement.replay import replay
from consensus.agreement.state import Stage, State
from consensus.types.block import Commit
from consensus.types.codec import Codec, Hash32, Record, Uint, encode
from consensus.types.errors import Rejected
from consensus.types.keys import SecretKey
from eubchain.node.guard import Place, Refusal, SignerGuard, reset_guard
from eubchain.node.recovery import Found, Plan, Signing, WalAction, WalFound, plan_recovery
from eubchain.node.wal import Wal, read_wal
from tests.sim.disk import Crash, MemoryDisk
from tests.sim.network import Clock, Network
from tests.sim.signatures import cached_verify

INTERVAL_MS = 500
PRECISION_MS = 500
DELAY_MS = 1_000
STATUS_MS = 1_000
GENESIS = bytes(range(32))
GENESIS_TIME_MS = 1_000_000


class SimBlock(Record, frozen=True):
    """A stand-in for a block."""

    height: Uint
    round: Uint
    proposer: Uint
    time_ms: Uint
    parent: Hash32
    salt: Uint


BLOCK: Codec[SimBlock] = Codec(SimBlock)


def id_of(data: bytes) -> bytes:
    """A stand-in for the block id."""
    return blake2b(data, digest_size=32).digest()


class Stored(NamedTuple):
    """A height in the ledger."""

    data: bytes
    commit: Commit


class Offer(NamedTuple):
    """A proposal on the wire; the header is always there, all bytes only sometimes."""

    proposal: Proposal
    data: bytes
    is_complete: bool


class Want(NamedTuple):
    """A request for a block's bytes."""

    block_id: bytes


class Bytes(NamedTuple):
    """A block's bytes."""

    data: bytes


class Status(NamedTuple):
    """The height of the sender's ledger."""

    height: int


class Decided(NamedTuple):
    """A block that is decided, for one who lags behind."""

    height: int
    stored: Stored


class SimNode:
    """One validator."""

    is_honest = True

    def __init__(self, world: Any, index: int, key: SecretKey, seat: int | None = None) -> None:
        self.world, self.index, self.key = world, index, key
        self.seat = index if seat is None else seat
        """Position in the validator set; `index` is the address in the network."""
        self.clock: Clock = world.clock
        self.network: Network = world.network
        self.disk = MemoryDisk()
        self.ledger: list[Stored] = []
        self.evidence: list[DoubleSign] = []
        self.plans: list[Plan] = []
        self.is_up = False
        self.woke_ms: int | None = None
        """When it started after a crash, until it signs again."""
        self.lives = 0
        """Restarts so far; what was scheduled by an earlier life does nothing."""
        self.network.receivers[index] = self.receive
        reset_guard(self.disk, key.public, GENESIS, self.place())

    def place(self) -> Place:
        return Place(bytes(16), self.index.to_bytes(16, "big"))

    # -- life

    def start(self) -> None:
        """Start from what the disk holds."""
        self.woke_ms = self.clock.now_ms if self.lives else None
        self.lives += 1
        self.is_up = True
        self.state: State | None = None
        self.inbox: deque[tuple[RecordedInput, bool]] = deque()
        self.blocks: dict[bytes, bytes] = {}
        self.votes_ahead: list[Any] = []
        try:
            self._recover()
        except Crash:
            self.crash()
            return
        self._say_status()

    def _recover(self) -> None:
        self.guard = SignerGuard(self.disk, self.key, GENESIS, self.place())
        height = len(self.ledger) + 1
        contents = read_wal(self.disk, GENESIS)
        replayed = None
        if contents is not None and contents.height == height:
            replayed = replay(self._start_height(), contents.inputs())
        found_wal = None
        if contents is not None:
            is_decided = replayed is not None and replayed.state.stage is Stage.DECIDED
            found_wal = WalFound(contents.height, is_decided, replayed and replayed.last_step)
        plan = plan_recovery(Found(height - 1, b"", b"", found_wal, self.guard.last, self.guard.is_moved, 0))
        self.plans.append(plan)
        self.silent_up_to = plan.silent_up_to
        assert plan.signing in (Signing.AT_ONCE, Signing.ABOVE), plan
        if plan.wal in (WalAction.REPLAY, WalAction.REPLAY_AND_DECIDE):
            assert contents is not None
            assert replayed is not None
            self.wal = Wal.resume(self.disk, contents)
            self.blocks = contents.blocks()
            self.state = replayed.state
            self._perform(replayed.open)
            self._drain()
        else:
            self.wal = Wal.create(self.disk, GENESIS, height, self._marker())
            self._begin_height()

    def _marker(self) -> bytes:
        return self.network.random.randbytes(8)

    def crash(self, power: bool = True) -> None:
        """Stop at once; with the power gone, what was not synced is lost."""
        self.is_up = False
        self.woke_ms = None
        self.lives += 1
        self.disk.crash_at = None
        if power:
            self.disk.cut_power(self.network.random)

    def later(self, delay_ms: int, act: Any) -> None:
        """Do something later in this life; a crash while doing it ends the life."""
        life = self.lives

        def run() -> None:
            if self.is_up and self.lives == life:
                try:
                    act()
                except Crash:
                    self.crash()

        self.clock.after(delay_ms, run)

    # -- heights

    def _start_height(self) -> StartHeight:
        parent = self.tip()
        beacon = blake2b(parent, digest_size=32).digest()
        earliest_ms = self._parent_time() + INTERVAL_MS
        return StartHeight(len(self.ledger) + 1, self.world.validators, self.seat, beacon, earliest_ms)

    def tip(self) -> bytes:
        return id_of(self.ledger[-1].data) if self.ledger else GENESIS

    def _parent_time(self) -> int:
        return BLOCK.decode(self.ledger[-1].data).time_ms if self.ledger else GENESIS_TIME_MS

    def _begin_height(self) -> None:
        self.state, effects = step(None, self._start_height())
        self._perform(effects)
        ahead, self.votes_ahead = self.votes_ahead, []
        for message in ahead:
            self._take(message)
        self._drain()

    def feed(self, event: RecordedInput, is_own: bool = False) -> None:
        """Give the machine an input, after those that wait."""
        self.inbox.append((event, is_own))
        self._drain()

    def _drain(self) -> None:
        while self.inbox:
            event, is_own = self.inbox.popleft()
            assert self.state is not None
            before = self.state
            self.state, effects = step(before, event)
            if self.state is not before:
                if isinstance(event, BlockReceived | BlockBuilt):
                    self.wal.append_block(event.block_id, self.blocks[event.block_id])
                self.wal.append_input(event, is_own=is_own)
            self._perform(effects)

    # -- effects

    def _perform(self, effects: do.Effects) -> None:
        for effect in effects:
            match effect:
                case do.Took(line=line):
                    self.world.lines.add(line)
                case do.BuildBlock():
                    self._build(effect.round)
                case do.SignAndSendProposal():
                    self.sign_proposal(effect)
                case do.SignVote():
                    self.sign_vote(effect)
                case do.ScheduleTimeout():
                    self._schedule(effect)
                case do.RequestBlock(block_id=block_id):
                    self._fetch(block_id)
                case do.RequestValidity(block_id=block_id):
                    is_valid = self._is_valid(self.blocks[block_id])
                    answer = BlockChecked(block_id, is_valid)
                    self._feed_later(self.network.random.randint(0, 60), answer)
                case do.Rebroadcast(messages=messages):
                    for message in messages:
                        self._send_message(message)
                case do.Decide():
                    self._decide(effect)
                    return
                case do.ReportEvidence(evidence=evidence):
                    self.evidence.append(evidence)
                case do.Diverged():
                    raise AssertionError(f"validity: node {self.index} diverged: {effect}")

    def _feed_later(self, delay_ms: int, event: RecordedInput) -> None:
        height = len(self.ledger)

        def act() -> None:
            if len(self.ledger) == height:
                self.feed(event)

        self.later(delay_ms, act)

    def _schedule(self, effect: do.ScheduleTimeout) -> None:
        wait_ms = max(0, effect.not_before_ms - self.clock.now_ms) + effect.after_ms
        self._feed_later(wait_ms, TimeoutFired(effect.kind, effect.round))

    def _build(self, round_: int) -> None:
        height = len(self.ledger)
        time_ms = max(self._parent_time() + INTERVAL_MS, self.clock.now_ms)

        def ready() -> None:
            if len(self.ledger) != height:
                return
            salt = self.network.random.getrandbits(32)
            data = encode(SimBlock(height + 1, round_, self.seat, time_ms, self.tip(), salt))
            self.blocks[id_of(data)] = data
            self.feed(BlockBuilt(round_, id_of(data)))

        self.later(time_ms - self.clock.now_ms + self.network.random.randint(0, 40), ready)

    def _fetch(self, block_id: bytes) -> None:
        height = len(self.ledger)
        if block_id in self.blocks:
            self.inbox.append((BlockReceived(block_id), False))
            return
        self.network.broadcast(self.index, Want(block_id))

        def again() -> None:
            if len(self.ledger) == height and block_id not in self.blocks:
                self._fetch(block_id)

        self.later(500, again)

    def _is_valid(self, data: bytes) -> bool:
        block = BLOCK.decode(data)
        start = self._start_height()
        return (
            (block.height, block.parent) == (start.height, self.tip())
            and block.time_ms >= start.earliest_ms
            and block.proposer == proposer_index(start, block.round)
        )

    def may_sign(self, height: int) -> bool:
        return height > self.silent_up_to

    def sign_proposal(self, effect: do.SignAndSendProposal) -> None:
        if not self.may_sign(effect.height):
            return
        self.wal.sync()  # F1
        signature = self.guard.sign_proposal(
            effect.height, effect.round, effect.block_id, effect.valid_round
        )  # F2
        if isinstance(signature, Refusal):
            return
        proposal = Proposal(effect.height, effect.round, effect.block_id, effect.valid_round, signature)
        self.world.signed(self, proposal)
        if effect.polka is not None:
            self._send_message(effect.polka)
        self._send_message(proposal)
        header_round = BLOCK.decode(self.blocks[effect.block_id]).round
        self.inbox.append((ProposalReceived(proposal, header_round, True), True))

    def sign_vote(self, effect: do.SignVote) -> None:
        if not self.may_sign(effect.height):
            return
        self.wal.sync()  # F3
        signature = self.guard.sign_vote(effect.kind, effect.height, effect.round, effect.block_id)  # F4
        if isinstance(signature, Refusal):
            return
        vote = Vote(effect.kind, effect.height, effect.round, effect.block_id, self.seat, signature)
        self.world.signed(self, vote)
        self._send_message(vote)
        self.inbox.append((VoteReceived(vote), True))

    def _decide(self, effect: do.Decide) -> None:
        data = self.blocks[effect.block_id]
        self.wal.sync()
        self.world.check_replay(self)
        self.disk.touch()
        self.ledger.append(Stored(data, effect.commit))  # F5
        self.world.decided(self, effect)
        self.disk.touch()
        self.wal.close()
        self.wal = Wal.create(self.disk, GENESIS, len(self.ledger) + 1, self._marker())  # F6
        self.inbox.clear()
        self.blocks = {}
        self.later(0, self._begin_height)
        self.state = None
        self._say_status(once=True)

    # -- messages

    def _send_message(self, message: Proposal | Vote | Certificate) -> None:
        if isinstance(message, Proposal):
            is_complete = self.network.random.random() < 0.7
            self.broadcast(Offer(message, self.blocks[message.block_id], is_complete))
        else:
            self.broadcast(message)

    def broadcast(self, message: Any) -> None:
        self.network.broadcast(self.index, message)

    def _say_status(self, once: bool = False) -> None:
        self.network.broadcast(self.index, Status(len(self.ledger)))
        if not once:
            self.later(STATUS_MS, self._say_status)

    def receive(self, sender: int, message: Any) -> None:
        """Take a message from the network."""
        if not self.is_up:
            return
        try:
            self._answer(sender, message)
        except Crash:
            self.crash()

    def _answer(self, sender: int, message: Any) -> None:
        match message:
            case Status(height=height):
                if height < len(self.ledger):
                    self.network.send(self.index, sender, Decided(height + 1, self.ledger[height]))
            case Want(block_id=block_id):
                if block_id in self.blocks:
                    self.network.send(self.index, sender, Bytes(self.blocks[block_id]))
            case _:
                self._take(message)

    def _take(self, message: Any) -> None:
        if self.state is None:
            if len(self.votes_ahead) < 1_000:
                self.votes_ahead.append(message)
            return
        try:
            self._take_checked(message)
        except Rejected:
            return

    def _take_checked(self, message: Any) -> None:
        assert self.state is not None
        start = self.state.start
        match message:
            case Vote() if message.height == start.height:
                if cached_verify(*vote_check(message, GENESIS, start.validators)):
                    self.feed(VoteReceived(message))
            case Certificate() if message.height == start.height:
                checks = certificate_checks(message, GENESIS, start.validators)
                if all(cached_verify(*check) for check in checks):
                    self.feed(CertificateReceived(message))
            case Offer() if message.proposal.height == start.height:
                self._take_offer(message, start)
            case Bytes(data=data):
                self._hold(data)
            case Decided(height=height, stored=stored) if height == start.height:
                self._hold(stored.data)
                self._take_checked(commit_certificate(stored.commit, height))
            case Vote(height=height) if height == start.height + 1:
                if len(self.votes_ahead) < 1_000:
                    self.votes_ahead.append(message)

    def _take_offer(self, offer: Offer, start: StartHeight) -> None:
        proposal = offer.proposal
        key = start.validators[proposer_index(start, proposal.round)].key
        if not cached_verify(*proposal_check(proposal, GENESIS, key)):
            return
        if id_of(offer.data) != proposal.block_id:
            return
        block = BLOCK.decode(offer.data)
        allowed_ms = DELAY_MS * 11 ** min(proposal.round, 40) // 10 ** min(proposal.round, 40)
        now_ms = self.clock.now_ms
        is_timely = now_ms - allowed_ms - PRECISION_MS <= block.time_ms <= now_ms + PRECISION_MS
        if is_mine(start, proposal.round):
            is_timely = True
        self.feed(ProposalReceived(proposal, block.round, is_timely))
        if offer.is_complete and self.state is not None and self.state.start is start:
            self._hold(offer.data)

    def _hold(self, data: bytes) -> None:
        block_id = id_of(data)
        if self.state is None or BLOCK.decode(data).height != self.state.height:
            return
        self.blocks[block_id] = data
        self.feed(BlockReceived(block_id))
