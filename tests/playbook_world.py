"""The stage of the playbooks: a network of real processes that a story breaks and that is judged at the end.

Here: `Play` (start, kill, pause, wait for blocks, pay), and its `curtain`: what must hold however the
story went, read from ledgers and logs once every process has ended.
Not here: the stories (tests/functional/playbooks), one process (tests/node_world.py), namespaces
(tests/namespaces.py).
Keeps: the judgement uses none of the code that prevents what it looks for: not the guard, not agreement.
"""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec

from consensus.agreement.inputs import CertificateReceived, ProposalReceived, VoteReceived
from consensus.types.address import format_address
from consensus.types.block import block_id
from consensus.types.codec import encode
from consensus.types.genesis import genesis_hash
from consensus.types.params import DEV
from consensus.types.transaction import Body, KeyAuth, Transaction, sign_hash
from consensus.types.vote import PRECOMMIT, PROPOSAL
from eubchain.ledger.ledger import Ledger
from eubchain.ledger.reading import LedgerReader
from eubchain.node.durable_files import DurableFiles, FolderFiles
from eubchain.node.founding import Founded, found_devnet
from eubchain.node.home import Home
from eubchain.node.validator_key import ValidatorKey, read_validator_key
from eubchain.node.wal import read_wal
from eubchain.wallet.accounts import Wallet
from tests.node_world import NodeProcess, command
from vm.account import Transfer

VALIDATORS = 4
PATIENCE_S = 120.0
"""How long a condition may take on a machine that is busy with other things; a story waits far less."""
EPOCH_BLOCKS = 12
"""Of stories about epochs: three seconds."""
LONG_EPOCH_BLOCKS = 240
"""Of all others."""
BRISK = msgspec.structs.replace(
    DEV, chain=msgspec.structs.replace(DEV.chain, block_interval_ms=250, msg_delay_ms=3_000)
)
"""A development network with four blocks a second."""
REVEALS = 2**12
"""Proposals of a validator: a story needs hundreds, and a longer chain takes longer to make."""

Step = tuple[bytes, int, int, int]
"""Key, height, round and kind of a signature."""
Said = dict[Step, set[bytes | None]]
"""The block ids that were signed for a step; more than one is a double signing."""


class Payment(NamedTuple):
    """A transfer of a story."""

    txid: str
    recipient: bytes
    amount: int


