"""The wallet's command line against a real node, as real processes on a real terminal.

Rules: one node on free ports of this machine; every wait ends with a condition or a deadline.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PASSWORD = "correct horse"
START_S = 60.0
EUBCHAIN = (sys.executable, "-m", "eubchain")
ROOT = Path(__file__).parents[2]


class Operator:
    """Somebody with a home, a password file and a shell."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.password = folder / "password"
        self.password.write_text(PASSWORD + "\n")
        self.password.chmod(0o600)
        self.node: subprocess.Popen[bytes] | None = None

    def line(self, *arguments: str) -> list[str]:
        return [*EUBCHAIN, *arguments, "--home", str(self.home), "--password-file", str(self.password)]

    def run(self, *arguments: str, **how: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.line(*arguments), cwd=ROOT, capture_output=True, text=True, check=False, timeout=120, **how
        )

    def json(self, *arguments: str) -> Any:
        done = self.run(*arguments, "--json")
        return json.loads(done.stdout)

    def start(self) -> None:
        """Run the node until it makes blocks."""
        config = self.home / "config" / "config.toml"
        text = config.read_text()
        for port in ("26650", "26660"):
            text = text.replace(f'"127.0.0.1:{port}"', '"127.0.0.1:0"')
        config.write_text(text)
        (self.home / "data" / "rpc_address").unlink(missing_ok=True)
        log = (self.home / "log").open("ab")
        self.node = subprocess.Popen(self.line("start"), cwd=ROOT, stdout=log, stderr=log)
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if (self.home / "data" / "rpc_address").exists():
                done = self.run("status", "--json")
                if done.returncode == 0 and json.loads(done.stdout)["height"] > 0:
                    return
            assert self.node.poll() is None, (self.home / "log").read_text()[-2000:]
            time.sleep(0.1)  # poll
        raise AssertionError((self.home / "log").read_text()[-2000:])

    def stop(self) -> None:
        if self.node is not None and self.node.poll() is None:
            self.node.send_signal(signal.SIGTERM)
            self.node.wait(timeout=30)
        self.node = None

    def balance(self, who: str) -> int:
        return int(self.json("wallet", "balance", who)["balance"])


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    found = Operator(tmp_path_factory.mktemp("operator"))
    made = found.run("init")
    assert made.returncode == 0, made.stderr
    assert found.run("wallet", "new", "bob", "--yes").returncode == 0
    found.start()
    yield found
    found.stop()


