"""`eubchain peers`, `eubchain show-node-id`: who is connected, and how others connect to this node.

Here: the verbs. Not here: the network (p2p).
"""

from __future__ import annotations

from typing import Any

from eubchain.cli.session import SESSION
from eubchain.node.home import Home


def peers() -> None:
    """List the peers that the node is connected to.

    Example: eubchain peers
    """
    info, found = SESSION.asked("net_info"), SESSION.asked("net_peers")
    lines = [f"{info['peers']} peers, {info['validator_peers']} of them validators"]
    lines += [line_of(peer) for peer in found]
    if not found:
        known = info.get("known_addresses", 0)
        lines.append(
            f"  none of {known} known could be met so far: `eubchain status` says why"
            if known
            else "  none: add nodes to [p2p] bootstrap, or wait for somebody to connect"
        )
    SESSION.result({"info": info, "peers": found}, "\n".join(lines))


def line_of(peer: dict[str, Any]) -> str:
    """One peer in one line."""
    kind = "validator" if peer["validator"] else "node"
    score = f" · score {peer['score']}" if peer["score"] else ""
    place = f"{peer['direction']} {peer['address']}, {peer['connected_s']} s"
    traffic = f"{peer['bytes_in']} B in, {peer['bytes_out']} B out"
    line = f"  {peer['moniker'] or '-'}  {kind} at height {peer['height']} · {place} · {traffic}{score}"
    return f"{line}\n    {peer['id']}"


def show_node_id() -> None:
    """Print the node's peer id, which others put behind /p2p/ in their bootstrap list.

    Example: eubchain show-node-id --home ./node0
    """
    # Imported here: other verbs need no cryptography library.
    from p2p.identity import read_node_key

    home = Home(SESSION.home)
    home.check()
    peer_id = read_node_key(home.node_key).peer_id
    address_file = home.data / "p2p_address"
    address = address_file.read_text() if address_file.exists() else ""
    text = f"{peer_id}\n  listening at {address}" if address else peer_id
    SESSION.result({"id": peer_id, "address": address}, text)
