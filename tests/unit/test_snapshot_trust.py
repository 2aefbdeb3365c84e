"""What a snapshot is trusted by: the genesis, a person's block, witnesses; and which one is the better."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import trio
import trio.testing

from consensus.light import Trust
from consensus.types.errors import Fault
from consensus.types.tree import finish
from eubchain.ledger.snapshot import cut
from eubchain.ledger.snapshot_folder import SnapshotFolder
from tests.snapshot_world import NEWEST, Chain, Giver, Town, check_ledger, honest, town
from vm import head as heads
from vm.named import named_transactions

pytest_plugins = ("tests.snapshot_fixtures",)
pytestmark = pytest.mark.usefixtures("no_threads")

Clock = trio.testing.MockClock


@pytest.fixture
def bare(tmp_path: Path, chain: Chain) -> SimpleNamespace:
    """A peer's view of the chain whose snapshots lack the transactions that the state names."""
    folder = SnapshotFolder(tmp_path / "bare")
    finish(cut(chain.ledger, folder.begin(chain.height), []))
    folder.finish(chain.height, keep=9)
    return SimpleNamespace(height=chain.height, rules=chain.rules, ledger=chain.ledger, folder=folder)


async def test_a_snapshot_without_the_named_transactions_is_taken_only_where_there_is_no_other(
    autojump_clock: Clock, tmp_path: Path, chain: Chain, bare: Any
) -> None:
    """Whoever keeps no index cannot give them, and is newer here than the one who can."""
    named = named_transactions(heads.view(chain.ledger, chain.rules))
    for number, (givers, height, found) in enumerate(
        (([Giver("p0", bare), Giver("p1", chain)], NEWEST, True), ([Giver("p0", bare)], bare.height, False))
    ):
        made = Town(tmp_path / str(number), chain.genesis, givers)
        async with made.open():
            assert await made.joiner().run() == height
        assert made.accused() == set()
        ledger = made.ledger()
        assert [ledger.named_transaction(wtxid) is not None for wtxid in named] == [found]
        ledger.close()


# ------------------------------------------------------------ trust


def trust_in(chain: Chain, height: int) -> Trust:
    block = chain.ledger.light_block(height)
    assert block is not None
    return Trust(height, block.commit.block_id)


async def test_a_trusted_block_is_stood_on_instead_of_the_genesis(
    autojump_clock: Clock, tmp_path: Path, chain: Chain
) -> None:
    for number, height in enumerate((7, NEWEST)):
        made = town(tmp_path / str(number), chain, honest, honest)
        async with made.open():
            assert await made.joiner(trust_in(chain, height)).run() == NEWEST
        check_ledger(made, chain)


async def test_a_snapshot_before_the_trusted_block_is_not_taken(
    autojump_clock: Clock, tmp_path: Path, chain: Chain
) -> None:
    made = town(tmp_path, chain, honest)
    async with made.open():
        assert await made.joiner(trust_in(chain, NEWEST + 1)).run() is None


async def test_a_chain_without_the_trusted_block_is_not_joined(
    autojump_clock: Clock, tmp_path: Path, chain: Chain
) -> None:
    made = town(tmp_path, chain, honest, honest)
    async with made.open():
        assert await made.joiner(Trust(7, bytes(32))).run() is None
    assert made.accused() == {"p0", "p1"}


async def test_an_old_network_of_value_asks_for_a_trusted_block(
    autojump_clock: Clock, tmp_path: Path
) -> None:
    """The genesis is older than its first validators' bonds: only a person can say which chain it is."""
    made = Chain(tmp_path / "chain")
    made.genesis = msgspec.structs.replace(made.genesis, prefix="eub")
    place = Town(tmp_path, made.genesis, [], age_ms=10 * 365 * 86_400_000)
    async with place.open():
        with pytest.raises(Fault, match="trust_needed"):
            await place.joiner().run()
    made.ledger.close()


async def test_two_final_blocks_of_one_height_stop_everything(
    autojump_clock: Clock, tmp_path: Path, chain: Chain
) -> None:
    """The same validators have signed another chain: nobody but a person can say which is the right one."""
    other = Chain(tmp_path / "other")
    other.until_height(NEWEST + 3)
    assert other.genesis == chain.genesis
    made = Town(tmp_path, chain.genesis, [Giver("p0", chain), Giver("p1", other), Giver("p2", chain)])
    async with made.open():
        with pytest.raises(Fault, match="chain_forked"):
            await made.joiner().run()
    assert not made.places.ledger.exists()
    other.ledger.close()
