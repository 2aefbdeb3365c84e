"""Proving on chain: the lane, each refusal, and what a close does to sparks, stakes and the pool.

Proofs claim tiles at a difficulty of one, where every tile is a share, so verdicts are real and cheap; a
false share is one at the highest difficulty. Nothing here waits for the beacon: every height announces.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from consensus.resource import proof as proofs
from consensus.resource.difficulty import BARRED_EPOCHS, DIFFICULTY_MAX
from consensus.resource.proof import PANELS, PROOF_VERSION, Proof, Share, make_proof, share_bytes
from consensus.resource.windows import closes_at, last_proof_at, opens_at
from consensus.types.amounts import eubc
from consensus.types.errors import Reason, Rejected
from consensus.types.receipt import OK
from spark_node.prover.numpy_backend import NumpyBackend
from spark_node.prover.order import Assignment
from spark_node.prover.search import prove
from tests.proving import HARDWARE, RECIPIENT, TILES, Provers, always, edited
from vm import members, pools, resource
from vm.claims import claims, take_as_true
from vm.epoch import PROOF_PAID
from vm.fees import lane_units
from vm.measuring import ANNOUNCED, CLOSED, FALSE_SHARE, MISSED, VOID
from vm.members import Register
from vm.outage import OUTAGE
from vm.resource import PROVED, Prove
from vm.spark import NO_SPARK, SPARK_BOND_BELOW_MINIMUM, SPARKS, RegisterSpark, RetireSpark
from vm.stake import Bond, Unbond
from vm.windows import PROOFS


def test_a_real_proof_is_counted_and_moves_what_the_spark_is_worth() -> None:
    """The numpy prover searches for a real window; S grows by what it found, D follows, the pool pays."""
    world = Provers(difficulty=8)
    opened = world.until_open()
    world.block()
    last = world.window
    assert last.seed is not None
    assignment = Assignment(last.window.profile, opened, last.seed, world["alice"].address, 8)
    looks = iter([True] * 4)
    answer = prove(NumpyBackend(), assignment, lambda: next(looks, False))
    assert answer.dropped == 0
    found = answer.proof.count
    assert found >= 8

    receipt = world.succeed("alice", Prove(answer.proof))
    assert receipt.fee == receipt.units * world.params.fees.min_price
    world.until_closed()
    assert world.events(CLOSED.code)[-1] == (opened, 1, found, 1)
    after = world.spark("alice")
    assert after.capacity == (found * 8 << 16) // 8
    assert after.difficulty == (4 * 8 if found == 56 else 8 * (found + 32) // 64)
    before = world.balance("alice")
    world.until_epoch_end()
    assert world.balance("alice") - before > eubc(1)
    assert world.spark("alice").power > 0
    world.check()


# --------------------------------------------------------------------- the course of a window


def test_a_window_is_announced_seeded_sampled_and_closed_at_its_heights() -> None:
    world = Provers()
    world.until_announced()
    last = world.window
    assert last.window.announced == world.height
    assert (last.seed, last.sample_beacon, last.is_closed) == (None, None, False)
    opened, closes = opens_at(last.window), closes_at(last.window)
    assert world.events(ANNOUNCED.code)[-1] == (opened, last_proof_at(last.window), closes)
    world.until_height(opened)
    assert world.window.seed is None
    world.block()
    assert world.window.seed is not None
    world.until_height(last_proof_at(last.window))
    assert world.window.sample_beacon is None
    world.block()
    assert world.window.sample_beacon is not None
    world.until_height(closes)
    assert world.window.is_closed
    world.block()
    assert world.window.window.announced == closes + 1


def test_a_window_lives_by_the_parameters_of_its_announcement() -> None:
    world = Provers()
    world.until_announced()
    window = world.window.window
    resource_params = world.params.resource
    assert window.window_blocks == resource_params.window_blocks
    assert window.difficulty_min == resource_params.difficulty_min
    assert window.verify_budget == resource_params.verify_budget


# ----------------------------------------------------------------------------------- refusals


def proof_of(shares: Sequence[Share], window: int = 1, **changes: Any) -> Proof:
    """A proof without the checks of whoever builds one."""
    whole = Proof(PROOF_VERSION, window, len(shares), share_bytes(shares))
    return msgspec.structs.replace(whole, **changes)


MALFORMED: list[tuple[Proof, Reason]] = [
    (proof_of(TILES, version=2), proofs.PROOF_VERSION_UNKNOWN),
    (proof_of(TILES, count=55), proofs.PROOF_COUNT_WRONG),
    (proof_of([], count=1), proofs.PROOF_COUNT_WRONG),
    (proof_of([(0, 0)], count=57), proofs.PROOF_COUNT_WRONG),
    (proof_of([(1, 0), (0, 0)]), proofs.SHARES_OUT_OF_ORDER),
    (proof_of([(0, 1), (0, 1)]), proofs.SHARES_OUT_OF_ORDER),
    (proof_of([(PANELS, 0)]), proofs.SHARE_OUT_OF_RANGE),
    (proof_of([(0, PANELS)]), proofs.SHARE_OUT_OF_RANGE),
    (proof_of([(0, 2**32 - 1)]), proofs.SHARE_OUT_OF_RANGE),
]


@pytest.mark.parametrize(("malformed", "reason"), MALFORMED)
def test_a_malformed_proof_never_reaches_a_block(malformed: Proof, reason: Reason) -> None:
    """Form, order and range are checked without state: malformed is not false and costs no slash."""
    world = Provers()
    with pytest.raises(Rejected) as refusal:
        world.submit("alice", Prove(malformed))
    assert refusal.value.reason is reason


def test_57_shares_do_not_even_fit_the_schema() -> None:
    world = Provers()
    shares = [(p, q) for p in range(3) for q in range(19)]
    assert len(shares) == 57
    with pytest.raises(Rejected):
        world.submit("alice", Prove(proof_of(shares)))


def test_a_proof_counts_from_the_block_after_the_opening_one_to_the_last_of_grace() -> None:
    """One block early or late it is refused, pays its fee and is no false share."""
    world = Provers(("alice", "bob"))
    world.until_announced()
    last = world.window.window
    early = Prove(make_proof(opens_at(last), TILES))
    world.refuse("alice", early, resource.NO_OPEN_WINDOW)
    assert world.height == opens_at(last)
    world.succeed("alice", early)
    world.until_height(last_proof_at(last) - 1)
    world.succeed("bob", early)
    assert world.height == last_proof_at(last)
    world.refuse("bob", early, resource.NO_OPEN_WINDOW)
    world.until_closed()
    assert [world.spark(name).capacity for name in ("alice", "bob")] == [(56 << 16) // 8] * 2
    assert not world.events(FALSE_SHARE.code)


def test_a_proof_for_another_window_is_refused() -> None:
    world = Provers()
    opened = world.until_open()
    for other in (opened - 1, opened + 1, 0):
        world.refuse("alice", Prove(make_proof(other, TILES)), resource.OTHER_WINDOW)


def test_the_first_proof_counts_and_a_second_is_refused() -> None:
    world = Provers()
    world.until_open()
    world.prove("alice", TILES[:9])
    world.prove("alice", TILES)
    outcome = world.block()
    assert [receipt.code for receipt in outcome.receipts[:2]] == [OK, resource.ALREADY_PROVED.code]
    world.refuse("alice", Prove(make_proof(opens_at(world.window.window), TILES)), resource.ALREADY_PROVED)
    world.until_closed()
    assert world.spark("alice").capacity == (9 << 16) // 8


def test_an_account_without_a_spark_proves_nothing() -> None:
    world = Provers(("alice", "bob"))
    world.until_open()
    world.refuse("v0", Prove(make_proof(opens_at(world.window.window), TILES)), NO_SPARK)
    world.succeed("bob", RetireSpark())
    world.refuse("bob", Prove(make_proof(opens_at(world.window.window), TILES)), NO_SPARK)


def test_a_spark_proves_first_in_a_window_announced_after_its_epoch() -> None:
    """Registered in the epoch of the announcement it is too new, also when proofs are due in the next."""
    world = Provers()
    while True:
        world.until_announced()
        if world.height % world.params.chain.epoch_blocks not in (0, 19):
            break
        world.until_closed()
    world["dora"]
    world.submit("v0", Bond(eubc(5)))
    world.submit("v0", RegisterSpark(RECIPIENT, HARDWARE, 1, True, 1))
    opened = world.until_open()
    world.refuse("v0", Prove(make_proof(opened, TILES)), resource.SPARK_TOO_NEW)
    world.until_closed()
    while world.spark("v0").capacity == 0:
        opened = world.until_open()
        announced = world.window.window.announced
        registered = world.spark("v0").registered_epoch
        is_new = (announced - 1) // world.params.chain.epoch_blocks <= registered
        if is_new:
            world.refuse("v0", Prove(make_proof(opened, TILES)), resource.SPARK_TOO_NEW)
        else:
            world.succeed("v0", Prove(make_proof(opened, TILES)))
        world.until_closed()


def test_only_the_first_proof_in_time_of_a_spark_that_may_uses_the_lane() -> None:
    """A full block at any price leaves room for it; whoever may not prove pays the base price."""
    world = Provers(("alice", "bob"))
    opened = world.until_open()
    state = world.next_state()
    due = Prove(make_proof(opened, TILES))

    def is_due(name: str, payload: Prove = due) -> bool:
        return resource.is_due(state, world.call(name), payload)

    assert is_due("alice")
    assert is_due("bob")
    assert not is_due("v0")
    assert not is_due("alice", Prove(make_proof(opened + 1, TILES)))
    resource.prove(state, world.call("alice"), due)
    assert not is_due("alice")
    assert is_due("bob")
    assert not resource.is_due(world.view_at(opened), world.call("alice"), due)


def test_the_lane_of_a_block_holds_a_thousand_full_proofs() -> None:
    """At W = 4 that is all sparks of a development network many times over."""
    world = Provers()
    world.until_open()
    world.prove("alice")
    receipt = world.block().receipts[0]
    assert 1_000 * receipt.units < 2 * lane_units(world.params)


# ------------------------------------------------------------------------------ what a close does


@pytest.mark.parametrize(
    ("shares", "difficulty", "credited"),
    [(0, 4, 0), (7, 4, 0), (8, 10, 8), (31, 15, 31), (32, 16, 32), (55, 21, 55), (56, 64, 56)],
)
def test_difficulty_and_speed_follow_the_shares(shares: int, difficulty: int, credited: int) -> None:
    """D = 16; the judge says true; fewer than 8 earn nothing and quarter D; 56 fourfold it."""
    world = Provers(difficulty=16)
    world.verdicts = take_as_true
    world.all_prove("alice", shares=TILES[:shares])
    spark = world.spark("alice")
    assert spark.difficulty == difficulty
    assert spark.capacity == (credited * 16 << 16) // 8
    assert (world["alice"].address in members.addresses(world.view, Register.CREDITED)) == bool(credited)


def test_difficulty_stays_within_its_limits() -> None:
    world = Provers(params=always(difficulty_min=3), difficulty=3)
    world.verdicts = take_as_true
    world.all_prove("alice", shares=[])
    assert world.spark("alice").difficulty == 3
    edited(world, "alice", difficulty=DIFFICULTY_MAX)
    world.all_prove("alice")
    assert world.spark("alice").difficulty == DIFFICULTY_MAX


def test_a_missed_window_costs_an_eighth_and_leaves_the_difficulty() -> None:
    world = Provers(("alice", "bob"), difficulty=2)
    world.verdicts = take_as_true
    world.all_prove("alice", "bob")
    before = world.spark("bob")
    edited(world, "alice", capacity=100 * before.capacity)
    world.all_prove("alice")
    after = world.spark("bob")
    assert after.capacity == 7 * before.capacity // 8
    assert after.difficulty == before.difficulty
    assert members.addresses(world.view, Register.CREDITED) == [world["alice"].address]


def test_a_proof_of_nothing_shows_that_the_spark_is_there() -> None:
    """n = 0 is valid, quarters D and covers the spark's S."""
    world = Provers(difficulty=16)
    edited(world, "alice", capacity=8 << 16)
    world.all_prove("alice", shares=[])
    assert world.events(PROVED.code)[-1][2] == 0
    assert not world.events(VOID.code)
    assert world.spark("alice").difficulty == 4


