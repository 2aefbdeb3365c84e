"""The `eubchain` command: its groups of verbs, options that may stand anywhere, failures.

Here: assembling the groups, taking --json, --home, --node, --yes and the password options wherever
they stand, turning every failure into words and an exit code.
Not here: the verbs. Keeps: no traceback reaches a person; it goes to a file that the failure names.
Errors: 3902 usage, 3903 internal_error, 3904 file_refused, 3905 interrupted.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import typer
from typer.completion import completion_init
from typer.exceptions import TyperException

from consensus.types.errors import Fault, Reason
from eubchain.cli.general import COMPLETE_VARIABLE
from eubchain.cli.groups import GROUPS, TOP_LEVEL
from eubchain.cli.session import FAILED, INTERRUPTED, SESSION, USAGE, report
from eubchain.client.connection import RemoteRefusal

VALUE_OPTIONS = ("--home", "--node", "--password-file", "--password-fd")
FLAGS = ("--json", "--yes", "-y")
EPILOG = "Anywhere: --json · --home DIR · --node URL · --yes · --password-file FILE · --password-fd N"
EXIT_CODES = "Exit codes: 0 done · 1 failed · 2 usage · 3 no node reached · 4 refused by the chain"

WRONG_USAGE = Reason(
    3902,
    "usage",
    "why:text command:text",
    "{why}",
    "See `{command} --help`.",
)
INTERNAL_ERROR = Reason(
    3903,
    "internal_error",
    "what:text file:text",
    "This is a bug of eubchain, not your mistake: {what}.",
    "Please report it with {file}, which has the details and no secrets. "
    "If you were paying, look at `eubchain wallet history` first.",
)
FILE_REFUSED = Reason(
    3904,
    "file_refused",
    "file:text why:text",
    "The system refuses {file}: {why}.",
    "Check that it exists, who owns it, and the free space of its disk.",
)
WAS_INTERRUPTED = Reason(
    3905,
    "interrupted",
    "",
    "Interrupted.",
    "What was sent before goes on by itself: `eubchain wallet history` shows it.",
)


def build() -> typer.Typer:
    """The command with all its groups."""
    app = typer.Typer(
        name="eubchain",
        help="EUB Chain 燎原链: idle GPUs, one market for compute.",
        epilog=f"{EPILOG}\n\n{EXIT_CODES}",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for group in GROUPS:
        for below in group.registered_commands:
            below.epilog = EPILOG  # a verb of a group takes the shared options as well
        app.add_typer(group, epilog=EPILOG)
    for verb in TOP_LEVEL:
        app.command(verb.__name__.replace("_", "-"), epilog=EPILOG)(verb)
    return app


def take_shared_options(arguments: Sequence[str]) -> list[str]:
    """Put the options that every verb shares into the session; return the rest of the line."""
    before_end = arguments[: arguments.index("--")] if "--" in arguments else arguments
    # First of all, so that a mistake in any other option is already said in the form asked for.
    SESSION.json = "--json" in before_end
    rest: list[str] = []
    position = 0
    while position < len(arguments):
        argument = arguments[position]
        name, equals, value = argument.partition("=")
        if argument == "--":
            return rest + list(arguments[position:])
        if argument in FLAGS:
            SESSION.yes |= argument != "--json"
        elif name in VALUE_OPTIONS:
            if not equals:
                position += 1
                if position >= len(arguments):
                    raise Fault(WRONG_USAGE, why=f"{name} needs a value.", command="eubchain")
                value = arguments[position]
            _set(name, value)
        else:
            rest.append(argument)
        position += 1
    return rest


def _set(name: str, value: str) -> None:
    if name in ("--home", "--node"):
        SESSION.repeated[name] = value
    match name:
        case "--home":
            SESSION.home = Path(value).expanduser()
        case "--node":
            SESSION.node = (value if "://" in value else f"http://{value}").rstrip("/")
        case "--password-file":
            SESSION.password_file = value
        case _:
            if not value.isascii() or not value.isdigit():
                why = "--password-fd needs the number of an open descriptor."
                raise Fault(WRONG_USAGE, why=why, command="eubchain")
            SESSION.password_fd = int(value)


def usage_fault(error: TyperException) -> Fault:
    """A mistake on the line, with the nearest verb or option where one was misspelt."""
    context: Any = getattr(error, "ctx", None)
    if context is not None and type(error).__name__ == "NoArgsIsHelpError":
        SESSION.note(context.get_help())
        why = f"{context.command_path} needs a verb: {', '.join(context.command.commands)}."
        return Fault(WRONG_USAGE, why=why, command=context.command_path)
    message = error.format_message().strip().partition(" (Possible options")[0]
    command = context.command_path if context is not None else "eubchain"
    if "Did you mean" not in message and context is not None:
        near = _nearest(message, context)
        message = f"{message} Did you mean '{near}'?" if near else message
    said, asked, near = message.partition(" Did you mean")
    message = said if not asked else f"{said.rstrip('.')}.{asked}{near}"
    return Fault(WRONG_USAGE, why=message if message.endswith((".", "?")) else f"{message}.", command=command)


def _nearest(message: str, context: Any) -> str | None:
    if message.startswith("No such command"):
        word, known = message.split("'")[1] if "'" in message else "", list(context.command.commands)
    elif message.startswith("No such option"):
        word = message.partition(":")[2].strip().split(" ")[0]
        known = [name for parameter in context.command.params for name in parameter.opts]
        known += [*VALUE_OPTIONS, *FLAGS, "--help"]
    else:
        return None
    found = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return found[0] if found else None


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script; ends with `SystemExit`."""
    SESSION.begin()
    sys.excepthook = tell_of_a_bug
    try:
        code = run(list(sys.argv[1:] if arguments is None else arguments))
    except BrokenPipeError:
        # Whoever read our output stopped; there is nobody to tell, not even when Python flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = FAILED
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run one line; every failure that others can cause is told here. Returns the exit code."""
    try:
        rest = take_shared_options(arguments)
        if COMPLETE_VARIABLE in os.environ:
            completion_init()
        # Not by calling the application: that would put its own hook for tracebacks in place of ours.
        code = typer.main.get_command(build()).main(rest, prog_name="eubchain", standalone_mode=False)
        if code == INTERRUPTED:  # typer turns Ctrl-C into this code
            report(Fault(WAS_INTERRUPTED))
        return code if isinstance(code, int) else 0
    except typer.Exit as done:
        return done.exit_code
    except TyperException as error:
        report(usage_fault(error))
        return USAGE
    except (Fault, RemoteRefusal) as error:
        return report(error)
    except (KeyboardInterrupt, typer.Abort):
        report(Fault(WAS_INTERRUPTED))
        return INTERRUPTED
    except UnicodeDecodeError:
        return report(Fault(FILE_REFUSED, file="a file or stdin", why="it is not UTF-8 text"))
    except BrokenPipeError:
        raise
    except OSError as error:
        why = (error.strerror or type(error).__name__).lower()
        return report(Fault(FILE_REFUSED, file=str(error.filename or "a file"), why=why))


def tell_of_a_bug(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Python's last resort: keep the traceback in a file, tell the person in words."""
    file = "no file, for none could be written"
    with contextlib.suppress(OSError):
        descriptor, file = tempfile.mkstemp(prefix="eubchain-bug-", suffix=".txt")
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            traceback.print_exception(kind, error, trace, file=opened)
    report(Fault(INTERNAL_ERROR, what=kind.__name__, file=file))
    sys.stdout.flush()
    assert FAILED == 1, "the code with which Python ends after this"


if __name__ == "__main__":
    main()