class Screen:
    """A command on a pseudo terminal: what it prints, and keys to press."""

    def __init__(self, line: list[str]) -> None:
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            os.chdir(ROOT)
            os.execv(line[0], line)
        self.text = ""

    def until(self, words: str, seconds: float = 60.0) -> str:
        """Read until these words have been printed."""
        self.until_match(f"({re.escape(words)})", seconds)
        return self.text

    def until_match(self, pattern: str, seconds: float = 60.0) -> str:
        """Read until this has been printed; returns its first group."""
        deadline = time.monotonic() + seconds
        while (found := re.search(pattern, self.text)) is None:
            ready, _, _ = select.select([self._terminal], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"waited for {pattern!r}, saw:\n{self.text}"
            try:
                data = os.read(self._terminal, 4096)
            except OSError:  # the other side is closed: the command ended
                data = b""
            assert data, f"it ended before {pattern!r}:\n{self.text}"
            self.text += data.decode(errors="replace")
        return found[1]

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def ended(self, seconds: float = 60.0) -> int:
        """The exit code."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            ready, _, _ = select.select([self._terminal], [], [], 0.1)
            if ready:
                with contextlib.suppress(OSError):
                    self.text += os.read(self._terminal, 4096).decode(errors="replace")
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
        raise AssertionError(f"it did not end:\n{self.text}")


def test_killed_right_after_the_txid_appeared_the_same_line_pays_once(operator: Operator) -> None:
    """Press y, kill -9 at the txid, type the same line again, answer: bob is paid once."""
    before = operator.balance("bob")
    line = operator.line("wallet", "send", "bob", "3", "--from", "main")
    first = Screen(line)
    first.until("Sign and send? [y/N]")
    first.type("y\n")
    txid = first.until_match(r"txid ([0-9a-f]{64})")
    first.kill()

    second = Screen(line)
    second.until("was signed before")
    assert txid in second.until("[y/N]")
    in_block = "is in a block already" in second.text
    second.type("n\n" if in_block else "y\n")
    assert second.ended() == (2 if in_block else 0)
    assert operator.json("tx", "wait", txid)["txid"] == txid
    assert operator.balance("bob") == before + 3 * 10**8


def test_no_at_the_question_leaves_no_transaction(operator: Operator) -> None:
    nonce = operator.json("wallet", "balance", "main")["pending_nonce"]
    screen = Screen(operator.line("wallet", "send", "bob", "4", "--from", "main"))
    screen.until("Sign and send? [y/N]")
    screen.type("n\n")
    assert screen.ended() == 2
    assert operator.json("wallet", "balance", "main")["pending_nonce"] == nonce


def test_with_a_closed_stdin_it_refuses_and_never_hangs(operator: Operator) -> None:
    done = operator.run("wallet", "send", "bob", "4", "--from", "main", stdin=subprocess.DEVNULL)
    assert done.returncode == 2
    assert "3900" in done.stderr


def test_no_secret_shows_in_the_list_of_processes(operator: Operator) -> None:
    """While a payment waits for its answer, its command line and environment hold no password and no key."""
    screen = Screen(operator.line("wallet", "send", "bob", "5", "--from", "main"))
    screen.until("[y/N]")
    shown = (
        Path(f"/proc/{screen.pid}/cmdline").read_bytes() + Path(f"/proc/{screen.pid}/environ").read_bytes()
    )
    assert PASSWORD.encode() not in shown
    screen.type("n\n")
    screen.ended()
    for file in (operator.home / "wallet").glob("*.json"):
        assert file.stat().st_mode & 0o777 == 0o600
    assert (operator.home / "config" / "validator_key.json").stat().st_mode & 0o777 == 0o600


def test_a_password_comes_from_a_descriptor(operator: Operator) -> None:
    read, write = os.pipe()
    os.write(write, PASSWORD.encode())
    os.close(write)
    line = [*EUBCHAIN, "wallet", "send", "bob", "1", "--from", "main", "--yes", "--json"]
    line += ["--home", str(operator.home), "--password-fd", str(read)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False, pass_fds=[read])
    os.close(read)
    assert json.loads(done.stdout)["outcome"] == "included"


def test_a_stopped_node_is_inspected_replayed_exported_taken_back_and_started_again(
    operator: Operator,
) -> None:
    assert "validating as deub1" in operator.run("status").stdout
    busy = operator.run("inspect", "--json")
    assert json.loads(busy.stdout)["error"]["name"] == "home_in_use"
    operator.stop()
    assert operator.json("status")["error"]["name"] == "node_unreachable"
    assert operator.run("status").returncode == 3
    assert operator.json("inspect")["findings"] == []
    height = operator.json("replay")["height"]
    rows = [json.loads(row) for row in operator.run("export").stdout.splitlines()]
    assert rows[0]["height"] == height
    assert sum(int(row["balance"]) for row in rows[1:]) == int(rows[0]["supply"]["balances"])
    assert operator.json("signer", "show")["last"]["height"] >= height
    assert operator.json("signer", "reset", "--above", "0", "--yes")["error"]["name"] == "guard_reset_too_low"
    assert operator.json("rollback", "--to", str(height - 3), "--yes")["to"] == height - 3
    operator.start()
    assert operator.json("status")["height"] >= height - 3
    assert operator.json("validator", "show", "main")["validator"]["status"] == "active"
