"""Transfers against a model that knows nothing of the transition: a dict and the rules in ten lines."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.types.params import DEV
from tests.world import World
from vm.account import Transfer
from vm.funds import SHORT_OF_FUNDS

NAMES = ("v0", "alice", "bob", "new0", "new1")
START = 3_000_000


class Sent(NamedTuple):
    """One transfer as it is sent."""

    who: str
    to: str
    amount: int
    max_price: int
    tip: int
    nonce_skew: int


sent = st.builds(
    Sent,
    st.sampled_from(NAMES[:3]),
    st.sampled_from(NAMES),
    st.one_of(st.integers(1, 5_000), st.integers(START // 2, 2 * START)),
    st.integers(0, 3_000),
    st.integers(0, 3_000),
    st.sampled_from([0, 0, 0, 0, 0, 1]),
)


class Model:
    """What a block of transfers does, by the protocol's own words."""

    def __init__(self) -> None:
        self.balances = dict.fromkeys(NAMES[:3], START)
        self.nonces = dict.fromkeys(NAMES[:3], 0)
        self.burned = self.tips = 0
        self.codes: list[int] = []

    def take(self, transfer: Sent, nonce: int, size: int) -> None:
        """Include the transfer, or leave it out."""
        fees, base = DEV.fees, DEV.fees.min_price
        most = size * fees.byte + fees.transfer + fees.new_entry
        have = self.balances[transfer.who]
        if nonce != self.nonces[transfer.who] or transfer.max_price < base:
            return
        if have < most * transfer.max_price:
            return
        self.nonces[transfer.who] += 1
        succeeds = transfer.amount <= have - most * transfer.max_price
        is_new = transfer.to not in self.balances
        if succeeds:
            self.balances[transfer.who] -= transfer.amount
            self.balances[transfer.to] = self.balances.get(transfer.to, 0) + transfer.amount
        units = most if succeeds and is_new else most - fees.new_entry
        tip = min(transfer.tip, transfer.max_price - base)
        self.balances[transfer.who] -= units * (base + tip)
        self.burned += units * base
        self.tips += units * tip
        self.codes.append(0 if succeeds else SHORT_OF_FUNDS.code)


@given(st.lists(sent, max_size=25))
@settings(max_examples=60, deadline=None)
def test_a_block_of_transfers_does_what_the_model_says(transfers: list[Sent]) -> None:
    world, model = World(people=NAMES[1:3], balance=START), Model()
    for transfer in transfers:
        nonce = model.nonces[transfer.who] + transfer.nonce_skew
        payload = Transfer(world[transfer.to].address, transfer.amount)
        raw = world.sign(transfer.who, payload, nonce=nonce, max_price=transfer.max_price, tip=transfer.tip)
        world.submit_raw(raw)
        model.take(transfer, nonce, len(raw))
    outcome = world.block()
    assert [receipt.code for receipt in outcome.receipts[:-1]] == model.codes
    for name in NAMES:
        assert world.balance(name) == model.balances.get(name, 0)
    supply = world.supply()
    assert (supply.burned, supply.accrued) == (model.burned, model.tips)
    world.check()
