"""What happens on the chain of chain.json: 200 blocks of a dev network in which every family has its turn.

Here: `StoryWorld`, which keeps the real state tree, and the chapters of the story.
Not here: the file (generate_chain.py), its replay (tests/unit/test_chain_vectors.py).
Keeps: no clock and no randomness, so that every run, on every version of Python, gives the same bytes. At the
end each chapter asserts that what it tells did happen.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from consensus.beacon import RevealChain
from consensus.resource.proof import make_proof
from consensus.resource.windows import closes_at, last_proof_at, opens_at
from consensus.types.address import multisig_address
from consensus.types.amounts import eubc
from consensus.types.block import Commit
from consensus.types.codec import encode
from consensus.types.genesis import Vesting, possession_hash
from consensus.types.keys import SecretKey
from consensus.types.transaction import Body, MultisigAuth, Transaction, sign_hash
from consensus.types.tree import StateTree, empty_tree, update_tree
from consensus.types.vote import PRECOMMIT, vote_hash
from tests.market import (
    accept_of,
    cancel_of,
    decline_of,
    deliver_of,
    fail_of,
    grant_of,
    match_of,
    post_of,
    reject_of,
    release_of,
    start_of,
)
from tests.world import CHAIN_ID, GENESIS_TIME_MS, REVEALS, Operator, Person, World, explain
from vm import evidence, measuring, stake, validator
from vm.account import MultiTransfer, Output, Transfer
from vm.claims import judge_here
from vm.evidence import Said, SubmitEvidence
from vm.funds import SHORT_OF_FUNDS
from vm.resource import Prove
from vm.spark import SPARKS, Hardware, RegisterSpark, RetireSpark, UpdateSpark
from vm.stake import Bond, Unbond
from vm.task import events as task_events
from vm.task.payloads import Offer
from vm.task.records import SEATS, TASKS, Ending, seat_key
from vm.transition import Outcome
from vm.validator import JAILED, VALIDATORS, NewKey, RegisterValidator, Unjail, UpdateValidator
from vm.windows import WINDOWS

BLOCKS = 200
PEOPLE = ("alice", "bob", "carol", "dora", "erin", "frank")
"""alice asks for work; bob, carol and dora are sparks; erin becomes a validator; frank is paid."""
HARDWARE = Hardware("rtx4090", 1, 24 * 2**30, 16, 64 * 2**30, 2**40)
RECIPIENT = "age1" + "q" * 58
TRUE_TILES = [(p, q) for p in range(2) for q in range(4)]
"""At a difficulty of one every tile is a share; the fewest that count, because a replay computes each."""
PRICE = eubc(4)
PROMISE = 10


class StoryWorld(World):
    """A world whose headers carry the root of the real state tree."""

    def __init__(self) -> None:
        self.tree: StateTree = empty_tree()
        frank = Person("frank")
        half_year = 180 * 86_400_000
        lock = Vesting(frank.address, eubc(9_000), GENESIS_TIME_MS, GENESIS_TIME_MS + 40_000, half_year, 4)
        bonds = [eubc(10_000 + 700 * number) for number in range(5)]
        super().__init__(validators=5, people=PEOPLE, bonds=bonds, vesting=[lock])
        self.verdicts = cache(judge_here)
        self.tree.apply(update_tree(self.tree, self.state.entries))
        self.genesis_root = self.tree.root
        self.commits: list[Commit] = []
        self.away: frozenset[str] = frozenset()
        """Operators whose nodes are down: they sign nothing and propose nothing."""

    def root_after(self, outcome: Outcome) -> bytes:
        """The state root."""
        return update_tree(self.tree, outcome.writes).root

    def block(self, **how: Any) -> Outcome:
        """The next block, in the first round whose proposer is there."""
        away = {self[name].address for name in self.away}
        round_ = next(number for number in range(100) if self.proposer(number) not in away)
        members = {member.address for member in self.validators}
        absent = [name for name in sorted(self.away) if self[name].address in members]
        outcome = super().block(absent=absent, round_=round_, **how)
        self.tree.apply(update_tree(self.tree, outcome.writes))
        assert self.headers[-1].state_root == self.tree.root
        assert not outcome.skipped, [str(skipped.cause) for skipped in outcome.skipped]
        assert self.last_commit is not None
        self.commits.append(self.last_commit)
        return outcome

    def all_succeed(self, *deeds: tuple[str, Any]) -> list[bytes]:
        """Put all of it into one block; returns the txids."""
        txids = [self.submit(who, payload, tip=position % 3) for position, (who, payload) in enumerate(deeds)]
        self.block()
        for txid, (who, payload) in zip(txids, deeds, strict=True):
            assert self.receipts[txid].code == 0, f"{who} {payload}: {explain(self.receipts[txid])}"
        return txids

    def start_of_epoch(self, epoch: int) -> None:
        """Produce blocks up to the last one before this epoch."""
        self.until_height(epoch * self.params.chain.epoch_blocks)

    def ending_of(self, task: bytes) -> int:
        """How a task's only seat ended, or the task itself where nobody was matched."""
        seat = self.read(SEATS, seat_key(task, 0))
        return int(self.read(TASKS, task).ending if seat is None else seat.outcome.ending)


