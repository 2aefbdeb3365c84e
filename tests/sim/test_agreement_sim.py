"""Agreement under a bad network, crashes and liars: no fork, no double signing, and life after healing.

Each scenario runs under several seeds; a seed replays exactly. `AGREEMENT_SEEDS=A-B` runs others.
"""

from __future__ import annotations

import os

import pytest

from consensus.agreement.messages import Certificate, Vote
from consensus.types.vote import PRECOMMIT, PROPOSAL
from eubchain.node.recovery import Signing
from eubchain.node.wal import WAL_NAME
from tests.sim.checkers import is_proof
from tests.sim.liars.double_proposer import DoubleProposer
from tests.sim.liars.equivocator import Equivocator
from tests.sim.liars.garbler import Garbler
from tests.sim.liars.silent import Silent
from tests.sim.liars.splitter import Splitter
from tests.sim.liars.twin import Twin
from tests.sim.liars.withholder import Withholder
from tests.sim.network import ROUGH, Faults
from tests.sim.node import Decided, SimNode
from tests.sim.world import World


def seeds(default: int) -> range:
    """The seeds to run."""
    first, _, last = os.environ.get("AGREEMENT_SEEDS", f"0-{default - 1}").partition("-")
    return range(int(first), int(last) + 1)


def heal_and_check(world: World, more: int = 3, limit_ms: int = 240_000) -> None:
    """After healing every honest node goes on, and nothing bad has happened."""
    world.heal()
    world.until_height(max(len(node.ledger) for node in world.honest) + more, limit_ms)
    world.check()


def test_one_validator_decides_alone():
    """A set of one needs nobody: block after block at the interval."""
    world = World(0, [1])
    world.until_height(10, 20_000)
    world.check()
    assert world.clock.now_ms - 1_000_000 < 10 * 700


@pytest.mark.parametrize("seed", seeds(3))
def test_a_calm_network_decides_every_height_in_its_first_round(seed: int):
    """Without faults no round is lost."""
    world = World(seed, [1, 1, 1, 1])
    world.until_height(10, 20_000)
    world.check()
    assert all(stored.commit.round == 0 for stored in world.nodes[0].ledger)


@pytest.mark.parametrize("seed", seeds(4))
def test_a_rough_network_cannot_fork_and_goes_on_when_it_calms_down(seed: int):
    """Loss, duplication, reordering and delays beyond the timeouts."""
    world = World(seed, [1, 1, 1, 1])
    world.faults(ROUGH)
    world.run(30_000)
    world.check()
    heal_and_check(world)


@pytest.mark.parametrize("seed", seeds(4))
def test_a_network_of_unequal_powers_survives_heavy_loss(seed: int):
    """Power, not heads, makes a quorum."""
    world = World(seed, [30, 30, 20, 10, 5, 5])
    world.faults(Faults(loss=0.4, duplication=0.3, delay_ms=(1, 1_500)))
    world.run(40_000)
    world.check()
    heal_and_check(world)


@pytest.mark.parametrize("seed", seeds(4))
def test_a_split_without_a_quorum_on_either_side_stands_still_and_then_goes_on(seed: int):
    """Two and two: nobody may decide alone; together they go on where they were."""
    world = World(seed, [1, 1, 1, 1])
    world.until_height(2)
    world.split([0, 1], [2, 3])
    world.run(15_000)
    heights = [len(node.ledger) for node in world.nodes]
    world.run(15_000)
    assert heights == [len(node.ledger) for node in world.nodes]
    heal_and_check(world)


@pytest.mark.parametrize("seed", seeds(8))
def test_crashes_at_any_disk_operation_lose_nothing_that_was_said(seed: int):
    """Power cuts tear files and drop what was not synced, again and again, on all nodes."""
    world = World(seed, [1, 1, 1, 1])
    world.faults(Faults(loss=0.05, duplication=0.05, delay_ms=(1, 100)))
    for _ in range(25):
        world.crash_sometime(world.random.randrange(4))
        world.run(world.random.randint(100, 3_000))
        if world.random.random() < 0.6:
            for node in world.nodes:
                if not node.is_up:
                    node.start()
        world.check()
    heal_and_check(world)
    assert sum(len(node.plans) for node in world.nodes) > 8


@pytest.mark.parametrize("seed", seeds(4))
def test_all_validators_losing_power_at_once_is_survived(seed: int):
    """The whole network stops at one moment and comes back."""
    world = World(seed, [1, 1, 1, 1])
    for _ in range(5):
        world.run(world.random.randint(200, 2_500))
        for node in world.nodes:
            node.crash()
        world.run(1_000)
        world.restart_all()
    heal_and_check(world)


