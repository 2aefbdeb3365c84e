"""Whole nodes over the simulated network: bad weather, partitions, pauses, crashes, late joiners.

Time is simulated and jumps; a failing seed replays alone.
"""

from __future__ import annotations

import pytest
import trio

from p2p.sim_net import Weather
from tests.sim.cluster import Cluster, simulated

pytestmark = pytest.mark.slow

FAIR = Weather()
FOUL = Weather(latency_s_min=0.005, latency_s_max=0.15, loss=0.05, duplication=0.1)


@pytest.mark.parametrize("seed", range(1))
async def test_four_nodes_agree_in_fair_weather_at_the_chains_own_pace(
    tmp_path, monkeypatch, autojump_clock, seed
):
    """Nothing is lost, so each block comes in round 0 and about an interval after its parent."""

    async def play(cluster: Cluster) -> None:
        await cluster.until_height(8)
        reader = cluster.running["validator0"].node.service.ledger()
        rounds = [reader.commit(height).round for height in range(3, 9)]
        assert rounds == [0] * 6
        assert not cluster.world.accused

    await simulated(tmp_path / "net", seed, play, monkeypatch, FAIR)


@pytest.mark.parametrize("seed", range(2))
async def test_four_nodes_agree_in_foul_weather(tmp_path, monkeypatch, autojump_clock, seed):
    """Frames are lost, doubled and overtake each other: blocks still come, and nobody is accused."""

    async def play(cluster: Cluster) -> None:
        await cluster.until_height(6)
        assert not cluster.world.accused

    await simulated(tmp_path / "net", seed, play, monkeypatch, FOUL)


@pytest.mark.parametrize("seed", range(1))
async def test_a_partition_heals(tmp_path, monkeypatch, autojump_clock, seed):
    """Two and two: no block on either side. Healed: all go on, together."""

    async def play(cluster: Cluster) -> None:
        await cluster.until_height(3)
        cluster.world.part({"validator0", "validator1"})
        await trio.sleep(5)
        before = [running.height for running in cluster.running.values()]
        await trio.sleep(30)
        assert [running.height for running in cluster.running.values()] == before
        cluster.world.heal()
        await cluster.until_height(max(before) + 4)

    await simulated(tmp_path / "net", seed, play, monkeypatch, FAIR)


async def test_a_crashed_node_catches_up_and_validates_again(tmp_path, monkeypatch, autojump_clock):
    """One of four dies and comes back some blocks later: it syncs and its key signs on."""

    async def play(cluster: Cluster) -> None:
        await cluster.until_height(4)
        await cluster.crash("validator2")
        await cluster.until_height(12, "validator0")
        await cluster.start("validator2")
        await cluster.until_height(16)
        back = cluster.running["validator2"]
        assert back.peers.sync.blocks > 4
        assert back.node.engine.state.start.me is not None, "it validates again"
        assert not cluster.world.accused

    await simulated(tmp_path / "net", 4, play, monkeypatch, FAIR)


async def test_a_follower_joins_late_and_syncs_over_an_epochs_end(tmp_path, monkeypatch, autojump_clock):
    """A fifth node without a key takes all blocks from peers, then follows agreement itself."""

    async def play(cluster: Cluster) -> None:
        await cluster.until_height(26)
        cluster.add_follower("follower")
        await cluster.start("follower")
        await cluster.until_height(30)
        follower = cluster.running["follower"]
        assert 20 < follower.peers.sync.blocks < follower.height, "some it decided itself"
        assert not cluster.world.accused

    await simulated(tmp_path / "net", 5, play, monkeypatch, FAIR)


async def test_a_stalled_node_is_left_behind_and_returns(tmp_path, monkeypatch, autojump_clock):
    """It takes nothing for half a minute; its peers' queues fill or wait, and blocks go on without it."""

    async def play(cluster: Cluster) -> None:
        await cluster.until_height(3)
        cluster.world.stall("validator3")
        await cluster.until_height(30, "validator0", "validator1", "validator2")
        cluster.world.go_on("validator3")
        await cluster.until_height(34)

    await simulated(tmp_path / "net", 1, play, monkeypatch, FAIR)


async def test_a_liar_about_final_blocks_is_accused_and_another_peer_is_asked(
    tmp_path, monkeypatch, autojump_clock
):
    """One peer answers ranges with damaged blocks: the newcomer drops it and syncs from the rest."""

    async def play(cluster: Cluster) -> None:
        await cluster.until_height(10)
        liar = cluster.running["validator1"].peers.sync
        honest = liar.answer

        def lie(body: bytes) -> bytes | None:
            answer = honest(body)
            return None if answer is None else answer[:-1] + bytes([answer[-1] ^ 1])

        monkeypatch.setattr(liar, "answer", lie)
        for name in ("validator0", "validator2", "validator3"):
            # The newcomer asks the highest first: make that the liar.
            monkeypatch.setattr(cluster.running[name].peers, "_status", _lowest(cluster, name))
        cluster.add_follower("follower")
        await cluster.start("follower")
        await cluster.until_height(12, "follower")
        assert ("follower", "validator1") in {(who, whom) for who, whom, _ in cluster.world.accused}

    await simulated(tmp_path / "net", 2, play, monkeypatch, FAIR)


def _lowest(cluster: Cluster, name: str):
    from consensus.types.codec import encode
    from p2p.messages import Status

    def status() -> bytes:
        return encode(Status(max(1, cluster.running[name].height - 1), 1, 0, None, 0))

    return status
