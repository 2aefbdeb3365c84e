"""A light client over RPC: one node to ask, witnesses to hold it against, a file that remembers.

Here: `LightClient` (follow, prove an account or any entry), the last verified block on disk.
Not here: what is believed and why (consensus/light.py), proofs (consensus/types/tree_proof.py), the verbs
(eubchain/cli/light.py).
Keeps: nothing a node says is passed on unverified; what was verified is remembered only after the
witnesses agreed; two final blocks of one height stop everything, and both are kept as evidence.
Errors: 1930 light_trust_missing, 1931 proof_refused, 1932 light_file_damaged, 1933 witnesses_silent.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import trio

from consensus.light import (
    LIGHT_BLOCK,
    Fork,
    LightBlock,
    Terms,
    Trust,
    Trusted,
    check_age,
    check_light_block,
    compare,
    follow_steps,
    trust_block,
)
from consensus.types.block import block_id
from consensus.types.codec import encode
from consensus.types.errors import Fault, Reason, Rejected
from consensus.types.tree_proof import STATE_PROOF, verify_proof
from eubchain.client.connection import ANSWER_MALFORMED, Connection, RemoteRefusal
from vm.funds import ACCOUNTS, NEW_ACCOUNT, Account

WITNESS_WAIT_S = 10.0
"""How long a witness may need to reach the height that it is asked for."""
WITNESS_POLL_S = 0.25
FILE_SUFFIX = ".block"
FORK_SUFFIX = ".fork"

LIGHT_TRUST_MISSING = Reason(
    1930,
    "light_trust_missing",
    "",
    "No block is trusted yet, so nothing that a node says can be checked.",
    "Add --trust HEIGHT:HASH from a source you trust, as from `eubchain status --json` of your own node.",
)
PROOF_REFUSED = Reason(
    1931,
    "proof_refused",
    "url:text height:height why:text",
    "The proof that {url} gives for height {height} does not hold: {why}.",
    "The node is faulty or lies: name another one with --node.",
)
LIGHT_FILE_DAMAGED = Reason(
    1932,
    "light_file_damaged",
    "file:text",
    "{file}, which remembers the last verified block, is damaged.",
    "Remove it and begin again with --trust HEIGHT:HASH.",
)
WITNESSES_SILENT = Reason(
    1933,
    "witnesses_silent",
    "height:height count:count",
    "None of the {count} witnesses could confirm height {height}.",
    "Name others with --witness URL; without one, a single node's word would have to do.",
)


class Heard(NamedTuple):
    """What a witness said."""

    url: str
    agrees: bool
    why: str
    """Why it does not count, where it does not."""


class Followed(NamedTuple):
    """A verified block, and who stands behind it."""

    trusted: Trusted
    block: LightBlock
    steps: int
    """Headers that were verified on the way."""
    witnesses: tuple[Heard, ...]


class Proven(NamedTuple):
    """A state entry that a verified header commits to."""

    followed: Followed
    value: bytes | None


class LightClient:
    """Follows one chain through `primary`; `witnesses` are other people's nodes."""

    def __init__(
        self, terms: Terms, primary: Connection, witnesses: list[Connection], clock_ms: Callable[[], int]
    ) -> None:
        self._terms, self._primary, self._witnesses = terms, primary, witnesses
        self._clock_ms = clock_ms
        self.trusted: Trusted | None = None
        self.block: LightBlock | None = None

    async def begin(self, trust: Trust) -> Trusted:
        """Stand on the block that a person trusts; raise `Fault` 1921, 1922, 1924."""
        block = await self._ask(self._primary, trust.height)
        trusted = trust_block(self._terms, trust, block)
        check_age(self._terms, trusted, self._clock_ms())
        self.trusted, self.block = trusted, block
        return trusted

    def resume(self, block: LightBlock) -> Trusted:
        """Stand on a block that was verified before."""
        trusted = check_light_block(self._terms, block)
        check_age(self._terms, trusted, self._clock_ms())
        self.trusted, self.block = trusted, block
        return trusted

    async def follow(self, height: int | None = None) -> Followed:
        """Verify the primary's block of `height` (its head), then hear the witnesses.

        Raise `Fault` 1921–1923, 1930, 1933.
        """
        block = await self._ask(self._primary, height)
        return await self._believe(block)

    async def prove(self, key: bytes) -> Proven:
        """A state entry at the primary's head, or its absence; raise `Fault` as `follow`, and 1931."""
        answer = await self._primary.call("chain_getProof", key="0x" + key.hex())
        return await self._proven(answer, key)

    async def account(self, address: bytes) -> tuple[Account, Followed]:
        """An account at the primary's head, proven; one that does not exist is empty."""
        proven = await self.prove(ACCOUNTS.prefix + address)
        record = NEW_ACCOUNT if proven.value is None else ACCOUNTS.decode(proven.value)
        return record, proven.followed

    async def _proven(self, answer: Any, key: bytes) -> Proven:
        url = self._primary.url
        block = _light_block(url, answer)
        value = _optional_bytes(url, answer, "value")
        try:
            proof = STATE_PROOF.decode(_bytes(url, answer, "proof"))
        except Rejected as error:
            raise Fault(PROOF_REFUSED, url=url, height=block.header.height, why=str(error)) from None
        followed = await self._believe(block)
        if not verify_proof(block.header.state_root, key, value, proof):
            why = "it does not lead to the state root of the verified header"
            raise Fault(PROOF_REFUSED, url=url, height=block.header.height, why=why)
        return Proven(followed, value)

    # ------------------------------------------------------------ believing

    async def _believe(self, block: LightBlock) -> Followed:
        if self.trusted is None or self.block is None:
            raise Fault(LIGHT_TRUST_MISSING)
        if block.header.height < self.trusted.height:
            why = f"it is behind the verified height {self.trusted.height}"
            raise Fault(PROOF_REFUSED, url=self._primary.url, height=block.header.height, why=why)
        trace, blocks = await self._verify(self._primary, block)
        heard = [await self._hear(witness, trace, blocks) for witness in self._witnesses]
        height = block.header.height
        if heard and not any(one.agrees for one in heard):
            raise Fault(WITNESSES_SILENT, height=height, count=len(heard))
        self.trusted, self.block = trace[-1], blocks[height]
        return Followed(trace[-1], block, len(trace) - 1, tuple(heard))

    async def _verify(
        self, node: Connection, block: LightBlock
    ) -> tuple[list[Trusted], dict[int, LightBlock]]:
        """What leads from the trusted block to `block`, which `node` gave; asks it for what lies between."""
        assert self.trusted is not None, "there is a base"
        assert self.block is not None, "there is a base"
        height = block.header.height
        blocks = {self.trusted.height: self.block, height: block}
        if height == self.trusted.height:
            trusted = trust_block(self._terms, Trust(height, self.trusted.block_id), block)
            return [trusted], blocks
        steps = follow_steps(self._terms, self.trusted, height, self._clock_ms())
        wanted = next(steps)
        while True:
            given = blocks[wanted] = block if wanted == height else await self._ask(node, wanted)
            try:
                wanted = steps.send(given)
            except StopIteration as end:
                found: list[Trusted] = end.value
                return found, blocks

    async def _hear(self, witness: Connection, trace: list[Trusted], blocks: dict[int, LightBlock]) -> Heard:
        """Whether a witness has the same chain; raise `Fault` 1923 when it proves another one."""
        for verified in trace[1:] or trace:  # the base is older than what some nodes keep
            ours = blocks[verified.height]
            try:
                theirs = await self._ask_patiently(witness, verified.height)
            except (Fault, RemoteRefusal) as error:
                return Heard(witness.url, False, str(error))
            if block_id(self._terms.genesis, theirs.header) == verified.block_id:
                continue
            try:
                await self._verify(witness, theirs)
            except (Fault, RemoteRefusal) as error:
                return Heard(witness.url, False, f"its block {verified.height} is not believed: {error}")
            fork = compare(self._terms, ours, theirs)
            assert fork is not None, "their ids differ"
            raise Divided(fork, witness.url, ours, theirs)
        return Heard(witness.url, True, "")

    async def _ask_patiently(self, node: Connection, height: int) -> LightBlock:
        """A witness is often a moment behind: wait for the height while it says that it is not there."""
        deadline = trio.current_time() + WITNESS_WAIT_S
        while True:
            try:
                return await self._ask(node, height)
            except RemoteRefusal as refusal:
                missing = refusal.wording.name == "light_block_missing"
                if not missing or trio.current_time() >= deadline:
                    raise
            await trio.sleep(WITNESS_POLL_S)

    async def _ask(self, node: Connection, height: int | None) -> LightBlock:
        answer = await node.call("chain_getLightBlock", height=height)
        return _light_block(node.url, answer)


