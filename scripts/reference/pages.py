"""Which pages there are, and the two things one does with them: write, and find the stale ones.

Here: the list. Not here: their content (a module each).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from scripts.reference import (
    agreement,
    changelog,
    commands,
    configuration,
    errors,
    events,
    index,
    methods,
    metrics,
    parameters,
    records,
)
from scripts.reference.sources import ROOT

PAGES: dict[str, Callable[[], str]] = {
    "docs/reference/errors.md": errors.page,
    "docs/reference/events.md": events.page,
    "docs/reference/parameters.md": parameters.page,
    "docs/reference/config.md": configuration.page,
    "docs/reference/metrics.md": metrics.page,
    "docs/reference/rpc.md": methods.page,
    "docs/reference/cli.md": commands.page,
    "docs/protocol/records.md": records.page,
    "docs/explanation/agreement.md": agreement.page,
    "CHANGELOG.md": changelog.page,
    "docs/README.md": index.page,
}
"""By path from the root. The index comes last: it lists the others by their titles."""


def _read(path: Path) -> str:
    return path.read_text("utf-8") if path.exists() else ""


def stale() -> list[str]:
    """Pages that differ from what the code says now."""
    return [name for name, page in PAGES.items() if _read(ROOT / name) != page()]


def write() -> list[str]:
    """Bring every page up to date; returns those that changed."""
    written = []
    for name, page in PAGES.items():
        text = page()
        if _read(ROOT / name) != text:
            (ROOT / name).parent.mkdir(parents=True, exist_ok=True)
            (ROOT / name).write_text(text, "utf-8")
            written.append(name)
    return written
