"""Moving EUBC: transfers, their envelopes, their fees."""

from __future__ import annotations

import pytest

from consensus.types.amounts import eubc
from consensus.types.codec import MALFORMED, encode
from consensus.types.errors import Rejected
from consensus.types.genesis import Vesting
from consensus.types.params import DEV
from consensus.types.receipt import OK
from consensus.types.transaction import WRONG_NETWORK, WRONG_SIGNER, EvidenceAuth, Transaction
from tests.world import GENESIS_TIME_MS, Person, World
from vm import funds, inclusion
from vm.account import OUTPUTS_TOO_LARGE, MultiTransfer, Output, Transfer
from vm.funds import SHORT_OF_FUNDS
from vm.registry import EVIDENCE_ENVELOPE, TRANSACTION, decode_candidate


def left_out(world: World, raw: bytes) -> int:
    """The reason code for which a builder leaves the transaction out."""
    world.submit_raw(raw)
    outcome = world.block()
    assert len(outcome.included) == 0
    cause = outcome.skipped[0].cause
    assert isinstance(cause, Rejected)
    return cause.reason.code


def test_a_transfer_moves_the_amount_and_burns_the_fee() -> None:
    world = World()
    before = world.balance("alice")
    receipt = world.succeed("alice", Transfer(world["bob"].address, eubc(3)))
    assert world.balance("bob") == before + eubc(3)
    assert world.balance("alice") == before - eubc(3) - receipt.fee
    assert world.supply().burned == receipt.fee == receipt.units
    assert world.nonce("alice") == 1
    world.check()


def test_a_new_account_costs_a_new_entry() -> None:
    world = World()
    known = world.succeed("alice", Transfer(world["bob"].address, 1))
    fresh = world.succeed("alice", Transfer(world["dora"].address, 1))
    assert fresh.units - known.units == DEV.fees.new_entry
    assert world.balance("dora") == 1


def test_a_transfer_to_oneself_changes_only_the_fee() -> None:
    world = World()
    before = world.balance("alice")
    receipt = world.succeed("alice", Transfer(world["alice"].address, eubc(1)))
    assert world.balance("alice") == before - receipt.fee
    world.check()


def test_the_tip_goes_to_the_proposer_at_the_epochs_end() -> None:
    world = World()
    proposer = world.validators[0].address
    receipt = world.succeed("alice", Transfer(world["bob"].address, 1), tip=7)
    assert receipt.fee == receipt.units * 8
    assert world.supply().accrued == receipt.units * 7
    before = world.balance(proposer)
    world.until_epoch_end()
    assert world.balance(proposer) > before
    assert world.supply().accrued == 0
    world.check()


def test_the_tip_shrinks_to_what_max_price_leaves() -> None:
    world = World()
    receipt = world.succeed("alice", Transfer(world["bob"].address, 1), tip=7, max_price=3)
    assert receipt.fee == receipt.units * 3


def test_a_refused_transfer_pays_its_fee_and_changes_nothing_else() -> None:
    world = World()
    alice, bob = world.balance("alice"), world.balance("bob")
    receipt = world.refuse("alice", Transfer(world["bob"].address, eubc(10_001)), SHORT_OF_FUNDS)
    assert world.balance("alice") == alice - receipt.fee
    assert world.balance("bob") == bob
    assert world.nonce("alice") == 1
    assert receipt.events == ()
    assert receipt.facts[0] == world["alice"].address
    world.check()


def test_a_multi_transfer_pays_all_or_none() -> None:
    world = World()
    outputs = (
        Output(world["bob"].address, 5),
        Output(world["carol"].address, 7),
        Output(world["bob"].address, 1),
    )
    before = world.balance("bob")
    world.succeed("alice", MultiTransfer(outputs))
    assert world.balance("bob") == before + 6
    too_much = (*outputs, Output(world["bob"].address, eubc(20_000)))
    world.refuse("alice", MultiTransfer(too_much), SHORT_OF_FUNDS)
    assert world.balance("bob") == before + 6
    world.check()


def test_a_multi_transfer_beyond_all_that_exists_is_never_valid() -> None:
    world = World()
    outputs = (Output(world["bob"].address, 10**17), Output(world["bob"].address, 1))
    with pytest.raises(Rejected) as refusal:
        world.submit("alice", MultiTransfer(outputs))
    assert refusal.value.reason is OUTPUTS_TOO_LARGE


def test_a_multi_transfer_holds_at_most_256_outputs() -> None:
    world = World()
    outputs = tuple(Output(world["bob"].address, 1) for _ in range(257))
    with pytest.raises(Rejected) as refusal:
        world.submit("alice", MultiTransfer(outputs))
    assert refusal.value.reason is MALFORMED
    world.submit("alice", MultiTransfer(outputs[:256]))
    assert len(world.block().included) == 1


def test_an_amount_of_nothing_is_malformed() -> None:
    world = World()
    with pytest.raises(Rejected) as refusal:
        world.submit("alice", Transfer(world["bob"].address, 0))
    assert refusal.value.reason is MALFORMED


@pytest.mark.parametrize("nonce", [1, 2**40])
def test_a_transaction_with_a_wrong_number_stands_in_no_block(nonce: int) -> None:
    world = World()
    raw = world.sign("alice", Transfer(world["bob"].address, 1), nonce=nonce)
    assert left_out(world, raw) == inclusion.WRONG_NONCE.code


def test_no_transaction_is_included_twice() -> None:
    world = World()
    raw = world.sign("alice", Transfer(world["bob"].address, 1))
    world.submit_raw(raw)
    world.submit_raw(raw)
    outcome = world.block()
    assert (len(outcome.included), len(outcome.skipped)) == (1, 1)
    assert left_out(world, raw) == inclusion.WRONG_NONCE.code


