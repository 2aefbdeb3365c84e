"""Files of options in TOML: every option with a comment, refusals with line and caret.

Here: `Option`, writing the file with its comments, reading and refusing it.
Not here: which options there are (spark_node/policy.py, eubchain/node/config.py).
Keeps: a key that is misspelt never passes silently; the refusal shows the line and names the nearest.
The reason of a refusal is its owner's, with the facts path, line, why and shown.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from consensus.types.errors import Fault, Reason

Value = str | int | bool | tuple[str, ...]


class Option(NamedTuple):
    """One configurable value; its default shows its type."""

    section: str
    key: str
    default: Value
    comment: str


Values = dict[tuple[str, str], Value]

_KINDS = {
    str: "a text in quotes",
    int: "a number, 0 or more",
    bool: "true or false",
    tuple: "a list of texts",
}


def toml_value(value: Value) -> str:
    """Spell a value in TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, tuple):
        return "[" + ", ".join(toml_value(v) for v in value) + "]"
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def options_text(
    head: Sequence[str], options: Sequence[Option], changes: Mapping[tuple[str, str], Value] | None = None
) -> str:
    """A file with every option, its comment, and its default or the given change; `head` comes first."""
    changes = changes or {}
    lines = list(head)
    section = ""
    for option in options:
        if option.section != section:
            section = option.section
            lines += ["", f"[{section}]"]
        value = changes.get((section, option.key), option.default)
        lines += [f"# {option.comment}", f"{option.key} = {toml_value(value)}"]
    return "\n".join(lines) + "\n"


def refusal(
    reason: Reason, path: str, text: str, word: str, why: str, *, line: int | None = None, section: str = ""
) -> Fault:
    """The fault that shows where `word` stands in the file; the caller raises it.

    With a `section`, the word is looked for in it: many sections have a `listen`.
    """
    lines = text.splitlines() or [""]
    if line is None:
        line = _line_of(lines, word, section)
    content = lines[min(line, len(lines)) - 1]
    caret = " " * max(content.find(word), 0) + "^"
    return Fault(reason, path=path, line=line, why=why, shown=f"  {content}\n  {caret}")


def _line_of(lines: Sequence[str], word: str, section: str) -> int:
    inside = not section
    for number, content in enumerate(lines, 1):
        stripped = content.strip()
        if section and stripped.startswith("["):
            inside = stripped == f"[{section}]"
        elif inside and stripped.startswith(word):
            return number
    return 1


def nearest(word: str, known: Sequence[str]) -> str:
    """'; the nearest is X' when something is near."""
    found = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; the nearest is {found[0]}" if found else ""


def read_options(reason: Reason, path: str, text: str, options: Sequence[Option]) -> Values:
    """The values that a file gives; raise `Fault` of `reason` for anything else in it."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        line = int(message.split("line ")[1].split(",")[0]) if "line " in message else len(text.splitlines())
        raise refusal(reason, path, text, "", f"this is not TOML: {message}", line=line) from None
    sections: dict[str, dict[str, Option]] = {}
    for option in options:
        sections.setdefault(option.section, {})[option.key] = option
    values: Values = {}
    for section, content in document.items():
        if section not in sections or not isinstance(content, dict):
            why = f"there is no section {section}{nearest(section, list(sections))}"
            word = section if not isinstance(content, dict) else f"[{section}"
            raise refusal(reason, path, text, word, why)
        for key, value in content.items():
            known = sections[section].get(key)
            if known is None:
                why = f"[{section}] has no option {key}{nearest(key, list(sections[section]))}"
                raise refusal(reason, path, text, key, why, section=section)
            values[section, key] = typed_value(reason, known, value, path, text)
    return values


def typed_value(reason: Reason, option: Option, value: Any, path: str, text: str) -> Value:
    """A value of the option's own type; raise `Fault` of `reason` for another."""
    wanted = type(option.default)
    if wanted is tuple and isinstance(value, list) and all(isinstance(v, str) for v in value):
        return tuple(value)
    is_negative = isinstance(value, int) and value < 0
    if type(value) is wanted and not is_negative:
        result: Value = value
        return result
    why = f"{option.section}.{option.key} must be {_KINDS[wanted]}"
    section = option.section if f"[{option.section}]" in text else ""
    raise refusal(reason, path, text, option.key, why, section=section)
