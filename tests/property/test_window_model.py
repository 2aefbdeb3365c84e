"""Windows on a chain against a model of their rules written a second time, in plain numbers.

Sparks prove, lie, retire, register again, bond and unbond in any order, under outages and across the ends of
epochs; after every block the chain's figures are those of the model. The model reads from the chain only
what it is not about: ids, beacons, and whether validators were absent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consensus.resource.proof import Claim, make_proof
from consensus.types.amounts import PPB, eubc
from consensus.types.params import DEV
from consensus.types.receipt import OK
from tests.proving import HARDWARE, RECIPIENT, TILES, Provers, always, edited
from vm import members, pools
from vm.epoch import PROOF_PAID
from vm.members import Register
from vm.outage import was_outage
from vm.resource import Prove
from vm.spark import RegisterSpark, RetireSpark
from vm.stake import Bond, Unbond
from vm.validator import VALIDATORS

NAMES = ("alice", "bob", "carol")
VOTERS = ("v0", "v1", "v2", "v3")
EPOCH, W, G, V = 17, 4, 2, 6
D_MIN, SPARK_BOND, UNBONDING = 2, eubc(1), DEV.validators.unbonding_epochs


def epoch_of(height: int) -> int:
    """(h − 1) // L."""
    return (height - 1) // EPOCH


@dataclass
class Account:
    """What the model knows of a spark."""

    speed: int
    difficulty: int = 5
    is_active: bool = True
    registered: int = 0
    barred_until: int = 0
    left_after: int = 0
    missed: int = 0
    bonded: int = eubc(100)
    coming_back: list[list[int]] = field(default_factory=list)
    """[amount, mature height]."""


