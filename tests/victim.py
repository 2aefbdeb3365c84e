"""A node under attack: a real process with one validator, and whether it is well.

Here: starting it, an attacker against it, what it must still do after an attack.
Not here: the attacker (attacker.py), the attacks (tests/functional/test_hostile_peer.py and its neighbour).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trio

from consensus.types.codec import encode
from p2p.frames import Kind, frame
from p2p.messages import Status
from tests.attacker import Attacker, attacker
from tests.node_world import NodeProcess, found, running


class Victim:
    """The node under attack."""

    def __init__(self, node: NodeProcess) -> None:
        self.node = node
        self.address: str = node.call("net_info")["address"]
        status = node.call("chain_status")
        self.genesis, self.chain_id = bytes.fromhex(status["genesis_hash"][2:]), status["chain_id"]

    def attacked(self) -> Any:
        """An attacker with a fresh peer id."""
        return attacker(self.address, self.genesis, self.chain_id)

    @property
    def memory_bytes(self) -> int:
        """Resident memory of the node's process."""
        pages = int(Path(f"/proc/{self.node.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGESIZE")

    async def assert_well(self) -> None:
        """It makes blocks, its network part never failed, and an honest stranger becomes its peer."""
        height = await trio.to_thread.run_sync(lambda: self.node.height)
        await trio.to_thread.run_sync(self.node.wait_height, height + 2)
        async with self.attacked() as honest:
            connection, agreement, _ = await honest.greeted()
            await self.until_peer(honest)
            await agreement.write(frame(Kind.STATUS, encode(Status(0, 0, 0, None, 0))))
            assert not connection.is_closed
        assert self.node.call("net_info")["failures"] == 0

    async def until_peer(self, one: Attacker, is_there: bool = True) -> None:
        """Until the node counts this peer among its own, or no more."""

        def settled() -> bool:
            peers = self.node.call("net_peers")
            return any(peer["id"] == one.key.peer_id for peer in peers) == is_there

        await trio.to_thread.run_sync(self.node.until, settled)


@contextmanager
def attacked_node(root: Path) -> Iterator[Victim]:
    """A network of one validator, ready for the attacker."""
    with running(found(root).validators[0]) as node:
        node.until(lambda: node.call("net_info")["address"] != "")
        yield Victim(node)
