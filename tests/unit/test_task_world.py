"""Tasks in real blocks: with fees, signatures, epochs, and every block validated as a stranger would."""

from __future__ import annotations

from consensus.types.amounts import eubc, parse_eubc
from tests.market import (
    HARDWARE,
    MAXIMUM,
    PRICE,
    PROMISE,
    RECIPIENT,
    WINDOWS,
    accept_of,
    deliver_of,
    grant_of,
    post_of,
    reject_of,
    start_of,
)
from tests.world import World
from vm import standing
from vm.spark import SPARKS, RegisterSpark
from vm.stake import Bond
from vm.task import access, events
from vm.task.payloads import Offer
from vm.task.records import FORFEITS, SEATS, TASKS, Blame, Ending, Seat, seat_key


def found(validators: int = 1) -> World:
    """A network on which bob is a spark and alice has work."""
    world = World(validators=validators)
    world.succeed("bob", Bond(eubc(1)))
    world.succeed("bob", RegisterSpark(RECIPIENT, HARDWARE, 2, False, 1))
    return world


def seat_of(world: World, task_id: bytes) -> Seat:
    seat = world.read(SEATS, seat_key(task_id, 0))
    assert isinstance(seat, Seat)
    return seat


def matched(world: World) -> bytes:
    """A task of alice's that was drawn for bob."""
    task_id = world.submit("alice", post_of())
    world.block()
    world.succeed("bob", Offer(task_id, 0, PRICE, PROMISE))
    world.until_height(world.read(TASKS, task_id).posted + WINDOWS.offer)
    return task_id


def test_a_task_is_paid_in_real_blocks_and_fees_are_all_that_differs() -> None:
    world = found()
    fees = {"alice": world.balance("alice"), "bob": world.balance("bob")}
    task_id = matched(world)
    for who, payload in (
        ("alice", grant_of(task_id)),
        ("bob", start_of(task_id)),
        ("bob", deliver_of(task_id)),
    ):
        world.succeed(who, payload)
    world.refuse("bob", accept_of(task_id), access.NOT_THE_REQUESTER)
    world.succeed("alice", accept_of(task_id, 90, 4))
    outcome = seat_of(world, task_id).outcome
    assert outcome is not None
    assert outcome.ending == Ending.ACCEPTED
    paid_for = {"alice": 0, "bob": 0}
    for transaction in (c for o in world.outcomes for c in o.included):
        receipt = world.receipts[transaction.txid]
        for name in paid_for:
            is_setup = type(transaction.transaction.body.payload) in (Bond, RegisterSpark)
            if transaction.transaction.body.sender == world[name].address and not is_setup:
                paid_for[name] += receipt.fee
    deposit = world.read(TASKS, task_id).deposit
    assert world.balance("alice") == fees["alice"] - PRICE - deposit - paid_for["alice"]
    assert world.balance("bob") == fees["bob"] + outcome.paid - paid_for["bob"]
    world.blocks(world.params.market.task_retain_blocks)
    assert world.read(TASKS, task_id) is None
    assert world.balance("alice") == fees["alice"] - PRICE - paid_for["alice"]
    supply = world.supply()
    assert (supply.escrow, supply.gas, supply.deposits) == (0, 0, 0)
    world.check()


def test_a_good_task_raises_the_sparks_coefficient_and_a_rejected_one_lowers_both() -> None:
    world = found()
    before = world.read(SPARKS, world["bob"].address).kappa
    task_id = matched(world)
    world.succeed("alice", grant_of(task_id))
    world.succeed("bob", start_of(task_id))
    world.succeed("bob", deliver_of(task_id))
    world.succeed("alice", accept_of(task_id))
    world.until_epoch_end()
    middle = world.read(SPARKS, world["bob"].address).kappa
    assert middle > before
    task_id = matched(world)
    world.succeed("alice", grant_of(task_id))
    world.succeed("bob", start_of(task_id))
    world.succeed("bob", deliver_of(task_id))
    world.succeed("alice", reject_of(task_id))
    assert standing.faded(world.view, world["alice"].address).word_bad > 0
    world.until_epoch_end()
    assert world.read(SPARKS, world["bob"].address).kappa < middle


def vanish(world: World) -> bytes:
    """A task whose spark has started and is not heard of again; it has just been settled."""
    task_id = matched(world)
    world.succeed("alice", grant_of(task_id))
    world.succeed("bob", start_of(task_id))
    world.until_height(seat_of(world, task_id).deadline)
    outcome = seat_of(world, task_id).outcome
    assert outcome is not None
    assert outcome.gas_held == parse_eubc("1.2")
    return task_id


def test_a_spark_that_vanishes_loses_its_forfeit_when_the_epoch_has_closed() -> None:
    world = found()
    alice = world.balance("alice")
    task_id = vanish(world)
    assert world.balance("alice") > alice - eubc(1), "the price has returned; fees and deposit have not"
    world.until_epoch_end()
    burned = world.supply().burned
    assert world.view.scan(FORFEITS)
    world.block()
    assert world.view.scan(FORFEITS) == []
    assert world.supply().burned == burned + parse_eubc("1.2")
    assert world.events(events.FORFEIT_BURNED.code) == [(task_id, 0, world["bob"].address, parse_eubc("1.2"))]
    outcome = seat_of(world, task_id).outcome
    assert outcome is not None
    assert outcome.blame == Blame.SPARK


def test_a_spark_that_vanishes_in_an_outage_loses_nothing() -> None:
    """Two of seven validators are away, more than a quarter of power, for most of the epoch."""
    world = found(validators=7)
    task_id = vanish(world)
    assert world.height % world.params.chain.epoch_blocks < 9, "most of the epoch lies ahead"
    bob = world.balance("bob")
    world.until_epoch_end(absent=["v0", "v1"])
    world.block()
    assert world.balance("bob") == bob + parse_eubc("1.2")
    assert world.events(events.FORFEIT_BURNED.code) == []
    assert standing.faded(world.view, world["bob"].address).word_bad == 0
    outcome = seat_of(world, task_id).outcome
    assert outcome is not None
    assert (outcome.blame, outcome.gas_held) == (Blame.NETWORK, 0)


def test_the_escrow_is_the_maximum_until_the_draw_and_the_price_after() -> None:
    world = found()
    task_id = world.submit("alice", post_of())
    world.block()
    assert world.supply().escrow == MAXIMUM
    world.succeed("bob", Offer(task_id, 0, PRICE, PROMISE))
    world.blocks(WINDOWS.offer)
    assert world.supply().escrow == PRICE
