"""Pages written from the code say what the code says now."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import pytest

from consensus.types.hashing import Tag
from scripts.reference import agreement, changelog
from scripts.reference.pages import PAGES
from scripts.reference.sources import ROOT, import_everything
from vm import genesis
from vm.registry import OPERATIONS
from vm.state import Table
from vm.task.judging import JUDGED
from vm.task.records import Ending

STATE_PAGE = ROOT / "docs" / "protocol" / "state.md"


@pytest.mark.parametrize("name", PAGES)
def test_a_written_page_is_current(name: str) -> None:
    """Run `scripts/docs` and commit what it writes."""
    assert (ROOT / name).read_text("utf-8") == PAGES[name](), f"{name} is stale: run scripts/docs"


def test_the_diagram_of_agreement_has_an_arrow_for_every_change_of_stage() -> None:
    drawn = agreement.diagram()
    for arrow in ("[*] --> Round", "Propose --> Prevote", "Prevote --> Precommit", "Round --> Decided"):
        assert arrow in drawn


def test_the_page_of_state_has_a_key_for_every_namespace() -> None:
    import_everything()
    page = STATE_PAGE.read_text("utf-8")
    for table in Table.registry.values():
        assert f"| {int(table.namespace)} | {table.namespace.name.lower()} |" in page


def test_every_fragment_of_the_changelog_says_its_kind() -> None:
    for fragment in (ROOT / "changelog.d").glob("*.md"):
        kind = fragment.name.removesuffix(".md").rpartition(".")[2]
        assert kind in changelog.KINDS, f"{fragment.name}: end the name with one of {changelog.KINDS}"


def test_gathering_keeps_the_releases_that_stand_in_the_changelog(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "changelog.d").mkdir()
    (tmp_path / "changelog.d" / "new.fixed.md").write_text("Something is right now.\n")
    (tmp_path / "CHANGELOG.md").write_text("# Old head\n\n## [0.1.0] 2026-01-01\n\n- The first.\n")
    monkeypatch.setattr(changelog, "ROOT", tmp_path)
    assert changelog.page().endswith(
        "### Fixed\n\n- Something is right now.\n\n## [0.1.0] 2026-01-01\n\n- The first.\n"
    )


def test_the_page_of_encoding_names_every_tag() -> None:
    page = (ROOT / "docs" / "protocol" / "encoding.md").read_text("utf-8")
    for tag in Tag:
        assert f"`{tag.value.decode()}`" in page


def test_the_page_of_fees_names_every_transaction() -> None:
    page = (ROOT / "docs" / "protocol" / "fees.md").read_text("utf-8").split("## The base price")[0]
    judged = {operation.name for operation in JUDGED}
    for operation in OPERATIONS:
        assert operation.name in judged or f"`{operation.name}`" in page


def test_the_page_of_settlement_has_a_row_for_every_ending() -> None:
    page = (ROOT / "docs" / "protocol" / "market.md").read_text("utf-8").split("## Settlement")[1]
    for ending in Ending:
        assert f"`{ending.name.lower()}`" in page


def test_the_page_of_agreement_names_every_step_of_durability() -> None:
    page = (ROOT / "docs" / "protocol" / "agreement.md").read_text("utf-8")
    engine = inspect.getdoc(importlib.import_module("eubchain.node.engine")) or ""
    steps = re.findall(r"\bF\d\b", engine)
    assert steps
    assert all(f"| {step} |" in page for step in steps)


def test_the_page_of_blocks_names_every_parameter_that_a_genesis_is_refused_for() -> None:
    page = (ROOT / "docs" / "protocol" / "blocks.md").read_text("utf-8")
    checked = re.findall(r'"([a-z_.]+)": ', inspect.getsource(genesis._check_params))
    assert checked
    for name in checked:
        assert f"`{name}`" in page
