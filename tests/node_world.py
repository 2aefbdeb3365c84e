"""A real node in a process of its own, for functional tests.

Here: `DevHome` (a founded network of one validator), `NodeProcess` (start, call, kill, stop).
Not here: several validators (their own tests), the rules (tests/world.py).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from eubchain.node.founding import Founded, found_devnet

WAIT_S = 30.0


def found(root: Path, validators: int = 1, sparks: int = 0) -> Founded:
    """A development network on disk, its genesis a moment ago."""
    return found_devnet(root, time.time_ns() // 1_000_000, validators, sparks)


def command(
    home: Path, *words: str, password: Path | None = None, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run `eubchain …` to its end."""
    line = [sys.executable, "-m", "eubchain", *words, "--home", str(home)]
    if password is not None:
        line += ["--password-file", str(password)]
    return subprocess.run(
        line, capture_output=True, text=True, timeout=90, stdin=subprocess.DEVNULL, check=False, **options
    )


class NodeProcess:
    """`eubchain start` on a home."""

    def __init__(
        self,
        home: Path,
        *,
        before: Sequence[str] = (),
        module: str = "eubchain",
        environment: Mapping[str, str] | None = None,
        wait_s: float = WAIT_S,
    ) -> None:
        """Start it and wait until it answers.

        `before` are words in front of the command line; `module` runs instead of the real program, with
        the same arguments; `environment` is added to this process's own.
        """
        self.home = home
        self.log = home / "node.log"
        address = home / "data" / "rpc_address"
        address.unlink(missing_ok=True)
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        with open(self.log, "ab") as sink:
            self.process = subprocess.Popen(
                [*before, sys.executable, "-m", module, "start", "--home", str(home)],
                stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, start_new_session=True,
                env=os.environ | dict(environment or {}),
            )  # fmt: skip
        self.until(lambda: address.exists() and bool(address.read_text()), wait_s)
        self.url = address.read_text()
        self.urls: dict[str, str] = {}
        """Everything the node serves, as it printed it."""
        self.until(self._is_announced, wait_s)

    def _is_announced(self) -> bool:
        for line in self.log.read_bytes()[self._log_start :].splitlines(keepends=True):
            if line.startswith(b'{"started"') and line.endswith(b"\n"):
                self.urls = json.loads(line)
        return bool(self.urls)

    def call(self, method: str, **params: Any) -> Any:
        """One RPC call; raises with the node's error."""
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer = httpx.post(f"{self.url}/rpc", json=request, timeout=70, trust_env=False).json()
        assert "error" not in answer, answer
        return answer["result"]

    @property
    def height(self) -> int:
        return int(self.call("chain_status")["height"])

    def until(self, condition: Any, timeout_s: float = WAIT_S) -> None:
        """Poll until something holds; fail with the node's log when it dies or takes too long."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert self.process.poll() is None, f"the node died:\n{self.tail()}"
            assert time.monotonic() < deadline, f"not within {timeout_s} s:\n{self.tail()}"
            time.sleep(0.02)  # poll

    def wait_height(self, height: int) -> None:
        """Until the chain has reached a height."""
        self.until(lambda: self.height >= height)

    def kill(self) -> None:
        """kill -9 of the node and its workers."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=WAIT_S)

    def tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-25:])


@contextmanager
def running(home: Path) -> Iterator[NodeProcess]:
    """A node that is gone when the test is."""
    node = NodeProcess(home)
    try:
        yield node
    finally:
        if node.process.poll() is None:
            node.kill()


def parsed(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The last JSON object that a command printed."""
    document: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return document
