"""Write market.json: what the task market encodes, ranks and settles, for another implementation.

Here: the cases and the call of each rule. Not here: the comparison (tests/unit/test_market_vectors.py).
Bytes are hexadecimal, amounts grains, fractions parts per billion. Rewrite the file with
`python -m tests.vectors.generate_market`; a commit that moves a figure says so.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from consensus.types.codec import Record, encode
from consensus.types.params import DEV, MAIN
from tests.market import RECIPIENT, REQUESTER, SPARK, post_of
from vm.task import payloads
from vm.task.records import Blame, Ending, Outcome, Seat, Stage, StandingOffer, Task, TaskState
from vm.task.settlement import ROWS, outcome_of
from vm.task.terms import (
    base_of,
    forfeit,
    gas_for,
    offer_deposit,
    promise_least,
    ranked,
    run_limit,
    tie_hash,
)

HERE = Path(__file__).parent
TASK_ID = bytes(range(32))


def payload_vectors() -> list[dict[str, str]]:
    """One encoding of each transaction's payload."""
    role = payloads.Role("main", 1, True, 500_000_000, payloads.Resources(1, 2**33, 4, 2**33, 2**34))
    samples: tuple[Record, ...] = (
        post_of(roles=(role,), allow=(SPARK,), avoid=(REQUESTER,), check=payloads.Check(TASK_ID, 60), way=1),
        payloads.Offer(TASK_ID, 0, 400_000_000, 10),
        payloads.Match(TASK_ID, SPARK),
        payloads.Cancel(TASK_ID),
        payloads.Grant(TASK_ID, TASK_ID, (payloads.SeatEnvelope(0, b"sealed"),)),
        payloads.Start(TASK_ID, 0, b""),
        payloads.Release(TASK_ID, 0),
        payloads.Decline(TASK_ID, 0, payloads.DeclineCode.MISSING_INPUT),
        payloads.Deliver(TASK_ID, 0, TASK_ID, 1_000, ("blob:out",), TASK_ID, RECIPIENT, b"sealed"),
        payloads.Fail(TASK_ID, 0, payloads.FailCode.EXIT, 127, TASK_ID, "blob:error"),
        payloads.Accept(TASK_ID, 0, 90, 4),
        payloads.Reject(TASK_ID, 0),
        payloads.Dispute(TASK_ID, 0, payloads.DisputeKind.UNAVAILABLE),
        payloads.Appeal(TASK_ID, 0),
        payloads.Sit(TASK_ID, 0),
        payloads.Show(TASK_ID, 0, SPARK, b"sealed"),
        payloads.Seal(TASK_ID, 0, TASK_ID),
        payloads.Reveal(TASK_ID, 0, TASK_ID, TASK_ID[:16]),
    )
    return [
        {"type": f"task.{type(sample).__name__.lower()}", "payload": encode(sample).hex()}
        for sample in samples
    ]


def terms_vectors() -> list[dict[str, int]]:
    """Base, gas, deposit and forfeit of offers, with the parameters of main."""
    cases = [
        (500_000_000, 400_000_000, 333_333_333),
        (500_000_000, 50_000_000, 333_333_333),
        (500_000_001, 250_000_000, 500_000_000),
        (40_000_000, 4_000_000, 785_714_286),
        (10**17, 10**17, 0),
        (999_999_999, 123_456_789, 645_000_000),
    ]
    return [
        {
            "maximum": maximum,
            "price": price,
            "kappa": kappa,
            "base": base_of(price, maximum),
            "gas": gas_for(MAIN, kappa, maximum, price),
            "offer_deposit": offer_deposit(MAIN.market, price, maximum),
            "forfeit": forfeit(base_of(price, maximum)),
        }
        for maximum, price, kappa in cases
    ]


def order_vectors() -> dict[str, Any]:
    """Offers as they come, and their order."""
    figures = [
        (333_333_333, 400_000_000, 10),
        (333_333_333, 400_000_000, 10),
        (333_333_333, 400_000_000, 11),
        (700_000_000, 500_000_000, 20),
        (0, 50_000_000, 3),
        (666_666_666, 800_000_000, 10),
    ]
    offers = [
        (bytes([number]) * 20, StandingOffer(0, price, promise, kappa, 0, 0, 0, 0))
        for number, (kappa, price, promise) in enumerate(figures, 1)
    ]
    return {
        "task": TASK_ID.hex(),
        "run": 20,
        "promise_least": promise_least(20),
        "offers": [
            {
                "spark": spark.hex(),
                "kappa": offer.kappa,
                "price": offer.price,
                "promise": offer.promise,
                "run_limit": run_limit(20, offer.promise),
                "tie": tie_hash(TASK_ID, spark).hex(),
            }
            for spark, offer in offers
        ],
        "best_first": [spark.hex() for spark, _ in ranked(TASK_ID, 20, offers)],
    }


def _task(maximum: int, not_before: int) -> Task:
    post = post_of(maximum=maximum, not_before=not_before)
    head = (REQUESTER, 0, 0, post.roles, 0, (), (), post.windows, not_before, False, None)
    return Task(*head, TASK_ID, TASK_ID, 1, TaskState.ACTIVE, 0, 0, 0, None, 0, 1, 0, 0)


def _seat(maximum: int, price: int, kappa: int) -> Seat:
    gas = gas_for(DEV, kappa, maximum, price)
    started = (Stage.RUNNING, 100, 120, 100, 0)
    return Seat(SPARK, 0, price, 10, kappa, 0, gas, 0, 0, *started, None, None, None, None, None)


def settlement_vectors() -> list[dict[str, Any]]:
    """Every row, for an even and an odd price, early and late, as a reservation where that differs."""
    found: list[dict[str, Any]] = []
    for maximum, price in ((500_000_000, 400_000_000), (500_000_003, 333_333_337)):
        for not_before in (0, 50):
            task, seat = _task(maximum, not_before), _seat(maximum, price, 333_333_333)
            for ending, row in ROWS.items():
                for blocks in (0, 3, 20):
                    outcome = outcome_of(task, seat, ending, seat.started + blocks, 0)
                    figures = {name: getattr(outcome, name) for name in Outcome.__struct_fields__[3:]}
                    case = {
                        "ending": Ending(ending).name.lower(),
                        "blame": Blame(row.blame).name.lower(),
                        "maximum": maximum,
                        "price": price,
                        "gas": seat.gas,
                        "promise": seat.promise,
                        "is_reservation": not_before > 0,
                        "blocks": blocks,
                    }
                    found.append(case | figures)
    return found


def files() -> dict[str, str]:
    """The text of each file."""
    content = {
        "payloads": payload_vectors(),
        "terms": terms_vectors(),
        "order": order_vectors(),
        "settlements": settlement_vectors(),
    }
    return {"market.json": json.dumps(content, indent=1) + "\n"}


if __name__ == "__main__":
    for name, text in files().items():
        (HERE / name).write_text(text)
        print(f"wrote {HERE / name}")
