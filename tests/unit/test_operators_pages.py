"""What operators copy from a page or install: every command exists with its options, every unit is sound."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer

from consensus.types.errors import Reason
from eubchain.cli.general import every_reason
from eubchain.cli.main import build, take_shared_options
from eubchain.cli.session import SESSION

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "docs" / "how-to" / f"{name}.md" for name in (
    "private-network", "run-a-validator", "recover-a-validator", "join-by-snapshot", "prove-resource",
)]  # fmt: skip
UNITS = sorted((ROOT / "packaging" / "systemd").glob("*.service"))


def commands(text: str) -> list[str]:
    """Lines that a person types, and commands within sentences that have a verb and an option."""
    typed = [line[2:] for line in text.splitlines() if line.startswith("$ eubchain ")]
    return typed + re.findall(r"ExecStart=\S*/(eubchain .*)", text)


def parse(line: str) -> None:
    """Parse a command as the program would, without running it."""
    words = shlex.split(line)[1:]
    if ">" in words:
        words = words[: words.index(">")]
    rest = take_shared_options(words)
    command: Any = typer.main.get_command(build())
    while hasattr(command, "commands"):
        name, *rest = rest
        assert name in command.commands, f"{line}: there is no verb {name}"
        command = command.commands[name]
    command.make_context("eubchain", list(rest))
    SESSION.begin()


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_every_command_of_a_page_exists_with_its_options(page: Path) -> None:
    found = commands(page.read_text("utf-8"))
    assert len(found) > 4
    for line in found:
        parse(line)


def test_the_errors_that_a_page_explains_have_these_codes_and_names() -> None:
    every_reason()
    text = PAGES[2].read_text("utf-8")
    named = re.findall(r"(\d{4}) `(\w+)`", text)
    assert len(named) >= 6
    for code, name in named:
        assert Reason.registry[int(code)].name == name


@pytest.mark.parametrize("unit", UNITS, ids=lambda p: p.stem)
def test_a_unit_starts_a_command_that_exists(unit: Path) -> None:
    (line,) = commands(unit.read_text("utf-8"))
    parse(line.replace("${CREDENTIALS_DIRECTORY}", "/run"))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@pytest.mark.parametrize("unit", UNITS, ids=lambda p: p.stem)
def test_systemd_finds_nothing_wrong_with_a_unit(unit: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False, timeout=60
    )
    complaints = [
        line for line in done.stderr.splitlines() if unit.name in line and "is not executable" not in line
    ]
    assert complaints == [], "the program need not be installed here, everything else must be right"


def test_the_image_copies_what_there_is_and_runs_a_verb_that_exists() -> None:
    text = (ROOT / "packaging" / "Dockerfile").read_text("utf-8")
    assert text.count("\nFROM ") == 2, "the compiler stays in the first stage"
    assert (ROOT / "requirements.txt").exists()
    command = re.findall(r'^CMD \["(.*)"\]', text, re.MULTILINE)[0].split('", "')
    parse("eubchain " + " ".join(command))
