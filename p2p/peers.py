"""Standing of peers: scores that decay, bans that survive a restart, and token buckets.

Here: the bookkeeping, by peer id and IP address. Not here: what is punished (service.py, eubchain/node).
Keeps: bounded in number; a ban names peer id and address; who is not heard of is forgotten. Time is
handed in, so that tests and the simulation rule it.
"""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

import structlog

from p2p.frames import Kind

log = structlog.get_logger("p2p")

SCORE_BANNED = -100
"""Below this a peer is banned."""
BAN_S = 3600
HALF_LIFE_S = 3600
"""A score halves every hour."""
SCORES_MAX = 4096
BANS_MAX = 1024


class Rate(NamedTuple):
    """Tokens a second, and how many may be saved up."""

    per_second: float
    burst: float


VOTES = Rate(1000, 4000)
BUNDLES = Rate(50, 200)
REQUESTS = Rate(20, 80)
BYTES = Rate(8 * 2**20, 32 * 2**20)
OTHER = Rate(100, 600)
CHUNK_BYTES_PER_TOKEN = 128 * 1024
"""A chunk of a snapshot is read from the disk: it takes more tokens of its request the larger it is. Half a
megabyte costs five; a node that begins by snapshot gets some 2 MB/s from each peer, after a burst of 8 MB."""
RATE_OF: dict[Kind, Rate] = {
    Kind.VOTE: VOTES,
    Kind.CERTIFICATE: OTHER,
    Kind.BLOCK_PART: OTHER,
    Kind.TRANSACTIONS: BUNDLES,
    Kind.ANNOUNCE: BUNDLES,
    Kind.WANT: BUNDLES,
}


class Bucket:
    """A token bucket; refilled by the clock that is handed in."""

    __slots__ = ("_at", "_rate", "_tokens")

    def __init__(self, rate: Rate, now_s: float) -> None:
        self._rate, self._at, self._tokens = rate, now_s, rate.burst

    def take(self, count: float, now_s: float) -> float:
        """Take tokens, into debt if need be; return how many seconds to wait until the debt is paid."""
        rate = self._rate
        self._tokens = min(rate.burst, self._tokens + (now_s - self._at) * rate.per_second) - count
        self._at = now_s
        return max(0.0, -self._tokens / rate.per_second)

    def spend(self, now_s: float) -> bool:
        """Take one token if there is one: without debt, for what is dropped instead of delayed."""
        rate = self._rate
        self._tokens = min(rate.burst, self._tokens + (now_s - self._at) * rate.per_second)
        self._at = now_s
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Intake:
    """All buckets of one connection."""

    def __init__(self, now_s: float) -> None:
        self._kinds = {rate: Bucket(rate, now_s) for rate in (VOTES, BUNDLES, REQUESTS, OTHER)}
        self._bytes = Bucket(BYTES, now_s)
        self._served = Bucket(BYTES, now_s)

    def bytes(self, count: int, now_s: float) -> float:
        """Count received bytes; return how long to wait before reading on."""
        return self._bytes.take(count, now_s)

    def message(self, kind: Kind, now_s: float) -> float:
        """Count a message; return how long to wait before taking the next."""
        return self._kinds[RATE_OF.get(kind, OTHER)].take(1, now_s)

    def served(self, count: int, now_s: float) -> float:
        """Count bytes of an answer; return how long to wait before giving the next."""
        return self._served.take(count, now_s)

    def request(self, now_s: float) -> float:
        """Count a request; return how long to wait before answering it."""
        return self._kinds[REQUESTS].take(1, now_s)

    def answered(self, kind: Kind, size: int, now_s: float) -> None:
        """Count what an answer cost, of which the next request knows."""
        if kind is Kind.GET_CHUNK:
            self._kinds[REQUESTS].take(size // CHUNK_BYTES_PER_TOKEN, now_s)


class Scores:
    """Scores and bans of peers, by peer id; a ban also holds for the address it was seen at."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._scores: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._bans: OrderedDict[str, float] = OrderedDict()
        """Peer id or IP address to the Unix second at which the ban ends."""
        if file is not None:
            self._load(file)

    def _load(self, file: Path) -> None:
        try:
            found = json.loads(file.read_text("utf-8"))
        except (OSError, ValueError):
            return  # bans are a convenience: a missing or damaged list is an empty one
        if isinstance(found, dict):
            for name, until in list(found.items())[:BANS_MAX]:
                if isinstance(until, int | float):
                    self._bans[str(name)] = float(until)

    def _save(self) -> None:
        if self._file is None:
            return
        temporary = self._file.with_suffix(".new")
        try:
            temporary.write_text(json.dumps(self._bans), "utf-8")
            os.replace(temporary, self._file)
        except OSError as error:
            # On a full disk the ban holds until the node stops; it must not end the node that bans.
            log.warning("bans cannot be kept", file=str(self._file), why=error.strerror or str(error))

    def score(self, peer: str, now_s: float) -> int:
        """The present score: 0 for a stranger."""
        points, at = self._scores.get(peer, (0.0, now_s))
        return round(points * 0.5 ** ((now_s - at) / HALF_LIFE_S))

    def penalise(self, peer: str, address: str, points: int, now_s: float) -> bool:
        """Take points; True when the peer is banned by it."""
        points_now = self.score(peer, now_s) - points
        self._scores[peer] = (points_now, now_s)
        self._scores.move_to_end(peer)
        if len(self._scores) > SCORES_MAX:
            self._scores.popitem(last=False)
        if points_now >= SCORE_BANNED:
            return False
        self.ban(peer, now_s)
        if address and not address.startswith("127.") and address != "::1":
            # Everybody on this machine shares its loopback address: there a ban is by peer id alone.
            self.ban(address, now_s)
        return True

    def ban(self, name: str, now_s: float) -> None:
        """Ban a peer id or an address for an hour."""
        self._bans[name] = now_s + BAN_S
        if len(self._bans) > BANS_MAX:
            self._bans.popitem(last=False)
        self._save()

    def is_banned(self, name: str, now_s: float) -> bool:
        """Whether a peer id or an address is banned; a ban that is over is forgotten."""
        until = self._bans.get(name)
        if until is None:
            return False
        if until > now_s:
            return True
        del self._bans[name]
        self._scores.pop(name, None)
        return False
