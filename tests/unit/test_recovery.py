"""What a node does at start, row by row."""

from __future__ import annotations

import pytest

from consensus.agreement.messages import ROUND_MAX
from consensus.types.errors import Fault
from consensus.types.vote import PRECOMMIT, PREVOTE
from eubchain.node.guard import SignStep
from eubchain.node.recovery import (
    LEDGER_ROOT_DIFFERS,
    Found,
    Signing,
    WalAction,
    WalFound,
    plan_recovery,
)

CLEAN = Found(
    ledger_height=10,
    root_stored=b"r",
    root_computed=b"r",
    wal=WalFound(11, False, (0, PREVOTE)),
    guard_last=SignStep(11, 0, PREVOTE),
    is_moved=False,
    peers_height=10,
)
RESET = SignStep(11, ROUND_MAX, PRECOMMIT)

ROWS = [
    ("a log of the next height is replayed", {}, WalAction.REPLAY, Signing.AT_ONCE, 10),
    ("a log of a height in the ledger is discarded",
     {"wal": WalFound(10, True, (0, PRECOMMIT)), "guard_last": SignStep(10, 0, PRECOMMIT)},
     WalAction.DISCARD, Signing.AT_ONCE, 10),
    ("a log that decides is replayed and applied",
     {"wal": WalFound(11, True, (0, PRECOMMIT)), "guard_last": SignStep(11, 0, PRECOMMIT)},
     WalAction.REPLAY_AND_DECIDE, Signing.AT_ONCE, 10),
    ("without a log a new one begins", {"wal": None, "guard_last": SignStep(10, 0, PRECOMMIT)},
     WalAction.CREATE, Signing.AT_ONCE, 10),
    ("a new node begins", {"wal": None, "ledger_height": 0, "guard_last": SignStep(0, ROUND_MAX, 2)},
     WalAction.CREATE, Signing.AT_ONCE, 0),
    ("a lost log of a height that was signed silences that height", {"wal": None},
     WalAction.CREATE, Signing.ABOVE, 11),
    ("a log that does not lead to what was signed silences its height",
     {"wal": WalFound(11, False, None)}, WalAction.REPLAY, Signing.ABOVE, 11),
    ("a log that ends before what was signed silences its height",
     {"guard_last": SignStep(11, 0, PRECOMMIT)}, WalAction.REPLAY, Signing.ABOVE, 11),
    ("a reset to the next height needs no log", {"wal": None, "guard_last": RESET},
     WalAction.CREATE, Signing.AT_ONCE, 10),
    ("a guard above the ledger silences a restored backup", {"wal": None, "guard_last": SignStep(40, 0, 1)},
     WalAction.CREATE, Signing.ABOVE, 40),
    ("a log above the ledger silences up to its height", {"wal": WalFound(33, False, (0, PREVOTE))},
     WalAction.CREATE, Signing.ABOVE, 33),
    ("a log above the ledger without a signature does not silence its own height",
     {"wal": WalFound(33, False, None), "guard_last": SignStep(32, 0, PRECOMMIT)},
     WalAction.CREATE, Signing.ABOVE, 32),
    ("beside an older guard it does, for its last signature may be missing",
     {"wal": WalFound(33, False, None), "guard_last": SignStep(20, 0, PRECOMMIT)},
     WalAction.CREATE, Signing.ABOVE, 33),
    ("a node without a key signs nothing", {"guard_last": None}, WalAction.REPLAY, Signing.NEVER, 10),
    ("a moved home watches first", {"is_moved": True}, WalAction.REPLAY, Signing.AFTER_WATCHING, 10),
    ("a moved and restored home watches and waits", {"is_moved": True, "guard_last": SignStep(40, 0, 1)},
     WalAction.REPLAY, Signing.AFTER_WATCHING, 40),
    ("a moved home at height 0 does not watch while nobody is ahead",
     {"is_moved": True, "ledger_height": 0, "peers_height": 0, "wal": None,
      "guard_last": SignStep(0, ROUND_MAX, 2)}, WalAction.CREATE, Signing.AT_ONCE, 0),
    ("a moved home at height 0 watches when a peer is ahead",
     {"is_moved": True, "ledger_height": 0, "peers_height": 9, "wal": None,
      "guard_last": SignStep(0, ROUND_MAX, 2)}, WalAction.CREATE, Signing.AFTER_WATCHING, 0),
]  # fmt: skip


@pytest.mark.parametrize(("words", "changes", "wal", "signing", "silent"), ROWS, ids=[r[0] for r in ROWS])
def test_row(words: str, changes: dict, wal: WalAction, signing: Signing, silent: int):
    """Every row of the table, and each says why."""
    plan = plan_recovery(CLEAN._replace(**changes))
    assert (plan.wal, plan.signing, plan.silent_up_to) == (wal, signing, silent)
    assert plan.why


def test_a_ledger_that_contradicts_itself_is_refused():
    """Nothing else is even looked at."""
    with pytest.raises(Fault) as caught:
        plan_recovery(CLEAN._replace(root_computed=b"other"))
    assert caught.value.reason is LEDGER_ROOT_DIFFERS
    assert "inspect" in LEDGER_ROOT_DIFFERS.hint
