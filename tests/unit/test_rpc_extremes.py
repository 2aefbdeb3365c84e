"""No parameter, however odd, meets a bug: every method refuses what it cannot use, in words.

Here: each parameter of each method over a real node, with values at and beyond every edge.
Not here: what the methods answer (tests of their families), limits of size and number (test_rpc_limits.py).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import trio
import trio.testing

import eubchain.rpc.methods  # noqa: F401  # declares every method
from eubchain.rpc.method import INVALID_PARAMETERS, METHODS
from eubchain.rpc.server import INTERNAL, answer
from tests.unit.test_node_service import OneNode

EXTREMES: list[Any] = [
    -1, 0, 2**32, 2**63 - 1, 2**63, 2**64 - 1, 10**30, 1e300, True, None, [], [[]], {}, "", "-5", "9" * 5_000,
    "٣", "0x", "0x" + "ff" * 40, "0x" + "00" * 32, "deub1" + "q" * 85, "x" * 200,
]  # fmt: skip
STOPS = "admin_stop"


def test_every_parameter_of_every_method_is_refused_in_words_or_answered(tmp_path: Path) -> None:
    node = OneNode(tmp_path)
    bugs: list[tuple[str, str, str]] = []

    async def story() -> None:
        await node.blocks(3)
        for name, declared in METHODS.items():
            for field in declared.parameters.__struct_fields__ if name != STOPS else ():
                for value in EXTREMES:
                    if (await asked(node, name, {**declared.example, field: value})).get("code") == INTERNAL:
                        bugs.append((name, field, repr(value)[:40]))

    trio.run(story, clock=trio.testing.MockClock(autojump_threshold=0))
    node.ledger.close()
    assert not bugs


def test_a_price_of_more_digits_than_all_the_money_has_is_refused(tmp_path: Path) -> None:
    """Python itself refuses to read a number of 4,301 digits."""
    node = OneNode(tmp_path)
    address = METHODS["por_explain"].example["address"]
    for digits, refusal in ((18, None), (19, INVALID_PARAMETERS.name), (4_301, INVALID_PARAMETERS.name)):
        told = trio.run(asked, node, "por_explain", {"address": address, "price": "9" * digits})
        assert told.get("data", {}).get("name") == refusal
    node.ledger.close()


async def asked(node: OneNode, method: str, params: dict[str, Any]) -> dict[str, Any]:
    """The error of a call; empty when it is answered."""
    request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    raw = await answer(node.service, json.dumps(request).encode())
    assert raw is not None
    found: dict[str, Any] = json.loads(raw).get("error", {})
    return found