@pytest.mark.parametrize("seed", seeds(6))
def test_an_equivocator_below_a_third_forks_nothing_and_is_proved_guilty(seed: int):
    """It says different things to different nodes, in a rough network with crashes."""
    world = World(seed, [1, 1, 1, 1], {seed % 4: Equivocator})
    world.faults(Faults(loss=0.05, duplication=0.1, delay_ms=(1, 200)))
    for _ in range(8):
        world.crash_sometime(world.random.randrange(4))
        world.run(2_500)
        world.restart_all()
    world.check()
    heal_and_check(world, more=5)
    proofs = [proof for node in world.honest for proof in node.evidence]
    assert proofs
    for proof in proofs:
        assert proof.key == world.validators[seed % 4].key
        assert is_proof(proof)


@pytest.mark.parametrize("seed", seeds(2))
def test_who_only_proposes_twice_is_proved_guilty_by_its_proposals(seed: int):
    """Its votes are honest, so nothing else can betray it."""
    world = World(seed, [1, 1, 1, 1], {seed % 4: DoubleProposer})
    world.until_height(12)
    heal_and_check(world)
    proofs = [proof for node in world.honest for proof in node.evidence]
    assert {(proof.kind, proof.key) for proof in proofs} == {(PROPOSAL, world.validators[seed % 4].key)}
    assert all(map(is_proof, proofs))


@pytest.mark.parametrize("liar", [Silent, Withholder, Garbler])
@pytest.mark.parametrize("seed", seeds(3))
def test_a_validator_that_says_too_little_or_nonsense_only_costs_its_rounds(seed: int, liar: type[SimNode]):
    """Silence, blocks without bytes and garbage delay, and nothing else."""
    world = World(seed, [1, 1, 1, 1], {seed % 4: liar})
    world.faults(Faults(loss=0.02, delay_ms=(1, 100)))
    world.run(20_000)
    heal_and_check(world, more=5)


@pytest.mark.parametrize("seed", seeds(12))
def test_locks_hold_when_one_decides_unheard_and_a_liar_proposes_something_else(seed: int):
    """The victim decides and nobody hears of it; those who precommitted with it must not move on."""
    liar = seed % 4
    victim = (liar + 1) % 4
    world = World(seed, [1, 1, 1, 1], {liar: Splitter})
    world.faults(Faults(loss=0.02, delay_ms=(1, 100)))

    def unheard(sender: int, message: object) -> bool:
        if sender != victim:
            return False
        return isinstance(message, Certificate | Decided) or (
            isinstance(message, Vote) and message.kind == PRECOMMIT
        )

    world.network.censor = unheard
    for _ in range(10):
        world.run(4_000)
        world.check()
    heal_and_check(world)


@pytest.mark.parametrize("seed", seeds(6))
def test_a_key_that_runs_twice_below_a_third_forks_nothing(seed: int):
    """Each of the two is honest by itself; together they may sign twice, and then it is proved."""
    world = World(seed, [1, 1, 1, 1], {seed % 4: Twin})
    world.faults(Faults(loss=0.1, duplication=0.1, delay_ms=(1, 300)))
    for _ in range(6):
        world.crash_sometime(world.random.randrange(5))
        world.run(3_000)
        world.restart_all()
        world.check()
    heal_and_check(world)
    guilty = world.validators[seed % 4].key
    assert all(is_proof(p) and p.key == guilty for node in world.honest for p in node.evidence)


@pytest.mark.parametrize("seed", seeds(4))
def test_a_restored_backup_is_silent_until_past_what_its_key_has_signed(seed: int):
    """The ledger is of yesterday, the guard of today: it catches up first and never signs twice."""
    world = World(seed, [1, 1, 1, 1])
    world.until_height(8)
    node = world.nodes[0]
    node.crash()
    world.lose(0, WAL_NAME)
    signed_up_to = node.guard.last.height
    del node.ledger[3:]
    node.start()
    plan = node.plans[-1]
    assert (plan.signing, plan.silent_up_to) == (Signing.ABOVE, signed_up_to)
    heal_and_check(world)
    world.until(lambda: node.guard.last.height > signed_up_to, 20_000)


@pytest.mark.parametrize("seed", seeds(6))
def test_a_lost_log_silences_the_height_whose_lock_it_held(seed: int):
    """What was signed at that height is remembered, why is not: the node says nothing more there."""
    world = World(seed, [1, 1, 1, 1])
    world.faults(ROUGH)
    node, silenced = world.nodes[seed % 4], 0
    for _ in range(6):
        world.run(world.random.randint(1_000, 4_000))
        node.crash()
        world.lose(seed % 4, WAL_NAME)
        last, height = node.guard.last, len(node.ledger) + 1
        node.start()
        if last.height == height:
            silenced += 1
            assert (node.plans[-1].signing, node.plans[-1].silent_up_to) == (Signing.ABOVE, height)
            world.until(lambda known=height: len(node.ledger) >= known, 240_000)
            assert node.guard.last.height != height or node.guard.last == last
    heal_and_check(world)
    assert silenced > 0
