"""Bonds: moving them in, out, back, and taking from them."""

from __future__ import annotations

import msgspec
import pytest

from consensus.types.amounts import eubc
from consensus.types.errors import Rejected
from consensus.types.params import DEV
from consensus.types.reader import MemoryState
from tests.world import World
from vm import fees, members, stake
from vm.funds import SHORT_OF_FUNDS
from vm.head import first_height
from vm.members import Register
from vm.stake import BOND_NOT_FREE, BOND_TOO_SMALL, UNBONDING_FULL, Bond, Stake, Unbond, Unbonding
from vm.state import Call, State

L = DEV.chain.epoch_blocks


def test_a_bond_leaves_the_balance_and_an_unbond_returns_it_after_whole_epochs() -> None:
    world = World()
    world.succeed("alice", Bond(eubc(10)))
    assert world.stake("alice") == Stake(eubc(10), 0, ())
    world.succeed("alice", Unbond(eubc(4)))
    mature = first_height(1 + DEV.validators.unbonding_epochs, L)
    assert world.stake("alice") == Stake(eubc(6), 0, (Unbonding(eubc(4), mature),))
    world.check()
    world.until_height(mature - 1)
    before = world.balance("alice")
    world.block()
    assert world.balance("alice") == before + eubc(4)
    assert world.stake("alice") == Stake(eubc(6), 0, ())
    assert world.events(stake.MATURED.code) == [(world["alice"].address, eubc(4))]
    world.check()


def test_amounts_unbonded_in_one_epoch_share_an_entry() -> None:
    world = World()
    world.succeed("alice", Bond(eubc(10)))
    world.succeed("alice", Unbond(eubc(4)))
    world.succeed("alice", Unbond(eubc(1)))
    assert [entry.amount for entry in world.stake("alice").unbonding] == [eubc(5)]


def test_less_than_one_eubc_moves_only_when_it_is_all() -> None:
    world = World()
    world.refuse("alice", Bond(eubc(1) - 1), BOND_TOO_SMALL)
    world.succeed("alice", Bond(eubc(1) + 1))
    world.succeed("alice", Unbond(eubc(1)))
    world.refuse("alice", Unbond(2), BOND_TOO_SMALL)
    world.succeed("alice", Unbond(1))
    assert world.stake("alice").bonded == 0


def test_nobody_bonds_or_unbonds_more_than_is_there() -> None:
    world = World()
    world.refuse("alice", Bond(eubc(10_001)), SHORT_OF_FUNDS)
    world.refuse("alice", Unbond(eubc(1)), BOND_NOT_FREE)


def test_a_validators_bond_follows_into_the_register() -> None:
    world = World()
    world.succeed("v0", Bond(eubc(7)))
    bonded = world.stake("v0").bonded
    assert bonded == eubc(10_007)
    assert members.is_listed(world.view, Register.VALIDATORS, bonded, world["v0"].address)
    assert members.addresses(world.view, Register.VALIDATORS) == [world["v0"].address]


def opened(unbonding: tuple[Unbonding, ...], bonded: int = 100, pledged: int = 0) -> tuple[State, bytes]:
    """A state of height 1 in which an account has this stake."""
    world = World()
    address = world["alice"].address
    state = State(MemoryState(world.state.entries), world.view.block._replace(height=1))
    state.put(stake.STAKES, address, Stake(bonded, pledged, unbonding))
    state.supply.bonded += bonded
    state.supply.unbonding += sum(entry.amount for entry in unbonding)
    state.supply.issued += bonded + sum(entry.amount for entry in unbonding)
    return state, address


def test_a_slash_takes_the_earliest_maturing_first_and_the_bond_last() -> None:
    state, address = opened((Unbonding(30, 41), Unbonding(50, 61)))
    assert stake.slash(state, address, 60) == 60
    assert stake.stake(state, address) == Stake(100, 0, (Unbonding(20, 61),))
    assert stake.slash(state, address, 70) == 70
    assert stake.stake(state, address) == Stake(50, 0, ())
    assert stake.slash(state, address, 70) == 50, "what is missing is not owed"
    state.supply.burned += 180
    assert state.supply.is_conserved()


def test_a_conviction_takes_the_bond_first() -> None:
    state, address = opened((Unbonding(30, 41),), bonded=100, pledged=80)
    assert stake.seize_pledge(state, address, 110) == 110
    assert stake.stake(state, address) == Stake(0, 80, (Unbonding(20, 41),))
    assert stake.stake(state, address).free == 0


def test_what_has_matured_is_safe_even_while_a_late_queue_holds_it() -> None:
    state, address = opened((Unbonding(30, 1), Unbonding(50, 41)))
    assert stake.slashable(state, address) == 150
    assert stake.slash(state, address, 1_000) == 150
    assert stake.stake(state, address) == Stake(0, 0, (Unbonding(30, 1),))


def test_a_pledge_keeps_its_part_of_the_bond_from_leaving() -> None:
    state, address = opened((), bonded=eubc(10))
    stake.pledge(state, address, eubc(7))
    assert stake.stake(state, address).free == eubc(3)
    stake.release_pledge(state, address, eubc(7))
    assert stake.stake(state, address).free == eubc(10)


def test_seventeen_amounts_cannot_be_on_their_way_at_once() -> None:
    entries = tuple(Unbonding(1, 1_000 + i) for i in range(16))
    state, address = opened(entries, bonded=eubc(10))
    with pytest.raises(Rejected) as refusal:
        stake.unbond(state, Call(address, bytes(32), bytes(32)), Unbond(eubc(1)))
    assert refusal.value.reason is UNBONDING_FULL


def test_a_late_queue_pays_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for one entry a block, what matures together is paid over many blocks, no less."""
    monkeypatch.setattr(fees, "due_units", lambda params: 0)  # or so slow a queue could not be filled
    ends = []
    for most in (1, 256):
        chain = msgspec.structs.replace(DEV.chain, max_due_per_block=most)
        names = [f"p{i}" for i in range(8)]
        world = World(msgspec.structs.replace(DEV, chain=chain), people=names)
        for name in names:
            world.submit(name, Bond(eubc(10)))
        world.block()
        for name in names:
            world.submit(name, Unbond(eubc(3)))
        world.block()
        mature = first_height(1 + DEV.validators.unbonding_epochs, L)
        world.until_height(mature)
        paid = sum(not world.stake(name).unbonding for name in names)
        assert paid == (1 if most == 1 else len(names))
        world.until_height(mature + 8)
        ends.append([(world.balance(name), world.stake(name)) for name in names])
        world.check()
    assert ends[0] == ends[1]
