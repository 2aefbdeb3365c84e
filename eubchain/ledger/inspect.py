"""Auditing a ledger: everything that can be recomputed is, and every difference is named.

Here: `audit` (blocks, links, roots, commits, state, undo records, supply).
Not here: executing blocks again (ledger/replay.py), rendering (eubchain/cli).
Keeps: reads one reader and changes nothing; who validated and what supply must be are asked of
functions handed in, because the ledger knows no rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from consensus.types.block import BLOCK, Block, Commit, Header, block_id, commit_hash, txs_root
from consensus.types.errors import Fault
from consensus.types.keys import verify
from consensus.types.reader import StateReader
from consensus.types.receipt import receipts_root
from consensus.types.transaction import wtxid_of
from consensus.types.tree import StateTree, key_hash, lay_out, update_tree, value_hash
from consensus.types.vote import PRECOMMIT, vote_hash
from consensus.validators import Validator, is_quorum, validators_hash
from eubchain.ledger.layout import UNDO, bucket_position, height_key
from eubchain.ledger.reading import LedgerReader
from eubchain.ledger.store import Column

FINDINGS_MAX = 1000
"""After so many the audit stops: the ledger is to be replaced, not read on."""
PROGRESS_ENTRIES = 50_000

ValidatorsAt = Callable[[int], Sequence[Validator] | None]
"""The set of a height; None when the state does not hold it any more."""
SupplyCheck = Callable[[StateReader], str | None]
"""What is wrong with the money, in words; None when it adds up."""
Progress = Callable[[str, int, int], None]
"""(stage, done, of how many)."""


class Finding(NamedTuple):
    """Something that is not as it must be."""

    height: int
    name: str
    """Stable, for programs."""
    detail: str


class Audit(NamedTuple):
    """What an audit looked at and what it found."""

    blocks: int
    commits: int
    """Commits all of whose signatures were checked."""
    commits_unchecked: int
    """Commits of heights whose validator set is no longer known."""
    entries: int
    findings: tuple[Finding, ...]


def silent(stage: str, done: int, total: int) -> None:
    """Progress for whoever wants none."""


def audit(
    ledger: LedgerReader, validators_at: ValidatorsAt, supply: SupplyCheck, progress: Progress = silent
) -> Audit:
    """Check the whole ledger as it stands."""
    auditor = _Auditor(ledger, validators_at, progress)
    for stage in (auditor.blocks, auditor.state):
        try:
            for finding in stage():
                auditor.findings.append(finding)
                if len(auditor.findings) == FINDINGS_MAX:
                    return auditor.result()
        except Fault as error:  # the disk's own checksums, or a row that nobody can read
            auditor.findings.append(Finding(ledger.height, "row_unreadable", str(error)))
    wrong = supply(ledger)
    if wrong is not None:
        auditor.findings.append(Finding(ledger.height, "supply_wrong", wrong))
    return auditor.result()


class _Auditor:
    """The running audit."""

    def __init__(self, ledger: LedgerReader, validators_at: ValidatorsAt, progress: Progress) -> None:
        self.ledger, self.validators_at, self.progress = ledger, validators_at, progress
        self.findings: list[Finding] = []
        self.audited = self.commits = self.unchecked = self.entries = 0
        self.checked: Commit | None = None
        """The commit that was looked at last."""

    def result(self) -> Audit:
        return Audit(self.audited, self.commits, self.unchecked, self.entries, tuple(self.findings))

    # -------------------------------------------------------------- blocks

    def blocks(self) -> Iterator[Finding]:
        """Every kept block, upwards; the last one must be the one that meta names."""
        meta = self.ledger.meta
        parent = meta.genesis if meta.lowest == 1 else None
        root = meta.genesis_root
        time_ms = 0
        for height in range(meta.lowest, meta.height + 1):
            self.progress("blocks", height - meta.lowest, meta.height + 1 - meta.lowest)
            block, problem = self._read(height)
            if block is None:
                yield Finding(height, "block_unreadable", problem)
                parent = None
                continue
            header = block.header
            identity = block_id(meta.genesis, header)
            if parent is not None and header.parent != parent:
                yield Finding(height, "parent_differs", "its parent is not the block before it")
            if header.time_ms <= time_ms:
                yield Finding(height, "time_not_later", f"its time {header.time_ms} is not after {time_ms}")
            yield from self._own_parts(height, block, identity)
            yield from self._commits(height, block, identity)
            parent, root, time_ms = identity, header.state_root, header.time_ms
            self.audited += 1
        if parent is not None and (parent, root) != (meta.block_id, meta.state_root):
            yield Finding(meta.height, "head_differs", "the last block is not the one that the ledger names")

    def _read(self, height: int) -> tuple[Block | None, str]:
        raw = self.ledger.block_bytes(height)
        if raw is None:
            return None, "it is missing"
        try:
            return BLOCK.decode(raw), ""
        except Fault as error:
            return None, str(error)

    def _own_parts(self, height: int, block: Block, identity: bytes) -> Iterator[Finding]:
        """What a block's header says about the block itself."""
        header, reader = block.header, self.ledger
        if header.height != height:
            yield Finding(height, "height_differs", f"the block kept here says height {header.height}")
        if reader.height_of(identity) != height:
            yield Finding(height, "block_unindexed", f"block {identity.hex()} is not found by its id")
        if header.txs_root != txs_root([wtxid_of(raw) for raw in block.transactions]):
            yield Finding(height, "transactions_differ", "its transactions do not make its root")
        if header.last_commit_hash != commit_hash(block.last_commit):
            yield Finding(height, "last_commit_differs", "its last commit does not make its hash")
        try:
            stored, receipts = reader.header(height), reader.receipts(height)
        except Fault as error:
            yield Finding(height, "row_unreadable", str(error))
            return
        if stored != header:
            yield Finding(height, "header_differs", "the header kept beside it is another")
        if receipts is None or receipts_root(list(receipts)) != header.receipts_root:
            yield Finding(height, "receipts_differ", "its receipts do not make its root")

    def _commits(self, height: int, block: Block, identity: bytes) -> Iterator[Finding]:
        """The commit kept for a block, and the one that it carries for the block before."""
        header = block.header
        if block.last_commit is not None:
            if block.last_commit != self.checked:  # mostly the one kept with the block before
                yield from self._commit(height - 1, header.parent, block.last_commit, None)
        elif height > 1:
            yield Finding(height, "last_commit_missing", "it carries no commit of the block before")
        try:
            commit = self.ledger.commit(height)
        except Fault as error:
            yield Finding(height, "row_unreadable", str(error))
            return
        if commit is not None:
            yield from self._commit(height, identity, commit, header)
        elif height < self.ledger.height:
            yield Finding(height, "commit_missing", "there is no commit for it")

    def _commit(
        self, height: int, identity: bytes, commit: Commit, header: Header | None
    ) -> Iterator[Finding]:
        if commit.block_id != identity:
            yield Finding(height, "commit_differs", "the commit names another block")
            return
        self.checked = commit
        validators = self.validators_at(height)
        if validators is None:
            self.unchecked += 1
            return
        if header is not None and header.validators_hash != validators_hash(validators):
            yield Finding(height, "validators_differ", "the header names another validator set")
        wrong = commit_problem(self.ledger.meta.genesis, height, commit, validators)
        if wrong is None:
            self.commits += 1
        else:
            yield Finding(height, "commit_invalid", wrong)

    # -------------------------------------------------------------- state

    def state(self) -> Iterator[Finding]:
        """The tree recomputed from the values, against meta, buckets and undo records."""
        meta, source = self.ledger.meta, self.ledger.source
        hashed: list[tuple[bytes, bytes]] = []
        for key, value in source.iterate(Column.VALUE):
            hashed.append((key_hash(key), value_hash(value)))
            if not len(hashed) % PROGRESS_ENTRIES:
                self.progress("state", len(hashed), 0)
        self.entries = len(hashed)
        tree = lay_out(hashed)
        if tree.root != meta.state_root:
            detail = f"the values make {tree.root.hex()}, not {meta.state_root.hex()}"
            yield Finding(meta.height, "state_root_differs", detail)
        yield from self._buckets(tree)
        if tree.root == meta.state_root:
            yield from self._undo(tree)

    def _buckets(self, tree: StateTree) -> Iterator[Finding]:
        assert isinstance(tree.buckets, dict), "a tree laid out in memory"
        height, missing = self.ledger.height, dict(tree.buckets)
        for key, bucket in self.ledger.source.iterate(Column.BUCKET):
            if missing.pop(bucket_position(key), None) != bucket:
                detail = f"bucket {key.decode(errors='replace')[1:] or 'of the root'} differs from the values"
                yield Finding(height, "bucket_differs", detail)
        for position in missing:
            yield Finding(
                height, "bucket_missing", f"bucket {f'{position:x}'[1:] or 'of the root'} is missing"
            )

    def _undo(self, tree: StateTree) -> Iterator[Finding]:
        """Going back block by block must meet the roots that the headers state."""
        for height in range(self.ledger.height, 0, -1):
            raw = self.ledger.source.get(Column.UNDO, height_key(height))
            before = self.ledger.header(height - 1)
            if raw is None or (before is None and height > 1):
                return
            try:
                undo = UNDO.decode(raw)
            except Fault as error:
                yield Finding(height, "row_unreadable", str(error))
                return
            tree.apply(update_tree(tree, dict(undo.entries)))
            self.progress("undo", self.ledger.height - height, 0)
            if tree.root != (self.ledger.meta.genesis_root if before is None else before.state_root):
                yield Finding(height, "undo_differs", "taking it back does not lead to the state before it")
                return


def commit_problem(
    genesis: bytes, height: int, commit: Commit, validators: Sequence[Validator]
) -> str | None:
    """What is wrong with a commit, in words; None when a quorum of `validators` signed it."""
    try:
        signers = commit.signers(len(validators))
    except Fault as error:
        return str(error)
    if not is_quorum(sum(validators[position].power for position in signers)):
        return "its signers have no more than two thirds of the power"
    message = vote_hash(genesis, PRECOMMIT, height, commit.round, commit.block_id)
    for position, signature in zip(signers, commit.signatures, strict=True):
        if not verify(validators[position].key, message, signature):
            return f"the signature of {validators[position].address.hex()} is not valid"
    return None
