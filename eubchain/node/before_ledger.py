"""What a node answers over RPC before it has a ledger: the genesis, and how far it is.

Here: a read-only `Backend` at height 0.
Not here: what goes on meanwhile (snapshot_sync.py, joining.py), a running node's backend (service.py).
Keeps: reads show the genesis state, as a node shows it that has taken no block yet; nothing is taken, for
there is nobody to pass it on to.
Errors: 2572 node_joining.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from consensus.types.codec import encode
from consensus.types.errors import Fault, Reason
from consensus.types.genesis import Genesis
from consensus.types.tree import empty_tree, update_tree
from eubchain.ledger.layout import FORMAT, Meta
from eubchain.ledger.ledger import Proved
from eubchain.ledger.reading import LedgerReader
from eubchain.ledger.snapshot_folder import SnapshotFolder
from eubchain.ledger.store import Column, Source
from eubchain.mempool import Mempool
from eubchain.node.pricing import mempool_pricing
from eubchain.node.service import VERSION
from eubchain.rpc.backend import Included, Submitted
from eubchain.rpc.subscriptions import Hub
from vm import head as heads
from vm.genesis import genesis_writes
from vm.rules import Rules
from vm.state import State

NODE_JOINING = Reason(
    2572,
    "node_joining",
    "",
    "This node has no ledger yet: it begins from a snapshot of its peers.",
    "`eubchain status` shows how far it is; ask again when it follows the chain, or ask another node.",
)


class _Rows:
    """The rows of a ledger at height 0, in memory."""

    def __init__(self, rows: dict[bytes, bytes]) -> None:
        self._rows = rows

    def get(self, key: bytes, *, verify_checksums: bool) -> bytes | None:
        return self._rows.get(key)

    def iterator(
        self, *, start: bytes, stop: bytes, reverse: bool, verify_checksums: bool
    ) -> Iterator[tuple[bytes, bytes]]:
        keys = sorted((key for key in self._rows if start <= key < stop), reverse=reverse)
        return ((key, self._rows[key]) for key in keys)


class BeforeLedger:
    """Implements `eubchain.rpc.backend.Backend`."""

    def __init__(
        self, genesis: Genesis, rules: Rules, folder: SnapshotFolder, describe: Callable[[], dict[str, Any]],
        stop: Callable[[], None],
    ) -> None:  # fmt: skip
        self.version = VERSION
        self.genesis, self.rules, self.prefix = genesis, rules, rules.prefix
        self.hub = Hub()
        fees, chain = rules.params.fees, rules.params.chain
        self.mempool = Mempool(mempool_pricing(rules), fees.min_price, chain.max_ttl_blocks)
        self._folder, self._describe, self._stop = folder, describe, stop
        writes = genesis_writes(genesis)
        root = update_tree(empty_tree(), writes).root
        rows = {Column.VALUE + key: value for key, value in writes.items() if value is not None}
        rows[Column.GENESIS.value] = encode(genesis)
        meta = Meta(FORMAT, rules.genesis, root, 0, rules.genesis, root, 1, 0)
        self._reader = LedgerReader(Source(_Rows(rows), "the genesis record"), meta)
        self._view = heads.view(self._reader, rules)

    def ledger(self) -> LedgerReader:
        """A reader at height 0."""
        return self._reader

    def view(self) -> State:
        """The genesis state."""
        return self._view

    def health(self) -> dict[str, Any]:
        """Live, and not ready."""
        return {"live": True, "ready": False, "why": f"it {self._describe()['stage']}"}

    def status(self) -> dict[str, Any]:
        """How far it is."""
        told = self._describe()
        return {"phase": "joining", "peers": told["peers"], "snapshot": told}

    def network(self) -> dict[str, Any]:
        """As a node that stands alone: the network part of this time is another than the later one."""
        return {}

    def peers(self) -> list[dict[str, Any]]:
        """None that could be told of."""
        return []

    async def submit(self, raws: list[bytes]) -> list[Submitted]:
        """Nothing is taken."""
        raise Fault(NODE_JOINING)

    async def wait_for(self, txid: bytes, timeout_s: float) -> Included | None:
        """There are no blocks to wait for."""
        raise Fault(NODE_JOINING)

    def simulate(self, raw: bytes) -> tuple[Any, int]:
        """There is no head to simulate on."""
        raise Fault(NODE_JOINING)

    def proof(self, key: bytes, height: int | None) -> Proved | None:
        """No header is here that a proof could lead to."""
        raise Fault(NODE_JOINING)

    def snapshots(self) -> SnapshotFolder:
        """Those that the home keeps."""
        return self._folder

    def stop(self) -> None:
        """End; what was fetched is kept for the next start."""
        self._stop()
