"""Who may begin a handshake: asked before it, for a handshake costs 9 ms of the loop that votes run on.

Here: bans and a rate for each part of the network, by the address that a connection comes from.
Not here: the limits of connections that stand (life.py), scores (peers.py), where libp2p asks (guard.py).
Keeps: bounded in number; this machine's own connections are never counted.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from p2p.identity import is_local, subnet

HANDSHAKES_PER_S = 0.5
HANDSHAKES_BURST = 5.0
"""For each connection that may stand to one /24 of IPv4 or /48 of IPv6: who starts anew needs one or two."""
PARTS_MAX = 4096


class Admission:
    """The door of one host; `is_banned` knows addresses."""

    def __init__(self, is_banned: Callable[[str], bool], connections_per_subnet_max: int) -> None:
        self._is_banned = is_banned
        self._burst = HANDSHAKES_BURST * connections_per_subnet_max
        self._per_s = HANDSHAKES_PER_S * connections_per_subnet_max
        self._tokens: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """Of each part of the network: handshakes saved up, and when that was counted."""

    def admits(self, address: str, now_s: float) -> bool:
        """Whether a connection from this IP address may go on to its handshake."""
        if is_local(address):
            return True
        if self._is_banned(address):
            return False
        around = subnet(address)
        tokens, counted_s = self._tokens.get(around, (self._burst, now_s))
        tokens = min(self._burst, tokens + (now_s - counted_s) * self._per_s)
        is_admitted = tokens >= 1
        self._tokens[around] = (tokens - is_admitted, now_s)
        self._tokens.move_to_end(around)
        if len(self._tokens) > PARTS_MAX:
            self._tokens.popitem(last=False)
        return is_admitted