class Play:
    """A network of processes by number; `nodes` holds those that run."""

    def __init__(
        self, root: Path, validators: int = VALIDATORS, epoch_blocks: int = LONG_EPOCH_BLOCKS
    ) -> None:
        """Found it; epochs are long but where a story is about them: nobody is jailed for a few seconds."""
        now_ms = time.time_ns() // 1_000_000
        chain = msgspec.structs.replace(BRISK.chain, epoch_blocks=epoch_blocks)
        params = msgspec.structs.replace(BRISK, chain=chain)
        self.founded: Founded = found_devnet(root, now_ms, validators, 0, params=params, reveals=REVEALS)
        self.genesis = genesis_hash(self.founded.genesis)
        self.homes = list(self.founded.validators)
        self.nodes: dict[int, NodeProcess] = {}
        self.liars: set[bytes] = set()
        """Keys of which the story makes liars: everybody else must never sign twice."""
        self.caught: set[Step] = set()
        """What the judgement found signed twice."""
        self.payments: list[Payment] = []
        self._said: Said = defaultdict(set)
        self._payer: Any = None
        self._nonce = 0
        for home in self.homes:
            brisk_config(home)

    # ------------------------------------------------------------ the script

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """A named step; a failure in it says so."""
        try:
            yield
        except BaseException as error:
            error.add_note(f"in the step: {what}")
            raise

    def start(self, *numbers: int, **options: Any) -> None:
        """Start nodes (all that do not run, without a number) and wait until they answer."""
        chosen = numbers or [n for n in range(len(self.homes)) if n not in self.nodes]
        with ThreadPoolExecutor() as starters:
            made = starters.map(
                lambda number: NodeProcess(self.homes[number], wait_s=PATIENCE_S, **options), chosen
            )
            self.nodes |= dict(zip(chosen, made, strict=True))

    def kill(self, *numbers: int) -> None:
        """kill -9; their logs are read, because the next start may discard them."""
        for number in numbers:
            self.nodes.pop(number).kill()
            self._read_log(self.homes[number])

    def stop(self, *numbers: int) -> None:
        """SIGTERM (to all that run, without a number); each ends with code 0."""
        chosen = numbers or list(self.nodes)
        with ThreadPoolExecutor() as stoppers:
            codes = list(stoppers.map(lambda number: self.nodes[number].stop(), chosen))
        tails = [self.nodes.pop(number).tail() for number in chosen]
        assert codes == [0] * len(chosen), "\n".join(tails)
        for number in chosen:
            self._read_log(self.homes[number])

    def pause(self, number: int) -> None:
        """SIGSTOP a node and its workers."""
        os.killpg(self.nodes[number].process.pid, signal.SIGSTOP)

    def go_on(self, number: int) -> None:
        """SIGCONT."""
        os.killpg(self.nodes[number].process.pid, signal.SIGCONT)

    def until(self, number: int, condition: Callable[[], bool]) -> None:
        """Poll until something holds; fails with this node's log."""
        self.nodes[number].until(condition, PATIENCE_S)

    def reach(self, height: int, numbers: Iterable[int] | None = None) -> None:
        """Until these nodes (all that run) are at a height."""
        for number in self.nodes if numbers is None else numbers:
            node = self.nodes[number]
            node.until(lambda node=node: node.height >= height, PATIENCE_S)

    def blocks(self, count: int, numbers: Iterable[int] | None = None) -> int:
        """Until these nodes (all that run) are `count` blocks past their highest; returns that height."""
        chosen = list(self.nodes if numbers is None else numbers)
        height = max(self.nodes[number].height for number in chosen) + count
        self.reach(height, chosen)
        return height

    def is_validating(self, number: int) -> bool:
        """Whether a node takes part in agreement with its key."""
        return bool(self.node_status(number)["phase"] == "validating")

    def until_peers(self, number: int, count: int) -> None:
        """Until a node has so many peers."""
        node = self.nodes[number]
        node.until(lambda: node.call("net_info")["peers"] == count, PATIENCE_S)

    def is_ready(self, number: int) -> bool:
        """False once no block has come for twenty intervals."""
        answer = httpx.get(f"{self.nodes[number].url}/health", timeout=30, trust_env=False)
        return bool(answer.json()["ready"])

    def node_status(self, number: int) -> dict[str, Any]:
        """A node's own part of `chain_status`."""
        told: dict[str, Any] = self.nodes[number].call("chain_status")["node"]
        return told

    def why(self, number: int) -> str:
        """Why a node says that it does not validate; empty when it says nothing."""
        return str(self.node_status(number).get("why_not_validating", ""))

    def key(self, number: int) -> ValidatorKey:
        """The validator key in a home."""
        key = read_validator_key(Home(self.homes[number]).validator_key)
        assert key is not None, "a validator's home"
        return key

    def validator(self, number: int, through: int) -> dict[str, Any]:
        """A validator's record as another node has it."""
        found: dict[str, Any] = self.nodes[through].call("validator_get", address=self.key(number).address)
        record: dict[str, Any] = found["validator"]
        return record | {"missed": found["missed"]}

    def pay(self, through: int) -> Payment:
        """Submit a transfer to an account of its own through a node; `curtain` wants all final, once."""
        if self._payer is None:
            password = self.founded.password_file.read_text().strip()
            self._payer = Wallet(self.founded.root / "wallet").signer("requester", password)
        node, payer = self.nodes[through], self._payer
        recipient = self._nonce.to_bytes(20, "big")
        amount = 1_000 + self._nonce
        body = Body(
            1, self.founded.genesis.chain_id, payer.address, self._nonce, 100, 1,
            node.height + BRISK.chain.max_ttl_blocks // 2, Transfer(recipient, amount),
        )  # fmt: skip
        signature = payer.sign(sign_hash(self.genesis, encode(body)))
        raw = encode(Transaction(body, KeyAuth(payer.public, signature)))
        answer = node.call("tx_submit", transaction=base64.b64encode(raw).decode())
        self._nonce += 1
        payment = Payment(answer["txid"], recipient, amount)
        self.payments.append(payment)
        return payment

    def ask(self, *words: str) -> dict[str, Any]:
        """Run `eubchain …` to its end, as an operator would; the JSON that it printed."""
        line = [sys.executable, "-m", "eubchain", *words, "--json", "--password-file",
                str(self.founded.password_file)]  # fmt: skip
        done = subprocess.run(
            line, capture_output=True, text=True, timeout=PATIENCE_S, stdin=subprocess.DEVNULL, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        told: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return told

    # ------------------------------------------------------------ the judgement

    def curtain(self) -> None:
        """End the play and judge it; every story's last line."""
        with self.step("judging: every node reaches one height with the supply conserved"):
            height = self.blocks(1)
            for node in self.nodes.values():
                supply = {name: int(value) for name, value in node.call("chain_getSupply").items()}
                assert supply.pop("issued") == sum(supply.values())
        with self.step("judging: every payment is final, once, on every node"):
            for payment in self.payments:
                for node in self.nodes.values():
                    found = node.call("tx_wait", txid=payment.txid, timeout_s=60)
                    assert found["receipt"]["code"] == 0, found
                    held = node.call("account_get", address=format_address(payment.recipient, "deub"))
                    assert int(held["balance"]) == payment.amount
        played = list(self.nodes)
        self.stop()
        with self.step("judging: the ledgers hold one chain, and nobody signed twice for one step"):
            ids = [self._read_ledger(self.homes[number]) for number in played]
            assert all(len(one) >= height for one in ids), "a ledger lost blocks"
            for blocks in zip(*ids, strict=False):
                assert len(set(blocks)) == 1, "two ledgers hold different blocks of one height"
            twice = {step for step, ids in self._said.items() if len(ids) > 1}
            assert {step[0] for step in twice} <= self.liars, sorted(step[1:] for step in twice)
            self.caught = twice
        with self.step("judging: the audit of one home finds nothing"):
            audit = command(self.homes[played[0]], "inspect", "--json")
            assert audit.returncode == 0, audit.stdout + audit.stderr

    def _read_ledger(self, home: Path) -> list[bytes]:
        """The ids of a ledger's blocks from height 1; notes the signatures of its commits."""
        ledger = Ledger.open(Home(home).ledger, self.genesis)
        try:
            reader, ids = ledger.view(), []
            for height in range(1, reader.height + 1):
                header, commit = reader.header(height), reader.commit(height)
                assert header is not None
                ids.append(block_id(self.genesis, header))
                if commit is None:
                    continue
                validators = reader.validator_set(header.validators_hash)
                assert validators is not None
                for position in commit.signers(len(validators)):
                    key = validators[position].key
                    self._said[key, height, commit.round, PRECOMMIT].add(commit.block_id)
            self._note_log(home, reader)
            return ids
        finally:
            ledger.close()

    def _read_log(self, home: Path) -> None:
        """Note the signatures in a stopped node's write-ahead log."""
        if not Home(home).ledger.exists():
            return
        ledger = Ledger.open(Home(home).ledger, self.genesis)
        try:
            self._note_log(home, ledger.view())
        finally:
            ledger.close()

    def _note_log(self, home: Path, reader: LedgerReader) -> None:
        for step, identity in said_in_log(FolderFiles(Home(home).data), self.genesis, reader):
            self._said[step].add(identity)

    def end(self) -> None:
        """Leave no process behind, whatever happened."""
        for node in self.nodes.values():
            if node.process.poll() is None:
                os.killpg(node.process.pid, signal.SIGCONT)
                node.kill()


def said_in_log(
    files: DurableFiles, genesis: bytes, reader: LedgerReader
) -> Iterator[tuple[Step, bytes | None]]:
    """What the write-ahead log of the height above a ledger's head says that keys have signed."""
    contents = read_wal(files, genesis)
    head = reader.header(reader.height)
    validators = None if head is None else reader.validator_set(head.next_validators_hash)
    if contents is None or contents.height != reader.height + 1 or validators is None:
        return
    for event in contents.inputs():
        match event:
            case VoteReceived(vote=vote):
                votes = [vote]
            case CertificateReceived(certificate=certificate):
                votes = certificate.votes(len(validators))
            case ProposalReceived(proposal=said):
                # Who proposes a round is drawn: one key, and so one proposal of a round.
                yield (b"proposer", said.height, said.round, PROPOSAL), said.block_id
                continue
            case _:
                continue
        for vote in votes:
            yield (validators[vote.validator].key, vote.height, vote.round, vote.kind), vote.block_id


@contextmanager
def play(root: Path, validators: int = VALIDATORS, epoch_blocks: int = LONG_EPOCH_BLOCKS) -> Iterator[Play]:
    """A network that runs and is connected; all of it is gone when the story is."""
    made = Play(root, validators, epoch_blocks)
    try:
        with made.step("the network starts and everybody knows everybody"):
            made.start()
            made.reach(2)
            for number in made.nodes:
                made.until_peers(number, validators - 1)
        yield made
    finally:
        made.end()


def brisk_config(home: Path, changes: Mapping[str, str] | None = None) -> None:
    """Short waits for what is absent, and connections from one machine."""
    for option, value in {
        "propose_timeout_ms": "400",
        "vote_timeout_ms": "200",
        "connections_per_subnet_max": "64",
        **(changes or {}),
    }.items():
        set_option(home, option, value)


def set_option(home: Path, option: str, value: str, section: str = "") -> None:
    """Change one option of a home's configuration; with a section where its name is not unique."""
    file = home / "config" / "config.toml"
    before, mark, text = file.read_text().partition(f"[{section}]\n" if section else "\x00")
    if not section:
        before, mark, text = "", "", before
    text, count = re.subn(rf"(?m)^{option} = .*$", lambda _: f"{option} = {value}", text, count=1)
    assert count == 1, option
    file.write_text(before + mark + text)


def metric(node: NodeProcess, name: str) -> float:
    """A gauge as Prometheus reads it."""
    text = httpx.get(f"{node.urls['metrics']}/metrics", timeout=30, trust_env=False).text
    return float(next(line.split()[1] for line in text.splitlines() if line.startswith(f"{name} ")))


def log_lines(node: NodeProcess, words: Sequence[str]) -> list[str]:
    """Lines of a node's log with one of these words in them."""
    return [
        line for line in node.log.read_text(errors="replace").splitlines() if any(w in line for w in words)
    ]
