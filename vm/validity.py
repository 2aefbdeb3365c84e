"""What makes a block valid before it is executed: its header, its commit, its transactions' form.

Here: `check_block` and its parts, each a function of the parent's state and the bytes alone.
Not here: whether a proposal is acceptable now (consensus/agreement), execution (vm/transition.py), roots
of the outcome (the caller compares them).
Keeps: the answer never depends on when or why it is asked: voting, deciding and syncing ask the same.
Errors: 1903–1914.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from consensus.beacon import is_reveal_of
from consensus.types.block import Block, Commit, Header, commit_hash, txs_root
from consensus.types.errors import Fault, Reason
from consensus.types.transaction import Candidate, SignatureCheck
from consensus.types.vote import PRECOMMIT, vote_hash
from consensus.validators import ValidatorSet, is_quorum, proposer, validators_hash
from vm import head as heads
from vm.head import Head
from vm.rules import Rules
from vm.state import State
from vm.validator import VALIDATORS

ROUND_MAX = 2**32 - 1
"""Rounds are drawn for as u32."""

_FAULTY = "The proposer is faulty or runs other rules; the block is refused."

WRONG_VERSION = Reason(
    1903, "wrong_version", "version:count expected:count",
    "The header has version {version}; at this height it is {expected}.", _FAULTY,
)  # fmt: skip
WRONG_HEIGHT = Reason(
    1904, "wrong_height", "height:height expected:height",
    "The header is of height {height}; the next one is {expected}.", _FAULTY,
)  # fmt: skip
WRONG_PARENT = Reason(
    1905, "wrong_parent", "parent:hash expected:hash",
    "The header names the parent {parent}; the head is {expected}.", _FAULTY,
)  # fmt: skip
WRONG_PROPOSER = Reason(
    1906, "wrong_proposer", "proposer:address expected:address round:count",
    "The header names the proposer {proposer}; round {round} is {expected}'s.", _FAULTY,
)  # fmt: skip
WRONG_REVEAL = Reason(
    1907, "wrong_reveal", "proposer:address",
    "The header's reveal is not the preimage of {proposer}'s commitment.", _FAULTY,
)  # fmt: skip
BLOCK_TOO_EARLY = Reason(
    1908, "block_too_early", "time_ms:count earliest_ms:count",
    "The header's time is {time_ms}; after its parent it is {earliest_ms} at the earliest.", _FAULTY,
)  # fmt: skip
WRONG_HASH = Reason(
    1909, "wrong_hash", "what:text stated:hash found:hash",
    "The header states the {what} {stated}; it is {found}.", _FAULTY,
)  # fmt: skip
COMMIT_MISSING = Reason(
    1910, "commit_missing", "height:height",
    "The block of height {height} lacks the commit of its parent, or the first block has one.", _FAULTY,
)  # fmt: skip
COMMIT_OF_ANOTHER_BLOCK = Reason(
    1911, "commit_of_another_block", "block:hash expected:hash",
    "The commit is for the block {block}, not for {expected}.", _FAULTY,
)  # fmt: skip
COMMIT_TOO_WEAK = Reason(
    1912, "commit_too_weak", "power:ppb",
    "The commit holds {power} of the power; more than two thirds are needed.", _FAULTY,
)  # fmt: skip
COMMIT_UNSIGNED = Reason(
    1913, "commit_unsigned", "height:height",
    "A signature of the commit for height {height} does not verify.", _FAULTY,
)  # fmt: skip
BLOCK_TOO_LARGE = Reason(
    1914, "block_too_large", "bytes:bytes transactions:count bytes_max:bytes transactions_max:count",
    "The block has {transactions} transactions of {bytes} together; {transactions_max} and {bytes_max} "
    "are the most.", _FAULTY,
)  # fmt: skip

VerifyBatch = Callable[[Sequence[SignatureCheck]], bool]
"""Whether all signatures verify; the node has workers for it, tests a loop."""


class BlockInvalid(Fault):
    """The block breaks a rule; the reason says which, its facts name the transaction if it is one's."""


