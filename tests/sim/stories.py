"""Stories told to towns of whole nodes: each leads to where one kind of bug would show.

Here: stories for `play`. Not here: who tells them (test_liars_sim.py, test_sparks_sim.py, hunts.py), seeds
with misfortunes of their own (node_seeds.py).
Keeps: a story ends with everything checked; with the code as it is, none finds anything.
"""

from __future__ import annotations

from collections.abc import Callable

from consensus.agreement.messages import VOTE
from consensus.agreement.proposer import proposer_index
from consensus.agreement.state import Stage
from consensus.types.vote import PRECOMMIT
from eubchain.node.wal import WAL_NAME
from p2p.frames import Kind
from tests.sim.network import Faults
from tests.sim.whole.checks import check_blocks
from tests.sim.whole.liars.splitter import Splitter
from tests.sim.whole.node import WholeNode
from tests.sim.whole.town import Plan, Town

PROVING = Plan([1] * 4, sparks=("alice", "bob", "v0", "v1"), false_sparks=("bob",))
"""Four validators, two of them with sparks; bob proves what he never computed."""
SPLIT = Plan([1] * 4, {0: Splitter}, users=False)
"""Who plays `one_decides_unheard`."""


async def some_blocks(town: Town) -> None:
    """A quarter of an epoch in a network that repeats and delays."""
    town.faults(Faults(0.0, 0.3, (1, 150)))
    await town.until_height(6, 60_000)
    town.check_all()


async def votes_sent_and_log_lost(town: Town) -> None:
    """One node dies at the moment its guard is written, its log goes with it, and it starts again.

    Alone, a guard written late harms nothing: the log was synced before (F3), and its replay signs the
    same. Alone, a lost log harms nothing either: the guard knows, and silences the height.
    """
    victim = town.nodes[0]
    town.faults(Faults(0.1, 0.0, (1, 900)))
    for _ in range(400):
        await town.run(50)
        if victim.is_up and victim.disk.crash_on is None:
            victim.disk.crash_on = ("vote write signer_guard", 1)
        if not victim.is_up:
            victim.disk.names.pop(WAL_NAME, None)
            victim.start()
    await town.run(2_000)
    town.check()
    await town.heal()
    check_blocks(town, town.nodes[1])
    town.watch.check_slashed()


def unheard(victim: int) -> Callable[[int, Kind, bytes], bool]:
    """A censor of everything by which others could learn what the victim has decided."""

    def censor(sender: int, kind: Kind, body: bytes) -> bool:
        if sender != victim:
            return False
        is_precommit = kind is Kind.VOTE and VOTE.decode(body).kind == PRECOMMIT
        return is_precommit or kind in (Kind.CERTIFICATE, Kind.GET_BLOCKS)

    return censor


async def one_decides_unheard(town: Town) -> None:
    """The victim hears everything and decides alone: the others hold no more than locks on its block.

    One chance a town: once the others hear what the victim heard, the splitter is caught.
    """
    liar = town.nodes[0]
    assert isinstance(liar, Splitter)
    liar.is_hiding = False
    await town.until_height(1)
    await town.until(lambda: is_next_round_of(town, liar))
    liar.is_hiding, town.wire.censor = True, unheard(1)
    await town.run(8_000)
    town.check()
    liar.is_hiding, town.wire.censor = False, lambda sender, kind, body: False
    await town.until_height(town.top() + 2, 60_000)
    town.check_all()


def is_next_round_of(town: Town, node: WholeNode) -> bool:
    """Whether a height has just begun whose first round is another's and whose second is this node's."""
    state = town.nodes[2].engine.state
    if state is None or state.round > 0 or state.stage is not Stage.PROPOSE:
        return False
    keys = [state.start.validators[proposer_index(state.start, round_)].key for round_ in (0, 1)]
    return keys[0] != node.key.public == keys[1]


async def windows_and_faults(town: Town) -> None:
    """From the first epoch's end on, by turns: a power cut, a split without a quorum, a rough network."""
    await town.until_height(6)
    for height in range(8, 23, 3):
        town.faults(Faults(0.05, 0.1, (1, 200)))
        for node in town.nodes[:2] if height % 2 else town.nodes:
            node.crash(power=True)
        await town.run(town.random.randint(100, 1_500))
        await town.restart_all()
        town.split((0, 1), (2, 3))
        await town.run(town.random.randint(500, 3_000))
        await town.heal()
        await town.until_height(height)
        town.check()
    town.check_all()
