"""What `status` warns of before it happens, in sentences.

Here: power that one member could stop the chain with, a reveal chain that runs out.
Not here: why a node does not validate (engine.py, recovery.py), clocks (clock_watch.py), metrics.
"""

from __future__ import annotations

from consensus.validators import TOTAL_POWER, ValidatorSet

ONE_HOLDS_A_THIRD_FROM = 4
"""Of fewer members each holds a third or more, whatever the stakes are."""
PROPOSALS_LEFT_DIVISOR = 10


def warnings_of(validators: ValidatorSet, proposals_left: int | None, length: int) -> list[str]:
    """A sentence for each; `length` is how many proposals the whole reveal chain has."""
    found: list[str] = []
    most = max((member.power for member in validators), default=0)
    if len(validators) >= ONE_HOLDS_A_THIRD_FROM and 3 * most > TOTAL_POWER:
        share = 100 * most / TOTAL_POWER
        found.append(f"one validator holds {share:.1f} % of the power: no block is final without it")
    if proposals_left is not None and PROPOSALS_LEFT_DIVISOR * proposals_left < length:
        found.append(
            f"{proposals_left} proposals are left of {length}: renew the reveal chain with "
            "`eubchain validator update --reveal`, then start this node again"
        )
    return found
