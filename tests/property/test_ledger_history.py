"""Whatever a ledger goes through, it equals a model that remembers every state."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from consensus.types.tree_proof import verify_proof
from consensus.validators import TOTAL_POWER, Validator
from eubchain.ledger.inspect import audit
from eubchain.ledger.ledger import Ledger
from eubchain.ledger.prune import prune
from eubchain.ledger.rollback import lowest_rollback, roll_back
from tests.ledger_world import SECRET, START, new_ledger, next_block

UNDO_BLOCKS = 4
SET = (Validator(bytes(20), SECRET.public, TOTAL_POWER),)

KEYS = st.binary(max_size=3) | st.sampled_from(sorted(START))
BATCHES = st.dictionaries(KEYS, st.none() | st.binary(max_size=40), max_size=30)


class LedgerHistory(RuleBasedStateMachine):
    """Blocks, rollbacks, pruning and restarts in any order."""

    @initialize()
    def begin(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.ledger = new_ledger(self.directory / "ledger", UNDO_BLOCKS)
        self.states: list[dict[bytes, bytes]] = [dict(START)]

    @rule(writes=BATCHES)
    def append(self, writes: dict[bytes, bytes | None]) -> None:
        self.ledger.append(next_block(self.ledger, writes))
        state = dict(self.states[-1])
        for key, value in writes.items():
            if value is None:
                state.pop(key, None)
            else:
                state[key] = value
        self.states.append(state)

    @rule(blocks=st.integers(0, UNDO_BLOCKS))
    def go_back_and_forget(self, blocks: int) -> None:
        height = max(lowest_rollback(self.ledger), self.ledger.height - blocks)
        roll_back(self.ledger, height, forget=True)
        del self.states[height + 1 :]

    @rule(retain=st.integers(0, 8))
    def prune_some(self, retain: int) -> None:
        prune(self.ledger, retain, set(), lambda height: height % 3 == 0, step_blocks=2)

    @rule(memory=st.sampled_from([0, 2**20]))
    def restart(self, memory: int) -> None:
        self.ledger.close()
        path = self.directory / "ledger"
        self.ledger = Ledger.open(path, None, undo_blocks=UNDO_BLOCKS, memory_bytes_max=memory)

    @precondition(lambda self: self.ledger.height)
    @rule(key=KEYS, blocks=st.integers(0, UNDO_BLOCKS))
    def prove_a_recent_state(self, key: bytes, blocks: int) -> None:
        height = max(lowest_rollback(self.ledger), self.ledger.height - blocks)
        proved = self.ledger.proof(key, height)
        assert proved is not None
        assert proved.value == self.states[height].get(key)
        assert verify_proof(proved.state_root, key, proved.value, proved.proof)

    @rule()
    def inspect(self) -> None:
        assert audit(self.ledger, lambda height: SET, lambda reader: None).findings == ()

    @invariant()
    def the_head_is_what_the_model_says(self) -> None:
        state = self.states[-1]
        assert self.ledger.height == len(self.states) - 1
        assert dict(self.ledger.scan(b"", b"\xff" * 4)) == state
        assert all(self.ledger.get(key) == state.get(key) for key in [*state, b"", b"never"])
        assert self.ledger.tree.root == self.ledger.state_root

    def teardown(self) -> None:
        if hasattr(self, "ledger"):
            self.ledger.close()
            shutil.rmtree(self.directory)


LedgerHistory.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
test_a_ledger_equals_a_model_through_any_history = LedgerHistory.TestCase
