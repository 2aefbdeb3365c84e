"""Counting votes: who said what in which round, and which thresholds that reaches.

Here: tallies of rounds up to the current one, the highest round of each validator beyond it.
Not here: what a threshold causes (machine.py), signatures (verified before).
Keeps: all values are immutable; adding what is already there returns the same object, so that whoever
asks `is` knows whether anything changed. Memory is bounded: per round and kind one vote of each
validator counts and one conflicting vote is kept as evidence; of rounds to come only each validator's
highest is held, and far ahead not each of those. A certificate outranks what was counted: a validator
that signed twice cannot hide from one node, by the order of its votes, what more than two thirds said.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from consensus.agreement.inputs import ProposalReceived
from consensus.agreement.messages import Certificate, Vote, make_certificate
from consensus.types.vote import PREVOTE
from consensus.validators import is_honest_part, is_quorum

STRIDE_DIVISOR = 8
"""A validator that is g rounds ahead is heard again g // 8 rounds further on: near this node in every round,
and some two hundred times in all however high it goes."""


class Quorum(NamedTuple):
    """More than two thirds voted for this, None being nil."""

    block_id: bytes | None


class Tally(NamedTuple):
    """Votes of one kind in one round."""

    firsts: tuple[Vote | None, ...]
    """What counts, by position in the set."""
    conflicting: tuple[int, ...]
    """Validators that signed a second, different vote."""
    powers: tuple[tuple[bytes | None, int], ...]
    """Power behind each block or nil, in order of appearance."""
    power: int
    """Power of all that voted."""
    certificate: Certificate | None
    """Proof from elsewhere of a quorum that `firsts` does not show."""


class RoundVotes(NamedTuple):
    """Both kinds of one round."""

    prevotes: Tally
    precommits: Tally


class FutureVotes(NamedTuple):
    """What one validator said in the highest round it spoke in, beyond the current one."""

    round: int
    prevote: Vote | None
    precommit: Vote | None
    proposal: ProposalReceived | None
    is_conflicting: bool
    """It signed two different things of one kind there; reported once."""


class VoteBook(NamedTuple):
    """Everything said at one height."""

    powers: tuple[int, ...]
    """Power by position in the set."""
    rounds: Mapping[int, RoundVotes]
    """Rounds up to the current one in which anybody voted."""
    future: tuple[FutureVotes | None, ...]
    """By position in the set."""


def empty_book(powers: tuple[int, ...]) -> VoteBook:
    """A book for a set with these powers, in which nobody has spoken."""
    return VoteBook(powers, {}, (None,) * len(powers))


@lru_cache(maxsize=16)
def _empty_tally(size: int) -> Tally:
    return Tally((None,) * size, (), (), 0, None)


def tally_of(book: VoteBook, round_: int, kind: int) -> Tally:
    """The votes of one kind in a round."""
    votes = book.rounds.get(round_)
    if votes is None:
        return _empty_tally(len(book.powers))
    return votes.prevotes if kind == PREVOTE else votes.precommits


def _put(book: VoteBook, round_: int, kind: int, tally: Tally) -> VoteBook:
    size = len(book.powers)
    votes = book.rounds.get(round_) or RoundVotes(_empty_tally(size), _empty_tally(size))
    changed = votes._replace(prevotes=tally) if kind == PREVOTE else votes._replace(precommits=tally)
    return book._replace(rounds={**book.rounds, round_: changed})


def quorum_of(book: VoteBook, round_: int, kind: int) -> Quorum | None:
    """What more than two thirds voted for in this round, if they agree."""
    tally = tally_of(book, round_, kind)
    if tally.certificate is not None:
        return Quorum(tally.certificate.block_id)
    for block_id, power in tally.powers:
        if is_quorum(power):
            return Quorum(block_id)
    return None


def has_any_quorum(book: VoteBook, round_: int, kind: int) -> bool:
    """Whether more than two thirds voted, for whatever."""
    tally = tally_of(book, round_, kind)
    return tally.certificate is not None or is_quorum(tally.power)


def certificate_of(book: VoteBook, height: int, round_: int, kind: int) -> Certificate | None:
    """The proof of a round's quorum for a block; None if there is no quorum or it is for nil."""
    quorum = quorum_of(book, round_, kind)
    if quorum is None or quorum.block_id is None:
        return None
    tally = tally_of(book, round_, kind)
    if tally.certificate is not None:
        return tally.certificate
    signatures = {
        index: vote.signature
        for index, vote in enumerate(tally.firsts)
        if vote is not None and vote.block_id == quorum.block_id
    }
    return make_certificate(kind, height, round_, quorum.block_id, signatures, len(book.powers))


