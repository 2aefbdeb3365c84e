"""What every verb shares: where the home is, which node to ask, and how to print.

Here: the options that may stand anywhere on the line, output as text or JSON, exit codes.
Not here: the verbs (a file per group), reading passwords (eubchain/wallet/passwords.py).
Keeps: with --json exactly one JSON object (or one a line for streams) reaches stdout, failures
included; the facts are the same piped or not.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import platformdirs
import trio
from rich.console import Console

from consensus.types.errors import Fault, Reason
from consensus.types.wording import Wording, word_fault
from eubchain.client.connection import NODE_UNREACHABLE, Connection, RemoteRefusal

DONE, FAILED, USAGE, UNREACHABLE, REFUSED = 0, 1, 2, 3, 4
"""Exit codes; 4 is the chain's own refusal."""
DEFAULT_NODE = "http://127.0.0.1:26650"

NOT_CONFIRMED = Reason(
    3900,
    "not_confirmed",
    "",
    "Nothing was signed: the question was not answered with yes.",
    "Answer y, or give --yes where nobody can be asked.",
)
BAD_ARGUMENT = Reason(3901, "bad_argument", "why:text", "{why}", "Add --help to see the verb's options.")
USAGE_NAMES = frozenset(
    {"not_confirmed", "bad_argument", "amount_malformed", "address_malformed", "address_of_another_network"}
)
"""Reasons that are mistakes on the command line: exit code 2."""

T = TypeVar("T")


class Session:
    """One run of the command."""

    def __init__(self) -> None:
        self.home = Path(platformdirs.user_data_dir("eubchain"))
        self.node: str | None = None
        self.json = False
        self.yes = False
        self.password_file: str | None = None
        self.password_fd: int | None = None
        self.console = Console(highlight=False, soft_wrap=True)

    @property
    def url(self) -> str:
        """The node to ask: --node, else the one this home runs, else the default."""
        if self.node:
            return self.node
        address = self.home / "data" / "rpc_address"
        try:
            return address.read_text().strip() or DEFAULT_NODE
        except OSError:
            return DEFAULT_NODE

    @property
    def prefix(self) -> str:
        """Address prefix for errors raised before any node was asked; the network's is used elsewhere."""
        return "deub"

    def say(self, text: str) -> None:
        """A line for a person; silent under --json."""
        if not self.json:
            self.console.print(text, markup=False)

    def note(self, text: str) -> None:
        """A line about what is going on, on stderr, so that stdout stays the result."""
        if not self.json:
            print(text, file=sys.stderr, flush=True)

    def result(self, facts: dict[str, Any], text: str | None = None) -> None:
        """The verb's result: JSON under --json, else the text (or the facts as lines)."""
        if self.json:
            print(json.dumps(facts, ensure_ascii=False), flush=True)
        elif text is not None:
            self.say(text)
        else:
            width = max((len(k) for k in facts), default=0)
            for name, value in facts.items():
                self.say(f"{name.replace('_', ' '):<{width}}  {value}")

    def confirm(self, question: str) -> None:
        """Ask; raise `Fault(NOT_CONFIRMED)` on anything but yes. Never waits where nobody can answer."""
        if self.yes:
            return
        if self.json or not sys.stdin.isatty():
            raise Fault(NOT_CONFIRMED)
        print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise Fault(NOT_CONFIRMED)

    def run(self, task: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Run an async verb."""
        return trio.run(task, *args, strict_exception_groups=False)

    def asked(self, method: str, **params: Any) -> Any:
        """One call to the node, for verbs that only show something."""

        async def ask() -> Any:
            async with Connection(self.url) as node:
                return await node.call(method, **params)

        return self.run(ask)


SESSION = Session()
"""The one session of this process; filled by main.py before a verb runs."""


def exit_code(error: Fault | RemoteRefusal) -> int:
    """The process's exit code for a failure."""
    code = error.wording.code if isinstance(error, RemoteRefusal) else error.reason.code
    name = error.wording.name if isinstance(error, RemoteRefusal) else error.reason.name
    if name in USAGE_NAMES:
        return USAGE
    if code == NODE_UNREACHABLE.code:
        return UNREACHABLE
    return REFUSED if 1000 <= code < 2000 or 2200 <= code < 2300 else FAILED


def report(error: Fault | RemoteRefusal) -> int:
    """Print a failure in the form asked for and return the exit code."""
    words = error.wording if isinstance(error, RemoteRefusal) else word_fault(error, SESSION.prefix)
    print_failure(words)
    return exit_code(error)


def print_failure(words: Wording) -> None:
    """One failure, as the two or three lines a person reads or the object a program reads."""
    if SESSION.json:
        failure = {
            "code": words.code,
            "name": words.name,
            "sentence": words.sentence,
            "hint": words.hint,
            "facts": words.facts,
        }
        print(json.dumps({"error": failure}, ensure_ascii=False), flush=True)
        return
    print(f"error {words.code}: {words.sentence}", file=sys.stderr)
    more = f"    more: eubchain help error {words.code}" if words.code > 0 else ""
    if words.hint:
        print(f"try: {words.hint}{more}", file=sys.stderr)
