"""Classic bugs, planted into the production code for as long as a test runs.

Here: the bugs, each a context manager. Not here: who finds them (test_planted_bugs.py).
Keeps: nothing of this exists outside tests; each is one wrong line, put in place of the right one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import trio

from consensus.agreement import machine, rules, state, votes
from consensus.agreement.effects import SignVote
from consensus.agreement.inputs import ProposalReceived, VoteReceived
from consensus.agreement.messages import Vote
from consensus.types.block import Block
from consensus.types.codec import encode
from consensus.types.vote import vote_hash
from eubchain.node import hearing, voice
from eubchain.node.arrivals import Arrival
from eubchain.node.height_log import HeightLog
from eubchain.node.wal import Wal
from tests.sim import node as small_node
from tests.sim.whole import node as whole_node
from tests.sim.whole import sparks
from vm.claims import take_as_true

Bug = Callable[[], Any]


@contextmanager
def _instead(*places: tuple[Any, str], of: Any) -> Iterator[None]:
    """Put one thing in several places."""
    with ExitStack() as stack:
        for module, name in places:
            stack.enter_context(patch.object(module, name, of))
        yield


def dropped_lock() -> Any:
    """L23, L29: whoever precommitted votes for anything else as if it had not."""
    places = ((rules, "is_free"), (state, "is_free"))
    return _instead(*places, of=lambda here, block_id, valid_round: True)


def vote_counted_twice() -> Any:
    """A vote that comes again counts again."""

    def add_vote(book: votes.VoteBook, vote: Vote, current_round: int) -> tuple[votes.VoteBook, Vote | None]:
        if vote.round > current_round:
            return votes._add_future_vote(book, vote, current_round)
        tally = votes.tally_of(book, vote.round, vote.kind)
        counted = votes._count(tally, vote, book.powers[vote.validator])
        return votes._put(book, vote.round, vote.kind, counted), None

    return _instead((votes, "add_vote"), (machine, "add_vote"), of=add_vote)


def old_proof_of_lock() -> Any:
    """L29 without `lockedRound <= vr`: any polka frees from a lock, also one from before it."""

    def is_free(here: state.State, block_id: bytes, valid_round: int | None) -> bool:
        return here.locked is None or here.locked.block_id == block_id or valid_round is not None

    return _instead((rules, "is_free"), (state, "is_free"), of=is_free)


def unseen_proof_of_lock() -> Any:
    """L28 without its polka: the proposer's word for it is enough."""
    return _instead((rules, "has_its_polka"), (state, "has_its_polka"), of=lambda here, received: True)


def forgotten_log() -> Any:
    """The write-ahead log is written and never read."""
    places = ((whole_node, "read_wal"), (small_node, "read_wal"))
    return _instead(*places, of=lambda files, genesis: None)


def body_not_in_the_log() -> Any:
    """The log says that a block is here, and does not hold it."""

    def append_block(self: Wal, block_id: bytes, data: bytes) -> None:
        self._blocks.add(block_id)

    return _instead((Wal, "append_block"), of=append_block)


def guard_after_send() -> Any:
    """A vote is sent first and remembered then."""

    async def vote(
        self: voice.Voice, height_log: HeightLog, effect: SignVote, me: int, block: Block | None
    ) -> Arrival | None:
        if effect.block_id is not None:
            assert block is not None
            height_log.append_block(effect.block_id, encode(block))
        guard: Any = self._signer
        text = vote_hash(guard._genesis, effect.kind, effect.height, effect.round, effect.block_id)
        signed = guard._key.sign(text)
        said = Vote(effect.kind, effect.height, effect.round, effect.block_id, me, signed)
        self._network.send(said)

        def sign() -> Any:
            height_log.sync()
            return guard.sign_vote(effect.kind, effect.height, effect.round, effect.block_id)

        await trio.to_thread.run_sync(sign)
        return Arrival(effect.height, VoteReceived(said), is_own=True)

    return _instead((voice.Voice, "vote"), of=vote)


def any_time_is_timely() -> Any:
    """A proposal's time is not compared with the clock."""
    return _instead((hearing, "is_timely"), of=lambda time_ms, arrived_ms, round_, chain: True)


def shares_believed() -> Any:
    """Proofs of compute are taken for true without a look."""
    return _instead((sparks, "judge_once"), of=take_as_true)


def header_round_is_the_proposals() -> Any:
    """A block that is proposed again must name the new round, which it never does."""

    def is_acceptable(received: ProposalReceived) -> bool:
        proposal = received.proposal
        is_timely = received.is_timely or proposal.valid_round is not None
        return received.header_round == proposal.round and is_timely

    return _instead((rules, "is_acceptable"), (state, "is_acceptable"), of=is_acceptable)