def test_proofs_leave_state_when_their_window_closes() -> None:
    world = Provers(("alice", "bob"))
    world.until_open()
    for name in ("alice", "bob"):
        world.prove(name)
    world.block()
    assert len(world.view.scan(PROOFS)) == 2
    world.until_closed()
    assert not world.view.scan(PROOFS)


# ------------------------------------------------------------------------------------ void windows


def test_a_window_that_covers_too_little_is_void_and_changes_nothing() -> None:
    world = Provers(("alice", "bob"))
    edited(world, "alice", capacity=65 << 16)
    edited(world, "bob", capacity=35 << 16)
    world.all_prove("alice", shares=TILES[:40])
    assert world.events(VOID.code)[-1][1:] == (1, 65 << 16, 100 << 16)
    after = [(spark.difficulty, spark.capacity >> 16) for spark in map(world.spark, ("alice", "bob"))]
    assert after == [(1, 65), (1, 35)]


def test_two_thirds_are_enough() -> None:
    world = Provers(("alice", "bob"), difficulty=1)
    edited(world, "alice", capacity=66 << 16)
    edited(world, "bob", capacity=33 << 16)
    world.all_prove("alice")
    assert not world.events(VOID.code)
    assert world.spark("bob").capacity == 7 * (33 << 16) // 8


