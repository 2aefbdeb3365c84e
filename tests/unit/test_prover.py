"""The prover finds what the reference confirms, and nothing else leaves it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from consensus.resource import share
from consensus.resource.proof import PANELS, Claim, parse_shares
from consensus.types.errors import Fault
from spark_node.bench import practise
from spark_node.prover import process
from spark_node.prover.backend import (
    PROVER_BACKEND_MISSING,
    PROVER_BACKEND_UNKNOWN,
    choose_backend,
    is_trustworthy,
)
from spark_node.prover.numpy_backend import NumpyBackend
from spark_node.prover.order import NOT_BEGUN, Assignment, Order, Progress
from spark_node.prover.search import assignment_keys, confirmed, prove, search

ASSIGNMENT = Assignment(1, 1000, bytes(range(32)), bytes(range(20)), 16)


def blocks(count: int) -> Callable[[], bool]:
    """Permission for `count` blocks of tiles."""
    left = iter([True] * count)
    return lambda: next(left, False)


class FlippedBits(NumpyBackend):
    """A card that errs: every ticket of q = 3 comes out as a win."""

    def tickets(self, keys: share.Keys, ps: Sequence[int], qs: Sequence[int]) -> np.ndarray:
        """As they are, but for one column."""
        found = super().tickets(keys, ps, qs)
        for column, q in enumerate(qs):
            if q == 3:
                found[:, column] = 0
        return found


def test_blocks_give_the_tickets_of_the_reference():
    """Grouping tiles changes nothing, at the end of the range neither."""
    keys = assignment_keys(ASSIGNMENT)
    found = NumpyBackend().tickets(keys, (0, 3), (2, 2**24 - 1))
    assert found.tolist() == [[share.ticket(keys, p, q) for q in (2, 2**24 - 1)] for p in (0, 3)]


def test_the_numpy_backend_proves_itself():
    """Rails, made-up panels, real tickets."""
    assert is_trustworthy(NumpyBackend())
    assert choose_backend("numpy").name == "numpy:float32"


def test_a_backend_that_errs_is_not_trusted():
    """The self-test sees wrong tickets, and wrong products."""

    class SaturatedSums(NumpyBackend):
        def product(self, a: share.Entries, b: share.Entries) -> share.Product:
            return np.minimum(super().product(a, b), 2**24)

    class WrongTickets(NumpyBackend):
        def tickets(self, keys: share.Keys, ps: Sequence[int], qs: Sequence[int]) -> np.ndarray:
            return super().tickets(keys, ps, qs) ^ np.uint64(1)

    assert not is_trustworthy(SaturatedSums())
    assert not is_trustworthy(WrongTickets())


def test_a_search_finds_every_share_of_its_tiles():
    """One block of 64 tiles at D = 16, against one look at each tile."""
    keys = assignment_keys(ASSIGNMENT)
    found, tiles = search(NumpyBackend(), ASSIGNMENT, blocks(1))
    expected = [(p, q) for p in range(8) for q in range(8) if share.is_share(share.ticket(keys, p, q), 16)]
    assert tiles == 64
    assert sorted(found) == expected


def test_a_proof_is_verified_by_what_validators_run():
    """Two blocks at D = 16: every share stands, in the window and for the account asked for."""
    answer = prove(NumpyBackend(), ASSIGNMENT, blocks(2))
    claim = Claim(
        1,
        1000,
        ASSIGNMENT.seed,
        ASSIGNMENT.account,
        16,
        answer.proof.shares,
        tuple(range(answer.proof.count)),
    )
    assert answer.proof.count > 0
    assert (answer.tiles, answer.dropped) == (128, 0)
    assert share.verify(claim) == answer.proof.count


def test_a_full_proof_ends_the_search():
    """At D = 1 every tile wins: 56 are claimed after the first block."""
    asked = Assignment(1, 1000, bytes(32), bytes(20), 1)
    answer = prove(NumpyBackend(), asked, blocks(5))
    assert (answer.proof.count, answer.tiles) == (56, 64)


def test_a_search_goes_on_from_any_of_its_reports():
    """Cut off after two blocks, the other process finds what one would have found in three."""
    told: list[Progress] = []
    search(NumpyBackend(), ASSIGNMENT, blocks(2), tell=told.append)
    assert [(report.next_panel, report.tiles) for report in told] == [(8, 64), (16, 128)]
    whole = search(NumpyBackend(), ASSIGNMENT, blocks(3))
    assert search(NumpyBackend(), ASSIGNMENT, blocks(1), told[1]) == whole


class Recorded(NumpyBackend):
    """Notes every tile it is asked for, in blocks of its own size; at D = 2⁶⁴ − 1 none of them wins."""

    def __init__(self, side: int, asked: list[tuple[int, int]]) -> None:
        super().__init__()
        self.side, self.asked = side, asked

    def tickets(self, keys: share.Keys, ps: Sequence[int], qs: Sequence[int]) -> np.ndarray:
        """Tickets that win nothing."""
        self.asked += [(p, q) for p in ps for q in qs]
        return np.full((len(ps), len(qs)), 2**64 - 1, dtype=np.uint64)


def test_another_backend_goes_on_and_no_tile_is_computed_twice():
    """A card fell away after large blocks, the processor goes on in small ones; and the other way round."""
    asked: list[tuple[int, int]] = []
    told = [replace(NOT_BEGUN, shares=((1, 2),))]
    for side in (16, 8, 32, 8):
        search(Recorded(side, asked), ASSIGNMENT, blocks(2), told[-1], told.append)
    assert len(asked) == len(set(asked)) == told[-1].tiles == 2 * (16**2 + 8**2 + 32**2 + 8**2)
    assert told[-1].shares == ((1, 2),), "what was found stays"


def test_after_the_last_panel_of_b_the_next_band_of_a_is_searched():
    """A fast machine sees the end of B within a window; its work there is not the end of its window."""
    asked: list[tuple[int, int]] = []
    told = [replace(NOT_BEGUN, height=16, next_panel=PANELS - 12)]
    search(Recorded(8, asked), ASSIGNMENT, blocks(3), told[-1], told.append)
    assert [(report.first_panel, report.next_panel) for report in told[1:]] == [
        (0, PANELS - 4),
        (16, 0),
        (16, 8),
    ]
    assert asked[-1] == (23, 7)
    assert len(asked) == len(set(asked)) == 8 * (8 + 4 + 8)


def test_a_search_that_has_seen_every_tile_ends():
    """There are 2⁴⁸ of them; the last band is as narrow as it has to be."""
    begun = Progress((), PANELS - 4, 8, PANELS - 8, 0)
    told: list[Progress] = []
    assert search(Recorded(8, []), ASSIGNMENT, blocks(9), begun, told.append) == ([], 32)
    assert told[-1].first_panel == PANELS


def test_no_time_is_an_empty_proof():
    """Which shows that the spark is there."""
    answer = prove(NumpyBackend(), ASSIGNMENT, blocks(0))
    assert (answer.proof.count, answer.tiles) == (0, 0)


def test_a_share_that_the_reference_does_not_confirm_is_dropped():
    """A bit flip on a card cannot slash its owner."""
    answer = prove(FlippedBits(), ASSIGNMENT, blocks(1))
    assert answer.dropped > 0
    kept = parse_shares(answer.proof.shares)
    assert kept == confirmed(ASSIGNMENT, kept)


def test_an_unknown_backend_is_named():
    """With what to choose instead."""
    with pytest.raises(Fault) as caught:
        choose_backend("abacus")
    assert caught.value.reason is PROVER_BACKEND_UNKNOWN


def test_without_torch_the_torch_backend_says_what_is_missing(monkeypatch: pytest.MonkeyPatch):
    """It is optional, and its absence is no crash."""
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    monkeypatch.delitem(__import__("sys").modules, "spark_node.prover.torch_backend", raising=False)
    with pytest.raises(Fault) as caught:
        choose_backend("torch")
    assert caught.value.reason is PROVER_BACKEND_MISSING


async def test_the_child_process_answers_with_a_proof():
    """One thread, a tenth of a second: what comes back is in order and true."""
    answer = await process.prove_in_process(Order(ASSIGNMENT, "numpy", 3000, NOT_BEGUN), threads=1)
    assert answer.proof.window == 1000
    assert answer.backend == "numpy:float32"
    shares = parse_shares(answer.proof.shares)
    assert shares == confirmed(ASSIGNMENT, shares)


async def test_a_child_goes_on_from_where_another_stopped():
    """It reports at least once, and the proof holds what both found."""
    told: list[Progress] = []

    async def tell(progress: Progress) -> None:
        told.append(progress)

    begun = Progress(tuple(search(NumpyBackend(), ASSIGNMENT, blocks(1))[0]), 0, 8, 8, 64)
    order = Order(ASSIGNMENT, "numpy", 3000, begun)
    answer = await process.prove_in_process(order, 1, tell)
    assert set(begun.shares) < set(parse_shares(answer.proof.shares))
    assert told[0].next_panel == 16
    assert answer.tiles > told[0].tiles - 1 >= 127


async def test_practice_computes_tiles_and_finds_nothing():
    """What `spark bench` runs: the real child, for nobody."""
    found = await practise("numpy", 3000)
    assert found.tiles >= 64
    assert found.operations_per_second > 0
    assert (found.backend, found.dropped) == ("numpy:float32", 0)


async def test_a_child_that_fails_says_why():
    """Its last line becomes the fault's fact."""
    with pytest.raises(Fault) as caught:
        await process.prove_in_process(Order(ASSIGNMENT, "abacus", 100, NOT_BEGUN), threads=1)
    assert caught.value.reason is process.PROVER_FAILED
    assert "abacus" in str(caught.value)


@pytest.mark.parametrize("said", [r"\000\000\000\001x", r"\377\377\377\377", r"\000\000", ""])
async def test_a_child_that_talks_nonsense_or_not_at_all_is_a_fault(
    said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Not of the order's form, too long, cut short, silent."""
    child = tmp_path / "child"
    child.write_text(f"#!/bin/sh\ncat >/dev/null\nprintf '{said}'\n")
    child.chmod(0o700)
    monkeypatch.setattr(process.sys, "executable", str(child))
    with pytest.raises(Fault) as caught:
        await process.prove_in_process(Order(ASSIGNMENT, "numpy", 100, NOT_BEGUN), 1)
    assert caught.value.reason is process.PROVER_FAILED


def test_a_prover_leaves_one_core():
    """On a machine with one it takes that one, at the lowest priority."""
    assert [process.spare_threads(cores) for cores in (1, 2, 16)] == [1, 1, 15]
    assert process.child_environment(3)["OPENBLAS_NUM_THREADS"] == "3"