class Divided(Fault):
    """`chain_forked`, with both blocks."""

    def __init__(self, fork: Fork, witness: str, ours: LightBlock, theirs: LightBlock) -> None:
        worded = fork.fault(witness)
        super().__init__(worded.reason, **worded.facts)
        self.fork, self.ours, self.theirs = fork, ours, theirs


def _bytes(url: str, answer: Any, name: str) -> bytes:
    found = _optional_bytes(url, answer, name)
    if found is None:
        raise Fault(ANSWER_MALFORMED, url=url, why=f"its answer lacks {name}")
    return found


def _optional_bytes(url: str, answer: Any, name: str) -> bytes | None:
    value = answer.get(name) if isinstance(answer, dict) else None
    if value is None:
        return None
    try:
        return bytes.fromhex(value.removeprefix("0x"))
    except (ValueError, AttributeError):
        raise Fault(ANSWER_MALFORMED, url=url, why=f"{name} is not hexadecimal") from None


def _light_block(url: str, answer: Any) -> LightBlock:
    try:
        return LIGHT_BLOCK.decode(_bytes(url, answer, "light_block"))
    except Rejected as error:
        raise Fault(ANSWER_MALFORMED, url=url, why=f"its light block: {error}") from None


# ------------------------------------------------------------------ what is remembered


class Remembered:
    """The last verified block of a network, in `<home>/light`."""

    def __init__(self, folder: Path, genesis: bytes) -> None:
        self._folder = folder
        self.file = folder / (genesis.hex() + FILE_SUFFIX)

    def load(self) -> LightBlock | None:
        """The block, or None; raise `Fault` 1932."""
        try:
            return LIGHT_BLOCK.decode(self.file.read_bytes())
        except FileNotFoundError:
            return None
        except Rejected:
            raise Fault(LIGHT_FILE_DAMAGED, file=str(self.file)) from None

    def store(self, block: LightBlock) -> None:
        """Remember a block; the file is replaced at once."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = self.file.with_suffix(".new")
        new.write_bytes(encode(block))
        new.replace(self.file)

    def keep_fork(self, ours: LightBlock, theirs: LightBlock) -> Path:
        """Keep both blocks of a fork as evidence; returns the file."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = self._folder / f"{ours.header.height}{FORK_SUFFIX}"
        file.write_bytes(encode([ours, theirs]))
        return file
