"""The published windows: told again byte for byte, and gone through by a second implementation.

`Plain` is what somebody would write who has read docs/protocol/resource.md and nothing of our code: integers,
lists, a hash. It is given what stands in the file as input (beacons, block ids, transactions, verdicts,
whether an epoch was an outage) and must come to everything else that stands there.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.vectors import generate_windows, plain

FILE = generate_windows.HERE / "windows.json"
TOLD = json.loads(FILE.read_text())
RULES: dict[str, int] = TOLD["parameters"]
B = 10**9
BARRED_EPOCHS = 8
DIFFICULTY_MAX = 2**40
PROFILE = 1
raw = bytes.fromhex


@pytest.mark.slow
def test_the_story_told_again_gives_the_same_bytes() -> None:
    """Every proof is searched for and every verdict recomputed."""
    assert generate_windows.files()["windows.json"] == FILE.read_text()


class Window:
    """The last window announced."""

    def __init__(self, announced: int, beacon: bytes, capacity: int, before: Window | None) -> None:
        self.announced, self.beacon, self.capacity = announced, beacon, capacity
        self.seed: bytes | None = None
        self.sample: bytes | None = None
        self.proofs = self.shares = 0
        self.is_closed = False
        self.was_void = before.was_void if before else False
        self.was_void_before = before.was_void_before if before else False
        self.counted = before.counted if before else 0
        self.opens = announced + 1
        self.last_proof = self.opens + RULES["window_blocks"] + RULES["grace_blocks"]
        self.closes = self.last_proof + RULES["verify_blocks"]

    def encoding(self) -> bytes:
        """The record in state."""
        names = ("window_blocks", "grace_blocks", "verify_blocks", "difficulty_min", "verify_budget")
        rules = [self.announced, PROFILE, *(RULES[name] for name in names)]
        return plain.encoded(
            [
                rules, self.beacon, self.seed, self.sample, self.capacity, self.proofs, self.shares,
                self.is_closed, self.was_void, self.was_void_before, self.counted,
            ]
        )  # fmt: skip


class Plain:
    """A chain of which only windows, sparks and the resource pool are looked at."""

    def __init__(self) -> None:
        self.window: Window | None = None
        self.sparks: dict[str, dict[str, Any]] = {}
        self.bonded: dict[str, int] = {}
        self.proofs: dict[str, list[list[int]]] = {}
        self.credited: list[str] = []
        self.missed: dict[str, int] = {}
        self.outages: dict[int, bool] = {}
        self.slashed: dict[str, int] = {}
        self.judged: list[dict[str, Any]] = []

    def block(self, row: dict[str, Any]) -> dict[str, Any]:
        """Step 5, the transactions, and the epoch's end where it is; returns what it paid."""
        height = row["height"]
        self.epoch = epoch_of(height)
        self.slashed, self.judged = {}, []
        self._step(height, raw(row["beacon"]), raw(row["parent"]), row.get("judged", []))
        for given in row.get("given", []):
            assert self._given(height, given) == given["code"], (height, given)
        if height % RULES["epoch_blocks"]:
            return {}
        is_outage = row["epoch_end"]["outage"]
        self.outages[self.epoch] = is_outage
        for account, lost in self.missed.items():
            self.sparks[account]["capacity"] += lost if is_outage else 0
        self.missed = {}
        return self._paid(row["epoch_end"]["pool"])

    # ------------------------------------------------------------------------- a window's course

    def _step(self, height: int, beacon: bytes, parent: bytes, verdicts: list[dict[str, Any]]) -> None:
        window = self.window
        if window is None or window.is_closed:
            drawn = int.from_bytes(plain.hashed("EUB-por-win", beacon)[:8], "big")
            if drawn < 2**64 // RULES["window_wait_blocks"]:
                capacity = sum(self._counts(account) for account in self.sparks)
                self.window = Window(height, beacon, capacity, window)
            return
        if height == window.opens + 1:
            window.seed = plain.hashed("EUB-por-seed", window.beacon, parent)
        if height == window.last_proof + 1:
            window.sample = beacon
        if height == window.closes:
            self._close(window, {row["account"]: row["verdict"] for row in verdicts})

    def _counts(self, account: str) -> int:
        spark = self.sparks[account]
        is_in = spark["active"] and self.epoch >= spark["barred_until"]
        return int(spark["capacity"]) if is_in else 0

    def _sample(self, window: Window, account: str, count: int) -> list[int]:
        if window.shares <= RULES["verify_budget"]:
            return list(range(count))
        size = min(count, max(8, RULES["verify_budget"] // window.proofs))
        assert window.sample is not None
        ranks = [plain.hashed("EUB-por-smp", window.sample, raw(account), bytes([j])) for j in range(count)]
        return sorted(sorted(range(count), key=lambda j: (ranks[j], j))[:size])

    def _close(self, window: Window, verdicts: dict[str, int]) -> None:
        covered, is_true = 0, {}
        for account in sorted(self.proofs):
            spark, count = self.sparks[account], len(self.proofs[account])
            checked = self._sample(window, account, count)
            verdict = verdicts[account]
            self.judged.append(
                {
                    "account": account, "difficulty": spark["difficulty"], "shares": count,
                    "checked": checked, "verdict": verdict,
                }
            )  # fmt: skip
            is_true[account] = verdict == count
            if is_true[account]:
                covered += spark["capacity"]
                continue
            taken = -(-self.bonded[account] // 100)
            self.bonded[account] -= taken
            self.slashed[account] = taken
            spark["barred_until"] = self.epoch + BARRED_EPOCHS
        is_void = 3 * covered < 2 * window.capacity and not (window.was_void and window.was_void_before)
        if not is_void:
            self._measure(window, is_true)
        window.was_void, window.was_void_before = is_void, window.was_void
        window.counted += not is_void
        window.is_closed, self.proofs = True, {}

    def _measure(self, window: Window, is_true: dict[str, bool]) -> None:
        due_in = epoch_of(window.last_proof)
        self.credited = []
        for account in sorted(self.sparks):
            spark = self.sparks[account]
            if not spark["active"]:
                continue
            if is_true.get(account):
                n, difficulty = len(self.proofs[account]), spark["difficulty"]
                tiles = n * difficulty if n >= 8 else 0
                if tiles and self.bonded[account] >= RULES["spark_bond"]:
                    self.credited.append(account)
                moved = 4 * difficulty if n == 56 else difficulty * (n + 32) // 64
                moved = difficulty // 4 if n < 8 else moved
                spark["difficulty"] = min(DIFFICULTY_MAX, max(RULES["difficulty_min"], moved))
                spark["capacity"] = (7 * spark["capacity"] + (tiles << 16)) // 8
            else:
                is_false, is_over = account in is_true, due_in < self.epoch
                if not spark["capacity"] or (self.outages.get(due_in, False) and not is_false):
                    continue
                lost = spark["capacity"] - 7 * spark["capacity"] // 8
                spark["capacity"] -= lost
                if not is_false and not is_over:
                    self.missed[account] = self.missed.get(account, 0) + lost

    # ------------------------------------------------------------------------------ transactions

    def _given(self, height: int, given: dict[str, Any]) -> int:
        account = given["account"]
        match given["what"]:
            case "bond":
                self.bonded[account] = self.bonded.get(account, 0) + given["amount"]
            case "unbond":
                self.bonded[account] -= given["amount"]
            case "register":
                self._register(account, given["difficulty"])
            case "retire":
                self.sparks[account]["active"] = False
                self.sparks[account]["left_after"] = self.window.counted if self.window else 0
            case "prove":
                return self._prove(height, account, given)
        return 0

    def _register(self, account: str, difficulty: int) -> None:
        old = self.sparks.get(account)
        if old is None:
            old = {"difficulty": difficulty, "capacity": 0, "barred_until": 0, "left_after": 0}
        elif self.window is not None:
            for _ in range(self.window.counted - old["left_after"]):
                old["capacity"] = 7 * old["capacity"] // 8
        self.sparks[account] = old | {"active": True, "registered_epoch": self.epoch}

    def _prove(self, height: int, account: str, given: dict[str, Any]) -> int:
        window, spark = self.window, self.sparks.get(account)
        if window is None or not window.opens < height <= window.last_proof:
            return 1505
        if given["window"] != window.opens:
            return 1506
        if spark is None or not spark["active"]:
            return 1404
        if spark["registered_epoch"] >= epoch_of(window.announced):
            return 1508
        if epoch_of(window.announced) < spark["barred_until"]:
            return 1509
        if self.bonded[account] < RULES["spark_bond"]:
            return 1402
        if account in self.proofs:
            return 1507
        self.proofs[account] = given["shares"]
        window.proofs += 1
        window.shares += len(given["shares"])
        return 0

    def _paid(self, pool: int) -> dict[str, int]:
        y = {a: self._counts(a) * TOLD["weight_reputation"] // B for a in self.credited if self._counts(a)}
        return {a: paid for a in y if (paid := pool * y[a] // sum(y.values()))} if any(y.values()) else {}


def epoch_of(height: int) -> int:
    """The epoch of a height; the first begins at 1."""
    return (height - 1) // RULES["epoch_blocks"]


def test_a_second_implementation_goes_through_the_windows_alike() -> None:
    """Every record, every figure of every spark, every refusal, slash and payment of every block."""
    chain = Plain()
    window, sparks, credited, missed = "", dict[str, Any](), list[str](), dict[str, int]()
    for row in TOLD["blocks"]:
        paid = chain.block(row)
        window, credited = row.get("window", window), row.get("credited", credited)
        sparks, missed = sparks | row.get("sparks", {}), row.get("missed", missed)
        assert ("" if chain.window is None else chain.window.encoding().hex()) == window, row["height"]
        assert chain.sparks == sparks, row["height"]
        assert chain.credited == credited, row["height"]
        assert chain.missed == missed, row["height"]
        assert chain.slashed == row.get("slashed", {}), row["height"]
        assert chain.judged == row.get("judged", []), row["height"]
        assert paid == row.get("epoch_end", {}).get("paid", {}), row["height"]


def test_the_story_has_what_an_implementation_could_get_wrong() -> None:
    """A file without it would say little."""
    codes = {given["code"] for row in TOLD["blocks"] for given in row.get("given", [])}
    assert codes == {0, 1402, 1404, 1505, 1506, 1507, 1508, 1509}
    judged = [claim for row in TOLD["blocks"] for claim in row.get("judged", [])]
    assert any(0 < len(claim["checked"]) < claim["shares"] for claim in judged), "some are sampled"
    assert any(0 < claim["verdict"] < claim["shares"] for claim in judged), "a lie in the middle"
    assert {0, 7, 56} <= {claim["shares"] for claim in judged}
    records = [plain.unpacked(raw(row["window"])) for row in TOLD["blocks"] if "window" in row]
    voids = [(record[8], record[9]) for record in records if record[7]]
    assert (True, True) in voids, "two voids in a row"
    assert any(row.get("missed") == {} for row in TOLD["blocks"]), "losses are settled"
    assert any(row.get("epoch_end", {}).get("outage") for row in TOLD["blocks"])
