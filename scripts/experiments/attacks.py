"""Runs every attack: `python -m scripts.experiments.attacks [--json] [--page]`.

`--page` writes the table of docs/explanation/attacks.md between its two marks.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from scripts.experiments import covering, forging, on_chain, speeding, standing
from scripts.experiments.verdict import ENDINGS, Experiment, Figure

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "attacks.md"
BEGIN, END = "<!-- table -->", "<!-- /table -->"
EXPERIMENTS: tuple[Experiment, ...] = (
    *forging.EXPERIMENTS,
    *speeding.EXPERIMENTS,
    *on_chain.EXPERIMENTS,
    *covering.EXPERIMENTS,
    *standing.EXPERIMENTS,
)


def figures() -> Iterator[Figure]:
    """Run all, one after the other."""
    for experiment in EXPERIMENTS:
        yield experiment()


def table(found: list[Figure]) -> str:
    """The page's table, from what cannot be done to what is not covered."""
    lines = ["| attack | ends as | shown by |", "|---|---|---|"]
    for ending in ENDINGS:
        lines += [f"| {f.attack} | {f.ending} | {f.says} |" for f in found if f.ending == ending]
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Run, print, and fail when a figure is not what the page claims."""
    began, found = time.monotonic(), []
    for figure in figures():
        found.append(figure)
        if "--json" in arguments:
            print(json.dumps(figure._asdict() | {"holds": bool(figure.holds)}), flush=True)
        else:
            print(f"{'ok  ' if figure.holds else 'FAIL'} {figure.attack}: {figure.says}", flush=True)
    if "--page" in arguments:
        text = PAGE.read_text("utf-8")
        before, rest = text.split(BEGIN)
        _, after = rest.split(END)
        PAGE.write_text(f"{before}{BEGIN}\n{table(found)}\n{END}{after}", "utf-8")
    failed = [figure.attack for figure in found if not figure.holds]
    print(
        f"attacks: {len(found)} in {time.monotonic() - began:.0f} s, "
        + (f"{len(failed)} not as claimed: {', '.join(failed)}" if failed else "all as claimed"),
        file=sys.stderr if "--json" in arguments else sys.stdout,
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
