"""The `eubchain` command: its groups of verbs, options that may stand anywhere, failures.

Here: assembling the groups, taking --json, --home, --node, --yes and the password options wherever
they stand, turning every failure into words and an exit code.
Not here: the verbs. Keeps: no traceback reaches a person.
"""

from __future__ import annotations

import difflib
import sys
from pathlib import Path

import click
import typer

from consensus.types.errors import Fault
from consensus.types.wording import Wording
from eubchain.cli.groups import GROUPS, TOP_LEVEL
from eubchain.cli.session import SESSION, USAGE, print_failure, report
from eubchain.client.connection import RemoteRefusal

VALUE_OPTIONS = ("--home", "--node", "--password-file", "--password-fd")
FLAGS = ("--json", "--yes", "-y")
EPILOG = "Anywhere: --json · --home DIR · --node URL · --yes · --password-file FILE · --password-fd N"


def build() -> typer.Typer:
    """The command with all its groups."""
    app = typer.Typer(
        name="eubchain",
        help="EUB Chain 燎原链: idle GPUs, one market for compute.",
        epilog=EPILOG,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for group in GROUPS:
        app.add_typer(group)
    for verb in TOP_LEVEL:
        app.command(verb.__name__.replace("_", "-"), epilog=EPILOG)(verb)
    return app


def take_shared_options(arguments: list[str]) -> list[str]:
    """Put the options that every verb shares into the session; return the rest of the line."""
    rest: list[str] = []
    position = 0
    while position < len(arguments):
        argument = arguments[position]
        name, equals, value = argument.partition("=")
        if argument == "--":
            return rest + arguments[position:]
        if argument in FLAGS:
            SESSION.json |= argument == "--json"
            SESSION.yes |= argument != "--json"
        elif name in VALUE_OPTIONS:
            if not equals:
                position += 1
                if position >= len(arguments):
                    raise click.UsageError(f"{name} needs a value")
                value = arguments[position]
            _set(name, value)
        else:
            rest.append(argument)
        position += 1
    return rest


def _set(name: str, value: str) -> None:
    match name:
        case "--home":
            SESSION.home = Path(value).expanduser()
        case "--node":
            SESSION.node = value if "://" in value else f"http://{value}"
        case "--password-file":
            SESSION.password_file = value
        case _:
            if not value.isascii() or not value.isdigit():
                raise click.UsageError("--password-fd needs the number of an open descriptor")
            SESSION.password_fd = int(value)


def _nearest(error: click.UsageError) -> str:
    """The message, with the nearest verb when an unknown one was typed."""
    message = error.format_message()
    if message.startswith("No such command") and error.ctx is not None:
        group = error.ctx.command
        known = list(group.commands) if isinstance(group, click.Group) else []
        word = message.split("'")[1] if "'" in message else ""
        found = difflib.get_close_matches(word, known, n=1, cutoff=0.4)
        if found and "Did you mean" not in message:
            return f"{message} Did you mean '{found[0]}'?"
    return message


def main() -> None:
    """The console script."""
    try:
        arguments = take_shared_options(sys.argv[1:])
        code = build()(arguments, standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx is not None else "eubchain"
        print_failure(Wording(-1, "usage", _nearest(error), f"{command} --help", {}))
        sys.exit(USAGE)
    except (Fault, RemoteRefusal) as error:
        sys.exit(report(error))
    except (KeyboardInterrupt, click.Abort):
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read our output stopped; there is nobody to tell.
        sys.stderr.close()
        sys.exit(0)
