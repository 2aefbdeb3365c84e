"""Sending from Python: prepared, simulated, signed, recorded, final; and never twice by accident.

Rules: the real RPC methods over a world in memory; no socket, no clock to wait for.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from consensus.types.amounts import eubc
from consensus.types.errors import Fault
from consensus.types.keys import SecretKey
from eubchain.client import sending
from eubchain.client.connection import Connection, RemoteRefusal
from eubchain.client.multisig import add_signature, combine, finish, new_draft, read_draft, write_draft
from eubchain.client.network import Network, Pins, learn_network
from eubchain.client.payments import (
    Stands,
    conclude,
    deliver,
    find_earlier,
    sign_and_submit,
    sign_recorded,
)
from eubchain.client.sending import (
    await_final,
    key_authority,
    multisig_authority,
    prepare,
    send,
    sign,
    submit,
)
from eubchain.wallet.accounts import AccountSigner, multisig
from eubchain.wallet.outbox import Outbox
from tests.rpc_world import WorldNode, patched
from vm.account import Transfer

URL = "http://node.test"


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Iterator[WorldNode]:
    with patched(WorldNode(), monkeypatch) as found:
        yield found


def signer_of(node: WorldNode, name: str) -> AccountSigner:
    return AccountSigner.of(node.world[name].secret)


async def test_a_transfer_is_final_with_the_fee_that_the_simulation_told(node: WorldNode) -> None:
    alice, bob = node.world["alice"], node.world["bob"]
    before = node.world.balance("alice")
    async with Connection(URL) as connection:
        network = await learn_network(connection)
        payload = Transfer(bob.address, eubc(5))
        prepared = await prepare(connection, network, key_authority(alice.secret.public), payload)
        signed = sign(prepared, signer_of(node, "alice"))
        assert await submit(connection, signed)
        assert not await submit(connection, signed)  # the same bytes again: harmless
        final = await await_final(connection, signed.txid, signed.valid_until)
    assert final.error is None
    assert final.txid == prepared.txid
    assert final.fee == prepared.fee_expected <= prepared.fee_max
    assert node.world.balance("alice") == before - eubc(5) - final.fee


async def test_send_does_it_in_one_call(node: WorldNode) -> None:
    async with Connection(URL) as connection:
        network = await learn_network(connection)
        payload = Transfer(node.world["bob"].address, 7)
        final = await send(connection, network, signer_of(node, "alice"), payload)
    assert final.error is None
    assert node.world.balance("bob") == eubc(10_000) + 7


async def test_what_a_simulation_refuses_is_not_signed(node: WorldNode) -> None:
    async with Connection(URL) as connection:
        network = await learn_network(connection)
        with pytest.raises(RemoteRefusal, match="1110 short_of_funds"):
            await send(
                connection,
                network,
                signer_of(node, "alice"),
                Transfer(node.world["bob"].address, eubc(10**6)),
            )
    assert "tx_submit" not in node.calls


async def test_the_fee_shown_is_never_exceeded_and_a_second_one_waits_behind_the_first(
    node: WorldNode,
) -> None:
    alice = node.world["alice"]
    node.makes_blocks = False
    async with Connection(URL) as connection:
        network = await learn_network(connection)
        txids = []
        for number in (1, 2, 3):
            payload = Transfer(bytes([number]) * 20, 1)
            prepared = await prepare(connection, network, key_authority(alice.secret.public), payload)
            await submit(connection, sign(prepared, signer_of(node, "alice")))
            txids.append(prepared.txid)
        node.make_block()
        fees = [(await await_final(connection, txid, 100)).fee for txid in txids]
    assert all(fee <= prepared.fee_max for fee in fees)


async def test_an_expired_one_says_that_nothing_was_spent(node: WorldNode, autojump_clock: Any) -> None:
    alice = node.world["alice"]
    async with Connection(URL) as connection:
        network = await learn_network(connection)
        payload = Transfer(node.world["bob"].address, 1)
        prepared = await prepare(
            connection, network, key_authority(alice.secret.public), payload, lifetime_blocks=2
        )
        told: list[int] = []
        with pytest.raises(Fault, match="expired_not_included"):
            await await_final(
                connection,
                prepared.txid,
                prepared.body.valid_until,
                lambda progress: told.append(progress.height),
            )
    assert told == [1], "heard of once before its last height had passed"
    assert node.world.nonce("alice") == 0


async def test_a_node_that_goes_away_while_we_wait_leaves_it_open(
    node: WorldNode, autojump_clock: Any
) -> None:
    async with Connection(URL) as connection:
        node.is_down = True
        with pytest.raises(Fault, match="finality_unknown"):
            await await_final(connection, bytes(32), 100)


async def test_a_node_that_restarts_while_we_wait_is_borne(node: WorldNode, autojump_clock: Any) -> None:
    async with Connection(URL) as connection:
        network = await learn_network(connection)
        alice = node.world["alice"]
        prepared = await prepare(
            connection, network, key_authority(alice.secret.public), Transfer(bytes(20), 1)
        )
        await submit(connection, sign(prepared, signer_of(node, "alice")))
        node.is_down = True
        async with trio.open_nursery() as nursery:

            async def restart() -> None:
                await trio.sleep(3)
                node.is_down = False

            nursery.start_soon(restart)
            final = await await_final(connection, prepared.txid, prepared.body.valid_until)
    assert final.error is None


async def test_a_connection_that_breaks_while_sending_is_told_as_uncertain(node: WorldNode) -> None:
    async with Connection(URL) as connection:
        network = await learn_network(connection)
        node.drop_after = "tx_submit"
        with pytest.raises(Fault, match="submission_uncertain"):
            await send(connection, network, signer_of(node, "alice"), Transfer(bytes(20), 1))


async def test_a_genesis_record_that_does_not_have_its_hash_is_refused(node: WorldNode) -> None:
    node.world.rules = node.world.rules._replace(genesis=bytes(32))
    async with Connection(URL) as connection:
        with pytest.raises(Fault, match="answer_malformed"):
            await learn_network(connection)


async def test_another_network_at_the_same_address_is_refused(node: WorldNode, tmp_path: Path) -> None:
    pins = Pins(tmp_path)
    async with Connection(URL) as connection:
        network = await learn_network(connection)
    pins.check(URL, network, None)
    pins.remember(URL, network)
    pins.check(URL, network, None)
    other = Network(network.genesis, network.rules._replace(genesis=bytes(32)))
    with pytest.raises(Fault, match="node_of_another_network"):
        pins.check(URL, other, None)
    with pytest.raises(Fault, match="node_of_another_network"):
        pins.check("http://elsewhere", network, bytes(32))  # the home is of another one
    assert pins.forget(URL)
    pins.check(URL, other, None)


# ------------------------------------------------------------------ payments


class Desk:
    """A wallet's way of paying, step by step."""

    def __init__(self, node: WorldNode, connection: Connection, network: Network, outbox: Outbox) -> None:
        self.node, self.connection, self.network, self.outbox = node, connection, network, outbox
        self.alice = node.world["alice"]
        self.payload = Transfer(node.world["bob"].address, eubc(1))

    async def earlier(self) -> Any:
        return await find_earlier(
            self.connection, self.network, self.outbox, self.alice.address, self.payload
        )

    async def signed(self, acknowledged: bytes | None = None, **terms: Any) -> Any:
        authority = key_authority(self.alice.secret.public)
        prepared = await prepare(self.connection, self.network, authority, self.payload, **terms)
        signer = signer_of(self.node, "alice")
        return await sign_recorded(self.connection, prepared, self.outbox, signer, acknowledged)


