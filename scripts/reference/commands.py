"""docs/reference/cli.md: every verb of the command, with its help and its example."""

from __future__ import annotations

from typing import Any

import typer

from eubchain.cli import session
from eubchain.cli.main import build
from scripts.reference.sources import WRITTEN, escaped, one_line, table

INTRODUCTION = f"""# The command

`eubchain GROUP VERB`. These options may stand anywhere on the line:

| option | |
|---|---|
| `--json` | one JSON object on standard output, for failures too (`error` with `code`, `name`, …) |
| `--home DIR` | the home of node, wallet and spark |
| `--node URL` | the node to ask |
| `--yes`, `-y` | do not ask before signing |
| `--password-file FILE`, `--password-fd N` | where the password comes from, instead of a prompt |

Exit codes: {session.DONE} done · {session.FAILED} failed · {session.USAGE} usage · {session.UNREACHABLE} not
reachable · {session.REFUSED} refused by the chain · {session.INTERRUPTED} interrupted.
"""


def page() -> str:
    """The page."""
    root: Any = typer.main.get_command(build())
    verbs, groups = [], []
    for name, command in root.commands.items():
        if hasattr(command, "commands"):
            groups.append(f"## eubchain {name}\n\n{command.help}\n")
            groups += [_verb(f"eubchain {name} {verb}", one) for verb, one in command.commands.items()]
        else:
            verbs.append(_verb(f"eubchain {name}", command))
    return "\n".join([WRITTEN, INTRODUCTION, "## The node and general verbs\n", *verbs, *groups])


def _verb(name: str, command: Any) -> str:
    words, _, example = (command.help or "").partition("Example:")
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
    usage = " ".join(
        [name, *(_usage(argument) for argument in arguments), *(["[OPTIONS]"] if options else [])]
    )
    lines = [f"### {name}\n", *(one_line(paragraph) + "\n" for paragraph in words.strip().split("\n\n"))]
    lines.append(f"```sh\n{usage}\n```\n")
    if example.strip():
        lines.append(f"Example: `{one_line(example)}`\n")
    rows = [(f"`{argument.name}`", _meaning(argument)) for argument in arguments]
    rows += [(", ".join(f"`{o}`" for o in (*p.opts, *p.secondary_opts)), _meaning(p)) for p in options]
    if rows:
        lines.append(table(("", ""), rows))
    return "\n".join(lines)


def _usage(argument: Any) -> str:
    name = argument.name.upper() + ("..." if argument.nargs == -1 else "")
    return name if argument.required else f"[{name}]"


def _meaning(parameter: Any) -> str:
    text = escaped(parameter.help or "")
    default = parameter.default
    if default is None or default is False or callable(default) or default in ([], ()):
        return text
    return f"{text} Default: `{default}`."
