"""A WebSocket client is told of blocks, its transaction and its mistakes, by a real node."""

from __future__ import annotations

import json

import httpx
import pytest
import trio
from trio_websocket import ConnectionRejected, open_websocket_url

from tests.node_world import command, found, parsed, running


@pytest.fixture
def network(tmp_path):
    """A network of one validator, founded and not yet started."""
    return found(tmp_path / "net")


async def _ask(socket, method: str, *params: object) -> dict[str, object]:
    """Send a call; return its answer, passing over notifications."""
    await socket.send_message(
        json.dumps({"jsonrpc": "2.0", "id": 9, "method": method, "params": list(params)})
    )
    while True:
        answer = json.loads(await socket.get_message())
        if answer.get("id") == 9:
            return answer


async def _next(socket, topic: str) -> dict[str, object]:
    while True:
        told = json.loads(await socket.get_message())
        if told.get("method") == "eub_subscription" and told["params"]["topic"] == topic:
            return told["params"]["result"]


async def test_blocks_and_a_transaction_are_told_as_they_become_final(network):
    with running(network.validators[0]) as node:
        url = node.url.replace("http", "ws") + "/ws"
        with trio.fail_after(60):
            async with open_websocket_url(url) as socket:
                number = (await _ask(socket, "eub_subscribe", "newBlock"))["result"]
                first, second = await _next(socket, "newBlock"), await _next(socket, "newBlock")
                assert second["height"] == first["height"] + 1
                assert second["parent"] == first["block_id"]
                await _ask(socket, "eub_subscribe", "tx")
                recipient = parsed(command(network.root, "wallet", "list", "--json"))["accounts"][1][
                    "address"
                ]
                words = ("wallet", "send", recipient, "2", "--yes", "--json", "--node", node.url)
                sent = await trio.to_thread.run_sync(
                    lambda: parsed(command(network.root, *words, password=network.password_file))
                )
                told = await _next(socket, "tx")
                assert told["txid"].removeprefix("0x") == sent["txid"].removeprefix("0x")
                assert told["receipt"]["error"] is None
                assert (await _ask(socket, "eub_unsubscribe", number))["result"] is True
                assert (await _ask(socket, "eub_unsubscribe", number))["result"] is False


async def test_mistakes_on_a_socket_are_answered_and_the_socket_lives_on(network):
    with running(network.validators[0]) as node:
        url = node.url.replace("http", "ws") + "/ws"
        with trio.fail_after(60):
            async with open_websocket_url(url) as socket:
                assert (await _ask(socket, "eub_subscribe", "blocks"))["error"]["data"][
                    "name"
                ] == "unknown_topic"
                assert (await _ask(socket, "eub_subscribe", "tx", "0xzz"))["error"]["code"] == -32602
                assert (await _ask(socket, "eub_subscribe"))["error"]["code"] == -32602
                await socket.send_message("{")
                assert json.loads(await socket.get_message())["error"]["code"] == -32700
                assert (await _ask(socket, "chain_status"))["result"]["height"] >= 0
            with pytest.raises(ConnectionRejected):
                async with open_websocket_url(url, extra_headers=[("Origin", "https://evil.example")]):
                    pass
        node.wait_height(node.height + 1)


def test_metrics_move_with_the_chain_and_each_has_help(network):
    with running(network.validators[0]) as node:
        node.wait_height(3)
        started = json.loads(
            node.log.read_text().split('{"started"')[1].join(['{"started"', ""]).splitlines()[0]
        )
        page = httpx.get(f"{started['metrics']}/metrics", timeout=10, trust_env=False).text
        values = dict(line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#"))
        assert float(values["eub_height"]) >= 3
        assert float(values["eub_is_validator"]) in (0.0, 1.0)
        for name in {line.split()[2] for line in page.splitlines() if line.startswith("# TYPE")}:
            assert f"# HELP {name} " in page
