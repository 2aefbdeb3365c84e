"""Whether so many sparks failed together that the network is to blame for it: the market's own outage rule.

Here: the rule, asked once at an epoch's end. Not here: the decision it is part of (vm/outage.py), what an
outage excuses (forfeits.py).
Keeps: dust cannot stage an outage: at least four sparks with a hundredth of all proved compute each. Larger
ones can, so it excuses failed tasks only.
"""

from __future__ import annotations

from vm import members
from vm.members import Register
from vm.spark import SPARKS, proving_capacity
from vm.state import State

FAILED_LEAST = 4
LARGE_DIVISOR = 100
"""A spark counts among the four from a hundredth of all proved compute on."""


def is_spark_outage(state: State, epoch: int) -> bool:
    """Whether the sparks that failed in `epoch` hold more than a third of ΣS, four of them 1 % each.

    Failed: a seat ran into its start or run timeout; a release is a choice and does not count.
    """
    total = 0
    failed: list[int] = []
    for address in members.addresses(state, Register.SPARKS):
        spark = state.get(SPARKS, address)
        assert spark is not None, "who is listed has a record"
        capacity = proving_capacity(spark, epoch)
        total += capacity
        if spark.failed_epoch == epoch + 1:
            failed.append(capacity)
    large = [capacity for capacity in failed if LARGE_DIVISOR * capacity >= total]
    return 3 * sum(failed) > total and len(large) >= FAILED_LEAST
