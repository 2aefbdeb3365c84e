"""Fixtures of tests about joining by snapshot; such a test names this file in `pytest_plugins`.

Here: `chain`, `no_threads`. Not here: what they are made of (tests/snapshot_world.py).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import trio

from tests.snapshot_world import Chain, at_once, two_epochs


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """Two epochs with their snapshots."""
    made = two_epochs(tmp_path_factory.mktemp("chain"))
    yield made
    made.ledger.close()


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Virtual time passes while a thread works; so none does."""
    monkeypatch.setattr(trio.to_thread, "run_sync", at_once)
