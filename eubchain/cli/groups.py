"""The command's groups and top-level verbs, in the order of its help.

Here: the two lists. Not here: the verbs. Keeps: importing this is cheap: a verb imports what it needs
(LevelDB, Docker, numpy) when it runs, so that `eubchain --help` answers at once.
"""

from __future__ import annotations

from eubchain.cli import money, wallet
from eubchain.cli.start import start

GROUPS = [wallet.app]
TOP_LEVEL = [start]

assert money.app is wallet.app, "one group in two files"
