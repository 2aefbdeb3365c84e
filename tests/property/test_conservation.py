"""No sequence of transactions, accepted, refused or left out, makes or loses a grain.

Every block of the machine is built, validated and applied strictly, so it also shows that building
never includes what validation refuses. Epochs are short, so that jailing, maturing, slashing and new
sets happen within a run.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from consensus.beacon import RevealChain
from consensus.resource.proof import Claim, make_proof, parse_shares
from consensus.resource.windows import last_proof_at, opens_at, takes_proofs_at
from consensus.types.address import NO_ADDRESS
from consensus.types.amounts import eubc
from consensus.types.errors import Rejected
from consensus.types.genesis import Vesting, possession_hash
from consensus.types.keys import SecretKey
from consensus.types.params import DEV, Params
from consensus.types.vote import PRECOMMIT, vote_hash
from tests.world import CHAIN_ID, GENESIS_TIME_MS, Operator, World
from vm import fees, stake
from vm.account import MultiTransfer, Output, Transfer
from vm.evidence import Said, SubmitEvidence
from vm.resource import Prove
from vm.spark import Hardware, RegisterSpark, RetireSpark, UpdateSpark
from vm.task import payloads as market
from vm.validator import NewKey, RegisterValidator, Unjail, UpdateValidator
from vm.windows import last_window

NAMES = ("v0", "v1", "v2", "alice", "bob", "x0")
names = st.sampled_from(NAMES)
amounts = st.one_of(
    st.integers(1, 10**6), st.integers(eubc(1), eubc(300)), st.sampled_from([eubc(5_000), 10**17])
)
HARDWARE = Hardware("cpu", 0, 0, 4, 2**33, 2**36)
RECIPIENT = "age1" + "q" * 58


def short_epochs() -> Params:
    """Epochs of four blocks, everything else as in DEV but short."""
    chain = msgspec.structs.replace(DEV.chain, epoch_blocks=4, max_due_per_block=6)
    voters = msgspec.structs.replace(DEV.validators, unbonding_epochs=3, max_validators=2)
    resource = msgspec.structs.replace(
        DEV.resource, max_sparks=2, window_wait_blocks=2, window_blocks=2, grace_blocks=1, verify_blocks=2
    )
    windows = msgspec.structs.replace(DEV.market, task_retain_blocks=4)
    return msgspec.structs.replace(DEV, chain=chain, validators=voters, resource=resource, market=windows)


def verdict(claim: Claim) -> int:
    """Tiles in panel 9 are no shares, whoever claims them."""
    shares = parse_shares(claim.shares)
    return next((i for i in claim.checked if shares[i][0] == 9), len(shares))


@pytest.fixture(autouse=True)
def unpaid(monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue of these parameters is slow; were its work paid in units, a block would hold none of it."""
    monkeypatch.setattr(fees, "due_units", lambda params: 0)


