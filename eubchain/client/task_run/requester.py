"""The requester's side of a connection: account, node, wallet and stores, and sending a task's steps.

Here: `Requester`, `send_step` (repeat-safe), opening the store where sealed data lies.
Not here: what is sent (order.py, granting.py, answering.py), the plain steps (eubchain/client/payments.py).
Keeps: a step that was signed before is finished instead of signed again; a step costs its fee once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from consensus.types.address import key_address
from consensus.types.keys import SecretKey
from eubchain.client.connection import Connection, RemoteRefusal
from eubchain.client.network import Network
from eubchain.client.payments import Stands, conclude, deliver, find_earlier, sign_recorded
from eubchain.client.sending import Final, Prepared, Progress, Signed, key_authority, prepare
from eubchain.client.task_run.journal import Journal, Journals
from eubchain.wallet.outbox import Outbox
from spark_node.storage.blob import AccessSigner
from spark_node.storage.places import open_store, parse_place
from spark_node.storage.store import Store


@dataclass(frozen=True)
class Requester:
    """Who asks for work, through which node, from which home."""

    node: Connection
    network: Network
    public: bytes
    """The account's x-only key."""
    home: Path
    key: SecretKey | None = field(default=None, repr=False)
    """Needed from the first signature on; looking and previewing do without."""
    name: str = ""
    """The account's name in the wallet."""
    waiting: Callable[[Progress], None] = lambda _: None
    """Hears of a transaction that waits for its block."""

    @property
    def address(self) -> bytes:
        """The account that pays."""
        return key_address(self.public)

    @property
    def secret(self) -> SecretKey:
        """The opened key."""
        assert self.key is not None, "whoever signs has opened the account"
        return self.key

    def unlocked(self, key: SecretKey) -> Requester:
        """The same with its key."""
        assert key.public == self.public, "the account that was shown"
        return replace(self, key=key)

    @property
    def outbox(self) -> Outbox:
        """Where the wallet records what it signs."""
        return Outbox(self.home / "wallet" / "outbox.jsonl")

    @property
    def journals(self) -> Journals:
        """The tasks of this home."""
        return Journals(self.home)

    @property
    def interval_ms(self) -> int:
        """Milliseconds between two blocks."""
        return self.network.rules.params.chain.block_interval_ms

    def store(self, place: str, own: str) -> Store:
        """Open the store at a place; raise `Fault` 347x.

        `own` is the place that the requester chose: of the `file:` places that a spark may name, only
        those below that directory are opened.
        """
        signer = AccessSigner(self.secret, self.network.rules.genesis, lambda: int(time.time()))
        kind, where = parse_place(own)
        allowed = Path(where) if kind == "file" else None
        return open_store(place, signer, directory_allowed=allowed)


async def prepare_step(requester: Requester, payload: Any) -> Prepared:
    """A step as it would be signed: simulated, its fee known. Raises `RemoteRefusal`."""
    authority = key_authority(requester.public)
    return await prepare(requester.node, requester.network, authority, payload)


async def send_step(requester: Requester, payload: Any, journal: Journal | None = None) -> Final:
    """Sign, send and await a step of a task, or finish the one that was signed before.

    Its fee is added to the journal. Raises `RemoteRefusal` when the chain refuses it, `Fault` 311x.
    """
    node, outbox = requester.node, requester.outbox
    earlier = await find_earlier(node, requester.network, outbox, requester.address, payload)
    if earlier is not None:
        if earlier.stands is Stands.UNKNOWN:
            raise earlier.refusal()
        if earlier.final is not None:
            conclude(outbox, earlier.final)
            if earlier.final.error is None:
                return earlier.final
        else:
            return await finish_step(requester, earlier.signed, journal)
    prepared = await prepare_step(requester, payload)
    signed = await sign_recorded(node, prepared, outbox, requester.secret)
    return await finish_step(requester, signed, journal)


async def finish_step(requester: Requester, signed: Signed, journal: Journal | None = None) -> Final:
    """Send what is recorded, wait for it, note its fee; raise `RemoteRefusal` when it did nothing."""
    final = await deliver(requester.node, signed, requester.outbox, requester.waiting)
    conclude(requester.outbox, final)
    if journal is not None:
        journal.note(fees=journal.state.fees + final.fee)
    if final.error is not None:
        raise RemoteRefusal(final.error)
    return final
