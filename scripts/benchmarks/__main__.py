"""Runs benchmarks by name: `python -m scripts.benchmarks [NAME…] [--json] [--list]`."""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys
import time

import scripts.benchmarks as package


def names() -> list[str]:
    """Every benchmark, by its file."""
    found = (module.name for module in pkgutil.iter_modules(package.__path__))
    return sorted(name for name in found if not name.startswith("_"))


def main(arguments: list[str]) -> int:
    """Run what is asked for; returns the exit code."""
    as_json = "--json" in arguments
    chosen = [a for a in arguments if not a.startswith("-")]
    unknown = [name for name in chosen if name not in names()]
    if unknown:
        print(f"no benchmark {unknown[0]}; there are {', '.join(names())}", file=sys.stderr)
        return 2
    if "--list" in arguments:
        print("\n".join(names()))
        return 0
    began, rows = time.monotonic(), 0
    for name in chosen or names():
        module = importlib.import_module(f"scripts.benchmarks.{name}")
        for row in module.run():
            rows += 1
            if as_json:
                print(json.dumps(row), flush=True)
            else:
                value, unit, reference = float(row["value"]), row["unit"], float(row["reference"])
                shown = f"{row['name']:<26} {value:>12,.2f} {unit:<12}"
                print(f"{shown} reference {reference:>12,.2f}  ratio {float(row['ratio']):.3f}", flush=True)
    print(
        f"bench: {rows} figures in {time.monotonic() - began:.0f} s",
        file=sys.stderr if as_json else sys.stdout,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
