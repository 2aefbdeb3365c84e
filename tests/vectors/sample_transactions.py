"""Transactions for vectors: a payload of every type, envelopes of one key, of several, of none.

Here: the keys, the samples, the signing. Not here: what is published of them (generate_encodings.py), what is
refused (refusals.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from consensus.resource.proof import Proof
from consensus.types.address import key_address, multisig_address
from consensus.types.amounts import eubc
from consensus.types.codec import encode
from consensus.types.genesis import (
    possession_hash,
)
from consensus.types.keys import SecretKey
from consensus.types.transaction import (
    Body,
    KeyAuth,
    MultisigAuth,
    Transaction,
    sign_hash,
)
from consensus.types.vote import PRECOMMIT, PROPOSAL, proposal_hash, vote_hash
from tests.market import HARDWARE, RECIPIENT, post_of
from vm import resource
from vm.account import MultiTransfer, Output, Transfer
from vm.evidence import Said, SubmitEvidence
from vm.spark import RegisterSpark, RetireSpark, UpdateSpark
from vm.stake import Bond, Unbond
from vm.task import payloads as task
from vm.validator import NewKey, RegisterValidator, Unjail, UpdateValidator

CHAIN_ID = "eub-dev-vectors"
GENESIS = bytes(range(32))
HASH = bytes(range(32, 64))
KEYS = sorted((SecretKey(bytes([number]) * 32) for number in range(1, 17)), key=lambda secret: secret.public)
ALICE, BOB = key_address(KEYS[0].public), key_address(KEYS[1].public)


def payload_samples() -> tuple[Any, ...]:
    """One payload of every type, and a second where fields may be absent."""
    possession = KEYS[2].sign(possession_hash(CHAIN_ID, ALICE))
    return (
        Transfer(BOB, eubc(1)),
        MultiTransfer((Output(BOB, 1), Output(ALICE, 10**17 - 1))),
        Bond(eubc(100)),
        Unbond(2**32),
        RegisterValidator("alice", KEYS[2].public, possession, HASH),
        UpdateValidator("alice-2", NewKey(KEYS[2].public, possession), HASH),
        UpdateValidator(None, None, HASH),
        Unjail(),
        RegisterSpark(RECIPIENT, HARDWARE, 4, True, 1_000),
        UpdateSpark(RECIPIENT, HARDWARE, 64, False),
        RetireSpark(),
        resource.Prove(Proof(1, 1_000, 2, bytes.fromhex("00000000060000000100000012000000"))),
        post_of(),
        post_of(
            way=1, allow=(BOB,), avoid=(ALICE,), check=task.Check(HASH, 60), not_before=500, by_hand=True
        ),
        task.Offer(HASH, 0, eubc(4), 10),
        task.Match(HASH, BOB),
        task.Cancel(HASH),
        task.Grant(HASH, GENESIS, (task.SeatEnvelope(0, b"sealed"), task.SeatEnvelope(255, bytes(300)))),
        task.Start(HASH, 0, b""),
        task.Release(HASH, 127),
        task.Decline(HASH, 128, task.DeclineCode.OTHER),
        task.Deliver(HASH, 0, GENESIS, 65_536, ("blob:out",), HASH, RECIPIENT, b"sealed"),
        task.Fail(HASH, 0, task.FailCode.EXIT, 127, GENESIS, "s3://bucket/error"),
        task.Accept(HASH, 0, 100, 5),
        task.Reject(HASH, 0),
        task.Dispute(HASH, 0, task.DisputeKind.UNAVAILABLE),
        task.Appeal(HASH, 0),
        task.Sit(HASH, 0),
        task.Show(HASH, 0, BOB, b"sealed"),
        task.Seal(HASH, 0, GENESIS),
        task.Reveal(HASH, 0, GENESIS, GENESIS[:16]),
    )


def evidence_samples() -> tuple[SubmitEvidence, ...]:
    """Two prevotes, one of them for nil; two proposals of a round."""
    key, other = KEYS[3], bytes([255]) * 32
    votes = [key.sign(vote_hash(GENESIS, PRECOMMIT, 70_000, 2, said)) for said in (None, HASH)]
    proposals = [
        key.sign(proposal_hash(GENESIS, 70_000, 2, said, back)) for said, back in ((HASH, None), (other, 1))
    ]
    return (
        SubmitEvidence(
            PRECOMMIT, 70_000, 2, key.public, Said(None, None), votes[0], Said(HASH, None), votes[1]
        ),
        SubmitEvidence(
            PROPOSAL, 70_000, 2, key.public, Said(HASH, None), proposals[0], Said(other, 1), proposals[1]
        ),
    )


def signed_by_one(number: int, payload: Any) -> Transaction[Any]:
    """A transaction of ALICE's, its figures growing with its number through every length of an integer."""
    figure = min(2 ** (2 * number) - 1, 2**63 - 1)
    price = min(figure, 10**9)
    body = Body(1, CHAIN_ID, ALICE, figure, price, price // 2, figure, payload)
    return Transaction(body, KeyAuth(KEYS[0].public, KEYS[0].sign(sign_hash(GENESIS, encode(body)))))


def signed_by_several(keys: Sequence[SecretKey], threshold: int, chosen: Sequence[int]) -> Transaction[Any]:
    """A transfer by those keys of a multisig account."""
    public = tuple(key.public for key in keys)
    body = Body(1, CHAIN_ID, multisig_address(threshold, public), 0, 5, 1, 100, Transfer(BOB, eubc(1)))
    message = sign_hash(GENESIS, encode(body))
    bitmap = sum(1 << number for number in chosen).to_bytes((len(keys) + 7) // 8, "little")
    signatures = tuple(keys[number].sign(message) for number in chosen)
    return Transaction(body, MultisigAuth(threshold, public, bitmap, signatures))
