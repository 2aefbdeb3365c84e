"""Double signing: what proves it, what it costs, what it never costs twice."""

from __future__ import annotations

import pytest

from consensus.types.amounts import eubc
from consensus.types.errors import Reason, Rejected
from consensus.types.params import DEV
from consensus.types.vote import PRECOMMIT, PREVOTE, PROPOSAL, proposal_hash, vote_hash
from tests.world import Operator, World
from vm import evidence, stake
from vm.evidence import (
    ALREADY_TOMBSTONED,
    EVIDENCE_TOO_OLD,
    EVIDENCE_UNSIGNED,
    INFRACTIONS,
    OFFENDER_UNKNOWN,
    VOTES_NOT_OPPOSED,
    Said,
    SubmitEvidence,
)
from vm.fees import EVIDENCE_MAX
from vm.inclusion import TOO_MUCH_EVIDENCE
from vm.stake import Bond, Unbond
from vm.transition import BlockInvalid
from vm.validator import KEYS, NO_VALIDATOR, TOMBSTONED, VALIDATORS, Unjail

A, B = bytes([1]) * 32, bytes([2]) * 32


def two_votes(
    world: World,
    name: str,
    height: int = 1,
    *,
    kind: int = PRECOMMIT,
    ids: tuple[bytes | None, bytes | None] = (A, B),
    round_: int = 0,
) -> SubmitEvidence:
    """Two signed messages of an operator."""
    operator = world[name]
    assert isinstance(operator, Operator)
    genesis = world.rules.genesis

    def signed(identity: bytes | None) -> bytes:
        if kind == PROPOSAL:
            assert identity is not None
            return operator.consensus.sign(proposal_hash(genesis, height, round_, identity, None))
        return operator.consensus.sign(vote_hash(genesis, kind, height, round_, identity))

    return SubmitEvidence(
        kind, height, round_, operator.consensus.public,
        Said(ids[0], None), signed(ids[0]), Said(ids[1], None), signed(ids[1]),
    )  # fmt: skip


def left_out(world: World, payload: SubmitEvidence) -> Reason:
    """Why no block takes this evidence."""
    world.submit_evidence(payload)
    cause = world.block().skipped[0].cause
    assert isinstance(cause, Rejected)
    return cause.reason


@pytest.mark.parametrize("kind", [PROPOSAL, PREVOTE, PRECOMMIT])
def test_a_double_signer_loses_a_twentieth_and_its_validator(kind: int) -> None:
    world = World(validators=5)
    world.block()
    base = stake.slashable(world.view, world["v4"].address)
    txid = world.submit_evidence(two_votes(world, "v4", kind=kind))
    world.block()
    includer = world.headers[-1].proposer
    assert world.receipts[txid].fee == 0
    taken = base // 20
    assert world.stake("v4").bonded == base - taken
    infraction = world.read(INFRACTIONS, world["v4"].address)
    assert (infraction.power, infraction.base, infraction.taken) == (200_000_000, base, taken)
    assert infraction.proposer == includer
    assert world.read(VALIDATORS, world["v4"].address).status == TOMBSTONED
    assert world.read(KEYS, world["v4"].consensus.public).retired  # type: ignore[attr-defined]  # an operator
    assert world.supply().burned == taken - taken // 10
    world.check()
    world.until_epoch_end()
    assert world["v4"].address not in {v.address for v in world.validators}
    world.refuse("v4", Unjail(), NO_VALIDATOR)


def test_at_the_epochs_end_the_loss_grows_with_the_power_that_signed_twice() -> None:
    world = World(validators=5)
    world.block()
    base = world.stake("v4").bonded
    world.submit_evidence(two_votes(world, "v4"))
    world.until_epoch_end()
    # One fifth of power alone: 3/5 of its stake.
    assert world.stake("v4").bonded == base - base * 3 // 5
    assert world.read(INFRACTIONS, world["v4"].address).taken == base * 3 // 5
    world.submit_evidence(two_votes(world, "v3"))
    world.until_epoch_end()
    # Two fifths: a fork needs a third and costs everything.
    assert world.stake("v4").bonded == 0
    assert world.stake("v3").bonded == 0
    world.check()


def test_what_is_taken_once_is_not_taken_again() -> None:
    world = World(validators=5)
    world.block()
    world.submit_evidence(two_votes(world, "v4"))
    world.until_epoch_end()
    held = world.stake("v4").bonded
    world.until_epoch_end()
    assert world.stake("v4").bonded == held
    world.until_epoch_end()
    world.until_epoch_end()
    assert world.read(INFRACTIONS, world["v4"].address) is None, "forgotten after its period"


def test_bonds_added_after_the_offence_are_not_owed() -> None:
    world = World(validators=5)
    world.block()
    for name in ("v3", "v4"):
        world.submit_evidence(two_votes(world, name))
    world.until_epoch_end()
    assert world.stake("v4").bonded == 0
    world.succeed("v4", Bond(eubc(50)))
    world.until_epoch_end()
    assert world.stake("v4").bonded == eubc(50)


