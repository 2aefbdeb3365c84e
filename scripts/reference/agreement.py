"""docs/explanation/agreement.md: written by people, with tables and a diagram drawn from the machine's code.

Here: what is drawn: the tags of the paper's lines that lead from stage to stage, rules, inputs, effects.
Not here: the words around (the page itself, outside of the marked parts).
Keeps: a tag stands in the diagram because a call in consensus/agreement carries it, and for no other reason.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable
from typing import get_args

from consensus.agreement import effects, inputs, machine, rules
from scripts.reference.sources import ROOT, escaped, summary, table

PAGE = ROOT / "docs" / "explanation" / "agreement.md"
PART = re.compile(r"(<!-- drawn: (\w+) -->\n).*?(<!-- /drawn -->)", re.DOTALL)
TAG = re.compile(r"L\d+")

LEADS_TO = {
    "prevote": ("Propose", "Prevote"),
    "_prevote_by_verdict": ("Propose", "Prevote"),
    "precommit": ("Prevote", "Precommit"),
    "enter_round": ("Round", "Round"),
}
"""The verbs of rules.py by the stages between which they lead; a new round can begin at any stage."""


def page() -> str:
    """The page with its drawn parts renewed."""
    drawn: dict[str, Callable[[], str]] = {
        "diagram": diagram,
        "rules": _rules,
        "inputs": lambda: _union("input", (inputs.StartHeight, *get_args(inputs.RecordedInput))),
        "effects": lambda: _union("effect", get_args(effects.Effect)),
    }
    text = PAGE.read_text("utf-8")
    return PART.sub(lambda found: f"{found[1]}\n{drawn[found[2]]()}\n{found[3]}", text)


def _tagged_calls() -> list[tuple[str, str, tuple[str, ...]]]:
    """(function around, function called, tags among its arguments) of every call that carries a tag."""
    found = []
    for module in (rules, machine):
        for function in ast.walk(ast.parse(inspect.getsource(module))):
            if not isinstance(function, ast.FunctionDef):
                continue
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                    constants = [a.value for a in node.args if isinstance(a, ast.Constant)]
                    tags = tuple(c for c in constants if isinstance(c, str) and TAG.fullmatch(c))
                    if tags:
                        found.append((function.name, node.func.id, tags))
    return found


def diagram() -> str:
    """Stages and the lines that lead from one to the next, as Mermaid text."""
    arrows: dict[tuple[str, str], dict[str, None]] = {}
    waits: dict[str, None] = {}
    for around, called, tags in _tagged_calls():
        if around == "_start_height":
            ends = ("[*]", "Round")
        elif around == "_decide":
            ends = ("Round", "Decided")
        elif called in LEADS_TO:
            ends = LEADS_TO[called]
        else:
            waits |= dict.fromkeys(tags)
            continue
        arrows.setdefault(ends, {}).update(dict.fromkeys(tags))

    def arrow(start: str, end: str) -> str:
        return f"{start} --> {end}: {', '.join(sorted(arrows.pop((start, end)), key=_number))}"

    lines = ["```mermaid", "stateDiagram-v2", "    " + arrow("[*]", "Round"), "    state Round {"]
    lines += ["        [*] --> Propose", "        " + arrow("Propose", "Prevote")]
    lines += ["        " + arrow("Prevote", "Precommit"), "    }"]
    lines += ["    " + arrow("Round", "Round"), "    " + arrow("Round", "Decided"), "```", ""]
    assert not arrows, f"arrows that the diagram does not draw: {list(arrows)}"
    lines.append(f"Lines that change no stage: {', '.join(sorted(waits, key=_number))}.\n")
    return "\n".join(lines)


def _number(tag: str) -> int:
    return int(tag[1:])


def _rules() -> str:
    rows = [(str(i), f"`{rule.__name__.lstrip('_')}`", escaped(summary(rule)))
            for i, rule in enumerate(rules.RULES, 1)]  # fmt: skip
    return table(("", "rule", "what it is"), rows)


def _union(word: str, kinds: tuple[type, ...]) -> str:
    return table((word, ""), ((f"`{kind.__name__}`", escaped(summary(kind))) for kind in kinds))
