"""Founding a network: what the first state holds and which records are refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from consensus.types.amounts import eubc
from consensus.types.codec import SUPPLY_MAX
from consensus.types.errors import Fault
from consensus.types.genesis import Balance, Genesis, Vesting
from consensus.types.params import DEV, MAIN, TEST, Params, WindowBounds
from tests.world import World
from vm import pools
from vm.genesis import GENESIS_REFUSED, PARAMS, check_genesis, genesis_writes
from vm.rewards import most_ever_minted


def test_the_first_state_holds_what_the_record_says() -> None:
    world = World(validators=3)
    supply = world.supply()
    seed = DEV.market.audit_seed
    assert supply.issued == 6 * eubc(10_000) + 3 * eubc(10_000) + seed
    assert (supply.balances, supply.bonded, supply.pools) == (6 * eubc(10_000), 3 * eubc(10_000), seed)
    assert pools.held(world.view, pools.AUDIT) == seed
    assert world.read(PARAMS, b"") == DEV
    assert world.height == 0
    assert len(world.validators) == 3
    world.check()


def test_equal_records_give_equal_writes() -> None:
    genesis = World(validators=2).genesis
    assert genesis_writes(genesis) == genesis_writes(genesis)


@pytest.mark.parametrize("params", [DEV, TEST, MAIN], ids=["dev", "test", "main"])
def test_published_parameters_leave_room_for_all_rewards(params: Params) -> None:
    assert most_ever_minted(params.validators) < SUPPLY_MAX * 2 // 5 + 1


def with_(**changes: Any) -> Callable[[Genesis], Genesis]:
    """A change of some fields."""
    return lambda genesis: msgspec.structs.replace(genesis, **changes)


def without_proof(genesis: Genesis) -> Genesis:
    """Somebody else's possession."""
    broken = msgspec.structs.replace(genesis.validators[0], possession=bytes(64))
    return msgspec.structs.replace(genesis, validators=(broken, *genesis.validators[1:]))


def poor_validator(genesis: Genesis) -> Genesis:
    """One bonds too little."""
    poor = msgspec.structs.replace(genesis.validators[0], bond=eubc(1))
    return msgspec.structs.replace(genesis, validators=(poor, *genesis.validators[1:]))


def one_key_twice(genesis: Genesis) -> Genesis:
    """Two validators with one key."""
    first, second = genesis.validators
    copied = msgspec.structs.replace(second, key=first.key)
    return msgspec.structs.replace(genesis, validators=(first, copied))


def locked_beyond(genesis: Genesis) -> Genesis:
    """A lock of more than there is."""
    holder = genesis.balances[0]
    lock = Vesting(holder.address, holder.amount + 1, 0, 0, 1, 1)
    return msgspec.structs.replace(genesis, vesting=(lock,))


def too_much(genesis: Genesis) -> Genesis:
    """One account holds nearly all that may exist."""
    rich = Balance(genesis.balances[0].address, SUPPLY_MAX - eubc(1))
    return msgspec.structs.replace(genesis, balances=(rich, *genesis.balances[1:]))


@pytest.mark.parametrize(
    "change",
    [
        with_(validators=()),
        with_(format=2),
        without_proof,
        poor_validator,
        one_key_twice,
        locked_beyond,
        too_much,
        lambda g: msgspec.structs.replace(g, balances=g.balances[::-1]),
        lambda g: msgspec.structs.replace(g, validators=g.validators[::-1]),
        lambda g: msgspec.structs.replace(g, balances=(g.balances[0], *g.balances)),
        lambda g: msgspec.structs.replace(g, balances=(Balance(bytes(20), 1), *g.balances)),
    ],
)
def test_a_record_that_cannot_found_a_network_is_refused(change: Callable[[Genesis], Genesis]) -> None:
    genesis = World(validators=2).genesis
    check_genesis(genesis)
    with pytest.raises(Fault) as refusal:
        genesis_writes(change(genesis))
    assert refusal.value.reason is GENESIS_REFUSED


def test_published_parameters_are_sound() -> None:
    genesis = World().genesis
    for params in (DEV, TEST, MAIN):
        poor = msgspec.structs.replace(params.validators, min_bond=1)
        check_genesis(
            msgspec.structs.replace(genesis, params=msgspec.structs.replace(params, validators=poor))
        )


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("chain", "epoch_blocks", 0),
        ("chain", "max_due_per_block", 0),
        ("chain", "block_bytes_max", 64 * 1024),
        ("chain", "block_units_max", 80_000),
        ("fees", "min_price", 0),
        ("fees", "min_price", 10**9 + 1),
        ("validators", "halving_blocks", 0),
        ("validators", "min_bond", 0),
        ("validators", "unbonding_epochs", 2),
        ("validators", "min_signed_percent", 101),
        ("resource", "s_ref", 0),
        ("resource", "fade_shift", 17),
        ("resource", "evidence_price", 0),
        ("resource", "verify_blocks", 0),
        ("resource", "window_blocks", 0),
        ("resource", "verify_blocks", 20 * 6),
        ("resource", "difficulty_start_max", 0),
        ("resource", "difficulty_start_max", 2**41),
        ("fees", "byte", 0),
        ("validators", "max_validators", 513),
    ],
)
def test_parameters_that_would_stop_a_network_are_refused(part: str, name: str, value: int) -> None:
    genesis = World().genesis
    changed = msgspec.structs.replace(getattr(DEV, part), **{name: value})
    params = msgspec.structs.replace(DEV, **{part: changed})
    with pytest.raises(Fault) as refusal:
        check_genesis(msgspec.structs.replace(genesis, params=params))
    assert refusal.value.reason is GENESIS_REFUSED


def test_a_network_whose_tasks_may_run_for_no_time_is_refused() -> None:
    """A promise of no blocks would be divided by when such a task is settled."""
    genesis = World().genesis
    market = msgspec.structs.replace(DEV.market, run=WindowBounds(0, 10))
    with pytest.raises(Fault) as refusal:
        check_genesis(msgspec.structs.replace(genesis, params=msgspec.structs.replace(DEV, market=market)))
    assert refusal.value.reason is GENESIS_REFUSED
