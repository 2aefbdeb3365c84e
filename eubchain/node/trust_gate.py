"""Whether blocks from peers may be believed: the answer to forks signed long ago by keys without a bond.

Here: the gate that syncing asks before it takes a range, and for every block of one; and that agreement's
messages pass on a node without a voice, which would otherwise be led astray block by block.
Not here: verifying commits (sync.py), light clients (consensus/light.py).
Keeps: on a network that guards value a node whose newest block is older than the trusting time takes
nothing from peers until a person has named a block that they trust; a chain without that block is refused
before the block is executed.
Errors: 2560 trust_needed, 2561 trust_contradicted.
"""

from __future__ import annotations

from collections.abc import Callable

from consensus.agreement.inputs import StartHeight
from consensus.light import Trust, terms_of
from consensus.types.errors import Fault, Reason
from consensus.types.genesis import Genesis

TRUST_NEEDED = Reason(
    2560,
    "trust_needed",
    "height:height days:count",
    "This node's newest block, {height}, is {days} days old: older than peers can be believed over.",
    "Ask somebody you trust for a recent HEIGHT:HASH (`eubchain query header` prints both), set it as "
    "sync.trust in config.toml and start again.",
)
TRUST_CONTRADICTED = Reason(
    2561,
    "trust_contradicted",
    "height:height found:hash trusted:hash",
    "The peers' chain has the block {found} at height {height}; you trust {trusted}.",
    "One of the two is a forgery. If yours is right, remove this home's ledger and give other peers; "
    "if the hash was mistyped, correct sync.trust.",
)


class TrustGate:
    """One node's trust; `clock_ms` is Unix time in milliseconds."""

    def __init__(self, genesis: Genesis, trust: Trust | None, clock_ms: Callable[[], int]) -> None:
        self._trust = trust
        self._trusting_ms = terms_of(genesis).trusting_ms
        self._interval_ms = genesis.params.chain.block_interval_ms
        self._clock_ms = clock_ms

    def check_head(self, height: int, time_ms: int) -> None:
        """Refuse to take blocks from peers upon a head that is too old; raise `Fault` 2560."""
        age_ms = self._clock_ms() - time_ms
        is_anchored = self._trust is not None and self._trust.height > height
        if age_ms > self._trusting_ms and not is_anchored:
            raise Fault(TRUST_NEEDED, height=height, days=age_ms // 86_400_000)

    def check_block(self, height: int, block_id: bytes) -> None:
        """Refuse a chain that does not hold the trusted block; raise `Fault` 2561."""
        trust = self._trust
        if trust is not None and trust.height == height and trust.block_id != block_id:
            raise Fault(TRUST_CONTRADICTED, height=height, found=block_id, trusted=trust.block_id)

    def admits(self, start: StartHeight) -> bool:
        """Whether to hear how others agree on a height; raise `Fault` 2560 upon a head that is too old.

        A member of the set speaks for itself: when a whole network has stood still for long, its members go
        on, and all others follow them. Up to a trusted height blocks come by syncing alone, which compares.
        """
        if start.me is not None:
            return True
        if self._trust is not None and self._trust.height >= start.height:
            return False
        self.check_head(start.height - 1, start.earliest_ms - self._interval_ms)
        return True