def check_block(
    state: State, rules: Rules, block: Block, candidates: Sequence[Candidate[Any]], parent: bytes,
    verify_batch: VerifyBatch, *, txs_root_found: bytes | None = None,
) -> None:  # fmt: skip
    """Raise `BlockInvalid` unless the block may follow `parent`, the id of the head that `state` views.

    `candidates` are the block's transactions, decoded by vm/registry.py, their signatures verified;
    `txs_root_found` is their root, if the caller has computed it in slices.
    """
    check_header(state, rules, block.header, parent)
    check_sizes(rules, block.transactions)
    root = txs_root([c.wtxid for c in candidates]) if txs_root_found is None else txs_root_found
    _check_hash("transactions root", block.header.txs_root, root)
    _check_hash("last commit hash", block.header.last_commit_hash, commit_hash(block.last_commit))
    height = block.header.height
    if (block.last_commit is None) != (height == 1):
        raise BlockInvalid(COMMIT_MISSING, height=height)
    if block.last_commit is not None:
        signers = heads.validators_at(state, height - 1)
        assert signers is not None, "the head's set is kept"
        check_commit(rules, block.last_commit, height - 1, parent, signers, verify_batch)


def check_header(state: State, rules: Rules, header: Header, parent: bytes) -> None:
    """The header against the head that `state` views: no transactions, no commit, no roots."""
    before = heads.head(state)
    height = before.height + 1
    if header.height != height:
        raise BlockInvalid(WRONG_HEIGHT, height=header.height, expected=height)
    version = rules.version_at(height)
    if header.version != version:
        raise BlockInvalid(WRONG_VERSION, version=header.version, expected=version)
    if header.parent != parent:
        raise BlockInvalid(WRONG_PARENT, parent=header.parent, expected=parent)
    validators = heads.validators_at(state, height)
    assert validators, "a height has validators"
    _check_hash("validators hash", header.validators_hash, validators_hash(validators))
    check_proposal_header(state, rules, header, before, validators)


def check_proposal_header(
    state: State, rules: Rules, header: Header, before: Head, validators: ValidatorSet
) -> None:
    """Who proposes, what it reveals, and the rule of time that caps issuance."""
    if header.round > ROUND_MAX:
        raise BlockInvalid(
            WRONG_PROPOSER, proposer=header.proposer, expected=header.proposer, round=header.round
        )
    expected = proposer(validators, before.beacon, header.height, header.round).address
    if header.proposer != expected:
        raise BlockInvalid(WRONG_PROPOSER, proposer=header.proposer, expected=expected, round=header.round)
    account = state.get(VALIDATORS, expected)
    assert account is not None, "whoever stands in a set has a record"
    if not is_reveal_of(header.reveal, account.reveal):
        raise BlockInvalid(WRONG_REVEAL, proposer=expected)
    earliest = before.time_ms + rules.params.chain.block_interval_ms
    if header.time_ms < earliest:
        raise BlockInvalid(BLOCK_TOO_EARLY, time_ms=header.time_ms, earliest_ms=earliest)


def check_sizes(rules: Rules, transactions: Sequence[bytes]) -> None:
    """Number and bytes of the transactions; header and commit have their own bounds."""
    chain = rules.params.chain
    size = sum(len(raw) for raw in transactions)
    if len(transactions) > chain.block_transactions_max or size > chain.block_bytes_max:
        raise BlockInvalid(
            BLOCK_TOO_LARGE,
            bytes=size,
            transactions=len(transactions),
            bytes_max=chain.block_bytes_max,
            transactions_max=chain.block_transactions_max,
        )


def check_commit(
    rules: Rules, commit: Commit, height: int, block: bytes, validators: ValidatorSet,
    verify_batch: VerifyBatch,
) -> None:  # fmt: skip
    """More than two thirds of `validators` precommitted `block` at `height`; raises `BlockInvalid`."""
    if commit.block_id != block:
        raise BlockInvalid(COMMIT_OF_ANOTHER_BLOCK, block=commit.block_id, expected=block)
    try:
        signers = [validators[position] for position in commit.signers(len(validators))]
    except Fault as fault:
        raise BlockInvalid(fault.reason, **fault.facts) from None
    power = sum(validator.power for validator in signers)
    if not is_quorum(power):
        raise BlockInvalid(COMMIT_TOO_WEAK, power=power)
    message = vote_hash(rules.genesis, PRECOMMIT, height, commit.round, block)
    checks = [
        SignatureCheck(validator.key, message, signature)
        for validator, signature in zip(signers, commit.signatures, strict=True)
    ]
    if not verify_batch(checks):
        raise BlockInvalid(COMMIT_UNSIGNED, height=height)


def _check_hash(what: str, stated: bytes, found: bytes) -> None:
    if stated != found:
        raise BlockInvalid(WRONG_HASH, what=what, stated=stated, found=found)
