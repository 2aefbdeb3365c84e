"""`eubchain status`, `version`, `completion`, `help error`: about the node and the command itself.

Here: the verbs. Not here: the reasons they explain (beside each rule).
Keeps: every code that any part can print is explained, also when that part is not installed whole.
Errors: 3912 error_unknown.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import importlib.util
import os
import pkgutil
import time
from typing import Annotated, Any

import typer

from consensus.types.errors import Fault, Reason
from eubchain.cli.session import BAD_ARGUMENT, SESSION

explain = typer.Typer(name="help", help="What an error code means.", no_args_is_help=True)

PACKAGES = ("consensus", "vm", "genesis", "p2p", "spark_node", "eubchain")
SHELLS = ("bash", "zsh", "fish")
PROGRAM = "eubchain"
COMPLETE_VARIABLE = "_EUBCHAIN_COMPLETE"

ERROR_UNKNOWN = Reason(
    3912,
    "error_unknown",
    "asked:text near:text",
    "No error has the code or name {asked}{near}.",
    "Codes are 1000 to 3999, as printed after the word error.",
)


STANDING_S = 10.0
"""A head as old as this needs an explanation, unless the node still catches up."""


def status() -> None:
    """Say in one line how the node is doing.

    Example: eubchain status
    """
    found = SESSION.asked("chain_status")
    SESSION.network_prefix = found["prefix"]
    age_s = max(0.0, time.time() - found["time_ms"] / 1000)
    SESSION.result(
        found | {"head_age_s": round(age_s, 1), "node_url": SESSION.url}, status_line(found, age_s)
    )


def status_line(found: dict[str, Any], age_s: float) -> str:
    """The line, and one more for each thing that needs somebody."""
    node = found["node"]
    phase = node.get("phase", "running")
    if phase == "validating" and node.get("validator"):
        phase = f"validating as {node['validator']}"
    peers, waiting = node.get("peers", 0), found["mempool"]
    line = (
        f"{found['chain_id']}  height {found['height']}, {age_s:.1f} s ago · {phase} · {peers} peers · "
        f"{waiting} waiting · epoch {found['epoch']}, {found['validators']} validators"
    )
    if snapshot := node.get("snapshot"):
        line += f"\n  it {snapshot['stage']}"
        if "chunks" in snapshot:
            line += f", {snapshot['chunks']} of {snapshot['chunks_total']} chunks"
    if node.get("why_not_validating"):
        line += f"\n  not validating: {node['why_not_validating']}"
    others = found["validators"] - 1
    if age_s > STANDING_S and others > 0 and "validator_peers" in node and node.get("phase") == "validating":
        line += f"\n  no block for {age_s:.0f} s: {node['validator_peers']} of {others} other validators are "
        line += "connected; more than two thirds of the power are needed (`eubchain validator list`)"
    if node.get("phase") == "following" and not node.get("peers") and not node.get("network"):
        line += "\n  no peer is connected: add nodes to [p2p] bootstrap, or wait for somebody to connect"
    if node.get("clock"):
        line += f"\n  clock: {node['clock']}"
    if node.get("network"):
        line += f"\n  network: {node['network']}"
    for warning in node.get("warnings", ()):
        line += f"\n  {warning}"
    return line


def version() -> None:
    """Print the version.

    Example: eubchain version
    """
    try:
        found = importlib.metadata.version("eubchain")
    except importlib.metadata.PackageNotFoundError:
        found = "0+source"
    SESSION.result({"version": found}, f"eubchain {found}")


def completion(
    shell: Annotated[str, typer.Argument(help="bash, zsh or fish; yours if left out.")] = "",
) -> None:
    """Print the script that completes verbs and options in your shell.

    Example: eubchain completion bash > ~/.local/share/bash-completion/completions/eubchain
    """
    from typer.completion import get_completion_script

    chosen = shell or os.path.basename(os.environ.get("SHELL", ""))
    if chosen not in SHELLS:
        raise Fault(
            BAD_ARGUMENT, why=f"There is no completion for '{chosen}'; there is for bash, zsh and fish."
        )
    script = get_completion_script(prog_name=PROGRAM, complete_var=COMPLETE_VARIABLE, shell=chosen)
    SESSION.result({"shell": chosen, "script": script}, script)


def every_reason() -> dict[int, Reason]:
    """All reasons of all parts. Parts whose libraries are missing are passed over."""
    for package in PACKAGES:
        found = importlib.util.find_spec(package)
        if found is None or found.submodule_search_locations is None:
            continue
        for module in pkgutil.walk_packages(found.submodule_search_locations, f"{package}."):
            if module.name.endswith(("__main__", "_worker")):
                continue
            try:
                importlib.import_module(module.name)
            except ImportError:
                continue
    return Reason.registry


@explain.command("error")
def explain_error(
    code: Annotated[str, typer.Argument(help="The number or the name of an error.")],
) -> None:
    """Explain an error: what happened, what to do.

    Example: eubchain help error 1110
    """
    registry = Reason.registry
    reason = _find(registry, code) or _find(every_reason(), code)
    if reason is None:
        close = difflib.get_close_matches(code, [r.name for r in registry.values()], 1)
        raise Fault(ERROR_UNKNOWN, asked=code[:40], near=f"; the nearest name is {close[0]}" if close else "")
    facts = {
        "code": reason.code,
        "name": reason.name,
        "sentence": reason.sentence,
        "hint": reason.hint,
        "facts": dict(reason.facts),
    }
    plain = reason.hint.replace("{{", "{").replace("}}", "}")
    text = f"error {reason.code}, {reason.name}\n  {reason.sentence}\n  try: {plain}"
    SESSION.result(facts, text)


def _find(registry: dict[int, Reason], code: str) -> Reason | None:
    if code.isascii() and code.isdigit():
        return registry.get(int(code))
    return next((reason for reason in registry.values() if reason.name == code), None)
