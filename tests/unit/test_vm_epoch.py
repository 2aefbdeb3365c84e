"""The epoch's end: sets, rewards, the pool, and the cases in which there is nothing to divide."""

from __future__ import annotations

import msgspec
import pytest

from consensus.types.amounts import PPB, eubc
from consensus.types.params import DEV, Params
from consensus.types.reader import MemoryState
from consensus.validators import TOTAL_POWER, Validator, ValidatorSet, proposer
from tests.unit.test_vm_sparks import registration
from tests.world import World
from vm import epoch, members, outage, pools, rewards, spark, stake, tally, transition
from vm import head as heads
from vm.members import Register
from vm.spark import SPARKS
from vm.stake import Bond, Unbond
from vm.state import State
from vm.tally import Row
from vm.validator import VALIDATORS

L = DEV.chain.epoch_blocks


def edited(world: World) -> State:
    """A state at the head to write on by hand; `keep` stores it."""
    state = State(MemoryState(world.state.entries), world.view.block)
    state.begin()
    return state


def keep(world: World, state: State) -> None:
    """Store what was edited."""
    world.state.write(state.finish())


def with_sparks(count: int, params: Params = DEV) -> World:
    """A world with sparks s0, s1, … of equal bond and no windows, whose closes would change their S."""
    names = [f"s{i}" for i in range(count)]
    params = msgspec.structs.replace(
        params, resource=msgspec.structs.replace(params.resource, window_wait_blocks=2**60)
    )
    world = World(params, validators=1, people=names)
    for name in names:
        world.submit(name, Bond(eubc(100)))
        world.submit(name, registration())
    world.block()
    return world


def prove(world: World, speeds: dict[str, int], *, credited: bool = True) -> None:
    """Give sparks proved compute, as a window's close would."""
    state = edited(world)
    for name, speed in speeds.items():
        address = world[name].address
        record = state.get(SPARKS, address)
        assert record is not None
        state.put(SPARKS, address, msgspec.structs.replace(record, capacity=speed))
        if credited:
            members.add(state, Register.CREDITED, 0, address)
    keep(world, state)


