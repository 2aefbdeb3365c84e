"""A network in memory for tests of the rules: genesis, accounts, validators, real blocks.

Here: `World`: it founds a network, signs and submits transactions, lets the proposer that the beacon
draws build a block with real reveals and commits, checks it as a validator would, applies it strictly to
the same state and compares both outcomes. So every test of a rule also tests that what was built is valid.
Not here: agreement, network, disk (their own tests).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import msgspec

from consensus.beacon import RevealChain
from consensus.types.address import key_address
from consensus.types.amounts import eubc
from consensus.types.block import Block, Commit, Header, block_id, commit_hash, txs_root
from consensus.types.codec import encode
from consensus.types.errors import Fault, Reason
from consensus.types.genesis import Balance, Genesis, GenesisValidator, Vesting, possession_hash
from consensus.types.hashing import ZERO_HASH
from consensus.types.keys import SecretKey, verify
from consensus.types.params import DEV, Params
from consensus.types.reader import MemoryState
from consensus.types.receipt import OK, Receipt, receipts_root
from consensus.types.transaction import (
    TRANSACTION_VERSION,
    Body,
    Candidate,
    EvidenceAuth,
    KeyAuth,
    SignatureCheck,
    Transaction,
    sign_hash,
    signature_checks,
    wtxid_of,
)
from consensus.types.vote import PRECOMMIT, vote_hash
from consensus.validators import ValidatorSet, proposer, validators_hash
from vm import funds, members, pools, spark, stake, tally, validator
from vm import head as heads
from vm.claims import Judge, judge_here
from vm.genesis import genesis_writes
from vm.members import Register
from vm.registry import OPERATION_OF, decode_candidate
from vm.rules import rules_of
from vm.spark import SPARKS
from vm.state import SUPPLY, State, Table
from vm.task.records import FORFEITS, OFFERS, SEATS, TASKS, Stage
from vm.transition import Outcome, apply_block
from vm.validator import VALIDATORS
from vm.validity import check_block

CHAIN_ID = "eub-dev-test"
GENESIS_TIME_MS = 1_700_000_000_000
REVEALS = 1_024
"""Proposals of each validator; enough for the longest test."""
MAX_PRICE = 1_000


class Person:
    """An account with its key."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.secret = SecretKey(hashlib.sha256(f"account {name}".encode()).digest())
        self.address = key_address(self.secret.public)

    def __repr__(self) -> str:
        return f"Person({self.name})"


class Operator(Person):
    """An account whose validator has this consensus key and this reveal chain."""

    def __init__(self, name: str, generation: int = 0) -> None:
        super().__init__(name)
        self.consensus = SecretKey(hashlib.sha256(f"validator {name}".encode()).digest())
        self.chain = RevealChain(self.consensus.secret(), generation, REVEALS)
        self.possession = self.consensus.sign(possession_hash(CHAIN_ID, self.address))


