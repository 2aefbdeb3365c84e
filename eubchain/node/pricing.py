"""What a waiting transaction may cost its sender, for the mempool's admission.

Here: `mempool_pricing`. Not here: fees themselves (vm/fees.py), the queue (eubchain/mempool.py).
"""

from __future__ import annotations

from typing import Any

from consensus.types.transaction import Candidate
from eubchain.mempool import Pricing
from vm.account import MultiTransfer, Transfer
from vm.inclusion import units_max
from vm.registry import OPERATION_OF
from vm.rules import Rules
from vm.stake import Bond
from vm.task.payloads import Post


def moved_out(payload: Any) -> int:
    """Grains that a payload takes from its sender's balance, fee apart, as far as it says so itself."""
    match payload:
        case Transfer(amount=amount) | Bond(amount=amount):
            return amount
        case MultiTransfer(outputs=outputs):
            return sum(output.amount for output in outputs)
        case Post(roles=roles, replicas=replicas):
            return sum(role.count * role.maximum for role in roles) * max(1, replicas)
    return 0


def mempool_pricing(rules: Rules) -> Pricing:
    """The rules' part of the mempool."""

    def cost_max(candidate: Candidate[Any]) -> int:
        body = candidate.transaction.body
        return units_max(candidate, rules.params) * body.max_price + moved_out(body.payload)

    def is_lane_type(candidate: Candidate[Any]) -> bool:
        return OPERATION_OF[type(candidate.transaction.body.payload)].is_due is not None

    def is_evidence(candidate: Candidate[Any]) -> bool:
        return OPERATION_OF[type(candidate.transaction.body.payload)].proves_itself

    return Pricing(cost_max, is_lane_type, is_evidence)
