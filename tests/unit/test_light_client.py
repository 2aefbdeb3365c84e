"""The light client over nodes that answer from chains in memory: honest ones, liars, forkers, laggards.

Rules: no socket; `Answerer` stands in for a connection; the mock clock jumps over waiting.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from consensus.light import Trust
from consensus.types.codec import encode
from consensus.types.errors import Fault
from consensus.types.tree import key_hash, lay_out, value_hash
from consensus.types.tree_proof import prove
from consensus.types.wording import Wording
from eubchain.client.connection import RemoteRefusal
from eubchain.client.light import Divided, LightClient, Remembered
from tests.light_world import GENESIS, TERMS, Headers, sign
from vm.funds import ACCOUNTS, Account

ALICE, NOBODY = bytes([1] * 20), bytes([2] * 20)
ENTRIES = {ACCOUNTS.prefix + bytes([n] * 20): encode(Account(n, 100 * n)) for n in (1, 3, 4, 5)}
TREE = lay_out((key_hash(key), value_hash(value)) for key, value in ENTRIES.items())


class Answerer:
    """A node that answers light clients; `change` alters its answers, `late` makes it miss the head."""

    def __init__(
        self, chain: Headers, url: str = "http://primary", *, absent: Any = (), late: int = 0
    ) -> None:
        self.chain, self.url, self.absent, self.late = chain, url, absent, late
        self.change: Any = lambda answer: answer
        self.asked: list[int] = []

    async def call(self, method: str, **params: Any) -> Any:
        height = params.get("height") or self.chain.head
        self.asked.append(height)
        if height >= self.chain.head and self.late:
            self.late -= 1
            raise RemoteRefusal(Wording(2322, "light_block_missing", "not yet", "", {}))
        if method == "chain_getLightBlock":
            block = self.chain.light(height, self.absent)
            return {"height": height, "light_block": "0x" + encode(block).hex()}
        assert method == "chain_getProof"
        key = bytes.fromhex(params["key"][2:])
        header = msgspec.structs.replace(self.chain.header(height), state_root=TREE.root)
        block = sign(header, self.chain.validators(height), list(self.chain.names.values()))
        value = ENTRIES.get(key)
        return self.change({
            "value": None if value is None else "0x" + value.hex(),
            "proof": "0x" + encode(prove(TREE, key_hash(key))).hex(),
            "light_block": "0x" + encode(block).hex(),
        })  # fmt: skip


def client_of(primary: Answerer, *witnesses: Answerer) -> LightClient:
    return LightClient(TERMS, primary, list(witnesses), lambda: primary.chain.now_ms)  # type: ignore[arg-type]  # stands in


STEADY = [range(4)] * 8


def trust(chain: Headers, height: int = 1) -> Trust:
    return Trust(height, chain.trusted(height).block_id)


async def test_the_head_is_verified_and_witnesses_agree():
    chain = Headers(STEADY)
    client = client_of(Answerer(chain), Answerer(chain, "http://w1"), Answerer(chain, "http://w2"))
    await client.begin(trust(chain))
    followed = await client.follow()
    assert followed.trusted == chain.trusted(chain.head)
    assert [heard.agrees for heard in followed.witnesses] == [True, True]
    assert (await client.follow()).steps == 0, "the same head again needs no header"


async def test_without_a_trusted_block_nothing_is_believed():
    with pytest.raises(Fault, match="light_trust_missing"):
        await client_of(Answerer(Headers(STEADY))).follow()


async def test_another_trusted_block_than_the_nodes_is_refused():
    chain = Headers(STEADY)
    with pytest.raises(Fault, match="trusted_block_differs"):
        await client_of(Answerer(chain)).begin(Trust(3, bytes(32)))


async def test_an_account_is_proven_and_so_is_one_that_does_not_exist():
    client = client_of(Answerer(Headers(STEADY)))
    await client.begin(trust(client._primary.chain))  # type: ignore[attr-defined]  # stands in
    assert (await client.account(ALICE))[0] == Account(1, 100)


async def test_absence_is_proven():
    client = client_of(Answerer(Headers(STEADY)))
    await client.begin(trust(Headers(STEADY)))
    assert (await client.account(NOBODY))[0] == Account(0, 0)


LIES = {
    "more money": lambda a: a | {"value": "0x" + encode(Account(1, 10**9)).hex()},
    "no account": lambda a: a | {"value": None},
    "another proof": lambda a: (
        a | {"proof": "0x" + encode(prove(TREE, key_hash(b"x"))).hex()[:-64] + "00" * 32}
    ),
    "no proof": lambda a: a | {"proof": None},
    "proof of another kind": lambda a: a | {"proof": "0x90"},
}


@pytest.mark.parametrize("name", LIES)
async def test_a_lie_about_an_account_is_found(name):
    primary = Answerer(Headers(STEADY))
    client = client_of(primary)
    await client.begin(trust(primary.chain))
    primary.change = LIES[name]
    with pytest.raises(Fault, match=r"proof_refused|answer_malformed"):
        await client.account(ALICE)


async def test_two_final_chains_are_named_with_who_signed_both(tmp_path: Path):
    ours, theirs = Headers(STEADY), Headers(STEADY, salt=1, fork=6)
    client = client_of(Answerer(ours), Answerer(theirs, "http://other", absent=[2]))
    await client.begin(trust(ours))
    with pytest.raises(Divided, match="chain_forked") as caught:
        await client.follow()
    fault = caught.value
    assert fault.facts["witness"] == "http://other"
    assert fault.facts["power"] == 75 * 10**7
    assert len(fault.fork.proofs) == 3
    assert client.trusted == ours.trusted(1), "neither is believed"
    kept = Remembered(tmp_path / "light", GENESIS).keep_fork(fault.ours, fault.theirs)
    assert len(kept.read_bytes()) > 1_000


async def test_a_witness_that_cannot_prove_its_chain_does_not_count():
    """It shows another block without a quorum: a liar or a broken node, not a fork."""
    ours, theirs = Headers(STEADY), Headers(STEADY, salt=1, fork=6)
    client = client_of(
        Answerer(ours), Answerer(theirs, "http://liar", absent=[2, 3]), Answerer(ours, "http://honest")
    )
    await client.begin(trust(ours))
    heard = (await client.follow()).witnesses
    assert [one.agrees for one in heard] == [False, True]
    assert "not believed" in heard[0].why


async def test_when_no_witness_can_confirm_nothing_is_believed(autojump_clock):
    chain = Headers(STEADY)
    client = client_of(Answerer(chain), Answerer(chain, "http://late", late=10**6))
    await client.begin(trust(chain))
    with pytest.raises(Fault, match="witnesses_silent"):
        await client.follow()


async def test_a_witness_that_is_a_moment_behind_is_waited_for(autojump_clock):
    chain = Headers(STEADY)
    client = client_of(Answerer(chain), Answerer(chain, "http://slow", late=3))
    await client.begin(trust(chain))
    assert (await client.follow()).witnesses[0].agrees


async def test_a_node_that_falls_behind_what_was_verified_is_refused():
    chain = Headers(STEADY)
    client = client_of(Answerer(chain))
    await client.begin(trust(chain, 9))
    with pytest.raises(Fault, match="proof_refused"):
        await client.follow(8)


async def test_what_was_verified_is_remembered(tmp_path: Path):
    chain = Headers(STEADY)
    client = client_of(Answerer(chain))
    await client.begin(trust(chain))
    followed = await client.follow(10)
    remembered = Remembered(tmp_path / "light", GENESIS)
    assert remembered.load() is None
    remembered.store(followed.block)
    again = client_of(Answerer(chain))
    found = remembered.load()
    assert found is not None
    again.resume(found)
    assert (await again.follow()).trusted == chain.trusted(chain.head)
    remembered.file.write_bytes(b"\x93")
    with pytest.raises(Fault, match="light_file_damaged"):
        remembered.load()