def add_vote(book: VoteBook, vote: Vote, current_round: int) -> tuple[VoteBook, Vote | None]:
    """Count a vote; the second value is the first vote that it newly conflicts with."""
    if vote.round > current_round:
        return _add_future_vote(book, vote, current_round)
    tally = tally_of(book, vote.round, vote.kind)
    first = tally.firsts[vote.validator]
    if first is None:
        return _put(book, vote.round, vote.kind, _count(tally, vote, book.powers[vote.validator])), None
    if first.block_id == vote.block_id or vote.validator in tally.conflicting:
        return book, None
    marked = tally._replace(conflicting=(*tally.conflicting, vote.validator))
    return _put(book, vote.round, vote.kind, marked), first


def _count(tally: Tally, vote: Vote, power: int) -> Tally:
    at = vote.validator
    known = dict(tally.powers)
    known[vote.block_id] = known.get(vote.block_id, 0) + power
    return tally._replace(
        firsts=(*tally.firsts[:at], vote, *tally.firsts[at + 1 :]),
        powers=tuple(known.items()),
        power=tally.power + power,
    )


def add_certificate(
    book: VoteBook, certificate: Certificate, current_round: int
) -> tuple[VoteBook, list[tuple[Vote, Vote]]]:
    """Count a certificate of a round up to the current one, vote by vote and as a whole.

    The second value are pairs of votes by which somebody signed twice.
    """
    assert certificate.round <= current_round, "the machine enters the round first"
    conflicts = []
    for vote in certificate.votes(len(book.powers)):
        book, first = add_vote(book, vote, current_round)
        if first is not None:
            conflicts.append((first, vote))
    if quorum_of(book, certificate.round, certificate.kind) == Quorum(certificate.block_id):
        return book, conflicts
    tally = tally_of(book, certificate.round, certificate.kind)
    if tally.certificate is None:
        tally = tally._replace(certificate=certificate)
        book = _put(book, certificate.round, certificate.kind, tally)
    return book, conflicts


def _slot(book: VoteBook, validator: int, round_: int, current_round: int) -> FutureVotes | None:
    """Where a validator's word for a round to come goes; None if it has spoken in a higher one.

    Far ahead it must go by strides: each change is written to the log, and it could name ever higher rounds.
    """
    slot = book.future[validator]
    if slot is None or slot.round < round_:
        stride = 0 if slot is None else (slot.round - current_round) // STRIDE_DIVISOR
        if slot is not None and round_ < slot.round + stride:
            return None
        return FutureVotes(round_, None, None, None, False)
    return slot if slot.round == round_ else None


def _put_slot(book: VoteBook, validator: int, slot: FutureVotes | None) -> VoteBook:
    return book._replace(future=(*book.future[:validator], slot, *book.future[validator + 1 :]))


def _add_future_vote(book: VoteBook, vote: Vote, current_round: int) -> tuple[VoteBook, Vote | None]:
    slot = _slot(book, vote.validator, vote.round, current_round)
    if slot is None:
        return book, None
    held = slot.prevote if vote.kind == PREVOTE else slot.precommit
    if held is None:
        added = slot._replace(prevote=vote) if vote.kind == PREVOTE else slot._replace(precommit=vote)
        return _put_slot(book, vote.validator, added), None
    if held.block_id == vote.block_id or slot.is_conflicting:
        return book, None
    return _put_slot(book, vote.validator, slot._replace(is_conflicting=True)), held


def add_future_proposal(
    book: VoteBook, received: ProposalReceived, proposer: int, current_round: int
) -> tuple[VoteBook, ProposalReceived | None]:
    """Keep a proposal of a round to come; the second value is the one that it newly conflicts with."""
    slot = _slot(book, proposer, received.proposal.round, current_round)
    if slot is None:
        return book, None
    if slot.proposal is None:
        return _put_slot(book, proposer, slot._replace(proposal=received)), None
    if slot.proposal.proposal.block_id == received.proposal.block_id or slot.is_conflicting:
        return book, None
    return _put_slot(book, proposer, slot._replace(is_conflicting=True)), slot.proposal


def skip_target(book: VoteBook, current_round: int) -> int | None:
    """The highest round that more than a third have reached or passed, if it is still to come.

    One of more than a third is honest, so an honest validator has really come this far.
    """
    if not any(book.future):
        return None
    ahead = [
        (slot.round, power)
        for slot, power in zip(book.future, book.powers, strict=True)
        if slot is not None and slot.round > current_round
    ]
    reached = 0
    for round_, power in sorted(ahead, reverse=True):
        reached += power
        if is_honest_part(reached):
            return round_
    return None


def enter(book: VoteBook, round_: int) -> tuple[VoteBook, list[ProposalReceived]]:
    """Count what was held back for rounds up to `round_`; returns the proposals among it too."""
    proposals = []
    for index, slot in enumerate(book.future):
        if slot is None or slot.round > round_:
            continue
        book = _put_slot(book, index, None)
        for vote in (slot.prevote, slot.precommit):
            if vote is not None:
                book, conflict = add_vote(book, vote, round_)
                assert conflict is None, "nothing was counted in a round to come"
        if slot.proposal is not None:
            proposals.append(slot.proposal)
    return book, proposals
