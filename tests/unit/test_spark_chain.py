"""The agent's chain over RPC: what it does when the node answers late, not at all, or no.

A small stand-in answers the calls of one submission; what a real node says is in tests/functional.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest

from consensus.types.codec import encode
from consensus.types.errors import Fault
from consensus.types.keys import SecretKey
from consensus.types.transaction import txid_of
from consensus.types.wording import Wording
from eubchain.client import spark_chain
from eubchain.client.connection import NODE_UNREACHABLE, RemoteRefusal
from eubchain.client.network import Network, network_of
from eubchain.client.spark_chain import SparkChain
from eubchain.wallet.accounts import AccountSigner
from spark_node.chain import CHAIN_AWAY, Refused
from tests.world import World
from vm.registry import TRANSACTION
from vm.task.payloads import Release

KEY = SecretKey(bytes([5]) * 32)
PAYLOAD = Release(bytes(32), 0)


@pytest.fixture
def network() -> Network:
    """A development network."""
    return network_of(World().genesis)


class Node:
    """Answers as a node of one block after another; `script` overrides answers by method."""

    url = "http://node"

    def __init__(self, network: Network) -> None:
        self.network = network
        self.height = 10
        self.sent: list[bytes] = []
        self.final: bytes | None = None
        """txid that stands in a block."""
        self.script: dict[str, list[Callable[[], Any]]] = {}

    async def call(self, method: str, **params: Any) -> Any:
        if self.script.get(method):
            answer = self.script[method].pop(0)()
            if answer is not None:
                return answer
        return getattr(self, method)(**params)

    def chain_status(self) -> dict[str, Any]:
        return {"height": self.height, "time_ms": 0}

    def account_get(self, address: str) -> dict[str, Any]:
        return {"nonce": 3, "pending_nonce": 3, "spendable": "10", "bonded": "0"}

    def tx_estimateFee(self, type: str, size: int) -> dict[str, Any]:
        return {"suggested_tip": 1, "suggested_max_price": 4}

    def tx_simulate(self, transaction: str) -> dict[str, Any]:
        return {"receipt": {"error": None, "fee": "5"}}

    def tx_submit(self, transaction: str) -> dict[str, Any]:
        self.sent.append(base64.b64decode(transaction))
        return {"is_new": True}

    def tx_wait(self, txid: str, timeout_s: int) -> dict[str, Any]:
        return self.view(txid)

    def tx_get(self, txid: str) -> dict[str, Any]:
        raise RemoteRefusal(Wording(2330, "no_such_transaction", "None.", "", {}))

    def mempool_place(self, txid: str) -> dict[str, Any]:
        return {"ahead": 0}

    def view(self, txid: str, error: dict[str, Any] | None = None) -> dict[str, Any]:
        """A transaction in block 11."""
        return {"txid": txid, "height": 11, "index": 0, "receipt": {"error": error, "fee": "7"}}


def gone() -> Any:
    """The connection breaks."""
    raise Fault(NODE_UNREACHABLE, url="http://node", why="it broke")


def refusal(code: int, name: str) -> Callable[[], Any]:
    """The node says no."""

    def say() -> Any:
        raise RemoteRefusal(Wording(code, name, "No.", "", {}))

    return say


def chain_of(node: Node) -> SparkChain:
    """The agent's chain over the stand-in."""
    return SparkChain(node, node.network, AccountSigner.of(KEY))  # type: ignore[arg-type]  # a stand-in


async def test_a_transaction_is_signed_sent_and_final(network: Network) -> None:
    """What was sent is what the agent asked for, with its fee."""
    node = Node(network)
    receipt = await chain_of(node).submit(PAYLOAD)
    assert (receipt.height, receipt.fee) == (11, 7)
    body = TRANSACTION.decode(node.sent[0]).body
    assert (body.payload, body.nonce) == (PAYLOAD, 3)
    assert receipt.txid == txid_of(network.rules.genesis, encode(body))


async def test_after_a_broken_connection_the_same_bytes_are_sent_again(
    network: Network, autojump_clock: object
) -> None:
    """Uncertainty never makes a second transaction."""
    node = Node(network)
    node.script["tx_submit"] = [gone, gone]
    node.script["tx_wait"] = [gone] * 10
    await chain_of(node).submit(PAYLOAD)
    assert len(node.sent) >= 2
    assert len(set(node.sent)) == 1


async def test_one_that_arrived_before_the_connection_broke_is_found(
    network: Network, autojump_clock: object
) -> None:
    """The node refuses the repetition, because it stands in a block already."""
    node = Node(network)
    node.script["tx_submit"] = [gone, refusal(1010, "nonce_used")]
    node.script["tx_get"] = [lambda: {"height": 11}]
    receipt = await chain_of(node).submit(PAYLOAD)
    assert receipt.height == 11


async def test_an_expired_one_is_made_anew(network: Network, autojump_clock: object) -> None:
    """Not included is a fact, so another one is safe."""
    node = Node(network)

    def too_late() -> Any:
        node.height = 10_000
        raise RemoteRefusal(Wording(2331, "not_final_in_time", "Later.", "", {}))

    node.script["tx_wait"] = [too_late]
    await chain_of(node).submit(PAYLOAD)
    assert len(set(node.sent)) == 2


async def test_the_chains_no_is_told_in_its_own_words_and_with_its_fee(network: Network) -> None:
    """Before it is signed, when it is sent, and in a block."""
    error = {"code": 1606, "name": "too_late", "sentence": "Late.", "hint": "", "facts": {}}
    node = Node(network)
    node.script["tx_simulate"] = [lambda: {"receipt": {"error": error, "fee": "0"}}]
    with pytest.raises(Refused) as caught:
        await chain_of(node).submit(PAYLOAD)
    assert (caught.value.wording.name, caught.value.fee, node.sent) == ("too_late", 0, [])

    node.script["tx_submit"] = [refusal(2201, "mempool_full")]
    with pytest.raises(Refused) as caught:
        await chain_of(node).submit(PAYLOAD)
    assert caught.value.wording.name == "mempool_full"

    node.script["tx_wait"] = [lambda: node.view("0x" + "11" * 32, error)]
    with pytest.raises(Refused) as caught:
        await chain_of(node).submit(PAYLOAD)
    assert caught.value.fee == 7


async def test_a_node_that_does_not_answer_or_answers_with_an_error_is_away(network: Network) -> None:
    """One fault for all of it; an agent that runs a program goes on."""
    node = Node(network)
    for trouble in (gone, refusal(2399, "overloaded")):
        node.script["chain_status"] = [trouble]
        with pytest.raises(Fault) as caught:
            await chain_of(node).head()
        assert caught.value.reason is CHAIN_AWAY
    node.script["spark_get"] = [refusal(spark_chain.NO_SUCH_SPARK, "no_such_spark")]
    assert await chain_of(node).spark() is None
    node.script["task_get"] = [refusal(spark_chain.NO_SUCH_TASK, "no_such_task")]
    assert await chain_of(node).task(bytes(32)) is None


async def test_waiting_for_a_change_ends_with_a_block_or_with_the_time(
    network: Network, autojump_clock: object
) -> None:
    """Polled at half a block's interval at most; the time is a bound."""
    node = Node(network)
    chain = chain_of(node)
    await chain.head()
    await chain.wait_for_change(5.0)
    assert node.height == 10

    def next_block() -> Any:
        node.height += 1

    node.script["chain_status"] = [lambda: None, next_block]
    await chain.wait_for_change(1_000_000.0)
    assert node.height == 11
