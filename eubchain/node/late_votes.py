"""Precommits that come after their height was decided: the next block's commit shall hold them.

Here: the decided state of the height before, taking late precommits into it, the commit that they make.
Not here: what a late vote changes (consensus/agreement/machine.py), where the commit is built in
(execution.py).
Keeps: nobody is counted as absent only for being far away. A commit is complete enough to decide with as
soon as two thirds have spoken, so without this the slowest third of power would earn nothing and be jailed.
Nothing here is written to the log: what is lost in a crash is only lost for one block's rewards.
"""

from __future__ import annotations

from consensus.agreement.effects import Effects
from consensus.agreement.inputs import RecordedInput
from consensus.agreement.machine import commit_of, step
from consensus.agreement.state import Stage, State
from eubchain.node.execution import Execution


class LateVotes:
    """Of the height before the one that is being agreed on."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution
        self.decided: State | None = None
        """How the last height ended that this node decided itself; not always the head's."""

    def follow(self, state: State | None) -> None:
        """This node has decided a height."""
        assert state is not None, "a height that was decided was begun"
        assert state.stage is Stage.DECIDED, "by this state"
        self.decided = state

    def take(self, height: int, event: RecordedInput) -> Effects:
        """Take an input of the head's height; returns what double signing it shows."""
        before = self.decided
        if before is None or before.height != height:
            return ()
        after, effects = step(before, event)
        if after is not before:
            self.decided = after
            self._execution.widen_commit(commit_of(after))
        return effects