@pytest.fixture
async def desk(node: WorldNode, tmp_path: Path) -> Any:
    connection = Connection(URL)
    return Desk(node, connection, await learn_network(connection), Outbox(tmp_path / "outbox.jsonl"))


async def test_killed_after_signing_the_repetition_finds_it_unsent_and_finishes_that_one(desk: Desk) -> None:
    first = await desk.signed()  # and here the process dies
    found = await desk.earlier()
    assert (found.txid, found.stands) == (first.txid, Stands.UNSENT)
    final = await deliver(desk.connection, found.signed, desk.outbox)
    assert final.txid == first.txid
    assert desk.node.world.balance("bob") == eubc(10_001)


async def test_killed_after_sending_the_repetition_finds_it_waiting_then_included(desk: Desk) -> None:
    first = await desk.signed()
    await submit(desk.connection, first)
    found = await desk.earlier()
    assert found.stands is Stands.WAITING
    desk.node.make_block()
    found = await desk.earlier()
    assert found.stands is Stands.INCLUDED
    assert found.final.txid == first.txid
    # Sending the same bytes again is harmless: it is found in its block.
    assert (await deliver(desk.connection, found.signed, desk.outbox)).height == found.final.height
    assert desk.node.world.balance("bob") == eubc(10_001)


async def test_a_second_signature_needs_the_first_to_be_acknowledged(desk: Desk) -> None:
    first = await desk.signed()
    with pytest.raises(Fault, match="already_signed"):
        await desk.signed()
    second = await desk.signed(acknowledged=first.txid)
    # The first was never sent, so both have one number: at most one can be included.
    assert second.txid == first.txid


async def test_an_expired_one_is_noted_and_forgotten(desk: Desk) -> None:
    await desk.signed(lifetime_blocks=1)
    desk.node.make_block()
    desk.node.make_block()
    assert await desk.earlier() is None
    assert [entry.outcome for entry in desk.outbox.entries()] == ["expired"]