class World:
    """A network of `validators` operators named v0, v1, … and any number of people."""

    def __init__(
        self,
        params: Params = DEV,
        validators: int = 1,
        people: Iterable[str] = ("alice", "bob", "carol"),
        *,
        balance: int = eubc(10_000),
        bonds: Sequence[int] = (),
        vesting: Sequence[Vesting] = (),
    ) -> None:
        self.params = params
        self.operators = [Operator(f"v{i}") for i in range(validators)]
        self.people: dict[str, Person] = {operator.name: operator for operator in self.operators}
        for name in people:
            self.people[name] = Person(name)
        self.genesis = self._make_genesis(balance, bonds, vesting)
        self.rules = rules_of(self.genesis)
        self.state = MemoryState()
        self.state.write(genesis_writes(self.genesis))
        self.verdicts: Judge = judge_here
        """On proofs of resource."""
        self.pending: list[Candidate[Any]] = []
        self.outcomes: list[Outcome] = []
        self.headers: list[Header] = []
        self.receipts: dict[bytes, Receipt] = {}
        """By txid."""
        self.heights: dict[bytes, int] = {}
        """Of inclusion, by txid."""
        self.last_id = self.rules.genesis
        self.last_commit: Commit | None = None
        self._keys = {operator.consensus.public: operator.consensus for operator in self.operators}
        self._chains = {operator.address: [operator.chain] for operator in self.operators}

    def _make_genesis(self, balance: int, bonds: Sequence[int], vesting: Sequence[Vesting]) -> Genesis:
        voters = [
            GenesisValidator(
                operator.address,
                operator.name,
                operator.consensus.public,
                operator.possession,
                bonds[i] if i < len(bonds) else eubc(10_000),
                operator.chain.commitment,
            )
            for i, operator in enumerate(self.operators)
        ]
        balances = [Balance(person.address, balance) for person in self.people.values()]
        return Genesis(
            1,
            CHAIN_ID,
            "deub",
            GENESIS_TIME_MS,
            self.params,
            (),
            tuple(sorted(balances, key=lambda b: b.address)),
            tuple(vesting),
            tuple(sorted(voters, key=lambda v: v.address)),
        )

    # ------------------------------------------------------------------ looking

    def __getitem__(self, name: str) -> Person:
        """The person of that name; a new one has no funds."""
        if name not in self.people:
            self.people[name] = Person(name)
        return self.people[name]

    @property
    def view(self) -> State:
        """The state at the head, for reading."""
        return heads.view(self.state, self.rules)

    @property
    def height(self) -> int:
        return heads.head(self.view).height

    @property
    def epoch(self) -> int:
        """The epoch of the next block."""
        return heads.epoch_of(self.height + 1, self.params.chain.epoch_blocks)

    @property
    def validators(self) -> ValidatorSet:
        """Those of the next block."""
        found = heads.validators_at(self.view, self.height + 1)
        assert found is not None
        return found

    def read(self, table: Table[Any], key: bytes) -> Any:
        """A record at the head, or None."""
        return self.view.get(table, key)

    def balance(self, who: str | bytes) -> int:
        return funds.account(self.view, self._address(who)).balance

    def nonce(self, who: str | bytes) -> int:
        return funds.account(self.view, self._address(who)).nonce

    def stake(self, who: str | bytes) -> stake.Stake:
        return stake.stake(self.view, self._address(who))

    def supply(self) -> Any:
        return self.read(SUPPLY, b"")

    def _address(self, who: str | bytes) -> bytes:
        return who if isinstance(who, bytes) else self[who].address

    # --------------------------------------------------------------- submitting

    def sign(
        self,
        who: str,
        payload: Any,
        *,
        nonce: int | None = None,
        max_price: int = MAX_PRICE,
        tip: int = 0,
        valid_until: int | None = None,
        chain_id: str = CHAIN_ID,
    ) -> bytes:
        """A signed transaction's bytes; the nonce counts what is pending already."""
        person = self[who]
        if nonce is None:
            waiting = sum(c.transaction.body.sender == person.address for c in self.pending)
            nonce = self.nonce(who) + waiting
        if valid_until is None:
            valid_until = self.height + self.params.chain.max_ttl_blocks
        body = Body(
            TRANSACTION_VERSION, chain_id, person.address, nonce, max_price, tip, valid_until, payload
        )
        signature = person.secret.sign(sign_hash(self.rules.genesis, encode(body)))
        return encode(Transaction(body, KeyAuth(person.secret.public, signature)))

    def submit_raw(self, raw: bytes) -> bytes:
        """Queue bytes as the mempool would: decoded, checked, signature verified. Returns the txid."""
        candidate = decode_candidate(raw, self.rules)
        assert verify_all(signature_checks(candidate.transaction, self.rules.genesis))
        self.pending.append(candidate)
        return candidate.txid

    def submit(self, who: str, payload: Any, **envelope: Any) -> bytes:
        """Sign and queue; returns the txid."""
        return self.submit_raw(self.sign(who, payload, **envelope))

    def submit_evidence(self, payload: Any) -> bytes:
        """Queue evidence, which has no sender; returns the txid."""
        body = Body(TRANSACTION_VERSION, CHAIN_ID, bytes(20), 0, 0, 0, 0, payload)
        return self.submit_raw(encode(Transaction(body, EvidenceAuth())))

    # ---------------------------------------------------------------- producing

    def proposer(self, round_: int = 0) -> bytes:
        """Who proposes the next block in this round."""
        stands = heads.head(self.view)
        return proposer(self.validators, stands.beacon, stands.height + 1, round_).address

    def header(self, round_: int = 0, time_ms: int | None = None) -> Header:
        """The next block's header as its proposer begins it: hashes and roots still blank."""
        stands = heads.head(self.view)
        height = stands.height + 1
        address = self.proposer(round_)
        commitment = self.read(VALIDATORS, address).reveal
        if time_ms is None:
            time_ms = stands.time_ms + self.params.chain.block_interval_ms
        return Header(
            self.rules.version_at(height),
            height,
            round_,
            time_ms,
            self.last_id,
            address,
            commit_hash(self.last_commit),
            ZERO_HASH,
            ZERO_HASH,
            ZERO_HASH,
            validators_hash(self.validators),
            ZERO_HASH,
            self._reveal(address, commitment),
        )

    def _reveal(self, address: bytes, commitment: bytes) -> bytes:
        """The preimage, from whichever of the account's chains the commitment belongs to."""
        for chain in self._chains[address]:
            try:
                return chain.reveal(commitment)
            except Fault:
                continue
        raise AssertionError("the world has no chain for this commitment")

    def build(
        self,
        candidates: Sequence[Candidate[Any]],
        *,
        round_: int = 0,
        time_ms: int | None = None,
        enough: Callable[[], bool] = lambda: False,
    ) -> tuple[Block, Outcome]:
        """A complete block, as its proposer would send it; the state stays as it is."""
        started = self.header(round_, time_ms)
        outcome = apply_block(
            self.state,
            self.rules,
            started,
            self.last_commit,
            candidates,
            strict=False,
            enough=enough,
            judge=self.verdicts,
        )
        header = self.complete(started, outcome)
        return Block(header, tuple(c.raw for c in outcome.included), self.last_commit), outcome

    def complete(self, header: Header, outcome: Outcome) -> Header:
        """The header with what an outcome says."""
        return msgspec.structs.replace(
            header,
            txs_root=txs_root([c.wtxid for c in outcome.included]),
            state_root=self.root_after(outcome),
            receipts_root=receipts_root(list(outcome.receipts)),
            next_validators_hash=outcome.next_validators_hash,
        )

    def root_after(self, outcome: Outcome) -> bytes:
        """A digest of the whole state after an outcome: plain, because test states are small."""
        after = MemoryState(self.state.entries)
        after.write(outcome.writes)
        digest = hashlib.blake2b(digest_size=32)
        for key, value in sorted(after.entries.items()):
            digest.update(encode([key, value]))
        return digest.digest()

    def validate(self, block: Block, candidates: Sequence[Candidate[Any]]) -> Outcome:
        """Check and execute a block as a validator does; raises `BlockInvalid`."""
        check_block(self.view, self.rules, block, candidates, self.last_id, verify_all)
        return self.validate_transactions(block, candidates)

    def validate_transactions(self, block: Block, candidates: Sequence[Candidate[Any]]) -> Outcome:
        """Execute strictly under the block's header and commit; raises `BlockInvalid`."""
        return apply_block(
            self.state,
            self.rules,
            block.header,
            block.last_commit,
            candidates,
            strict=True,
            judge=self.verdicts,
        )

    def commit_for(self, block: Block, absent: Collection[str] = ()) -> Commit:
        """Precommits of everyone in the set but `absent`."""
        identity = block_id(self.rules.genesis, block.header)
        message = vote_hash(self.rules.genesis, PRECOMMIT, block.header.height, block.header.round, identity)
        away = {self[name].address for name in absent}
        members = self.validators
        bits, signatures = 0, []
        for position, member in enumerate(members):
            if member.address not in away:
                bits |= 1 << position
                signatures.append(self._keys[member.key].sign(message))
        bitmap = bits.to_bytes((len(members) + 7) // 8, "little")
        return Commit(block.header.round, identity, bitmap, tuple(signatures))

    def block(self, *, absent: Collection[str] = (), round_: int = 0, time_ms: int | None = None) -> Outcome:
        """Build the next block from what is pending, validate it, compare, commit. Returns its outcome.

        `absent` names operators that do not sign it. Left-out transactions stay in `outcome.skipped`.
        """
        block, built = self.build(self.pending, round_=round_, time_ms=time_ms)
        candidates = [decode_candidate(raw, self.rules) for raw in block.transactions]
        outcome = self.validate(block, candidates)
        assert outcome.writes == built.writes or self.root_after(outcome) == block.header.state_root
        assert self.complete(block.header, outcome) == block.header, "strict execution agrees"
        commit = self.commit_for(block, absent)
        self.state.write(outcome.writes)
        self.last_commit, self.last_id = commit, commit.block_id
        self.headers.append(block.header)
        self.outcomes.append(built)
        self.pending = []
        for candidate, receipt in zip(outcome.included, outcome.receipts, strict=False):
            self.receipts[candidate.txid] = receipt
            self.heights[candidate.txid] = block.header.height
        return built

    def blocks(self, count: int, **how: Any) -> None:
        """Produce so many blocks."""
        for _ in range(count):
            self.block(**how)

    def until_height(self, height: int, **how: Any) -> None:
        """Produce blocks until `height` is the head."""
        while self.height < height:
            self.block(**how)

    def until_epoch_end(self, **how: Any) -> Outcome:
        """Produce blocks up to and including the last of the running epoch; returns its outcome."""
        outcome = self.block(**how)
        while self.height % self.params.chain.epoch_blocks:
            outcome = self.block(**how)
        return outcome

    def do(self, who: str, payload: Any, **envelope: Any) -> Receipt:
        """Submit, produce a block, return the receipt; the transaction must have been included."""
        txid = self.submit(who, payload, **envelope)
        outcome = self.block()
        assert txid in self.receipts, f"left out: {[str(s.cause) for s in outcome.skipped]}"
        return self.receipts[txid]

    def succeed(self, who: str, payload: Any, **envelope: Any) -> Receipt:
        """Do it, and insist that it does what it says."""
        receipt = self.do(who, payload, **envelope)
        assert receipt.code == OK, explain(receipt)
        return receipt

    def refuse(self, who: str, payload: Any, reason: Reason, **envelope: Any) -> Receipt:
        """Do it, and insist that the family refuses it with this reason."""
        receipt = self.do(who, payload, **envelope)
        assert receipt.code == reason.code, explain(receipt)
        return receipt

    def add_operator(self, name: str, **chain: Any) -> Operator:
        """An operator that can propose once it is in a set; its account takes the place of `name`'s."""
        operator = Operator(name, **chain)
        self.people[name] = operator
        self.operators.append(operator)
        self.use_keys(operator.address, operator.consensus, operator.chain)
        return operator

    def use_keys(self, address: bytes, consensus: SecretKey, chain: RevealChain) -> None:
        """Let the world sign with a consensus key and reveal from a chain for this account."""
        self._keys[consensus.public] = consensus
        self._chains.setdefault(address, []).append(chain)

    def events(self, code: int) -> list[tuple[int | bytes, ...]]:
        """Facts of every event of a kind so far, in order."""
        return [
            event.facts
            for outcome in self.outcomes
            for receipt in outcome.receipts
            for event in receipt.events
            if event.code == code
        ]

    def check(self) -> None:
        """Recompute every column of the supply from the records, and see that they add up."""
        supply, view = self.supply(), self.view
        stakes = [record for _, record in view.scan(stake.STAKES)]
        tasks = [task for _, task in view.scan(TASKS)]
        seats = [seat for _, seat in view.scan(SEATS) if seat.stage != Stage.CLOSED]
        offers = sum(offer.deposit for _, offer in view.scan(OFFERS))
        forfeits = sum(forfeit.amount for _, forfeit in view.scan(FORFEITS))
        columns = {
            "balances": sum(record.balance for _, record in view.scan(funds.ACCOUNTS)),
            "bonded": sum(record.bonded for record in stakes),
            "unbonding": sum(entry.amount for record in stakes for entry in record.unbonding),
            "escrow": sum(task.escrow for task in tasks) + sum(seat.price for seat in seats),
            "gas": sum(seat.gas for seat in seats) + forfeits,
            "deposits": sum(task.deposit for task in tasks) + offers,
            "pools": sum(pool.amount for _, pool in view.scan(pools.POOLS)),
            "accrued": sum(row.accrued for row in tally.tally(view).rows),
        }
        for name, found in columns.items():
            assert getattr(supply, name) == found, f"{name}: {getattr(supply, name)}, records {found}"
        assert supply.issued == supply.burned + sum(columns.values())
        self._check_registers(view)

    def _check_registers(self, view: State) -> None:
        """The registers list exactly the active, under their present bonds."""
        for register, table, active in (
            (Register.VALIDATORS, VALIDATORS, (validator.ACTIVE, validator.JAILED)),
            (Register.SPARKS, SPARKS, (spark.ACTIVE,)),
        ):
            listed = [address for address, record in view.scan(table) if record.status in active]
            assert members.addresses(view, register) == listed
            assert members.count(view, register) == len(listed)
            for address in listed:
                assert members.is_listed(view, register, stake.stake(view, address).bonded, address)


def verify_all(checks: Sequence[SignatureCheck]) -> bool:
    """Verify signatures one by one."""
    return all(verify(*check) for check in checks)


def explain(receipt: Receipt) -> str:
    """A receipt in words, for a failing test."""
    if receipt.code == OK:
        return "it succeeded"
    reason = Reason.registry[receipt.code]
    facts = dict(zip([name for name, _ in reason.facts], receipt.facts, strict=True))
    return f"{reason.code} {reason.name} {facts}"


def candidate_of(transaction: Transaction[Any], world: World) -> Candidate[Any]:
    """A candidate that skips all stateless checks, for tests of what happens without them."""
    raw = encode(transaction)
    assert type(transaction.body.payload) in OPERATION_OF
    return Candidate(transaction, raw, hashlib.sha256(raw).digest(), wtxid_of(raw))