def tell() -> StoryWorld:
    """The whole story."""
    world = StoryWorld()
    operator_joins = _beginnings(world)
    _money(world)
    _tasks_that_are_accepted(world)
    _tasks_that_end_otherwise(world)
    _double_signing(world)
    _proofs(world)
    _absence(world)
    _new_key(world)
    _departures(world)
    world.until_height(BLOCKS)
    assert operator_joins in {member.address for member in world.validators}
    world.check()
    return world


def _beginnings(world: StoryWorld) -> bytes:
    """Epoch 0: three sparks and a validator bond and register. Returns the validator's address."""
    world.block()
    world.all_succeed(
        *((name, Bond(eubc(200))) for name in ("bob", "carol", "dora")), ("erin", Bond(eubc(9_000)))
    )
    erin = world.add_operator("erin", generation=7)
    world.all_succeed(
        ("bob", RegisterSpark(RECIPIENT, HARDWARE, 4, True, 1)),
        ("carol", RegisterSpark(RECIPIENT, HARDWARE, 1, False, 1)),
        ("dora", RegisterSpark(RECIPIENT, HARDWARE, 1, False, 1_000)),
        ("erin", RegisterValidator("erin", erin.consensus.public, erin.possession, erin.chain.commitment)),
    )
    assert erin.address not in {member.address for member in world.validators}
    return erin.address


def _money(world: StoryWorld) -> None:
    """Transfers of every form, refusals, a multisig account that pays by two different pairs of keys."""
    keys = sorted(
        (world[name].secret for name in ("alice", "bob", "carol")), key=lambda secret: secret.public
    )
    shared = multisig_address(2, [key.public for key in keys])
    world.all_succeed(
        ("alice", Transfer(world["frank"].address, 1)),
        ("alice", Transfer(world["alice"].address, eubc(1))),
        ("v0", MultiTransfer((Output(shared, eubc(50)), Output(world["new"].address, 7), Output(shared, 1)))),
        ("frank", Transfer(world["alice"].address, eubc(999))),
    )
    world.refuse("frank", Transfer(world["alice"].address, eubc(2)), SHORT_OF_FUNDS)
    world.refuse("alice", Transfer(world["frank"].address, eubc(10**6)), SHORT_OF_FUNDS)
    for nonce, chosen in enumerate(((0, 1), (0, 2))):
        _pay_together(world, shared, keys, chosen, nonce)
    world.all_succeed(("v1", Unbond(eubc(300))), ("v1", Unbond(eubc(200))))


def _pay_together(
    world: StoryWorld, sender: bytes, keys: Sequence[SecretKey], chosen: Sequence[int], nonce: int
) -> None:
    payload = Transfer(world["frank"].address, eubc(1))
    body = Body(1, CHAIN_ID, sender, nonce, 1_000, 1, world.height + 10, payload)
    message = sign_hash(world.rules.genesis, encode(body))
    bitmap = bytes([sum(1 << number for number in chosen)])
    signatures = tuple(keys[number].sign(message) for number in chosen)
    auth = MultisigAuth(2, tuple(key.public for key in keys), bitmap, signatures)
    txid = world.submit_raw(encode(Transaction(body, auth)))
    world.block()
    assert world.receipts[txid].code == 0


# ------------------------------------------------------------------ the market


def _matched(world: StoryWorld, *, spark: str = "bob", by_hand: bool = False) -> bytes:
    """A task whose seat has its spark."""
    (task,) = world.all_succeed(("alice", post_of(by_hand=by_hand)))
    world.all_succeed((spark, Offer(task, 0, PRICE, PROMISE)))
    if by_hand:
        world.all_succeed(("alice", match_of(task, world[spark].address)))
    else:
        record = world.read(TASKS, task)
        world.until_height(record.posted + record.windows.offer)
    assert world.read(SEATS, seat_key(task, 0)).spark == world[spark].address
    return task


def _running(world: StoryWorld, spark: str = "bob", **how: Any) -> bytes:
    """A task that runs."""
    task = _matched(world, spark=spark, **how)
    world.all_succeed(("alice", grant_of(task)))
    world.all_succeed((spark, start_of(task)))
    return task


def _tasks_that_are_accepted(world: StoryWorld) -> None:
    """From post to accept, once drawn and once by hand; and one accepted by silence."""
    task = _running(world)
    world.blocks(3)
    world.all_succeed(("bob", deliver_of(task)))
    world.all_succeed(("alice", accept_of(task, score=93, stars=4)))
    assert world.ending_of(task) == Ending.ACCEPTED
    silent, other = _running(world, by_hand=True), _running(world, spark="carol", by_hand=True)
    world.all_succeed(("bob", deliver_of(silent)), ("carol", release_of(other)))
    world.until_height(world.height + world.read(TASKS, silent).windows.review + 1)
    assert world.ending_of(silent) == Ending.ACCEPTED_BY_SILENCE


