"""The engine: drives the agreement machine, height after height, and carries out what it asks.

Here: the inbox, the order of WAL, guard and network (document: docs/protocol.md, Durability), timers,
beginning a height and finishing it.
Not here: agreement's rules (consensus/agreement), building and judging blocks (production.py), what
else happens after a block (the `finished` callback), recovery's decision (recovery.py).
Keeps: F1 the WAL holds everything so far before a proposal is signed, F2 the guard before it is sent,
F3 the WAL with the voted block before a vote is signed, F4 the guard before it is sent, F5 the ledger
before any output of a height, F6 the next height's WAL before its first input.
Errors: 2060 diverged.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence

import structlog
import trio

from consensus.agreement.effects import (
    BuildBlock,
    Decide,
    Diverged,
    Effect,
    Effects,
    Rebroadcast,
    ReportEvidence,
    RequestBlock,
    RequestValidity,
    ScheduleTimeout,
    SignAndSendProposal,
    SignVote,
    Took,
)
from consensus.agreement.evidence import DoubleSign
from consensus.agreement.inputs import (
    BlockBuilt,
    BlockChecked,
    BlockReceived,
    RecordedInput,
    StartHeight,
    Timeouts,
)
from consensus.agreement.machine import step
from consensus.agreement.replay import Replayed, replay
from consensus.agreement.state import State
from consensus.types.block import BLOCK, Block, Commit
from consensus.types.codec import encode
from consensus.types.errors import Fault, Reason
from eubchain.node.arrivals import Arrival, Item, Overtaken, ProposalDue, RoomAgain, WatchOver
from eubchain.node.clocks import Clocks
from eubchain.node.durable_files import DurableFiles
from eubchain.node.execution import Executed
from eubchain.node.guard import SignerGuard
from eubchain.node.height_log import DiskAlarm, HeightLog
from eubchain.node.judged_again import judge_again
from eubchain.node.late_votes import LateVotes
from eubchain.node.network import Final, Network
from eubchain.node.production import Production
from eubchain.node.recovery import Plan, Signing, WalAction
from eubchain.node.twin_watch import TwinWatch, look_for_twin, look_in_commit, take_place
from eubchain.node.voice import Voice
from eubchain.node.wal import WalContents, read_wal
from vm import head as heads

log = structlog.get_logger("engine")

INBOX_MAX = 4_096
"""Inputs that wait; when it is full the sender waits, which slows the socket that fills it."""
BLOCKS_WAIT_S = 0.5
"""How long final blocks are waited for before looking whether they are still needed."""

DIVERGED = Reason(
    2060,
    "diverged",
    "height:height block:hash",
    "More than two thirds of the power stand behind block {block} at height {height}, which this node "
    "finds invalid twice: this node is wrong, and signs nothing more.",
    "Run `eubchain inspect`; then restore a backup, or update the program, and start again.",
)

Finished = Callable[[Executed, Commit], Awaitable[None]]


class Engine:
    """One node's part in agreement; `run` it in the node's nursery."""

    def __init__(
        self,
        production: Production,
        files: DurableFiles,
        network: Network,
        finished: Finished,
        evidence: Callable[[DoubleSign], None],
        clock_ms: Callable[[], int],
        timeouts: Timeouts,
        signer: SignerGuard | None,
    ) -> None:
        self._production = production
        self._execution = production.execution
        self._rules = production.rules
        self._files = files
        self._network = network
        self._finished = finished
        self._evidence = evidence
        self._timeouts = timeouts
        self._guard, self._signer = signer, signer
        self._voice = None if signer is None else Voice(signer, network)
        self.disk = DiskAlarm(files)
        self.halt_at = 0
        """Stop after the block of this height; 0 never does."""
        self.halted: Callable[[], None] = lambda: None
        self._watch: TwinWatch | None = None
        self._send, self._inbox = trio.open_memory_channel[Item](INBOX_MAX)
        self._clocks = Clocks(self._send, clock_ms)
        self._blocks: dict[bytes, Block] = {}
        self._executed: dict[bytes, Executed] = {}
        self._silent_up_to = 0
        self._decision: Decide | None = None
        self._late = LateVotes(self._execution)
        self._own: deque[Arrival] = deque()
        """What this node has signed and its machine has not heard yet."""
        self.state: State | None = None
        self.why_silent = ""

    @property
    def height(self) -> int:
        """The height being agreed on."""
        return self._execution.ledger.height + 1

    async def deliver(self, height: int, event: RecordedInput) -> None:
        """Hand in a verified input from the network; waits while the inbox is full."""
        await self._send.send(Arrival(height, event))

    async def deliver_block(self, block_id: bytes, block: Block) -> None:
        """Hand in a block that was asked for; its id was computed from it."""
        if block.header.height == self.height:
            self._blocks[block_id] = block
            await self._send.send(Arrival(self.height, BlockReceived(block_id)))

    async def overtake(self, blocks: Sequence[Final]) -> None:
        """Apply final blocks that follow the head, and return when they are stored; none only wakes."""
        item = Overtaken(tuple(blocks), trio.Event())
        await self._send.send(item)
        await item.done.wait()

    async def run(
        self,
        plan: Plan,
        found: WalContents | None,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Agree on height after height until cancelled."""
        self._silent_up_to = plan.silent_up_to
        if plan.signing not in (Signing.AT_ONCE, Signing.ABOVE, Signing.AFTER_WATCHING):
            self._signer = None
        if plan.signing is Signing.AFTER_WATCHING:
            assert self._guard is not None, "only a node with a key watches for its twin"
            self._watch = TwinWatch(self._execution.ledger.height, self._guard.last)
        self.why_silent = "" if plan.signing is Signing.AT_ONCE else plan.why
        log.info("agreement begins", height=self.height, plan=plan.why)
        resumes = plan.wal in (WalAction.REPLAY, WalAction.REPLAY_AND_DECIDE)
        contents = found if resumes else None
        task_status.started()
        while not self._is_halted():
            contents = await self._one_height(contents)
            while contents is None and self._network.is_behind() and not self._is_halted():
                await self._wait_for_blocks()
        log.info("halted where it was told to", height=self.height - 1)
        self.halted()
        await trio.sleep_forever()

    def _is_halted(self) -> bool:
        return 0 < self.halt_at < self.height

    async def _wait_for_blocks(self) -> None:
        """Take final blocks instead of beginning a height that is decided long ago."""
        item: Item | None = None
        with trio.move_on_after(BLOCKS_WAIT_S):
            item = await self._inbox.receive()
        # Outside the wait: cut short, whoever brought the blocks would wait for ever.
        if isinstance(item, Overtaken):
            await self._follow(item)

    async def _one_height(self, contents: WalContents | None) -> WalContents | None:
        """Agree on a height, or leave it; returns the log to enter the same height again with, if so."""
        start = self._start()
        self._blocks, self._executed, self._decision = {}, {}, None
        self._own.clear()
        async with trio.open_nursery() as tasks:
            self._tasks = tasks
            self._network.at_height(start)
            if self._watch is not None:
                tasks.start_soon(self._clocks.watch, start, self._watch, self._network)
            if contents is None:
                self._wal = await HeightLog.begin(
                    self._files, self._rules.genesis, start.height, self._disk_refused
                )
                if not self._wal.is_silent:
                    self.disk.end()
                self.state, effects = step(None, start)
            else:
                effects = await self._resume(start, contents)
            await self._perform_all(effects)
            await self._apply_own()
            left: Overtaken | WatchOver | RoomAgain | None = None
            while self._decision is None and left is None:
                left = await self._next(start)
            tasks.cancel_scope.cancel()
        decided = self._decision
        if decided is None:
            return await self._leave(left)
        executed = self._executed.get(decided.block_id)
        # Outside the height's nursery: a decided block is committed whole, whatever is cancelled.
        with trio.CancelScope(shield=True):
            if executed is None:
                block = self._blocks[decided.block_id]
                executed = await self._production.execute(block, is_decided=True)
            await self._execution.commit(executed, decided.commit)
            self._late.follow(self.state)
            self._wal.close()
            await self._finished(executed, decided.commit)
        return None

    def _disk_refused(self, fault: Fault) -> None:
        """Nothing more is signed at this height, until it is entered anew; the chain is followed."""
        self.disk.begin(fault)
        self._tasks.start_soon(self._clocks.room, self.height, self.disk)

    async def _next(self, start: StartHeight) -> Overtaken | WatchOver | RoomAgain | None:
        """Take one item; return it if it ends this height without a decision of this node's own."""
        item = await self._inbox.receive()
        match item:
            case Overtaken(blocks=blocks):
                if any(final.block.header.height == start.height for final in blocks):
                    return item
                item.done.set()
            case WatchOver(height=height):
                return item if height == start.height and self._watch is not None else None
            case RoomAgain(height=height):
                return item if height == start.height else None
            case Arrival() | ProposalDue() if item.height == start.height:
                await self._take(item)
            case Arrival(height=height) if height == start.height - 1:
                await self._perform_all(self._late.take(height, item.event))
        return None

    async def _leave(self, why: Overtaken | WatchOver | RoomAgain | None) -> WalContents | None:
        """End a height undecided. Whatever was signed in it stays in its log until its block is final."""
        self._wal.close()
        if isinstance(why, Overtaken):
            await self._follow(why)
            return None
        contents = await trio.to_thread.run_sync(read_wal, self._files, self._rules.genesis)
        # When the disk refused the log of this height, the one before it is still there.
        return contents if contents is not None and contents.height == self.height else None

    async def _follow(self, item: Overtaken) -> None:
        """Apply final blocks; one that this node finds invalid means that this node is wrong."""
        for final in item.blocks:
            height, block = final.block.header.height, final.block
            if height != self.height or self._is_halted():
                continue
            if self._watch is not None and self._guard is not None:
                view = heads.view(self._execution.ledger, self._rules)
                look_in_commit(self._watch, self._guard.public, view, height, final.commit)
                self._watch.begin_again(height)
            with trio.CancelScope(shield=True):
                try:
                    executed = await self._production.execute(block, is_decided=True)
                except Fault as fault:
                    log.error("a final block is found invalid", height=height, why=str(fault))
                    raise Fault(DIVERGED, height=height, block=final.block_id) from fault
                await self._execution.commit(executed, final.commit)
                await self._finished(executed, final.commit)
            await trio.lowlevel.checkpoint()
        item.done.set()

    def _is_watching(self, height: int) -> bool:
        """Whether nothing may be signed yet; adopts the new place when the watch is over."""
        if self._watch is None or not self._watch.is_over(height):
            return self._watch is not None
        assert self._guard is not None, "only a node with a key watches for its twin"
        if take_place(self._guard, self.disk):
            self._watch = None
            log.info("no twin was seen: this node signs from now on", height=height)
        return self._watch is not None

    def _start(self) -> StartHeight:
        self._rules.require_version(self.height)
        view = heads.view(self._execution.ledger, self._rules)
        head = heads.head(view)
        validators = heads.validators_at(view, head.height + 1)
        assert validators, "a height has validators"
        me = None
        is_watching = self._is_watching(head.height)
        if self._signer is not None and not is_watching and head.height + 1 > self._silent_up_to:
            me = next((i for i, v in enumerate(validators) if v.key == self._signer.public), None)
            self.why_silent = "" if me is not None else "the key is not in the validator set"
        interval = self._rules.params.chain.block_interval_ms
        earliest = head.time_ms + interval
        return StartHeight(head.height + 1, validators, me, head.beacon, earliest, self._timeouts)

    async def _resume(self, start: StartHeight, contents: WalContents) -> Effects:
        self._wal = await HeightLog.resume(self._files, contents, self._disk_refused)
        self._blocks = {i: BLOCK.decode(data) for i, data in contents.blocks().items()}
        for block_id, block in self._blocks.items():
            # Perhaps nobody else has it: who is locked on it must be able to propose it again.
            self._network.offer_block(block_id, block)
        inputs = await judge_again(contents.inputs(), start.height, self._is_valid)
        replayed: Replayed = replay(start, inputs)
        self.state = replayed.state
        log.info("resumed from the log", height=start.height, inputs=len(inputs))
        return replayed.open

    async def _take(self, item: Arrival | ProposalDue) -> None:
        """Apply one input: log it if it changes anything, then do what it asks; then what it made us say."""
        if isinstance(item, ProposalDue):
            await self._sign_proposal(item.effect)
        else:
            await self._apply(item)
        await self._apply_own()

    async def _apply(self, item: Arrival) -> None:
        event = item.event
        if self._watch is not None and self._guard is not None and self.state is not None:
            look_for_twin(self._watch, self._guard.public, self.state.start.validators, event)
        after, effects = step(self.state, event)
        if after is not self.state:
            if isinstance(event, BlockBuilt | BlockReceived):
                # Replay relies on a block's bytes, so they stand before the input that says it is here.
                self._wal.append_block(event.block_id, encode(self._blocks[event.block_id]))
            self._wal.append_input(event, is_own=item.is_own)
            self.state = after
        await self._perform_all(effects)

    async def _apply_own(self) -> None:
        """Feed back what this node signed, in order, until nothing new is said or the height is decided."""
        while self._own and self._decision is None:
            await self._apply(self._own.popleft())

    async def _perform_all(self, effects: Effects) -> None:
        for effect in effects:
            await self._perform(effect)

    async def _perform(self, effect: Effect) -> None:
        match effect:
            case Took(line=line, round=round_):
                log.debug("took", line=line, round=round_, height=self.height)
            case BuildBlock(round=round_):
                self._tasks.start_soon(self._build, self.height, round_)
            case SignAndSendProposal():
                time_ms = self._blocks[effect.block_id].header.time_ms
                self._tasks.start_soon(self._clocks.proposal, self.height, effect, time_ms)
            case SignVote():
                await self._sign_vote(effect)
            case ScheduleTimeout():
                self._tasks.start_soon(self._clocks.timeout, self.height, effect)
            case RequestBlock(block_id=block_id) if block_id in self._blocks:
                self._tasks.start_soon(self._send.send, Arrival(self.height, BlockReceived(block_id)))
            case RequestBlock(block_id=block_id):
                self._network.want_block(block_id)
            case RequestValidity(block_id=block_id):
                self._tasks.start_soon(self._judge, self.height, block_id)
            case Rebroadcast(messages=messages):
                for message in messages:
                    self._network.send(message)
            case Decide():
                self._decision = effect
            case ReportEvidence(evidence=evidence):
                self._evidence(evidence)
            case Diverged(certificate=certificate):
                self._tasks.start_soon(self._second_opinion, self.height, certificate.block_id)

    async def _build(self, height: int, round_: int) -> None:
        try:
            executed = await self._production.build(round_)
        except Fault as fault:  # reveals used up or of another chain: the turn passes, voting goes on
            log.error("this node cannot propose", height=height, round=round_, why=str(fault))
            return
        self._blocks[executed.block_id] = executed.block
        self._executed[executed.block_id] = executed
        self._network.offer_block(executed.block_id, executed.block, executed.names)
        await self._send.send(Arrival(height, BlockBuilt(round_, executed.block_id)))

    async def _judge(self, height: int, block_id: bytes) -> None:
        await self._send.send(Arrival(height, BlockChecked(block_id, await self._is_valid(block_id))))

    async def _is_valid(self, block_id: bytes) -> bool:
        if block_id not in self._executed:
            executed = await self._production.judge(self._blocks[block_id])
            if executed is not None:
                self._executed[block_id] = executed
        return block_id in self._executed

    async def _second_opinion(self, height: int, block_id: bytes) -> None:
        """Everybody else finds it valid: look once more, then stop rather than sign anything."""
        log.error("a quorum stands behind a block found invalid; executing it again", block=block_id.hex())
        executed = await self._production.judge_afresh(self._blocks[block_id])
        if executed is None:
            raise Fault(DIVERGED, height=height, block=block_id)
        self._executed[block_id] = executed
        await self._send.send(Arrival(height, BlockChecked(block_id, True)))

    async def _sign_proposal(self, effect: SignAndSendProposal) -> None:
        assert self._voice is not None, "the machine asks only a validator to sign"
        said = await self._voice.propose(self._wal, effect, self._blocks[effect.block_id])
        if said is not None:
            self._own.append(said)

    async def _sign_vote(self, effect: SignVote) -> None:
        assert self._voice is not None, "the machine asks only a validator to sign"
        assert self.state is not None, "votes belong to a height"
        me = self.state.start.me
        assert me is not None, "only a member of the set votes"
        block = None if effect.block_id is None else self._blocks[effect.block_id]
        said = await self._voice.vote(self._wal, effect, me, block)
        if said is not None:
            self._own.append(said)