@dataclass
class Model:
    """Windows, as their page in docs/protocol says."""

    accounts: dict[str, Account]
    announced: int | None
    capacity: int
    voids: list[bool]
    counted: int
    proofs: dict[str, tuple[int, bool]] = field(default_factory=dict)
    """By name: shares, and whether one is false."""
    credited: set[str] = field(default_factory=set)

    def begin(self, height: int, outages: dict[int, bool]) -> None:
        """Step 5 of a block."""
        if self.announced is not None:
            if height == self.announced + 1 + W + G + V:
                self._close(height, outages)
        else:
            self.announced = height
            counts = [a for a in self.accounts.values() if a.is_active and epoch_of(height) >= a.barred_until]
            self.capacity = sum(a.speed for a in counts)

    def _close(self, height: int, outages: dict[int, bool]) -> None:
        assert self.announced is not None
        now, due_in = epoch_of(height), epoch_of(self.announced + 1 + W + G)
        covered = 0
        for name, (_, is_false) in self.proofs.items():
            if is_false:
                self._slash(self.accounts[name], height)
                self.accounts[name].barred_until = now + 8
            else:
                covered += self.accounts[name].speed
        is_void = 3 * covered < 2 * self.capacity and self.voids[-2:] != [True, True]
        if not is_void:
            self.counted += 1
            self.credited = set()
            for name, account in self.accounts.items():
                if account.is_active:
                    self._measure(name, account, due_in, due_in < now, outages)
        self.voids.append(is_void)
        self.proofs, self.announced = {}, None

    def _measure(
        self, name: str, account: Account, due_in: int, is_decided: bool, outages: dict[int, bool]
    ) -> None:
        shares, is_false = self.proofs.get(name, (None, False))
        if shares is None or is_false:
            if is_false or not (is_decided and outages[due_in]):
                lost = account.speed - 7 * account.speed // 8
                account.speed -= lost
                account.missed += 0 if is_false or is_decided else lost
            return
        tiles = shares * account.difficulty if shares >= 8 else 0
        if tiles and account.bonded >= SPARK_BOND:
            self.credited.add(name)
        account.speed = (7 * account.speed + tiles * 2**16) // 8
        if shares == 56:
            account.difficulty *= 4
        elif shares < 8:
            account.difficulty //= 4
        else:
            account.difficulty = account.difficulty * (shares + 32) // 64
        account.difficulty = min(2**40, max(D_MIN, account.difficulty))

    @staticmethod
    def _slash(account: Account, height: int) -> None:
        entries = [entry for entry in account.coming_back if entry[1] > height]
        left = -(-(account.bonded + sum(entry[0] for entry in entries)) // 100)
        for entry in entries:
            part = min(left, entry[0])
            entry[0] -= part
            left -= part
        account.bonded -= min(left, account.bonded)
        account.coming_back = [entry for entry in account.coming_back if entry[0]]

    def act(self, name: str, act: str, figure: int, height: int) -> bool:
        """A transaction of step 6: whether it succeeds, and what it does then."""
        account, epoch = self.accounts[name], epoch_of(height)
        match act:
            case "prove" | "lie":
                opened = None if self.announced is None else self.announced + 1
                may = (
                    opened is not None
                    and opened < height <= opened + W + G
                    and account.is_active
                    and account.registered < epoch_of(opened - 1)
                    and epoch_of(opened - 1) >= account.barred_until
                    and account.bonded >= SPARK_BOND
                    and name not in self.proofs
                )
                if may:
                    self.proofs[name] = (figure, act == "lie" and figure > 0)
                return may
            case "retire":
                may = account.is_active
                if may:
                    account.is_active, account.left_after = False, self.counted
                return may
            case "register":
                may = not account.is_active and account.bonded >= SPARK_BOND
                if may:
                    account.is_active, account.registered = True, epoch
                    for _ in range(self.counted - account.left_after):
                        account.speed = 7 * account.speed // 8
                return may
            case "unbond":
                amount, may = account.bonded, account.bonded > 0
                mature = (epoch + 1 + UNBONDING) * EPOCH + 1
                if may and account.coming_back and account.coming_back[-1][1] == mature:
                    account.coming_back[-1][0] += amount
                elif may:
                    account.coming_back.append([amount, mature])
                account.bonded -= amount if may else 0
                return may
            case _:
                account.bonded += eubc(3)
                return True

    def end(self, height: int, is_outage: bool) -> None:
        """Steps 7 and 9."""
        for account in self.accounts.values():
            account.coming_back = [entry for entry in account.coming_back if entry[1] > height]
            if height % EPOCH == 0:
                account.speed += account.missed if is_outage else 0
                account.missed = 0


class Beside:
    """A chain and its model, block by block."""

    def __init__(self, speeds: list[int]) -> None:
        params = always(difficulty_min=D_MIN)
        chain = msgspec.structs.replace(params.chain, epoch_blocks=EPOCH)
        bonds = [eubc(2_800), eubc(2_400), eubc(2_400), eubc(2_400)]
        self.world = Provers(
            NAMES,
            difficulty=5,
            params=msgspec.structs.replace(params, chain=chain),
            validators=4,
            bonds=bonds,
        )
        world = self.world
        for name, speed in zip(NAMES, speeds, strict=True):
            edited(world, name, capacity=speed << 16)
        last = world.window
        assert last.is_closed, "the world begins between two windows"
        accounts = {
            name: Account(speed << 16, registered=world.spark(name).registered_epoch)
            for name, speed in zip(NAMES, speeds, strict=True)
        }
        self.model = Model(accounts, None, 0, [last.was_void_before, last.was_void], last.counted)
        self.outages: dict[int, bool] = {}
        self.liars: set[bytes] = set()
        self.paid = len(world.events(PROOF_PAID.code))
        world.verdicts = self._verdict

    def _verdict(self, claim: Claim) -> int:
        return 0 if claim.account in self.liars else len(claim.shares) // 8

    def block(self, acts: list[tuple[str, str, int]], is_thin: bool) -> None:
        """Produce a block with these acts, and compare."""
        world, model, height = self.world, self.model, self.world.height + 1
        model.begin(height, self.outages)
        if model.announced == height:
            self.liars.clear()
        expected = []
        for name, act, figure in acts:
            expected.append(
                (world.submit(name, self._payload(name, act, figure)), model.act(name, act, figure, height))
            )
            if act == "lie" and expected[-1][1] and figure:
                self.liars.add(world[name].address)
        world.block(absent={"v0"} if is_thin else set())
        for txid, succeeds in expected:
            assert (world.receipts[txid].code == OK) == succeeds
        if height % EPOCH == 0:
            self.outages[epoch_of(height)] = was_outage(world.view, epoch_of(height))
        model.end(height, self.outages.get(epoch_of(height), False))
        self._compare()
        if height % EPOCH == 0:
            self._compare_figures(epoch_of(height))

    def _payload(self, name: str, act: str, figure: int) -> Any:
        match act:
            case "prove" | "lie":
                announced = self.model.announced or 0
                return Prove(make_proof(announced + 1, TILES[:figure]))
            case "retire":
                return RetireSpark()
            case "register":
                return RegisterSpark(RECIPIENT, HARDWARE, 2, True, 900)
            case "unbond":
                return Unbond(max(1, self.model.accounts[name].bonded))
            case _:
                return Bond(eubc(3))

    def _compare_figures(self, epoch: int) -> None:
        """P, κ, x and the pool's payments of an epoch that has just ended; nobody has a past, so ρ is ½."""
        world, half = self.world, PPB // 2
        active = {name: a for name, a in self.model.accounts.items() if a.is_active}
        speeds = {name: a.speed if epoch >= a.barred_until else 0 for name, a in active.items()}
        bonds = {name: world.stake(name).bonded for name in (*active, *VOTERS)}
        speed_all, bond_all, s_ref = sum(speeds.values()), sum(bonds.values()), world.params.resource.s_ref
        fraction = half * min(speed_all, s_ref) // s_ref
        powers = {}
        for name, bond in bonds.items():
            compute = PPB * speeds.get(name, 0) // speed_all if speed_all else 0
            powers[name] = (fraction * compute + (PPB - fraction) * (PPB * bond // bond_all)) // PPB
        typical = sum(power * power for power in powers.values()) // sum(powers.values())
        for name in active:
            term = PPB * powers[name] // (powers[name] + typical) if powers[name] else 0
            assert (world.spark(name).power, world.spark(name).kappa) == (powers[name], (PPB + term) // 3), (
                name
            )
        for name in VOTERS:
            account = world.read(VALIDATORS, world[name].address)
            assert account.weight_before == powers[name] * half // PPB, name
        paid = dict(world.events(PROOF_PAID.code)[self.paid :])
        self.paid += len(paid)
        shares = {name: speeds[name] // 2 for name in sorted(self.model.credited) if speeds.get(name)}
        pool = pools.held(world.view, pools.RESOURCE) + sum(int(amount) for amount in paid.values())
        due = {world[name].address: pool * y // sum(shares.values()) for name, y in shares.items() if y}
        assert paid == {address: amount for address, amount in due.items() if amount}

    def _compare(self) -> None:
        world, model = self.world, self.model
        for name, account in model.accounts.items():
            spark, stake = world.spark(name), world.stake(name)
            coming_back = [[entry.amount, entry.mature_height] for entry in stake.unbonding]
            assert (stake.bonded, coming_back) == (account.bonded, account.coming_back), name
            assert (spark.difficulty, spark.capacity) == (account.difficulty, account.speed), name
            assert (spark.status == 1, spark.registered_epoch, spark.banned_until) == (
                account.is_active,
                account.registered,
                account.barred_until,
            ), name
        last = world.window
        assert last.is_closed == (model.announced is None)
        assert (last.counted, last.was_void) == (model.counted, model.voids[-1])
        if model.announced is not None:
            assert (last.window.announced, last.capacity) == (model.announced, model.capacity)
            assert last.proofs == len(model.proofs)
        credited = {world[name].address for name in model.credited}
        assert set(members.addresses(world.view, Register.CREDITED)) == credited


ACTS = st.tuples(
    st.sampled_from(NAMES),
    st.sampled_from(["prove"] * 9 + ["lie", "retire", "register", "register", "unbond", "bond"]),
    st.sampled_from([0, 7, 8, 31, 32, 33, 55, 56]),
)
BLOCKS = st.lists(st.lists(ACTS, max_size=2), min_size=40, max_size=70)


@settings(max_examples=12, suppress_health_check=list(HealthCheck))
@given(
    blocks=BLOCKS,
    speeds=st.lists(st.integers(0, 2_000), min_size=3, max_size=3),
    outages=st.sets(st.integers(0, 8)),
)
def test_windows_on_the_chain_are_those_of_the_model(
    blocks: list[list[tuple[str, str, int]]], speeds: list[int], outages: set[int]
) -> None:
    beside = Beside(speeds)
    for acts in blocks:
        epoch = epoch_of(beside.world.height + 1)
        beside.block(acts, is_thin=epoch in outages)
    beside.world.check()
