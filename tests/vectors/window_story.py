"""What happens in windows.json: sparks in ten windows, true and false proofs, voids, a sample, an outage.

Here: `WindowStory`, which writes down what goes into each block and what comes out, and its chapters.
Not here: the file (generate_windows.py), the second implementation that repeats it
(tests/unit/test_window_vectors.py).
Keeps: no clock and no randomness; each proof is computed for real, and each verdict by recomputing.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from msgspec.structs import replace

from consensus.resource import share
from consensus.resource.proof import Claim, Share, make_proof, parse_shares
from consensus.resource.windows import closes_at, last_proof_at, opens_at, window_seed
from consensus.types.amounts import eubc
from consensus.types.codec import encode
from consensus.types.params import DEV
from spark_node.prover.numpy_backend import NumpyBackend
from tests.proving import HARDWARE, RECIPIENT
from tests.world import World
from vm import head as heads
from vm import members, pools
from vm.claims import claims, judge_here
from vm.epoch import PROOF_PAID
from vm.head import epoch_of
from vm.measuring import FALSE_SHARE, MISSED
from vm.members import Register
from vm.outage import EPOCHS
from vm.resource import Prove
from vm.spark import ACTIVE, SPARKS, RegisterSpark, RetireSpark, Spark
from vm.stake import Bond, Unbond
from vm.windows import WINDOWS, LastWindow

SPARKS_AT_FIRST = {"ann": 1, "ben": 1, "cem": 4, "dov": 8, "eva": 2, "fay": 2, "gus": 1}
"""Who registers in the first block, and with which D₀."""
LATER = "hal"
AWAY = "v0"
"""Its power is more than a quarter: an epoch without it is an outage."""
BOND = eubc(100)
PARAMS = replace(
    DEV,
    resource=replace(
        DEV.resource,
        window_wait_blocks=2,
        window_blocks=4,
        grace_blocks=2,
        verify_blocks=3,
        verify_budget=100,
        spark_bond=eubc(5),
    ),
)
BARRED, LIES = "barred", "lies"


class WindowStory(World):
    """A world that tells every block: what it was given, and what of the windows it changed."""

    def __init__(self) -> None:
        bonds = [eubc(2_800), eubc(2_400), eubc(2_400), eubc(2_400)]
        super().__init__(PARAMS, 4, [*SPARKS_AT_FIRST, LATER], bonds=bonds)
        self.verdicts = self._verdict
        self.absent: set[str] = set()
        self.rows: list[dict[str, Any]] = []
        self._given: list[dict[str, Any]] = []
        self._txids: list[bytes] = []
        self._judged: dict[Claim, int] = {}
        self._told: dict[str, Any] = {}

    def _verdict(self, claim: Claim) -> int:
        if claim not in self._judged:
            self._judged[claim] = judge_here(claim)
        return self._judged[claim]

    # ------------------------------------------------------------------------------------ looking

    @property
    def window(self) -> LastWindow | None:
        """The last window announced."""
        found = self.read(WINDOWS, b"")
        assert found is None or isinstance(found, LastWindow)
        return found

    def running_or_none(self) -> LastWindow | None:
        """The window that is not closed yet, if there is one."""
        found = self.window
        return None if found is None or found.is_closed else found

    def running(self) -> LastWindow:
        """The window that is not closed yet."""
        found = self.window
        assert found is not None, "one was announced"
        assert not found.is_closed, "it is running"
        return found

    def spark(self, name: str) -> Spark:
        """The record of a spark."""
        found = self.read(SPARKS, self[name].address)
        assert isinstance(found, Spark)
        return found

    def shares(self, name: str, count: int) -> list[Share]:
        """The first `count` shares of a spark in the running window, found by computing."""
        return self._tiles(name, count, is_share=True)

    def lies(self, name: str, count: int) -> list[Share]:
        """As many tiles that are none."""
        return self._tiles(name, count, is_share=False)

    def _tiles(self, name: str, count: int, *, is_share: bool) -> list[Share]:
        last, spark = self.running(), self.spark(name)
        if is_share and spark.difficulty == 1:
            return [(number // 8, number % 8) for number in range(count)]  # every tile is one
        seed = last.seed or window_seed(last.announcing_beacon, self.last_id)
        owner = share.owner_bytes(self[name].address)
        keys = share.panel_keys(share.PROFILES[1], opens_at(last.window), seed, owner)
        backend, found, first = NumpyBackend(), list[Share](), 0
        while len(found) < count:
            tickets = backend.tickets(keys, range(8), range(first, first + 8))
            found += [
                (p, first + column)
                for p in range(8)
                for column in range(8)
                if share.is_share(int(tickets[p, column]), spark.difficulty) == is_share
            ]
            first += 8
        return found[:count]

    # ------------------------------------------------------------------------------------- acting

    def give(self, name: str, payload: Any, **what: Any) -> None:
        """Put a transaction into the next block and write it down."""
        self._txids.append(self.submit(name, payload))
        self._given.append({"account": self[name].address.hex(), **what})

    def register(self, name: str, difficulty: int) -> None:
        """Become a spark (again)."""
        payload = RegisterSpark(RECIPIENT, HARDWARE, 1, False, difficulty)
        self.give(name, payload, what="register", difficulty=difficulty)

    def prove(self, name: str, tiles: Sequence[Share], window: int | None = None) -> None:
        """Send a proof for the running window, or for another one."""
        opened = opens_at(self.running().window) if window is None else window
        proof = make_proof(opened, tiles)
        told = [list(tile) for tile in parse_shares(proof.shares)]
        self.give(name, Prove(proof), what="prove", window=opened, shares=told)

    def block(self, **how: Any) -> Any:
        """Produce the next block and write down what it did."""
        view = self.view
        last = self.window
        judged: list[dict[str, Any]] = []
        if last is not None and not last.is_closed and self.height + 1 == closes_at(last.window):
            judged = [_claim_row(claim, self._verdict(claim)) for _, claim in claims(view, last)]
        parent = self.last_id
        outcome = super().block(absent=self.absent, **how)
        row: dict[str, Any] = {
            "height": self.height,
            "parent": parent.hex(),
            "beacon": heads.head(self.view).beacon.hex(),
        }
        if self._given:
            codes = [self.receipts[txid].code for txid in self._txids]
            row["given"] = [given | {"code": code} for given, code in zip(self._given, codes, strict=True)]
        if judged:
            row["judged"] = judged
        row |= self._changes()
        events = outcome.receipts[-1].events
        slashed = {facts[0].hex(): facts[3] for facts in self._facts(events, FALSE_SHARE.code)}
        if slashed:
            row["slashed"] = slashed
        if self.height % self.params.chain.epoch_blocks == 0:
            paid = {facts[0].hex(): facts[1] for facts in self._facts(events, PROOF_PAID.code)}
            held = pools.held(self.view, pools.RESOURCE) + sum(paid.values())
            ended = self.read(EPOCHS, (self.epoch - 1).to_bytes(8, "big"))
            row["epoch_end"] = {"outage": ended.outage, "pool": held, "paid": paid}
        self.rows.append(row)
        self._given, self._txids = [], []
        return outcome

    @staticmethod
    def _facts(events: Any, code: int) -> list[tuple[Any, ...]]:
        return [event.facts for event in events if event.code == code]

    def _changes(self) -> dict[str, Any]:
        """What of windows and sparks is not as it was after the block before."""
        view, last = self.view, self.window
        now: dict[str, Any] = {
            "window": None if last is None else encode(last).hex(),
            "sparks": {},
            "credited": [a.hex() for a in members.addresses(view, Register.CREDITED)],
            "missed": {key.hex(): missed.capacity for key, missed in view.scan(MISSED)},
        }
        for key, record in view.scan(SPARKS):
            now["sparks"][key.hex()] = {
                "active": record.status == ACTIVE,
                "registered_epoch": record.registered_epoch,
                "difficulty": record.difficulty,
                "capacity": record.capacity,
                "barred_until": record.banned_until,
                "left_after": record.left_after,
            }
        before, self._told = self._told, now
        changed = {
            name: value
            for name, value in now.items()
            if name != "sparks" and value != before.get(name, [] if name == "credited" else {})
        }
        old = before.get("sparks", {})
        sparks = {key: value for key, value in now["sparks"].items() if value != old.get(key)}
        if changed.get("window", "") is None:
            del changed["window"]  # before the first
        return changed | ({"sparks": sparks} if sparks else {})

    def until(self, condition: Any) -> None:
        """Produce blocks until it holds."""
        while not condition():
            self.block()

    def play(self, plan: dict[str, tuple[int, int | str]]) -> None:
        """A window from announcement to close: by name, blocks after the opening one, and how many shares."""
        self.until(lambda: self.window is None or self.window.is_closed)
        self.until(lambda: self.window is not None and not self.window.is_closed)
        last = self.running()
        opened = opens_at(last.window)
        while self.height < closes_at(last.window):
            for name, (offset, count) in plan.items():
                if self.height + 1 == opened + offset:
                    if isinstance(count, str):
                        self.prove(name, self.lies(name, 3) if count == LIES else [])
                    else:
                        self.prove(name, self.shares(name, count))
            self.block()


def _claim_row(claim: Claim, verdict: int) -> dict[str, Any]:
    return {
        "account": claim.account.hex(),
        "difficulty": claim.difficulty,
        "shares": len(claim.shares) // 8,
        "checked": list(claim.checked),
        "verdict": verdict,
    }


# ------------------------------------------------------------------------------------ the chapters


@cache
def tell() -> WindowStory:
    """The whole story."""
    world = WindowStory()
    _beginnings(world)
    _voids(world)
    _a_sample(world)
    _comings_and_goings(world)
    _an_outage(world)
    _the_bar_ends(world)
    world.until(lambda: world.height % world.params.chain.epoch_blocks == 0)
    return world


def _beginnings(world: WindowStory) -> None:
    """Everyone registers, and nobody proves in that epoch. Then a window with proofs of every kind."""
    for name, difficulty in SPARKS_AT_FIRST.items():
        bond = eubc(6) if name == "gus" else BOND
        world.give(name, Bond(bond), what="bond", amount=bond)
        world.register(name, difficulty)
    world.block()
    world.until(lambda: world.window is not None)
    opened = opens_at(world.running().window)
    world.until(lambda: world.height == opened)
    world.prove("ann", [])  # too new: 1508
    world.block()
    world.until(lambda: world.epoch > 0 and world.running_or_none() is None)
    world.until(lambda: world.window is not None and not world.window.is_closed)
    opened = opens_at(world.running().window)
    world.give(LATER, Bond(BOND), what="bond", amount=BOND)
    world.register(LATER, 1)
    world.until(lambda: world.height == opened)
    world.prove("ann", world.shares("ann", 56))
    world.block()
    world.prove("ben", world.shares("ben", 32))
    world.prove("cem", world.shares("cem", 7))
    world.prove("fay", [*world.shares("fay", 9), *world.lies("fay", 2)])
    world.prove("eva", [], window=opened - 1)  # another window: 1506
    world.block()
    world.prove("ann", [])  # the second: 1507
    world.prove(LATER, [])  # too new: 1508
    world.block()
    world.until(lambda: world.height == last_proof_at(world.running().window) - 1)
    world.prove("dov", [])
    world.block()
    world.prove("gus", world.shares("gus", 8))  # a block too late: 1505
    world.until(lambda: world.running_or_none() is None)
    assert [world.spark(name).difficulty for name in ("ann", "ben", "cem", "dov", "eva")] == [4, 1, 1, 2, 2]
    assert world.spark("fay").banned_until > world.epoch


def _voids(world: WindowStory) -> None:
    """ben alone holds less than two thirds: two windows are void, a lie in one of them is slashed all the
    same, and the third counts.
    """
    world.play({"ben": (3, 10), "fay": (2, BARRED)})
    world.play({"ben": (2, 10), "eva": (2, LIES)})
    world.play({"ben": (2, 10)})
    assert world.spark("ann").capacity < 56 << 13
    assert world.spark("eva").banned_until > world.epoch


def _a_sample(world: WindowStory) -> None:
    """Five proofs of more than a hundred shares: of each some are looked at. dov lies and is found."""
    world.until(lambda: world.window is None or world.window.is_closed)
    world.until(lambda: world.window is not None and not world.window.is_closed)
    opened = opens_at(world.running().window)
    world.until(lambda: world.height == opened)
    for name, count in (("ann", 56), ("ben", 56), ("cem", 40), ("gus", 8)):
        world.prove(name, world.shares(name, count))
    world.prove("dov", world.lies("dov", 30))
    world.block()
    # Who takes its bond away before the close is credited nothing, and proves no more: 1402.
    world.give("gus", Unbond(eubc(2)), what="unbond", amount=eubc(2))
    world.block()
    world.until(lambda: world.running_or_none() is None)
    world.play({"gus": (1, 8), "ann": (1, 30), "ben": (1, 30), "cem": (6, 20)})
    assert world.spark("gus").capacity > 0
    assert world.spark("dov").banned_until > world.epoch


def _comings_and_goings(world: WindowStory) -> None:
    """ben proves and retires before the close; two windows later it comes back with less."""
    world.until(lambda: world.window is not None and not world.window.is_closed)
    opened = opens_at(world.running().window)
    world.until(lambda: world.height == opened)
    for name in ("ann", "ben", "cem", LATER):
        world.prove(name, world.shares(name, 20))
    world.block()
    world.give("ben", RetireSpark(), what="retire")
    world.block()
    world.prove("ben", [])  # no spark: 1404
    world.until(lambda: world.running_or_none() is None)
    left = world.spark("ben").capacity
    for _ in range(2):
        world.play({"ann": (2, 16), "cem": (2, 16), LATER: (2, 16)})
    world.register("ben", 500)
    world.block()
    assert world.spark("ben").capacity == 7 * (7 * (7 * left // 8) // 8) // 8
    assert world.spark("ben").difficulty < 500


def _an_outage(world: WindowStory) -> None:
    """Epochs in which v0 is away: misses that are known to be excused at the close, and misses that are given
    back at the epoch's end.
    """
    world.until(lambda: world.height % world.params.chain.epoch_blocks == 0)
    world.absent = {AWAY}
    is_given_back = is_known = False
    while not (is_given_back and is_known):
        were_missed = bool(world.view.scan(MISSED))
        world.block()
        is_given_back |= were_missed and not world.view.scan(MISSED)
        last = world.window
        if last is not None and world.height == closes_at(last.window) and not last.was_void:
            due_in = epoch_of(last_proof_at(last.window), world.params.chain.epoch_blocks)
            is_known |= due_in < epoch_of(world.height, world.params.chain.epoch_blocks)
        last = world.running_or_none()
        if last is not None and world.height == opens_at(last.window) + 1:
            for name in ("ann", "cem"):
                world.prove(name, world.shares(name, 12))
    world.absent = set()


def _the_bar_ends(world: WindowStory) -> None:
    """fay may prove again."""
    world.until(lambda: world.epoch >= world.spark("fay").banned_until and world.running_or_none() is None)
    world.play({"fay": (2, 10), "ann": (2, 10), "ben": (2, 10), "cem": (2, 10)})
    assert world.spark("fay").capacity > 0
