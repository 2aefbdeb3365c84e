"""Evidence between honest nodes: telling it costs nobody its standing, and what is of no use is not told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from consensus.agreement.evidence import DoubleSign, Side
from consensus.types.errors import Rejected
from consensus.types.vote import PRECOMMIT, PREVOTE, vote_hash
from eubchain.node.peers import Peers
from p2p.frames import Kind
from tests.sim.whole.liars.equivocator import Equivocator
from tests.sim.whole.town import Plan, Town, play
from tests.unit.test_node_service import A, B, OneNode, run
from vm.evidence import ALREADY_TOMBSTONED, EVIDENCE_TOO_OLD, EVIDENCE_UNSIGNED


class QuietNet:
    """Remembers who was punished, and what was told."""

    def __init__(self) -> None:
        self.punished: list[str] = []
        self.told: list[Kind] = []

    def penalise(self, peer: str, why: str, points: int) -> None:
        self.punished.append(why)

    def send(self, peer: str, kind: Kind, body: bytes) -> bool:
        self.told.append(kind)
        return True


def proof_of(node: OneNode, height: int, kind: int) -> DoubleSign:
    """Two votes of the validator, as agreement reports them."""
    operator, genesis = node.world.operators[0], node.world.rules.genesis
    signed = [operator.consensus.sign(vote_hash(genesis, kind, height, 0, what)) for what in (A, B)]
    key = operator.consensus.public
    return DoubleSign(kind, height, 0, key, Side(A, None), signed[0], Side(B, None), signed[1])


@pytest.mark.parametrize(
    ("reason", "is_punished"),
    [(ALREADY_TOMBSTONED, False), (EVIDENCE_TOO_OLD, False), (EVIDENCE_UNSIGNED, True)],
)
def test_only_evidence_that_is_false_everywhere_costs_its_teller(
    tmp_path: Path, reason: Any, is_punished: bool
) -> None:
    node, quiet = OneNode(tmp_path), QuietNet()
    net: Any = quiet
    peers = Peers(net, node.world.rules, node.ledger, node.mempool, node.pool, node.service.take, True)

    def refuse(raw: bytes) -> bool:
        facts: dict[str, Any] = {"account": bytes(20), "height": 1, "now": 9, "key": bytes(32)}
        raise Rejected(reason, **{name: facts[name] for name, _ in reason.facts})

    engine: Any = None
    peers.bind(engine, lambda: 0, refuse)
    peers._hear_evidence("somebody", b"evidence")
    assert bool(quiet.punished) is is_punished
    node.ledger.close()


def test_a_punished_offender_that_goes_on_is_not_reported_again(tmp_path: Path) -> None:
    """Until its epoch ends it stands in the set and can sign twice at every height."""
    node = OneNode(tmp_path)
    told: list[bytes] = []
    node.service.spread_evidence = told.append

    async def story() -> None:
        await node.block()
        node.service.report(proof_of(node, 1, PREVOTE))
        assert len(told) == 1
        assert await node.block() == 1
        node.service.report(proof_of(node, 2, PREVOTE))
        node.service.report(proof_of(node, 2, PRECOMMIT))
        assert len(told) == 1
        assert await node.block() == 0

    run(story)
    node.ledger.close()


def test_an_equivocator_turns_no_honest_node_against_another() -> None:
    """It cost every honest peer fifty points within eighteen heights; at a hundred they ban each other."""
    accused: list[str] = []

    async def story(town: Town) -> None:
        await town.until_height(14)
        honest = {node.name for node in town.honest}
        for node in town.honest:
            assert node.net is not None
            accused.extend(words for words in node.net.accusations if words.split(":")[0] in honest)

    play(1, Plan([1, 1, 1, 1], {3: Equivocator}, users=False), story)
    assert not accused
