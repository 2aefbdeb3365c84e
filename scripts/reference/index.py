"""docs/README.md: every page by the need it serves.

Here: the four kinds (learning, doing, looking up, understanding) and the lists of their pages.
Keeps: a page is listed by being where its kind belongs; its title and first sentence are its own.
"""

from __future__ import annotations

import re
from pathlib import Path

from scripts.reference.sources import ROOT, WRITTEN

DOCS = ROOT / "docs"
HEAD = """# Documentation

Four kinds of pages: tutorials to learn by doing, how-to guides for one job, reference to look things up,
explanations to understand. Beside them stand the protocol, for whoever writes another implementation or
checks this one, and decisions, which say why things are as they are.
"""
KINDS = (
    ("Tutorials", "tutorials", "Learning, step by step, with something that works at the end."),
    ("How-to guides", "how-to", "One job, done."),
    ("Reference", "reference", "What there is, exactly. Most of these pages are written from the code."),
    ("Explanation", "explanation", "Why it is so, and what it does not do."),
)
DULL = ("Code:", "Accepted,")
"""How paragraphs begin that say where or when, not what."""


def page() -> str:
    """The page."""
    parts = [WRITTEN, HEAD]
    for title, folder, sentence in KINDS:
        parts += [f"\n## {title}\n\n{sentence}\n\n", _list(DOCS / folder)]
        if folder == "reference":
            parts.append(_entry(DOCS / "glossary.md"))
    parts += ["\n## The protocol\n\nThe authority on what every node must agree on.\n\n"]
    parts += [_entry(DOCS / "protocol.md"), _list(DOCS / "protocol")]
    parts += ["\n## Decisions\n\nShort: the forces, what was weighed, what would change our mind.\n\n"]
    parts.append(_list(DOCS / "decisions"))
    return "".join(parts)


def _list(folder: Path) -> str:
    return "".join(_entry(path) for path in sorted(folder.glob("*.md")))


def _entry(path: Path) -> str:
    if not path.exists():
        return ""
    text = re.sub(r"<!--.*?-->", "", path.read_text("utf-8"), flags=re.DOTALL).strip()
    title, _, body = text.partition("\n")
    return f"- [{title.lstrip('# ')}]({path.relative_to(DOCS)}){_first_sentence(body)}\n"


def _first_sentence(body: str) -> str:
    """What a page says of itself, when it opens with plain words."""
    paragraph = " ".join(body.strip().split("\n\n")[0].split())
    sentence = re.split(r"(?<=[.:])\s", paragraph, maxsplit=1)[0]
    if (
        not sentence
        or sentence.startswith(DULL)
        or sentence[0] in "#|`-*>["
        or len(sentence) > 160
        or "](" in sentence
    ):
        return ""
    return f" — {sentence.rstrip(':')}"