def test_after_two_void_windows_the_third_counts() -> None:
    """Withholding cannot stop the measure for good."""
    world = Provers(("alice", "bob"), difficulty=1)
    edited(world, "alice", capacity=10 << 16)
    edited(world, "bob", capacity=90 << 16)
    for is_void in (True, True, False, True):
        voids = len(world.events(VOID.code))
        world.all_prove("alice")
        assert (len(world.events(VOID.code)) > voids) == is_void
        assert world.window.was_void == is_void


def test_a_window_without_proofs_where_nothing_is_proved_yet_is_not_void() -> None:
    world = Provers()
    outcome = world.until_closed()
    opened = opens_at(world.window.window)
    assert CLOSED(window=opened, proofs=0, shares=0, credited=0) in outcome.receipts[-1].events


# ------------------------------------------------------------------------------------ false shares


@pytest.mark.parametrize("position", [0, 1, 30, 55])
def test_a_false_share_at_any_position_costs_one_percent_and_bars(position: int) -> None:
    world = Provers(("alice", "bob"))
    world.submit("alice", Unbond(eubc(30)))
    world.block()
    world.false_tile = TILES[position]
    burned, epoch = world.supply().burned, world.epoch
    world.until_open()
    world.prove("alice")
    world.block()
    world.until_closed()
    stake = world.stake("alice")
    assert stake.bonded + stake.unbonding[0].amount == eubc(99)
    assert stake.bonded == eubc(70), "unbonding pays first"
    account, _, index, taken, until = world.events(FALSE_SHARE.code)[-1]
    assert (account, index, taken) == (world["alice"].address, position, eubc(1))
    assert world.supply().burned - burned >= eubc(1)
    spark = world.spark("alice")
    assert until == spark.banned_until == (closes_at(world.window.window) - 1) // 20 + BARRED_EPOCHS
    assert spark.capacity == 0
    assert spark.difficulty == 1
    assert world.epoch >= epoch
    opened = world.until_open()
    world.refuse("alice", Prove(make_proof(opened, TILES)), resource.SPARK_BARRED)
    world.check()


