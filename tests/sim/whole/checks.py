"""What must hold in a town, checked with as little of the production code as can be.

Here: agreement, validity of a whole chain by replay, honest keys' signatures, slashing, conservation.
Not here: liveness, which is a question of how long to wait (town.py).
Keeps: hashes, roots, quorums and signed messages are computed here anew, from the protocol's words; only
the transition itself is the production code's, run once more on a state that no node has touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

import coincurve
import msgspec

from consensus.agreement.messages import VOTE
from consensus.types.block import BLOCK, COMMIT, Block, Commit
from consensus.types.codec import encode
from consensus.types.errors import Rejected
from consensus.types.reader import MemoryState
from eubchain.ledger.layout import height_key
from eubchain.ledger.store import Column
from p2p.frames import Kind
from p2p.messages import PROPOSAL_MESSAGE
from vm.evidence import INFRACTIONS
from vm.genesis import genesis_writes
from vm.registry import decode_candidate
from vm.spark import SPARKS
from vm.transition import apply_block
from vm.validator import TOMBSTONED, VALIDATORS

if TYPE_CHECKING:
    from tests.sim.whole.node import WholeNode
    from tests.sim.whole.town import Town

BUCKET_ENTRIES_MAX = 16
EVIDENCE_BLOCKS = 12
"""Within so many blocks after healing, evidence that an honest node holds stands in the chain."""


def digest(tag: bytes, *parts: bytes) -> bytes:
    """H(tag, x) of the protocol."""
    return blake2b(b"".join(parts), digest_size=32, person=tag).digest()


def plain_root(entries: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The root of a state, from nothing but its entries and the rule of the tree's shape."""
    pairs = sorted((digest(b"EUB-key", key), digest(b"EUB-val", value)) for key, value in entries)

    def below(part: Sequence[tuple[bytes, bytes]], depth: int) -> bytes:
        if not part:
            return bytes(32)
        if len(part) <= BUCKET_ENTRIES_MAX:
            return digest(b"EUB-leaf", *(kh + vh for kh, vh in part))
        children: list[list[tuple[bytes, bytes]]] = [[] for _ in range(16)]
        for kh, vh in part:
            children[kh[depth // 2] >> 4 * (1 - depth % 2) & 15].append((kh, vh))
        return digest(b"EUB-node", *(below(child, depth + 1) for child in children))

    return below(pairs, 0)


def plain_list_root(tag: bytes, items: Sequence[bytes]) -> bytes:
    """RFC 6962's tree under the protocol's tags, its count hashed in."""

    def tree(part: Sequence[bytes]) -> bytes:
        if len(part) == 1:
            return digest(b"EUB-mleaf", part[0])
        half = 1
        while half * 2 < len(part):
            half *= 2
        return digest(b"EUB-mnode", tree(part[:half]), tree(part[half:]))

    top = tree(items) if items else bytes(32)
    return digest(tag, top, len(items).to_bytes(8, "big"))


def is_signed(key: bytes, message: bytes, signature: bytes) -> bool:
    """BIP-340."""
    try:
        return bool(coincurve.PublicKeyXOnly(key).verify(signature, message))
    except ValueError:
        return False


def signed_text(genesis: bytes, *said: Any) -> bytes:
    """What a vote or a proposal signs."""
    return digest(b"EUB-vote", genesis, msgspec.msgpack.encode(said))


class Stored(NamedTuple):
    """A height of a ledger as its rows hold it."""

    block: Block
    commit: Commit


def stored(node: WholeNode, height: int) -> Stored | None:
    """Read straight from the rows."""
    key = height_key(height)
    block, commit = (node.rows.entries.get(column + key) for column in (Column.BLOCK, Column.COMMIT))
    return None if block is None or commit is None else Stored(BLOCK.decode(block), COMMIT.decode(commit))


def check_same_ledgers(nodes: Sequence[WholeNode]) -> None:
    """No two honest ledgers differ where both have a block, nor in any state entry at equal heights."""
    for height in range(1, max(node.height for node in nodes) + 1):
        rows = (node.rows.entries.get(Column.HEADER + height_key(height)) for node in nodes)
        found = {row for row in rows if row is not None}
        assert len(found) == 1, f"agreement: {len(found)} blocks at height {height}"
    states: dict[int, tuple[str, list[tuple[bytes, bytes]]]] = {}
    for node in nodes:
        values = [(k, v) for k, v in node.rows.entries.items() if k[:1] == Column.VALUE]
        name, other = states.setdefault(node.height, (node.name, sorted(values)))
        assert sorted(values) == other, f"agreement: {name} and {node.name} differ in state at one height"


def check_blocks(town: Town, node: WholeNode) -> MemoryState:
    """Replay a ledger from the genesis record: links, signatures, roots, money. Returns the last state."""
    genesis, rules = town.rules.genesis, town.rules
    interval = rules.params.chain.block_interval_ms
    state = MemoryState()
    state.write(genesis_writes(town.genesis))
    parent, time_ms, commit = genesis, town.genesis.time_ms, None
    for height in range(1, node.height + 1):
        found = stored(node, height)
        assert found is not None, f"validity: {node.name} lacks height {height}"
        header = found.block.header
        assert (header.height, header.parent) == (height, parent), f"validity: link at {height}"
        assert header.time_ms >= time_ms + interval, f"validity: time at {height}"
        if commit is not None:
            check_commit(town, commit, height - 1, parent)
            assert found.block.last_commit is not None
            check_commit(town, found.block.last_commit, height - 1, parent)
        candidates = [decode_candidate(raw, rules) for raw in found.block.transactions]
        outcome = apply_block(state, rules, header, found.block.last_commit, candidates, strict=True)
        state.write(outcome.writes)
        known = town.watch.sets.setdefault(height + 1, outcome.next_set)
        assert known == outcome.next_set, f"validity: set of height {height + 1}"
        assert header.state_root == plain_root(state.entries.items()), f"validity: state root at {height}"
        receipts = plain_list_root(b"EUB-mroot", [encode(receipt) for receipt in outcome.receipts])
        assert header.receipts_root == receipts, f"validity: receipts root at {height}"
        names = [digest(b"EUB-wtx", raw) for raw in found.block.transactions]
        assert header.txs_root == plain_list_root(b"EUB-mroot", names), f"validity: transactions at {height}"
        parent, time_ms = digest(b"EUB-block", genesis, encode(header)), header.time_ms
        commit = found.commit
    town.chain.state = state
    try:
        town.chain.check()
    except AssertionError as error:
        raise AssertionError(f"conservation: {error}") from error
    return state


def check_commit(town: Town, commit: Commit, height: int, block_id: bytes) -> None:
    """More than two thirds of that height's power signed that block."""
    assert commit.block_id == block_id, f"validity: commit of another block at {height}"
    members = town.watch.sets[height]
    signers = [i for i in range(len(members)) if commit.bitmap[i // 8] >> i % 8 & 1]
    text = signed_text(town.rules.genesis, 2, height, commit.round, block_id)
    for index, signature in zip(signers, commit.signatures, strict=True):
        assert is_signed(members[index].key, text, signature), f"validity: commit signature at {height}"
    power = sum(members[index].power for index in signers)
    assert 3 * power > 2 * sum(member.power for member in members), f"validity: weak commit at {height}"


class Watch:
    """Hears everything said on the wire, and sees every block become final."""

    def __init__(self, town: Town) -> None:
        self.town = town
        self.sets: dict[int, Any] = {1: town.chain.validators}
        """V(height), from the outcomes of honest nodes."""
        self.said: dict[tuple[int, int, int, int], dict[Any, bytes]] = {}
        """(kind, height, round, member) to what was said, with a signature each."""
        self.receipts: dict[int, int] = {}
        """How many receipts of each code the chain holds."""
        self.lengths: set[int] = set()
        """Sizes of validator sets."""
        self.broken: list[str] = []
        """Invariants seen broken while a node ran."""
        self.skew_ms = 0
        """How far ahead an honest clock has ever been."""
        self._counted = 0
        town.wire.taps.append(self.hear)

    def block(self, node: WholeNode, executed: Any, commit: Commit) -> None:
        """A block has become final somewhere."""
        if not node.is_honest:
            return
        height = executed.block.header.height
        known = self.sets.setdefault(height + 1, executed.outcome.next_set)
        if known != executed.outcome.next_set:
            self.broken.append(f"agreement: two sets for height {height + 1}")
        self.lengths.add(len(known))
        # Who accepted it had a clock at most so far ahead; nobody honest waits for the future.
        town = self.town
        self.skew_ms = max([self.skew_ms, *(honest.skew_ms for honest in town.honest)])
        latest_ms = town.now_ms() + self.skew_ms + town.rules.params.chain.precision_ms
        ahead_ms = executed.block.header.time_ms - latest_ms
        if ahead_ms > 0:
            self.broken.append(f"time: block {height} is {ahead_ms} ms further ahead than any clock allows")
        if height > self._counted:
            self._counted = height
            for receipt in executed.outcome.receipts[:-1]:
                self.receipts[receipt.code] = self.receipts.get(receipt.code, 0) + 1

    def hear(self, sender: int, kind: Kind, body: bytes) -> None:
        """Something is said on the wire; much of it by liars."""
        try:
            if kind is Kind.VOTE:
                vote = VOTE.decode(body)
                place = (vote.kind, vote.height, vote.round, vote.validator)
                self.said.setdefault(place, {}).setdefault(vote.block_id, vote.signature)
            elif kind is Kind.PROPOSAL:
                said = PROPOSAL_MESSAGE.decode(body).proposal
                place = (0, said.height, said.round, -1)
                what = (said.block_id, said.valid_round)
                self.said.setdefault(place, {}).setdefault(what, said.signature)
        except Rejected:
            return

    def double_signers(self) -> dict[bytes, int]:
        """Keys that really signed two different things for one step, and at which height first."""
        found: dict[bytes, int] = {}
        for (kind, height, round_, member), texts in self.said.items():
            if len(texts) < 2 or height not in self.sets:
                continue
            genesis = self.town.rules.genesis
            for validator in self.sets[height] if member < 0 else self.sets[height][member : member + 1]:
                signed = [
                    what
                    for what, signature in texts.items()
                    if is_signed(
                        validator.key,
                        signed_text(genesis, kind, height, round_, *(what if member < 0 else (what,))),
                        signature,
                    )
                ]
                if len(signed) > 1:
                    found[validator.key] = min(height, found.get(validator.key, height))
        return found

    def check_slashed(self) -> None:
        """No honest key signed twice, none lost a grain for it; who was caught stands slashed in state."""
        town = self.town
        honest = {node.key.public for node in town.honest}
        guilty = self.double_signers()
        for key, height in guilty.items():
            assert key not in honest, f"double signing: an honest key at height {height}"
        view = town.chain.view
        tombstoned = {record.key for _, record in view.scan(VALIDATORS) if record.status == TOMBSTONED}
        assert tombstoned <= guilty.keys(), "slashing: a key that signed nothing twice is tombstoned"
        for key in self.caught():
            assert key in tombstoned, f"slashing: evidence of {key.hex()[:8]} is held and not in the chain"
        false = {person.address for person in town.sparks.liars}
        for address, spark in view.scan(SPARKS):
            is_honest = address not in false
            assert not (is_honest and spark.banned_until), (
                f"proofs: {address.hex()[:8]} is barred and never lied"
            )
        for address, infraction in view.scan(INFRACTIONS):
            assert infraction.taken > 0, f"slashing: {address.hex()[:8]} lost nothing"

    def caught(self) -> list[bytes]:
        """Offenders whose evidence waits in some living honest node's mempool, and may still be included."""
        found = []
        for node in self.town.honest:
            if node.is_up:
                for candidate in node.mempool._evidence.values():
                    payload = candidate.transaction.body.payload
                    params = self.town.rules.params
                    age = (node.height - 1) // params.chain.epoch_blocks - (
                        payload.height - 1
                    ) // params.chain.epoch_blocks
                    if age < params.validators.evidence_epochs:
                        found.append(payload.key)
        return found
