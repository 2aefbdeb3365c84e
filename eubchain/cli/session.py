"""What every verb shares: where the home is, which node to ask, and how to print.

Here: the options that may stand anywhere on the line, output as text or JSON, exit codes.
Not here: the verbs (a file per group), summary, question and signature of a transaction (paying.py),
reading passwords (eubchain/wallet/passwords.py).
Keeps: with --json exactly one JSON object (or one a line for streams) reaches stdout, failures
included; the facts are the same piped or not.
Errors: 3900 not_confirmed, 3901 bad_argument.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import platformdirs
import trio
from rich.console import Console

from consensus.types.address import PREFIXES
from consensus.types.errors import Fault, Reason
from consensus.types.wording import Wording, word_fault
from eubchain.client.connection import Connection, RemoteRefusal

if TYPE_CHECKING:
    from eubchain.wallet.accounts import Wallet
    from eubchain.wallet.outbox import Outbox
    from eubchain.wallet.passwords import PasswordSource

DONE, FAILED, USAGE, UNREACHABLE, REFUSED = 0, 1, 2, 3, 4
"""Exit codes; 4 is the chain's own refusal."""
INTERRUPTED = 130
"""As shells report a command that Ctrl-C ended."""
DEFAULT_NODE = "http://127.0.0.1:26650"

NOT_CONFIRMED = Reason(
    3900,
    "not_confirmed",
    "",
    "Nothing was signed or changed: the question was not answered with yes.",
    "Answer y, or give --yes where nobody can be asked.",
)
BAD_ARGUMENT = Reason(3901, "bad_argument", "why:text", "{why}", "Add --help to see the verb's options.")
USAGE_NAMES = frozenset(
    {
        "usage",
        "not_confirmed",
        "bad_argument",
        "trust_malformed",
        "light_trust_missing",
        "amount_malformed",
        "address_malformed",
        "address_of_another_network",
        "account_name_malformed",
        "account_unknown",
        "account_exists",
        "no_account_chosen",
        "account_is_multisig",
        "account_has_no_words",
        "raw_key_malformed",
        "multisig_keys_malformed",
        "word_unknown",
        "word_count_wrong",
        "words_do_not_match",
        "path_malformed",
        "language_unknown",
        "order_invalid",
        "duration_malformed",
        "size_malformed",
        "task_file_invalid",
        "task_file_exists",
        "task_unknown_here",
        "password_not_given",
        "password_empty",
        "password_not_read",
        "passwords_differ",
    }
)
"""Reasons that are mistakes on the command line: exit code 2."""
UNREACHABLE_NAMES = frozenset({"node_unreachable", "submission_uncertain", "finality_unknown"})
"""Reasons that a missing node explains: exit code 3."""

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
        self.repeated: dict[str, str] = {}
        """--home and --node as this line had them: the command that follows needs them too."""
        self.network_prefix: str | None = None
        """Of the network that was asked, for the words of failures."""
        self.console = Console(highlight=False, soft_wrap=True)
        self._passwords: PasswordSource | None = None

    def begin(self) -> None:
        """Forget what an earlier run in this process left."""
        self.__init__()  # type: ignore[misc]  # one object that every module has imported

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
        """Of addresses in words: the network's that was asked, else that of the home's genesis file."""
        if self.network_prefix is not None:
            return self.network_prefix
        try:
            found = json.loads((self.home / "config" / "genesis.json").read_text("utf-8")).get("prefix")
        except (OSError, ValueError, AttributeError):
            found = None
        return found if found in PREFIXES else "deub"

    # ------------------------------------------------------------ what belongs to the home

    def wallet(self) -> Wallet:
        """The home's accounts."""
        from eubchain.wallet.accounts import Wallet

        return Wallet(self.home / "wallet")

    def outbox(self) -> Outbox:
        """What the home's wallet has signed."""
        from eubchain.wallet.outbox import Outbox

        return Outbox(self.home / "wallet" / "outbox.jsonl")

    def passwords(self) -> PasswordSource:
        """Where this command's one password comes from."""
        from eubchain.wallet.passwords import PasswordSource, exposed_password_file

        if self._passwords is None:
            file = Path(self.password_file) if self.password_file is not None else None
            warning = exposed_password_file(file) if file is not None else None
            if warning:
                self.note(f"warning: {warning}")
            self._passwords = PasswordSource(file, self.password_fd)
        return self._passwords

    # ------------------------------------------------------------ output

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
                self.say(f"{name.replace('_', ' '):<{width}}  {_shown(value)}")

    def follow(self, command: str) -> None:
        """The command that follows an action, as its last line."""
        self.note(f"next: {self.line(command)}")

    def line(self, command: str) -> str:
        """A command to type after this one, with this one's --home and --node where it names none."""
        repeated = "".join(
            f" {option} {shlex.quote(value)}"
            for option, value in self.repeated.items()
            if option not in command.split()
        )
        return re.sub(r"\beubchain(?= [a-z])", lambda _: f"eubchain{repeated}", command)

    # ------------------------------------------------------------ questions

    @property
    def can_ask(self) -> bool:
        """Whether a person is there to answer."""
        stdin = sys.stdin
        return not self.json and stdin is not None and not stdin.closed and stdin.isatty()

    def confirm(self, question: str) -> None:
        """Ask; raise `Fault(NOT_CONFIRMED)` on anything but yes. Never waits where nobody can answer."""
        if self.yes:
            return
        if not self.can_ask or not self.ask(question):
            raise Fault(NOT_CONFIRMED)

    def ask(self, question: str) -> bool:
        """Ask a person who is there; anything but yes is no."""
        print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    # ------------------------------------------------------------ the node

    def run(self, task: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Run an async verb; a failure inside a nursery comes out as itself."""
        try:
            return trio.run(task, *args)
        except BaseExceptionGroup as group:
            raise _first_cause(group) from None

    def asked(self, method: str, **params: Any) -> Any:
        """One call to the node, for verbs that only show something."""

        async def ask() -> Any:
            async with Connection(self.url) as node:
                return await node.call(method, **params)

        return self.run(ask)


def _first_cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What made a nursery fail; the rest is what it then cancelled or broke."""
    first = group.exceptions[0]
    return _first_cause(first) if isinstance(first, BaseExceptionGroup) else first


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list | bool) else str(value)


SESSION = Session()
"""The one session of this process; filled by main.py before a verb runs."""


def exit_code(error: Fault | RemoteRefusal) -> int:
    """The process's exit code for a failure."""
    code = error.wording.code if isinstance(error, RemoteRefusal) else error.reason.code
    name = error.wording.name if isinstance(error, RemoteRefusal) else error.reason.name
    if name in USAGE_NAMES:
        return USAGE
    if name in UNREACHABLE_NAMES:
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
