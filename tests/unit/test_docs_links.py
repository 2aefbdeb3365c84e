"""No link of a page leads nowhere, and every page can be reached."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.DOTALL | re.MULTILINE)


def links_of(page: Path) -> list[str]:
    """Targets of a page's links that lead to files; code is no text."""
    found = LINK.findall(CODE.sub("", page.read_text("utf-8")))
    return [link for link in found if not re.match(r"[a-z]+:", link)]


def anchors_of(page: Path) -> set[str]:
    """What can be linked to in a page: its headings, spelt as GitHub does, and its named places."""
    text = page.read_text("utf-8")
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.M), re.M)
    named = set(re.findall(r'<a id="([^"]+)"', text))
    spelt = (re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", h)) for h in headings)
    return named | {heading.lower().strip().replace(" ", "-") for heading in spelt}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for link in links_of(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link} leads nowhere"
        if anchor and target.suffix == ".md":
            assert anchor in anchors_of(target), f"{link}: no such place in the page"


def test_every_page_of_the_documentation_can_be_reached_from_its_index() -> None:
    reached, waiting = set(), [ROOT / "docs" / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        waiting += [(page.parent / link.partition("#")[0]).resolve() for link in links_of(page)]
    lost = set((ROOT / "docs").rglob("*.md")) - reached
    assert not lost, f"put it where its kind belongs and run scripts/docs: {sorted(map(str, lost))}"


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "decisions").glob("*.md")), ids=lambda p: p.stem)
def test_a_decision_is_short_and_says_what_would_change_our_mind(page: Path) -> None:
    text = page.read_text("utf-8")
    assert re.fullmatch(r"\d{4}-[a-z0-9-]+", page.stem), "number and title"
    assert len(text.splitlines()) <= 60
    for section in ("Forces", "Options", "Chosen", "What gets worse", "What would change our mind"):
        assert f"\n## {section}\n" in text


def test_the_protocol_lists_every_file_of_vectors() -> None:
    page = (ROOT / "docs" / "protocol.md").read_text("utf-8")
    for vectors in (ROOT / "tests" / "vectors").iterdir():
        if vectors.suffix in (".json", ".csv"):
            assert f"`{vectors.name}`" in page, "say what it pins, in docs/protocol.md"