def test_a_transaction_lives_from_its_height_to_valid_until() -> None:
    world = World()
    world.blocks(3)
    payload = Transfer(world["bob"].address, 1)
    assert left_out(world, world.sign("alice", payload, valid_until=3)) == inclusion.EXPIRED.code
    world.succeed("alice", payload, valid_until=world.height + 1)
    latest = world.height + 1 + DEV.chain.max_ttl_blocks
    raw = world.sign("alice", payload, valid_until=latest + 1)
    assert left_out(world, raw) == inclusion.LIFETIME_TOO_LONG.code


def test_a_transaction_below_the_base_price_is_left_out() -> None:
    world = World()
    raw = world.sign("alice", Transfer(world["bob"].address, 1), max_price=0)
    assert left_out(world, raw) == inclusion.PRICE_TOO_LOW.code


def test_a_sender_must_cover_the_most_that_the_fee_can_be() -> None:
    world = World(balance=eubc(100))
    raw = world.sign("alice", Transfer(world["bob"].address, 1), max_price=10**9)
    assert left_out(world, raw) == inclusion.FEE_NOT_COVERED.code
    assert world.nonce("alice") == 0


def test_the_reserve_is_out_of_reach_of_the_transfer() -> None:
    world = World()
    raw = world.sign("alice", Transfer(world["bob"].address, world.balance("alice") - 1))
    txid = world.submit_raw(raw)
    world.block()
    assert world.receipts[txid].code == SHORT_OF_FUNDS.code


def test_a_vesting_lock_holds_until_its_steps_open() -> None:
    alice = Person("alice").address
    start = GENESIS_TIME_MS
    lock = Vesting(alice, eubc(10_000), start, start + 2_000, 1_000, 10)
    world = World(vesting=[lock])
    payload = Transfer(world["bob"].address, eubc(1))
    assert left_out(world, world.sign("alice", payload)) == inclusion.FEE_NOT_COVERED.code
    world.block(time_ms=start + 2_000)  # two of ten steps open at the cliff
    world.refuse("alice", Transfer(world["bob"].address, eubc(2_001)), SHORT_OF_FUNDS)
    world.succeed("alice", Transfer(world["bob"].address, eubc(1_999)))
    world.block(time_ms=start + 60_000)
    world.succeed("alice", Transfer(world["bob"].address, eubc(8_000)))
    world.check()


def test_a_transaction_of_another_network_is_refused_before_any_state() -> None:
    world = World()
    with pytest.raises(Rejected) as refusal:
        world.submit("alice", Transfer(world["bob"].address, 1), chain_id="another")
    assert refusal.value.reason is WRONG_NETWORK


def test_only_the_senders_own_key_speaks_for_it() -> None:
    world = World()
    mine = TRANSACTION.decode(world.sign("alice", Transfer(world["bob"].address, 1)))
    theirs = TRANSACTION.decode(world.sign("bob", Transfer(world["bob"].address, 1)))
    with pytest.raises(Rejected) as refusal:
        decode_candidate(encode(Transaction(mine.body, theirs.auth)), world.rules)
    assert refusal.value.reason is WRONG_SIGNER


def test_nobody_spends_without_a_signature_by_calling_it_evidence() -> None:
    world = World()
    mine = TRANSACTION.decode(world.sign("alice", Transfer(world["bob"].address, 1)))
    with pytest.raises(Rejected) as refusal:
        decode_candidate(encode(Transaction(mine.body, EvidenceAuth())), world.rules)
    assert refusal.value.reason is WRONG_SIGNER
    nobody = mine.body.__class__(1, mine.body.chain_id, bytes(20), 0, 0, 0, 0, mine.body.payload)
    with pytest.raises(Rejected) as refusal:
        decode_candidate(encode(Transaction(nobody, EvidenceAuth())), world.rules)
    assert refusal.value.reason is EVIDENCE_ENVELOPE


def test_an_unknown_type_is_malformed() -> None:
    world = World()
    transaction = TRANSACTION.decode(world.sign("alice", Transfer(world["bob"].address, 1)))
    raw = encode([[1, world.rules.chain_id, world["alice"].address, 0, 1, 0, 9, [99]], transaction.auth])
    with pytest.raises(Rejected) as refusal:
        decode_candidate(raw, world.rules)
    assert refusal.value.reason is MALFORMED


def test_touched_accounts_are_listed_per_receipt() -> None:
    world = World()
    world.submit("alice", Transfer(world["bob"].address, 1))
    world.submit("carol", Transfer(world["bob"].address, 10**17))
    outcome = world.block()
    assert set(outcome.touched[0]) == {world["alice"].address, world["bob"].address}
    assert outcome.touched[1] == (world["carol"].address,)
    assert outcome.receipts[0].code == OK


def test_knowing_who_has_locks_changes_nothing_but_reads() -> None:
    alice = Person("alice").address
    lock = Vesting(alice, eubc(10_000), GENESIS_TIME_MS, GENESIS_TIME_MS, 1_000, 10)
    world = World(vesting=[lock])
    assert world.rules.vesting == frozenset([alice])
    world.block(time_ms=GENESIS_TIME_MS + 3_500)
    known = funds.spendable(world.view, alice)
    world.rules = world.rules._replace(vesting=None)
    assert funds.spendable(world.view, alice) == known == eubc(3_000)
    assert funds.spendable(world.view, world["bob"].address) == eubc(10_000)