@pytest.mark.parametrize(
    ("bonds", "powers"),
    [
        ([1], [TOTAL_POWER]),
        ([1, 1], [TOTAL_POWER // 2] * 2),
        ([97, 1, 1, 1], [735_294_118, 88_235_294, 88_235_294, 88_235_294]),
    ],
)
def test_the_first_set_follows_the_bonds(bonds: list[int], powers: list[int]) -> None:
    params = msgspec.structs.replace(
        DEV, validators=msgspec.structs.replace(DEV.validators, min_bond=eubc(1))
    )
    world = World(params, validators=len(bonds), bonds=[eubc(100 * bond) for bond in bonds])
    found = sorted((v.power for v in world.validators), reverse=True)
    assert sum(found) == TOTAL_POWER
    assert found == powers


def test_sets_change_only_when_an_epoch_ends() -> None:
    world = World(validators=2)
    before = world.validators
    world.succeed("v1", Unbond(eubc(9_950)))
    while world.height < L - 1:
        world.block()
        assert world.validators == before
    outcome = world.block()
    assert len(outcome.next_set) == 1
    assert world.headers[-1].next_validators_hash != world.headers[-1].validators_hash
    world.block()
    assert world.headers[-1].validators_hash == world.headers[-2].next_validators_hash


def test_if_nobody_would_remain_the_last_set_stays() -> None:
    world = World(validators=2)
    before = world.validators
    for name in ("v0", "v1"):
        world.submit(name, Unbond(world.stake(name).bonded))
    world.until_epoch_end()
    assert world.validators == before
    assert world.events(epoch.SET_STAYS.code) == [(0,)]
    world.until_epoch_end()
    world.check()


def test_a_blocks_reward_is_halved_between_pool_and_signers() -> None:
    world = World(validators=4)
    world.block()
    reward = DEV.validators.reward
    issued = world.supply().issued
    assert pools.held(world.view, pools.RESOURCE) == reward // 2, "at height 1 only the pool's half"
    assert world.supply().accrued == 0
    world.block()
    assert world.supply().issued == issued + reward
    assert world.supply().accrued == reward - reward // 2
    world.block(absent=["v0"])
    issued = world.supply().issued
    world.block()
    minted = world.supply().issued - issued
    assert minted < reward, "what the absent would get is never minted"
    assert minted == reward // 2 + (4 * eubc(5) * 3 // 4) // 10 + 3 * (6 * eubc(5) // 4 // 10)
    world.check()


def test_rewards_halve() -> None:
    params = msgspec.structs.replace(DEV.validators, halving_blocks=10)
    assert [rewards.block_reward(params, h) for h in (1, 10, 11, 20, 21)] == [
        eubc(10), eubc(10), eubc(5), eubc(5), eubc(10) // 4,
    ]  # fmt: skip
    assert rewards.block_reward(params, 10**9) == 0
    total = sum(rewards.block_reward(params, h) for h in range(1, 1_000))
    assert total <= rewards.most_ever_minted(params)


def test_the_pool_is_shared_by_proved_compute_among_credited_sparks() -> None:
    world = with_sparks(3)
    prove(world, {"s0": 3_000, "s1": 1_000})
    prove(world, {"s2": 4_000}, credited=False)
    while world.height < L - 1:
        world.block()
    before = {name: world.balance(name) for name in ("s0", "s1", "s2")}
    world.block()
    pool = L * DEV.validators.reward // 2
    assert world.balance("s0") - before["s0"] == pool * 3 // 4
    assert world.balance("s1") - before["s1"] == pool // 4
    assert world.balance("s2") == before["s2"]
    assert len(world.events(epoch.PROOF_PAID.code)) == 2
    world.check()


def test_without_credited_sparks_the_pool_grows() -> None:
    world = with_sparks(1)
    world.until_epoch_end()
    assert pools.held(world.view, pools.RESOURCE) == L * DEV.validators.reward // 2


def test_barred_and_retired_sparks_have_no_part() -> None:
    world = with_sparks(2)
    prove(world, {"s0": 1_000, "s1": 1_000})
    state = edited(world)
    address = world["s0"].address
    record = state.get(SPARKS, address)
    assert record is not None
    state.put(SPARKS, address, msgspec.structs.replace(record, banned_until=8))
    keep(world, state)
    world.succeed("s1", spark.RetireSpark())
    before = world.balance("s0"), world.balance("s1")
    world.until_epoch_end()
    assert (world.balance("s0"), world.balance("s1")) == before
    assert pools.held(world.view, pools.RESOURCE) == L * DEV.validators.reward // 2


def test_proved_compute_raises_power_and_coefficient() -> None:
    world = with_sparks(2)
    prove(world, {"s0": DEV.resource.s_ref})
    world.until_epoch_end()
    strong, weak = (world.read(SPARKS, world[name].address) for name in ("s0", "s1"))
    assert strong.power > PPB // 2 > weak.power
    assert strong.kappa > weak.kappa


def test_a_tally_says_who_is_absent() -> None:
    address = bytes(20)
    assert epoch.is_absent(Row(address, 100, 24, 0, 0, 0), 25)
    assert not epoch.is_absent(Row(address, 100, 25, 0, 0, 0), 25)
    assert not epoch.is_absent(Row(address, 0, 0, 0, 0, 0), 25)
    assert epoch.is_absent(Row(address, 10, 10, 4, 4, 0), 25)
    assert not epoch.is_absent(Row(address, 10, 10, 5, 4, 0), 25)
    assert not epoch.is_absent(Row(address, 10, 10, 0, 3, 0), 25)


def test_sparks_that_fail_together_excuse_their_tasks_and_nobody_else() -> None:
    """Whoever fails tasks of its own could else stay away from windows and commits for nothing."""
    world = with_sparks(6)
    state = edited(world)
    for i in range(6):
        address = world[f"s{i}"].address
        record = state.get(SPARKS, address)
        assert record is not None
        failed = 1 if i < 4 else 0
        state.put(SPARKS, address, msgspec.structs.replace(record, capacity=100, failed_epoch=failed))
    keep(world, state)
    world.until_epoch_end()
    assert outage.excuses_tasks(world.view, 0)
    assert not outage.was_outage(world.view, 0)
    assert world.events(outage.TASKS_OUTAGE.code) == [(0,)]
    assert not world.events(outage.OUTAGE.code)


def test_the_decision_on_an_outage_can_be_read_in_the_next_epoch() -> None:
    world = World(validators=4, bonds=[eubc(9_000)] * 3 + [eubc(10_000)])
    world.until_epoch_end(absent=["v3"])
    world.until_epoch_end()
    assert outage.was_outage(world.view, 0)
    assert outage.excuses_tasks(world.view, 0)
    assert not outage.was_outage(world.view, 1)
    assert not outage.excuses_tasks(world.view, 1)


def test_what_is_old_is_forgotten() -> None:
    world = World()
    world.until_height(L * 9)
    sets = world.view.scan(heads.SETS)
    assert len(sets) <= DEV.validators.evidence_epochs + 2
    epochs = world.view.scan(outage.EPOCHS)
    assert len(epochs) <= DEV.validators.evidence_epochs + DEV.validators.unbonding_epochs + 1
    assert world.read(tally.TALLIES, b"") == tally.EMPTY_TALLY


def test_blocks_of_missed_rounds_count_against_whoever_missed() -> None:
    world = World(validators=4)
    expected = [world.proposer(round_) for round_ in range(3)]
    world.block(round_=3)
    rows = {row.address: row for row in world.read(tally.TALLIES, b"").rows}
    for address in expected:
        assert rows[address].missed == expected.count(address)


@pytest.mark.parametrize("round_", [999, 1_000, 1_001, 2**32 - 1])
def test_beyond_a_thousand_missed_rounds_the_tally_is_everybodys_and_costs_no_more(
    round_: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever builds and whoever validates count the same rounds; a header cannot name work without end."""
    drawn: list[int] = []

    def counted(members: ValidatorSet, beacon: bytes, height: int, round_: int) -> Validator:
        drawn.append(round_)
        return proposer(members, beacon, height, round_)

    world = World(validators=4)
    expected = [world.proposer(missed) for missed in range(min(round_, 1_000))]
    monkeypatch.setattr(transition, "proposer", counted)
    world.block(round_=round_)  # built, then validated: the roots agree
    assert drawn == 2 * list(range(len(expected)))
    rows = {row.address: row.missed for row in world.read(tally.TALLIES, b"").rows}
    assert rows == {address: expected.count(address) for address in rows}
    assert sum(rows.values()) == len(expected)


def test_a_jailed_validators_stake_carries_no_power() -> None:
    world = World(validators=5)
    world.until_epoch_end(absent=["v4"])
    assert len(world.validators) == 4
    assert world.read(VALIDATORS, world["v4"].address).weight_before == 0
    assert stake.stake(world.view, world["v4"].address).bonded == eubc(10_000)
