"""`scripts/docs`: write every generated page, or say which are stale."""

from __future__ import annotations

import argparse
import sys

from scripts.reference.pages import stale, write


def main() -> int:
    """Returns the exit code: 1 when a page is stale under --check."""
    parser = argparse.ArgumentParser(prog="scripts/docs", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a page is stale")
    if parser.parse_args().check:
        found = stale()
        for path in found:
            print(f"stale: {path}")
        print("docs: run scripts/docs and commit what it writes" if found else "docs: all pages are current")
        return 1 if found else 0
    written = write()
    print(f"docs: {len(written)} pages written" if written else "docs: all pages were current")
    return 0


if __name__ == "__main__":
    sys.exit(main())
