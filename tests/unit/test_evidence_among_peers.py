"""Evidence between honest nodes: telling it costs nobody its standing, and what is of no use is not told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from consensus.agreement.evidence import DoubleSign, Side
from consensus.types.errors import Rejected
from consensus.types.vote import PRECOMMIT, PREVOTE, vote_hash
from eubchain.node.evidence_gossip import EvidenceGossip
from eubchain.node.peers import Peers, greeting
from p2p.frames import Kind
from p2p.net import PeerUp
from tests.sim.whole.liars.equivocator import Equivocator
from tests.sim.whole.town import Plan, Town, play
from tests.unit.test_node_service import A, B, OneNode, run
from vm.evidence import ALREADY_TOMBSTONED, EVIDENCE_TOO_OLD, EVIDENCE_UNSIGNED


class QuietNet:
    """Remembers who was punished, and what was told."""

    def __init__(self) -> None:
        self.punished: list[str] = []
        self.told: list[tuple[str, Kind, bytes]] = []
        """To whom ("" for everybody), what."""

    def penalise(self, peer: str, why: str, points: int) -> None:
        self.punished.append(why)

    def send(self, peer: str, kind: Kind, body: bytes) -> bool:
        self.told.append((peer, kind, body))
        return True

    def broadcast(self, kind: Kind, body: bytes) -> None:
        self.told.append(("", kind, body))

    def evidence(self) -> list[tuple[str, bytes]]:
        """What was told of evidence since the last call."""
        found = [(peer, body) for peer, kind, body in self.told if kind is Kind.EVIDENCE]
        self.told.clear()
        return found


class FewWaiting:
    """A mempool with some evidence."""

    def __init__(self, count: int) -> None:
        self.waiting = [bytes([number]) for number in range(count)]

    def evidence(self) -> list[bytes]:
        return list(self.waiting)


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
    peers.evidence.hear("somebody", b"evidence", ())
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


def test_evidence_reaches_a_peer_that_connects_after_it_was_told(tmp_path: Path) -> None:
    node, quiet = OneNode(tmp_path), QuietNet()
    net: Any = quiet
    peers = Peers(net, node.world.rules, node.ledger, node.mempool, node.pool, node.service.take, True)
    node.service.spread_evidence = peers.spread_evidence
    hello = greeting(node.world.rules, "later", 0, "later", "", None)

    async def story() -> None:
        await node.block()
        node.service.report(proof_of(node, 1, PREVOTE))
        ((everybody, raw),) = quiet.evidence()
        assert everybody == ""
        peers._take(PeerUp("later", hello))
        assert quiet.evidence() == [("later", raw)]
        assert await node.block() == 1
        peers._take(PeerUp("much later", hello))
        assert quiet.evidence() == []

    run(story)
    node.ledger.close()


def test_evidence_that_still_waits_is_offered_at_every_heartbeat_a_few_at_a_time() -> None:
    """Six wait: four are offered at one heartbeat, the other two and the first two at the next."""
    quiet, mempool = QuietNet(), FewWaiting(6)
    net: Any = quiet
    pool: Any = mempool
    gossip = EvidenceGossip(net, pool)
    offers = []
    for _ in range(3):
        gossip.offer_again()
        offers.append([body[0] for _, body in quiet.evidence()])
    assert offers == [[], [0, 1, 2, 3], [4, 5, 0, 1]]
    mempool.waiting = [bytes([2])]
    gossip.offer_again()
    assert quiet.evidence() == [("", bytes([2]))]
    mempool.waiting.clear()
    gossip.offer_again()
    assert quiet.evidence() == []


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
