"""What the RPC methods, the explorer and EUB Flow ask of a node: a protocol, so that they never hold one.

Here: `Backend` and what it answers. Not here: the node that implements it (eubchain/node/service.py).
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import msgspec

from consensus.types.errors import Fault
from consensus.types.genesis import Genesis
from eubchain.ledger.ledger import Proved
from eubchain.ledger.reading import LedgerReader
from eubchain.ledger.snapshot_folder import SnapshotFolder
from eubchain.mempool import Mempool
from eubchain.rpc.subscriptions import Hub
from vm.rules import Rules
from vm.state import State


class Submitted(msgspec.Struct, frozen=True):
    """What became of one submitted transaction."""

    txid: bytes | None
    """None when it cannot even be decoded."""
    is_new: bool
    """False when it waits already, which is no error: submitting is repeatable."""
    fault: Fault | None


class Included(NamedTuple):
    """Where a transaction stands for good."""

    height: int
    index: int
    raw: bytes


class Backend(Protocol):
    """A node as its interfaces see it."""

    @property
    def version(self) -> str:
        """Of the program."""
        ...

    @property
    def prefix(self) -> str:
        """Of addresses."""
        ...

    @property
    def rules(self) -> Rules:
        """Of the network."""
        ...

    @property
    def genesis(self) -> Genesis:
        """The network's genesis record."""
        ...

    @property
    def hub(self) -> Hub:
        """Where subscriptions are served from."""
        ...

    @property
    def mempool(self) -> Mempool:
        """Transactions that wait."""
        ...

    def ledger(self) -> LedgerReader:
        """A reader that stays at the present head while blocks go on."""
        ...

    def view(self) -> State:
        """State to read at the present head."""
        ...

    def health(self) -> dict[str, Any]:
        """`live`, `ready` and, when it is not ready, `why`."""
        ...

    def status(self) -> dict[str, Any]:
        """What `chain_status` says beyond the head: phase, validator, peers."""
        ...

    def network(self) -> dict[str, Any]:
        """This node on the network, as `net_info` says it; empty for one that stands alone."""
        ...

    def peers(self) -> list[dict[str, Any]]:
        """The connected peers, as `net_peers` says them."""
        ...

    async def submit(self, raws: list[bytes]) -> list[Submitted]:
        """Check signatures once and queue; answers in order."""
        ...

    async def wait_for(self, txid: bytes, timeout_s: float) -> Included | None:
        """Wait until a transaction is final; None when it is not within the time."""
        ...

    def simulate(self, raw: bytes) -> tuple[Any, int]:
        """Run a transaction on the head's state, ignoring its signature: its receipt and its price.

        Raises `Rejected` when no block could hold it now.
        """
        ...

    def proof(self, key: bytes, height: int | None) -> Proved | None:
        """A state entry with its proof, at the head or shortly before; None when out of reach."""
        ...

    def snapshots(self) -> SnapshotFolder:
        """The snapshots that this node keeps."""
        ...

    def stop(self) -> None:
        """Begin a graceful stop."""
        ...