def test_a_false_share_is_slashed_in_a_void_window_too() -> None:
    world = Provers(("alice", "bob"))
    edited(world, "bob", capacity=90 << 16)
    world.false_tile = TILES[3]
    world.all_prove("alice")
    assert world.window.was_void
    assert world.events(FALSE_SHARE.code)
    assert world.spark("bob").capacity == 90 << 16


def test_a_spark_that_took_its_bond_away_claims_nothing_and_shares_no_pool() -> None:
    """Else a false claim would cost nothing: there would be no bond to slash."""
    world = Provers()
    opened = world.until_open()
    bonded = world.stake("alice").bonded
    world.succeed("alice", Prove(make_proof(opened, TILES)))
    world.succeed("alice", Unbond(bonded))
    world.until_closed()
    assert world.events(CLOSED.code)[-1][-1] == 0, "counted, and nobody is credited"
    opened = world.until_open()
    world.refuse("alice", Prove(make_proof(opened, TILES)), SPARK_BOND_BELOW_MINIMUM)
    world.succeed("alice", Bond(eubc(1)))
    world.succeed("alice", Prove(make_proof(opened, TILES)))
    world.check()


def test_a_bar_ends_and_the_spark_counts_again() -> None:
    world = Provers(params=always())
    world.all_prove("alice")
    spark = world.spark("alice")
    edited(world, "alice", banned_until=world.epoch + 2, difficulty=1)
    opened = world.until_open()
    world.refuse("alice", Prove(make_proof(opened, TILES)), resource.SPARK_BARRED)
    world.until_height(20 * (world.epoch + 3))
    world.until_announced()
    while world.window.window.announced <= 20 * world.spark("alice").banned_until:
        world.until_closed()
        world.until_announced()
    world.all_prove("alice", shares=TILES[:8])
    assert world.events(CLOSED.code)[-1][3] == 1
    assert spark.capacity > 0


