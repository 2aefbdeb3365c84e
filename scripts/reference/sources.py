"""Reading the code: importing all of it, and the docstrings that stand below fields.

Here: `import_everything`, `field_notes`, and a table as Markdown.
Keeps: what is written depends on nothing but the code: not on the machine, an installed GPU library or
the order of imports.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import textwrap
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGES = ("consensus", "vm", "p2p", "genesis", "spark_node", "eubchain")
OPTIONAL = ("torch",)
"""Libraries without which a module may be missing; such modules declare nothing that a page lists."""
WRITTEN = "<!-- Written by scripts/docs from the code. Change the code, then run it again. -->\n"


@cache
def import_everything() -> None:
    """Import every module, so that every registry is full."""
    for package in PACKAGES:
        module = importlib.import_module(package)
        for found in pkgutil.walk_packages(module.__path__, f"{package}."):
            if found.name.endswith(".__main__"):
                continue
            try:
                importlib.import_module(found.name)
            except ModuleNotFoundError as error:
                if error.name not in OPTIONAL:
                    raise


@cache
def field_notes(record: type) -> dict[str, str]:
    """What stands below the fields of a class, by field, as one line each."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(record))).body[0]
    assert isinstance(tree, ast.ClassDef)
    notes: dict[str, str] = {}
    for before, after in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(before, ast.AnnAssign) and isinstance(before.target, ast.Name):
            text = _text_of(after)
            if text is not None:
                notes[before.target.id] = one_line(text)
    return notes


def _text_of(node: ast.stmt) -> str | None:
    is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return node.value.value if is_text and isinstance(node.value.value, str) else None  # type: ignore[attr-defined]  # as asked


def one_line(text: str) -> str:
    """A docstring's text without its line breaks."""
    return " ".join(text.split())


def summary(thing: object) -> str:
    """The first paragraph of a docstring, as one line."""
    return one_line((inspect.getdoc(thing) or "").split("\n\n")[0])


def escaped(text: str) -> str:
    """Text as it may stand in a cell: no bar ends it, no angle bracket begins a tag."""
    return one_line(text).replace("|", "\\|").replace("<", "&lt;")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; cells are taken as they are."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines) + "\n"
