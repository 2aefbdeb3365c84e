"""A process that appends blocks until it is killed, saying on its output what is durable.

It also prunes, and now and then goes back two blocks; "back H" is said before, "durable H" after.
Run as `python -m tests.ledger_writer DIRECTORY [BYTES]`; no file may then grow beyond BYTES, and the
writer ends with what the ledger says about it.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

from consensus.types.errors import Fault
from eubchain.ledger.ledger import Ledger
from eubchain.ledger.prune import prune
from eubchain.ledger.rollback import roll_back
from tests.ledger_world import grow

UNDO_BLOCKS = 8
RETAIN_BLOCKS = 40


def main(path: Path) -> None:
    """Go on from wherever the ledger stands."""
    ledger = Ledger.open(path, None, undo_blocks=UNDO_BLOCKS)
    while True:
        grow(ledger, 1)
        say(f"durable {ledger.height}")
        if ledger.height % 5 == 0:
            prune(ledger, RETAIN_BLOCKS, set(), lambda height: height % 20 == 0)
        # Only at a height that is kept for the first time, or it would go back for ever.
        if ledger.height % 9 == 0 and ledger.height == ledger.meta.stored:
            say(f"back {ledger.height - 2}")
            roll_back(ledger, ledger.height - 2, forget=ledger.height % 2 == 0)
            grow(ledger, 3)
            say(f"durable {ledger.height}")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    if len(sys.argv) > 2:
        # A write beyond it fails as on a full disk: the interpreter ignores the signal.
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
    try:
        main(Path(sys.argv[1]))
    except Fault as fault:
        say(str(fault))