async def test_one_whose_number_another_took_can_never_be_included(desk: Desk) -> None:
    await desk.signed()
    await send(desk.connection, desk.network, signer_of(desk.node, "alice"), Transfer(bytes(20), 1))
    assert await desk.earlier() is None
    assert [entry.outcome for entry in desk.outbox.entries()] == ["dropped"]


async def test_without_an_index_a_used_number_stays_unknown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with patched(WorldNode(indexed=False), monkeypatch) as node:
        connection = Connection(URL)
        desk = Desk(node, connection, await learn_network(connection), Outbox(tmp_path / "outbox.jsonl"))
        await submit(connection, await desk.signed())
        node.make_block()
        assert (await desk.earlier()).stands is Stands.UNKNOWN


async def test_a_told_outcome_counts_until_its_term_is_over(desk: Desk) -> None:
    signed = await desk.signed(lifetime_blocks=3)
    conclude(desk.outbox, await deliver(desk.connection, signed, desk.outbox))
    assert (await desk.earlier()).stands is Stands.INCLUDED
    for _ in range(4):
        desk.node.make_block()
    assert await desk.earlier() is None


async def test_it_is_on_disk_before_it_is_sent(desk: Desk) -> None:
    signed = await desk.signed()
    assert "tx_submit" not in desk.node.calls
    assert desk.outbox.entries()[0].signed.raw == signed.raw.hex()


async def test_payments_started_together_take_numbers_one_after_the_other(
    desk: Desk, autojump_clock: Any
) -> None:
    """A script that pays three people at once: nobody gets another one's number."""
    authority, signer = key_authority(desk.alice.secret.public), signer_of(desk.node, "alice")
    announced: list[bytes] = []

    async def pay(recipient: bytes) -> None:
        payload = Transfer(recipient, 1)
        prepared = await prepare(desk.connection, desk.network, authority, payload)
        await sign_and_submit(
            desk.connection,
            prepared,
            desk.outbox,
            signer,
            announce=lambda signed: announced.append(signed.txid),
        )

    async with trio.open_nursery() as nursery:
        for number in (1, 2, 3):
            nursery.start_soon(pay, bytes([number]) * 20)
    desk.node.make_block()
    assert sorted(entry.signed.nonce for entry in desk.outbox.entries()) == [0, 1, 2]
    assert all(desk.node.world.receipts[txid].code == 0 for txid in announced)


# ------------------------------------------------------------------ multisig


def keys_of(*names: str) -> list[SecretKey]:
    return [SecretKey(name.encode().ljust(32, b"\x01")) for name in names]


async def test_two_of_three_pay_by_a_file_that_travels(node: WorldNode, tmp_path: Path) -> None:
    secrets = keys_of("one", "two", "three")
    account = multisig("board", 2, [key.public for key in secrets])
    node.world.succeed("alice", Transfer(account.address, eubc(100)))
    async with Connection(URL) as connection:
        network = await learn_network(connection)
        authority = multisig_authority(2, account.keys)
        payload = Transfer(node.world["bob"].address, eubc(25))
        prepared = await prepare(connection, network, authority, payload)
        draft = new_draft(prepared, account)
        paths = [tmp_path / "a.json", tmp_path / "b.json"]
        for path, secret in zip(paths, (secrets[0], secrets[2]), strict=True):
            write_draft(path, add_signature(draft, AccountSigner.of(secret)))
        with pytest.raises(Fault, match="signatures_missing"):
            finish(read_draft(paths[0]))
        signed = finish(combine([(str(path), read_draft(path)) for path in paths]))
        assert len(signed.raw) == len(sending.encode(prepared.transaction)), "the fee was of this size"
        await submit(connection, signed)
        final = await await_final(connection, signed.txid, signed.valid_until)
    assert final.error is None
    assert final.fee <= prepared.fee_max
    assert node.world.balance(account.address) == eubc(75) - final.fee


async def test_a_draft_with_a_false_signature_or_a_stranger_is_refused(
    node: WorldNode, tmp_path: Path
) -> None:
    secrets = keys_of("one", "two")
    account = multisig("board", 2, [key.public for key in secrets])
    node.world.succeed("alice", Transfer(account.address, eubc(100)))
    async with Connection(URL) as connection:
        network = await learn_network(connection)
        authority = multisig_authority(2, account.keys)
        prepared = await prepare(connection, network, authority, Transfer(bytes(20), 1))
    draft = new_draft(prepared, account)
    with pytest.raises(Fault, match="not_a_signer"):
        add_signature(draft, AccountSigner.of(keys_of("stranger")[0]))
    path = tmp_path / "draft.json"
    write_draft(path, draft._replace(signatures={secrets[0].public: bytes(64)}))
    with pytest.raises(Fault, match="does not verify"):
        read_draft(path)
    path.write_text("{}")
    with pytest.raises(Fault, match="draft_malformed"):
        read_draft(path)