def test_a_crowded_window_is_sampled_and_a_sampled_false_share_is_found() -> None:
    """Budget 16, three proofs of 56: eight shares of each are looked at; a false one among them is found."""
    world = Provers(("alice", "bob", "carol"), params=always(verify_budget=16))
    world.until_open()
    for name in ("alice", "bob", "carol"):
        world.prove(name)
    world.block()
    world.until_height(closes_at(world.window.window) - 1)
    found = dict(claims(world.view, world.window))
    alice, bob = found[world["alice"].address], found[world["bob"].address]
    assert [len(claim.checked) for claim in found.values()] == [8, 8, 8]
    assert alice.checked != bob.checked
    seen = TILES[alice.checked[3]]
    unseen = next(i for i in range(56) if i not in bob.checked and TILES[i] != seen)
    world.verdicts = lambda claim: (
        alice.checked[3] if claim.account == alice.account else _judged(claim, TILES[unseen])
    )
    world.block()
    slashed = [facts[0] for facts in world.events(FALSE_SHARE.code)]
    assert alice.account in slashed
    assert bob.account not in slashed
    assert world.spark("bob").capacity == (56 << 16) // 8, "credited in full: a sample stands for the proof"


def _judged(claim: Any, false: Share) -> int:
    shares = proofs.parse_shares(claim.shares)
    return next((i for i in claim.checked if shares[i] == false), len(shares))


def test_really_false_shares_are_found_by_recomputing() -> None:
    """At the highest difficulty no tile is a share: the first of the proof is named."""
    world = Provers(difficulty=2**10)
    edited(world, "alice", difficulty=2**40)
    world.all_prove("alice")
    assert world.events(FALSE_SHARE.code)[-1][2] == 0


# ------------------------------------------------------------------------ retirement, outage, epochs


def test_whoever_retires_before_the_close_is_credited_nothing_and_its_lie_is_punished() -> None:
    world = Provers(("alice", "bob"))
    world.false_tile = TILES[5]
    world.until_open()
    world.prove("alice")
    world.prove("bob", TILES[10:])
    world.block()
    world.submit("alice", RetireSpark())
    world.submit("bob", RetireSpark())
    world.until_closed()
    assert [facts[0] for facts in world.events(FALSE_SHARE.code)] == [world["alice"].address]
    assert members.count(world.view, Register.CREDITED) == 0
    assert world.spark("bob").capacity == 0


def test_proved_compute_fades_over_the_windows_of_a_retirement() -> None:
    """Else one machine proved for account after account, and all came back at once."""
    world = Provers(("alice", "bob"))
    world.verdicts = take_as_true
    world.all_prove("alice", "bob")
    proved = world.spark("alice").capacity
    edited(world, "bob", capacity=100 * proved)
    world.succeed("alice", RetireSpark())
    for _ in range(3):
        world.all_prove("bob")
    assert world.spark("alice").capacity == proved, "nobody walks the retired"
    world.succeed("alice", RegisterSpark(RECIPIENT, HARDWARE, 2, True, 1))
    expected = proved
    for _ in range(3):
        expected = 7 * expected // 8
    assert world.spark("alice").capacity == expected


