"""CHANGELOG.md: the fragments of changelog.d under Unreleased, then the releases as they stand."""

from __future__ import annotations

from scripts.reference.sources import ROOT

KINDS = ("added", "changed", "fixed", "removed", "security")
HEAD = """# Changelog

What changed for whoever uses or runs EUB Chain. A change comes as a file `changelog.d/NAME.KIND.md` (added,
changed, fixed, removed, security) of a sentence or two; `scripts/docs` gathers them here.
"""
RELEASE = "\n## ["
"""How a release's section begins; what follows the first one is kept as it stands."""


def page() -> str:
    """The page."""
    path = ROOT / "CHANGELOG.md"
    before = path.read_text("utf-8") if path.exists() else ""
    _, mark, releases = before.partition(RELEASE)
    parts = [HEAD, "\n## Unreleased\n"]
    for kind in KINDS:
        fragments = sorted((ROOT / "changelog.d").glob(f"*.{kind}.md"))
        if fragments:
            parts.append(f"\n### {kind.capitalize()}\n\n")
            parts += [_entry(fragment.read_text("utf-8")) for fragment in fragments]
    return "".join(parts) + mark + releases


def _entry(text: str) -> str:
    paragraphs = [" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n")]
    entries = [p.removeprefix("- ") for p in paragraphs if p]
    return "".join(f"- {entry}\n" for entry in entries)
