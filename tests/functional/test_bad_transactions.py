"""Every bad transaction of a real client gets a sentence, a code and a hint, and costs nothing.

One node, one account; each row is a way to be wrong. The node goes on and the balance is untouched.
"""

from __future__ import annotations

import base64
from typing import Any

import httpx
import pytest

from consensus.types.codec import encode
from consensus.types.genesis import genesis_hash
from consensus.types.transaction import Body, KeyAuth, Transaction, sign_hash
from eubchain.wallet.accounts import Wallet
from tests.node_world import found, running
from vm.account import Transfer


class Payer:
    """The devnet's funded account, signing whatever it is told to."""

    def __init__(self, network: Any) -> None:
        password = network.password_file.read_text().strip()
        self.signer = Wallet(network.root / "wallet").signer("requester", password)
        self.genesis = network.genesis
        self.hash = genesis_hash(network.genesis)

    def sign(self, genesis: bytes | None = None, **changes: Any) -> bytes:
        """A transfer to itself, changed as a row says."""
        fields: dict[str, Any] = {
            "version": 1,
            "chain_id": self.genesis.chain_id,
            "sender": self.signer.address,
            "nonce": 0,
            "max_price": 100,
            "tip": 1,
            "valid_until": 1_000,
            "payload": Transfer(self.signer.address, 1_000),
        }
        body: Body[Any] = Body(**(fields | changes))
        signature = self.signer.sign(sign_hash(self.hash if genesis is None else genesis, encode(body)))
        return encode(Transaction(body, KeyAuth(self.signer.public, signature)))


def _forged(payer: Payer) -> bytes:
    raw = payer.sign()
    return raw[:-1] + bytes([raw[-1] ^ 1])


BAD = {
    "malformed": lambda payer: payer.sign()[:-3],
    "malformed: longer": lambda payer: payer.sign() + b"\0",
    "malformed: empty": lambda payer: b"",
    "malformed: amount": lambda payer: payer.sign(payload=Transfer(payer.signer.address, 10**17 + 1)),
    "malformed: nothing sent": lambda payer: payer.sign(payload=Transfer(payer.signer.address, 0)),
    "oversized": lambda payer: payer.sign() + bytes(70_000),
    "wrong_network": lambda payer: payer.sign(chain_id="eub-main-1"),
    "bad_signature": _forged,
    "bad_signature: another genesis": lambda payer: payer.sign(genesis=bytes(32)),
    "wrong_signer": lambda payer: payer.sign(sender=bytes(20)),
    "unsupported_version": lambda payer: payer.sign(version=9),
    "nonce_too_far": lambda payer: payer.sign(nonce=64),
    "expired": lambda payer: payer.sign(valid_until=1),
    "lifetime_too_long": lambda payer: payer.sign(valid_until=10**6),
    "price_too_low": lambda payer: payer.sign(max_price=0, tip=0),
    "pending_exceeds_balance": lambda payer: payer.sign(payload=Transfer(payer.signer.address, 2 * 10**14)),
}


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    """A running node, some blocks in, and its payer."""
    network = found(tmp_path_factory.mktemp("bad") / "net")
    with running(network.validators[0]) as process:
        process.wait_height(2)
        yield process, Payer(network)


def _submit(process: Any, raw: bytes) -> dict[str, Any]:
    params = {"transaction": base64.b64encode(raw).decode()}
    request = {"jsonrpc": "2.0", "id": 1, "method": "tx_submit", "params": params}
    answer: dict[str, Any] = httpx.post(
        f"{process.url}/rpc", json=request, timeout=30, trust_env=False
    ).json()
    return answer


@pytest.mark.parametrize("row", BAD)
def test_a_bad_transaction_is_refused_by_name_and_costs_nothing(node, row):
    process, payer = node
    answer = _submit(process, BAD[row](payer))
    assert answer["error"]["data"]["name"] == row.split(":")[0]
    assert answer["error"]["message"]
    assert answer["error"]["data"]["hint"]
    assert process.call("mempool_status")["transactions"] == 0


def test_a_transaction_sent_twice_is_paid_once_and_replaying_it_later_is_refused(node):
    process, payer = node
    raw = payer.sign(payload=Transfer(bytes(19) + b"\x01", 5_000))
    first, again = _submit(process, raw), _submit(process, raw)
    assert first["result"]["is_new"] is True
    assert again["result"]["is_new"] is False
    process.call("tx_wait", txid=first["result"]["txid"])
    late = _submit(process, raw)
    assert late["result"]["is_new"] is False
    other = _submit(process, payer.sign(payload=Transfer(bytes(19) + b"\x01", 6_000)))
    assert other["error"]["data"]["name"] == "nonce_used"
    view = process.call("tx_get", txid=first["result"]["txid"])
    assert view["receipt"]["error"] is None
    spent = 10**14 - int(process.call("account_get", address=view["sender"])["balance"])
    assert spent == 5_000 + int(view["receipt"]["fee"])
