"""Fees: units, how the base price moves, the room of lane and rest."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.types.amounts import eubc
from consensus.types.codec import encode
from consensus.types.params import DEV, MAIN, Params
from consensus.types.transaction import (
    Body,
    MultisigAuth,
    Transaction,
    multisig_address,
    sign_hash,
)
from tests.world import CHAIN_ID, Person, World
from vm import fees, inclusion
from vm.account import MultiTransfer, Output, Transfer
from vm.fees import Room, lane_units, next_base_price, ordinary_units
from vm.head import head

TARGET = ordinary_units(DEV) // 2


@pytest.mark.parametrize(
    ("price", "used", "expected"),
    [
        (1, 0, 1),
        (1, TARGET, 1),
        (1, TARGET + 1, 2),
        (640, 2 * TARGET, 650),
        (640, 0, 630),
        (640, TARGET // 2, 635),
        (2, TARGET - 1, 1),
    ],
)
def test_the_base_price_follows_use(price: int, used: int, expected: int) -> None:
    assert next_base_price(price, used, DEV) == expected


@given(
    price=st.integers(1, 10**9),
    used=st.integers(0, ordinary_units(MAIN)),
    params=st.sampled_from([DEV, MAIN]),
)
def test_the_base_price_moves_a_little_and_never_below_its_floor(
    price: int, used: int, params: Params
) -> None:
    price = max(price, params.fees.min_price)
    moved = next_base_price(price, used, params)
    assert moved >= params.fees.min_price
    assert abs(moved - price) <= max(1, price * used // (ordinary_units(params) // 2) // 32, price // 64)


def test_lane_and_rest_share_a_block() -> None:
    assert lane_units(DEV) + ordinary_units(DEV) == DEV.chain.block_units_max
    room = Room(DEV)
    assert room.bytes_left + room.lane_bytes_left == DEV.chain.block_bytes_max


def test_the_lane_takes_one_of_an_account_and_no_more_than_it_holds() -> None:
    room = Room(DEV)
    assert room.lane_fits(b"a", 1, 1)
    room.charge_lane(b"a", 1, 1)
    assert not room.lane_fits(b"a", 1, 1)
    assert room.lane_fits(b"b", room.lane_units_left, room.lane_bytes_left)
    assert not room.lane_fits(b"b", room.lane_units_left + 1, 1)
    assert not room.lane_fits(b"b", 1, room.lane_bytes_left + 1)
    assert room.units_used == 0, "the lane does not move the price"


def test_units_are_bytes_fixed_cost_and_new_entries() -> None:
    world = World()
    raw = world.sign("alice", Transfer(world["dora"].address, 1))
    txid = world.submit_raw(raw)
    assert inclusion.units_max(world.pending[0], DEV) == len(raw) + 200 + 500
    world.block()
    assert world.receipts[txid].units == len(raw) + 200 + 500


def test_a_multi_transfer_is_cheaper_than_many_transfers() -> None:
    world = World()
    outputs = tuple(Output(world["bob"].address, 1) for _ in range(100))
    many = world.succeed("alice", MultiTransfer(outputs)).units
    one = world.succeed("alice", Transfer(world["bob"].address, 1)).units
    assert many < 100 * one


def test_the_price_rises_over_full_blocks_and_falls_back() -> None:
    world = World()
    # Three transfers fit into 1,800 ordinary units, which is more than the target of 900.
    chain = msgspec.structs.replace(DEV.chain, block_units_max=2_400)
    world.rules = world.rules._replace(params=msgspec.structs.replace(DEV, chain=chain))
    for _ in range(4):
        for _ in range(4):
            world.submit("alice", Transfer(world["bob"].address, 1))
        world.block()
    raised = head(world.view).base_price
    assert raised == 5
    receipt = world.succeed("alice", Transfer(world["bob"].address, 1))
    assert receipt.fee == receipt.units * raised
    world.blocks(5)
    assert head(world.view).base_price == 1


def test_each_signature_of_a_multisig_beyond_the_first_costs_units() -> None:
    world = World()
    signers = sorted((Person(name) for name in ("p", "q", "r")), key=lambda p: p.secret.public)
    keys = tuple(p.secret.public for p in signers)
    address = multisig_address(2, keys)
    world.succeed("alice", Transfer(address, eubc(5)))
    payload = Transfer(world["bob"].address, 1)
    body: Body[Transfer] = Body(1, CHAIN_ID, address, 0, 10, 0, 100, payload)
    message = sign_hash(world.rules.genesis, encode(body))
    signatures = tuple(p.secret.sign(message) for p in signers[:2])
    raw = encode(Transaction(body, MultisigAuth(2, keys, b"\x03", signatures)))
    txid = world.submit_raw(raw)
    world.block()
    assert world.receipts[txid].units == len(raw) + DEV.fees.transfer + DEV.fees.signature


def test_evidence_has_a_bound_of_its_own() -> None:
    room = Room(DEV)
    for _ in range(fees.EVIDENCE_MAX):
        room.charge_evidence(300)
    assert room.evidence_left == 0
    assert room.units_used == 0


def test_small_blocks_keep_room_for_ordinary_transactions() -> None:
    chain = msgspec.structs.replace(DEV.chain, block_bytes_max=64 * 1024)
    room = Room(msgspec.structs.replace(DEV, chain=chain))
    assert (room.bytes_left, room.lane_bytes_left) == (48 * 1024, 16 * 1024)