def test_unbonding_does_not_escape() -> None:
    world = World(validators=5)
    world.succeed("v4", Unbond(eubc(9_999)))
    world.submit_evidence(two_votes(world, "v4"))
    world.block()
    held = world.stake("v4")
    assert held.bonded == eubc(1)
    assert held.unbonding[0].amount == eubc(9_999) - eubc(500)


def test_one_offender_is_punished_once_even_within_a_block() -> None:
    world = World(validators=5)
    world.block()
    world.submit_evidence(two_votes(world, "v4"))
    world.submit_evidence(two_votes(world, "v4", ids=(None, B)))
    outcome = world.block()
    assert len(outcome.included) == 1
    cause = outcome.skipped[0].cause
    assert isinstance(cause, Rejected)
    assert cause.reason is ALREADY_TOMBSTONED


def test_evidence_that_proves_nothing_makes_a_block_invalid() -> None:
    world = World(validators=5)
    world.block()
    good = two_votes(world, "v4")
    world.submit_evidence(good)
    block, outcome = world.build(world.pending)
    world.pending = []
    world.submit_evidence(two_votes(world, "v4", height=50))
    with pytest.raises(BlockInvalid) as refusal:
        world.validate_transactions(block, [*outcome.included, world.pending[0]])
    assert refusal.value.facts["index"] == 1
    assert refusal.value.facts["code"] == EVIDENCE_TOO_OLD.code


def test_a_wrong_signature_is_no_evidence() -> None:
    world = World(validators=5)
    world.block()
    mine, theirs = two_votes(world, "v4"), two_votes(world, "v3")
    forged = SubmitEvidence(mine.kind, 1, 0, mine.key, mine.a, mine.signature_a, mine.b, theirs.signature_b)
    assert left_out(world, forged) is EVIDENCE_UNSIGNED


def test_only_a_member_of_that_heights_set_can_be_accused() -> None:
    world = World(validators=2)
    stranger = world.add_operator("stranger")
    world.block()
    assert left_out(world, two_votes(world, stranger.name)) is OFFENDER_UNKNOWN


def test_evidence_counts_within_its_period_only() -> None:
    world = World(validators=5)
    period = DEV.validators.evidence_epochs
    world.until_height(DEV.chain.epoch_blocks * (period + 1) - 1)
    late = World(validators=5)
    late.until_height(DEV.chain.epoch_blocks * (period + 1))
    world.submit_evidence(two_votes(world, "v4", height=20))
    assert len(world.block().included) == 1
    assert left_out(late, two_votes(late, "v4", height=20)) is EVIDENCE_TOO_OLD
    assert left_out(late, two_votes(late, "v4", height=0)) is EVIDENCE_TOO_OLD
    assert left_out(late, two_votes(late, "v4", height=late.height + 2)) is EVIDENCE_TOO_OLD


@pytest.mark.parametrize(
    ("kind", "a", "b"),
    [
        (PRECOMMIT, Said(A, None), Said(A, None)),
        (PRECOMMIT, Said(B, None), Said(A, None)),
        (PRECOMMIT, Said(A, None), Said(None, None)),
        (PRECOMMIT, Said(A, 0), Said(B, None)),
        (PROPOSAL, Said(None, None), Said(B, None)),
    ],
)
def test_messages_that_do_not_contradict_are_refused_before_any_state(kind: int, a: Said, b: Said) -> None:
    world = World()
    payload = SubmitEvidence(kind, 1, 0, bytes(32), a, bytes(64), b, bytes(64))
    with pytest.raises(Rejected) as refusal:
        world.submit_evidence(payload)
    assert refusal.value.reason is VOTES_NOT_OPPOSED


def test_a_block_holds_sixteen_pieces_of_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(validators=5)
    world.block()
    monkeypatch.setattr("vm.fees.EVIDENCE_MAX", 1)
    for name in ("v3", "v4"):
        world.submit_evidence(two_votes(world, name))
    outcome = world.block()
    assert len(outcome.included) == 1
    cause = outcome.skipped[0].cause
    assert isinstance(cause, Rejected)
    assert cause.reason is TOO_MUCH_EVIDENCE
    assert EVIDENCE_MAX == 16


def test_the_including_proposer_has_a_tenth_of_every_rise() -> None:
    world = World(validators=5)
    world.block()
    base = world.stake("v4").bonded
    world.submit_evidence(two_votes(world, "v4"))
    world.until_epoch_end()
    taken = [
        facts[-1] for kind in (evidence.DOUBLE_SIGN, evidence.CORRELATED) for facts in world.events(kind.code)
    ]
    assert sum(int(amount) for amount in taken) == base * 3 // 5
    assert world.supply().burned == sum(int(amount) - int(amount) // 10 for amount in taken)
    world.check()
