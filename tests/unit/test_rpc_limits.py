"""No call keeps a node from its work: batches, long reads and waits are bounded."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio

from eubchain.rpc import server
from eubchain.rpc.methods import task as tasks
from eubchain.rpc.server import ANSWER_TOO_LARGE, answer, is_waiting
from tests.market import post_of
from tests.rpc_world import WorldNode
from tests.unit.test_task_world import found
from vm.account import MultiTransfer, Output, Transfer
from vm.inclusion import units_max
from vm.registry import OPERATION_NAMED, decode_candidate
from vm.stake import Bond
from vm.task.payloads import Accept, Cancel, Grant, SeatEnvelope


def asked(node: WorldNode, request: Any) -> Any:
    raw = trio.run(answer, node, json.dumps(request).encode())
    assert raw is not None
    return json.loads(raw)


def call(method: str, number: int = 1, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


def test_a_batch_stops_when_its_answers_fill_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls beyond the bound are refused one by one, and the client knows which."""
    monkeypatch.setattr(server, "ANSWER_BYTES_MAX", 1_000)
    node = WorldNode()
    answers = asked(node, [call("chain_getParams", number) for number in range(4)])
    assert [one["id"] for one in answers] == [0, 1, 2, 3]
    assert "result" in answers[0]
    assert [one["error"]["code"] for one in answers[1:]] == [ANSWER_TOO_LARGE.code] * 3


def test_a_batch_of_notifications_has_no_answer() -> None:
    request = [{"jsonrpc": "2.0", "method": "chain_status"}] * 2
    assert trio.run(answer, WorldNode(), json.dumps(request).encode()) is None


def test_a_batch_of_nothing_is_no_request() -> None:
    assert asked(WorldNode(), [])["error"]["data"]["name"] == "not_a_request"


def test_calls_that_wait_for_a_block_are_told_apart_however_they_are_spelled() -> None:
    """They have places of their own: sixty-four of them would otherwise silence the node for a minute."""
    spelled = json.loads(r'{"jsonrpc": "2.0", "id": 1, "method": "tx_w\u0061it"}')
    assert is_waiting(spelled)
    assert is_waiting([call("chain_status"), call("tx_submitAndWait")])
    assert not is_waiting([call("chain_status"), 7])
    assert not is_waiting("tx_wait")


def test_a_filter_that_nothing_passes_looks_at_a_bounded_number_of_tasks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever lists goes on with the cursor, page after page, and meets every task once."""
    monkeypatch.setattr(tasks, "LOOKED_AT_MAX", 2)
    node = WorldNode(found())
    posted = {"0x" + node.world.submit("alice", post_of()).hex() for _ in range(5)}
    node.world.block()
    pages, cursor, met = 0, None, []
    while True:
        page = asked(node, call("task_list", cursor=cursor, state="open"))["result"]
        met += [one["task"] for one in page["tasks"]]
        pages, cursor = pages + 1, page["cursor"]
        if cursor is None:
            break
    assert pages == 3
    assert sorted(met) == sorted(posted)
    empty = asked(node, call("task_list", state="final"))["result"]
    assert empty["tasks"] == []
    assert empty["cursor"] is not None


def test_a_task_id_of_another_length_names_no_task() -> None:
    assert (
        asked(WorldNode(), call("task_events", task="0x" + "00" * 300))["error"]["data"]["name"]
        == "no_such_task"
    )


def test_the_estimated_fee_covers_what_a_block_may_charge() -> None:
    """Whoever keeps that much is never refused for the fee, whatever the type."""
    node = WorldNode(found())
    world, digest = node.world, bytes(32)
    payloads: dict[str, Any] = {
        "transfer": Transfer(world["bob"].address, 1),
        "multi_transfer": MultiTransfer(tuple(Output(world["bob"].address, 1) for _ in range(50))),
        "bond": Bond(10**8),
        "task.post": post_of(),
        "task.grant": Grant(digest, digest, (SeatEnvelope(0, b"sealed"),)),
        "task.accept": Accept(digest, 0, 80, 4),
        "task.cancel": Cancel(digest),
    }
    for name, payload in payloads.items():
        candidate = decode_candidate(world.sign("alice", payload), world.rules)
        told = asked(node, call("tx_estimateFee", type=name, size=len(candidate.raw)))["result"]
        need = units_max(candidate, world.params) * told["suggested_max_price"]
        assert int(told["fee_max"]) >= need
        if name not in ("multi_transfer", "task.post", "task.grant"):  # what they say decides
            assert int(told["fee_max"]) == need, "and no more"
    for name in OPERATION_NAMED:
        assert "result" in asked(node, call("tx_estimateFee", type=name))


def test_heights_that_no_chain_reaches_are_no_blocks() -> None:
    for height in (-5, 0, 2**70):
        answered = asked(WorldNode(), call("chain_getValidators", height=height))
        assert answered["error"]["data"]["name"] == "no_such_block"