class Grains(RuleBasedStateMachine):
    """A small network under whatever anybody sends."""

    @initialize(validators=st.integers(1, 2))
    def begin(self, validators: int) -> None:
        params = short_epochs()
        lock = Vesting(Operator("v0").address, eubc(9_000), GENESIS_TIME_MS, GENESIS_TIME_MS, 500, 50)
        self.world = World(params, validators, NAMES[validators:], vesting=(lock,), bonds=[eubc(500)] * 2)
        self.world.verdicts = verdict
        for name in NAMES[validators:]:
            if name.startswith(("v", "x")):
                self.world.add_operator(name)
        self.tasks: list[bytes] = []
        self.generation = 0
        for name in ("alice", "bob"):
            self.send(name, stake.Bond(eubc(50)))
            self.send(name, RegisterSpark(RECIPIENT, HARDWARE, 2, True, 1))
        self.world.block()

    def send(self, who: str, payload: Any, **envelope: Any) -> bytes | None:
        try:
            return self.world.submit(who, payload, **envelope)
        except Rejected:
            return None  # no state could make it valid: it never reaches a block

    @rule(who=names, to=names, amount=amounts, tip=st.integers(0, 2_000), price=st.integers(0, 1_500))
    def transfer(self, who: str, to: str, amount: int, tip: int, price: int) -> None:
        self.send(who, Transfer(self.world[to].address, amount), tip=tip, max_price=price)

    @rule(who=names, to=st.lists(st.tuples(names, amounts), min_size=1, max_size=4))
    def multi_transfer(self, who: str, to: list[tuple[str, int]]) -> None:
        outputs = tuple(Output(self.world[name].address, amount) for name, amount in to)
        self.send(who, MultiTransfer(outputs), tip=1)

    @rule(who=names, nonce=st.integers(0, 5), valid_until=st.integers(0, 10_000))
    def transfer_in_a_wrong_envelope(self, who: str, nonce: int, valid_until: int) -> None:
        payload = Transfer(self.world["bob"].address, 1)
        self.send(who, payload, nonce=nonce, valid_until=valid_until)

    @rule(who=names, amount=amounts)
    def bond(self, who: str, amount: int) -> None:
        self.send(who, stake.Bond(amount))

    @rule(who=names, amount=amounts)
    def unbond(self, who: str, amount: int) -> None:
        self.send(who, stake.Unbond(amount))

    @rule(who=st.sampled_from(["v1", "v2", "x0"]), honest=st.booleans())
    def register_validator(self, who: str, honest: bool) -> None:
        person = self.world[who]
        assert isinstance(person, Operator)
        key = person.consensus.public
        possession = person.possession if honest else bytes(64)
        self.send(who, RegisterValidator(who, key, possession, person.chain.commitment))

    @rule(who=st.sampled_from(["v0", "v1"]), change=st.sampled_from(["name", "key", "chain"]))
    def update_validator(self, who: str, change: str) -> None:
        address = self.world[who].address
        self.generation += 1
        secret = SecretKey(self.generation.to_bytes(32, "big"))
        chain = RevealChain(secret.secret(), self.generation, 64)
        self.world.use_keys(address, secret, chain)
        proof = secret.sign(possession_hash(CHAIN_ID, address))
        if change == "name":
            self.send(who, UpdateValidator(f"n{self.generation}", None, None))
        elif change == "key":
            self.send(who, UpdateValidator(None, NewKey(secret.public, proof), None))
        else:
            self.send(who, UpdateValidator(None, None, chain.commitment))

    @rule(who=names)
    def unjail(self, who: str) -> None:
        self.send(who, Unjail())

    @rule(who=names, slots=st.integers(1, 3), difficulty=st.sampled_from([0, 1, 2**10]))
    def register_spark(self, who: str, slots: int, difficulty: int) -> None:
        self.send(who, RegisterSpark(RECIPIENT, HARDWARE, slots, True, difficulty))

    @rule(who=names, slots=st.integers(1, 3))
    def update_spark(self, who: str, slots: int) -> None:
        self.send(who, UpdateSpark(RECIPIENT, HARDWARE, slots, False))

    @rule(who=names)
    def retire_spark(self, who: str) -> None:
        self.send(who, RetireSpark())

    @rule(who=st.sampled_from(["v0", "v1", "v2"]), height=st.integers(0, 60), honest=st.booleans())
    def double_sign(self, who: str, height: int, honest: bool) -> None:
        person = self.world[who]
        assert isinstance(person, Operator)
        ids = (None, bytes([9]) * 32)
        signatures = [
            person.consensus.sign(vote_hash(self.world.rules.genesis, PRECOMMIT, height, 0, identity))
            for identity in ids
        ]
        if not honest:
            signatures.reverse()
        payload = SubmitEvidence(
            PRECOMMIT, height, 0, person.consensus.public,
            Said(ids[0], None), signatures[0], Said(ids[1], None), signatures[1],
        )  # fmt: skip
        try:
            self.world.submit_evidence(payload)
        except Rejected:
            return

    @rule(who=names, maximum=st.integers(eubc(1) // 100, eubc(5)), by_hand=st.booleans())
    def post_task(self, who: str, maximum: int, by_hand: bool) -> None:
        role = market.Role("main", 1, True, maximum, market.Resources(0, 0, 1, 2**30, 2**30))
        windows = market.Windows(2, 2, 2, 4, 2)
        payload = market.Post(0, 0, (role,), 0, (), (), windows, 0, by_hand, None, b"spec")
        txid = self.send(who, payload)
        if txid is not None:
            self.tasks.append(txid)

    @precondition(lambda self: self.tasks)
    @rule(who=names, data=st.data(), price=st.integers(eubc(1) // 100, eubc(5)), promise=st.integers(1, 4))
    def offer(self, who: str, data: st.DataObject, price: int, promise: int) -> None:
        task = data.draw(st.sampled_from(self.tasks[-3:]))
        self.send(who, market.Offer(task, 0, price, promise))

    @precondition(lambda self: self.tasks)
    @rule(who=names, data=st.data(), spark=names, step=st.integers(0, 8))
    def task_step(self, who: str, data: st.DataObject, spark: str, step: int) -> None:
        task = data.draw(st.sampled_from(self.tasks[-3:]))
        digest = bytes([7]) * 32
        steps: list[Any] = [
            market.Match(task, self.world[spark].address),
            market.Cancel(task),
            market.Grant(task, digest, (market.SeatEnvelope(0, b"sealed"),)),
            market.Start(task, 0, b""),
            market.Release(task, 0),
            market.Deliver(task, 0, digest, 1, ("blob:x",), digest, RECIPIENT, b"sealed"),
            market.Fail(task, 0, 1, 127, digest, "blob:y"),
            market.Accept(task, 0, 80, 4),
            market.Reject(task, 0),
        ]
        self.send(who, steps[step])

    @rule(
        who=st.lists(names, min_size=1, max_size=3),
        count=st.sampled_from([0, 7, 8, 32, 56]),
        is_true=st.sampled_from([True, True, False]),
        late=st.sampled_from([0, 0, 0, 1]),
    )
    def prove(self, who: list[str], count: int, is_true: bool, late: int) -> None:
        """In the next window, or one block after it."""
        for _ in range(20):
            last = last_window(self.world.view)
            height = self.world.height + 1
            if last is not None and takes_proofs_at(last.window, height):
                shares = [(8 if is_true else 9, q) for q in range(count)]
                self._mine(late * (last_proof_at(last.window) + 1 - height), set(), 0)
                for name in who:
                    self.send(name, Prove(make_proof(opens_at(last.window), shares)))
                return
            self._mine(1, set(), 0)

    @rule(absent=st.sets(st.sampled_from(["v0", "v1"]), max_size=1), round_=st.sampled_from([0, 0, 0, 0, 1]))
    def block(self, absent: set[str], round_: int) -> None:
        self._mine(1, absent, round_)

    @rule(count=st.integers(2, 9))
    def blocks(self, count: int) -> None:
        self._mine(count, set(), 0)

    def _mine(self, count: int, absent: set[str], round_: int) -> None:
        for _ in range(count):
            powers = {v.address: v.power for v in self.world.validators}
            away = sum(powers.get(self.world[name].address, 0) for name in absent)
            # A commit needs two thirds; a network of two has no block without both.
            self.world.block(absent=absent if 3 * away < 10**9 else set(), round_=round_)

    @invariant()
    def supply_is_conserved(self) -> None:
        if not hasattr(self, "world"):
            return
        self.world.check()
        assert self.world.balance(NO_ADDRESS) == 0
        assert self.world.supply().issued <= 10**17


TestGrains = Grains.TestCase
TestGrains.settings = settings(
    max_examples=30,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
