"""The `eubchain` command run inside a test: its home, its terminal, what it printed and how it ended.

Here: `Cli` and a terminal that answers. Not here: the node it asks (rpc_world.py), real processes
(tests/functional).
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from eubchain.cli.main import main
from eubchain.node import validator_key
from eubchain.wallet.accounts import Wallet
from eubchain.wallet.keystore import WORK_FOR_TESTS, RawKey
from tests.world import World

PASSWORD = "correct horse"


class Terminal(io.StringIO):
    """Somebody at the keyboard who types these lines."""

    def isatty(self) -> bool:
        return True


class Result(NamedTuple):
    """How one command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one object on stdout."""
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        """The failure's object."""
        return self.json["error"]


class Cli:
    """Runs commands on one home."""

    def __init__(
        self, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.home, self._monkeypatch, self._capsys = home, monkeypatch, capsys
        # Key files that open fast and short reveal chains: neither is what these tests are about.
        for made in (Wallet.add, Wallet.create, Wallet.import_words, Wallet.import_key):
            monkeypatch.setitem(made.__kwdefaults__, "work", WORK_FOR_TESTS)
        monkeypatch.setattr(validator_key, "REVEALS_ON_DEV", 2**10)
        self.password_file = home / "password"
        home.mkdir(parents=True, exist_ok=True)
        self.password_file.write_text(PASSWORD + "\n")
        self.password_file.chmod(0o600)
        self.wallet = Wallet(home / "wallet")

    def add_person(self, world: World, name: str, *, account: str | None = None) -> None:
        """Let the wallet hold a person of the world; its key file protects nothing, and opens fast."""
        secret = RawKey(world[name].secret.secret())
        self.wallet.add(account or name, secret, PASSWORD, work=WORK_FOR_TESTS)

    def __call__(self, *arguments: str, typed: str | None = None, piped: str = "") -> Result:
        """Run one line; `typed` are the answers of a person, `piped` what stands in a pipe."""
        stdin = Terminal(typed) if typed is not None else io.StringIO(piped)
        self._monkeypatch.setattr(sys, "stdin", stdin)
        self._capsys.readouterr()
        shared = ["--home", str(self.home), "--password-file", str(self.password_file)]
        with pytest.raises(SystemExit) as ended:
            main([*arguments, *shared])
        printed = self._capsys.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return Result(code, printed.out, printed.err)