def _tasks_that_end_otherwise(world: StoryWorld) -> None:
    """A failure that is agreed to, a rejection, a decline, two cancellations, silence, a vanished spark."""
    failing = _running(world, by_hand=True)
    world.all_succeed(("bob", fail_of(failing)))
    world.all_succeed(("alice", accept_of(failing, score=0, stars=3)))
    vanished = _running(world, spark="carol", by_hand=True)
    rejected = _running(world, by_hand=True)
    world.all_succeed(("bob", deliver_of(rejected)))
    world.all_succeed(("alice", reject_of(rejected)))
    declined = _matched(world, by_hand=True)
    world.all_succeed(("alice", grant_of(declined)))
    world.all_succeed(("bob", decline_of(declined)))
    cancelled, unwanted = _running(world, by_hand=True), world.submit("alice", post_of())
    world.all_succeed(("alice", cancel_of(cancelled)))
    world.all_succeed(("alice", cancel_of(unwanted)), ("alice", post_of()))
    record = world.read(SEATS, seat_key(vanished, 0))
    world.until_height(record.started + 2 * record.promise + 1)
    endings = [world.ending_of(task) for task in (failing, rejected, declined, cancelled, unwanted, vanished)]
    assert endings == [
        Ending.FAILURE_AGREED, Ending.REJECTED, Ending.DECLINED, Ending.CANCELLED, Ending.CANCELLED_OPEN,
        Ending.RUN_TIMEOUT,
    ], endings  # fmt: skip


# ------------------------------------------------------------------ validators and proofs


def _double_signing(world: StoryWorld) -> None:
    """v4 precommits two blocks of one round; everyone may show it."""
    culprit = world["v4"]
    assert isinstance(culprit, Operator)
    height, ids = world.height - 1, (None, bytes([2]) * 32)
    signed = [
        culprit.consensus.sign(vote_hash(world.rules.genesis, PRECOMMIT, height, 3, block_id))
        for block_id in ids
    ]
    payload = SubmitEvidence(
        PRECOMMIT,
        height,
        3,
        culprit.consensus.public,
        Said(ids[0], None),
        signed[0],
        Said(ids[1], None),
        signed[1],
    )
    txid = world.submit_evidence(payload)
    world.block()
    assert world.receipts[txid].code == 0
    assert len(world.events(evidence.DOUBLE_SIGN.code)) == 1


def _proofs(world: StoryWorld) -> None:
    """A window in which bob and carol prove truly and dora claims a tile that is no share."""
    while world.read(WINDOWS, b"") is None or world.read(WINDOWS, b"").is_closed:
        world.block()
    if world.height >= last_proof_at(world.read(WINDOWS, b"").window):
        world.until_height(closes_at(world.read(WINDOWS, b"").window))
        while world.read(WINDOWS, b"").is_closed:
            world.block()
    window = world.read(WINDOWS, b"").window
    world.until_height(max(world.height, opens_at(window)))
    world.all_succeed(
        ("bob", Prove(make_proof(opens_at(window), TRUE_TILES))),
        ("carol", Prove(make_proof(opens_at(window), []))),
        ("dora", Prove(make_proof(opens_at(window), [(0, 0)]))),
    )
    world.until_height(closes_at(window))
    assert world.read(SPARKS, world["bob"].address).capacity > 0
    assert len(world.events(measuring.FALSE_SHARE.code)) == 1


def _absence(world: StoryWorld) -> None:
    """v3's node is down for an epoch: rounds are lost, then it is jailed, and comes back after its term."""
    world.until_epoch_end()
    world.away = frozenset({"v3"})
    world.until_epoch_end()
    assert world.read(VALIDATORS, world["v3"].address).status == JAILED
    assert len(world.events(validator.JAIL.code)) == 1
    world.away = frozenset()
    assert any(header.round for header in world.headers), "a round was lost"


def _new_key(world: StoryWorld) -> None:
    """v0 changes its consensus key and its reveal chain, effective two epochs later."""
    v0 = world["v0"]
    key = SecretKey(bytes([77]) * 32)
    chain = RevealChain(key.secret(), 1, REVEALS)
    world.use_keys(v0.address, key, chain)
    possession = key.sign(possession_hash(CHAIN_ID, v0.address))
    world.all_succeed(
        ("v0", UpdateValidator("v0-renamed", NewKey(key.public, possession), chain.commitment)),
        ("bob", UpdateSpark(RECIPIENT, HARDWARE, 8, False)),
    )
    world.start_of_epoch(world.read(VALIDATORS, world["v3"].address).jailed_until)
    world.all_succeed(("v3", Unjail()))


def _departures(world: StoryWorld) -> None:
    """A spark retires; what was unbonded at the start has come back."""
    world.all_succeed(("carol", RetireSpark()), ("carol", Unbond(eubc(150))))
    world.until_height(BLOCKS - 1)
    world.block()
    assert len(world.events(validator.CHANGED.code)) == 1
    assert world.events(stake.MATURED.code)
    assert world.events(task_events.FORFEIT_BURNED.code)