@pytest.mark.parametrize("is_outage", [True, False])
@pytest.mark.parametrize(("epoch_blocks", "is_known"), [(14, False), (12, True)])
def test_a_missed_window_of_an_outage_costs_nothing(
    is_outage: bool, epoch_blocks: int, is_known: bool
) -> None:
    """Half of the epoch's commits lack more than a quarter of power: whoever missed loses nothing.

    A window takes 14 blocks. With epochs as long, it closes in the epoch in which its proofs were due,
    and what was lost comes back at its end; with 12 some close in the next, when it is known already.
    """
    chain = msgspec.structs.replace(always().chain, epoch_blocks=epoch_blocks)
    params = msgspec.structs.replace(always(), chain=chain)
    bonds = [eubc(2_800), eubc(2_400), eubc(2_400), eubc(2_400)]
    world = Provers(("alice", "bob"), validators=4, params=params, bonds=bonds)
    while True:
        world.until_open()
        window = world.window.window
        due_in = world.epoch_of(last_proof_at(window))
        if (due_in < world.epoch_of(closes_at(window))) == is_known:
            break
        world.until_closed()
    world.prove("bob")
    edited(world, "alice", capacity=8 << 16)
    edited(world, "bob", capacity=100 << 16)
    while not world.window.is_closed or world.epoch == due_in:
        world.block(absent={"v0"} if is_outage else set())
    assert bool(world.events(OUTAGE.code)) == is_outage
    assert world.spark("alice").capacity == (8 << 16 if is_outage else 7 << 16)
    assert not world.view.scan(MISSED)


def test_the_pool_goes_to_those_credited_in_the_last_good_window_whenever_it_closed() -> None:
    """An epoch that closes no window pays them again; the barred and the retired get nothing."""
    world = Provers(("alice", "bob"), params=always())
    world.all_prove("alice", "bob")
    world.until_epoch_end()
    paid = {facts[0] for facts in world.events(PROOF_PAID.code)}
    assert paid == {world["alice"].address, world["bob"].address}
    edited(world, "bob", banned_until=world.epoch + 5)
    seen = len(world.events(PROOF_PAID.code))
    world.until_epoch_end()
    assert {facts[0] for facts in world.events(PROOF_PAID.code)[seen:]} == {world["alice"].address}
    assert pools.held(world.view, pools.RESOURCE) < eubc(1)


def test_an_epoch_in_which_nobody_was_credited_keeps_the_pool() -> None:
    world = Provers()
    before = pools.held(world.view, pools.RESOURCE)
    world.until_epoch_end()
    assert not world.events(PROOF_PAID.code)
    assert pools.held(world.view, pools.RESOURCE) > before


def test_everybody_jailed_and_nothing_proved_leaves_the_last_set_and_goes_on_measuring() -> None:
    world = Provers(("alice",), validators=2)
    validators = world.validators
    for operator in ("v0", "v1"):
        edited(world, operator, table="validator", status=2, jailed_until=10**6)
    world.until_epoch_end()
    assert [v.address for v in world.validators] == [v.address for v in validators]
    world.all_prove("alice")
    assert world.spark("alice").capacity > 0
    world.until_epoch_end()
    assert world.spark("alice").power > 0
    world.check()


def test_a_validator_that_proves_gains_power_over_one_that_does_not() -> None:
    """Equal bonds of four; the one that proves ends at a third of power, which nobody exceeds."""
    params = always(s_ref=(56 << 16) // 8)
    world = Provers(("alice",), validators=4, params=params)
    world.verdicts = take_as_true
    world.submit("v0", Bond(eubc(1)))
    world.submit("v0", RegisterSpark(RECIPIENT, HARDWARE, 1, True, 1))
    world.until_epoch_end()
    world.until_closed()
    before = {v.address: v.power for v in world.validators}
    for _ in range(8):
        world.all_prove("v0")
    world.until_epoch_end()
    world.until_epoch_end()
    after = {v.address: v.power for v in world.validators}
    address = world["v0"].address
    assert before[address] < 251_000_000
    assert after[address] == 333_333_333
    assert world.read(SPARKS, address).power > 600_000_000
