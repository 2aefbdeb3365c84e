"""Whether this machine's clock agrees with the other validators', as far as their blocks tell.

Here: the times of the latest proposals against their arrival; the sentence while they disagree.
Not here: what agreement does with a time (hearing.py: timeliness), setting a clock.
Keeps: one proposer alone convicts nobody, nor does a message that was held up: only when every one of the
latest proposals, of two validators at least, is out by more than the network allows, on the same side.
Errors: 2555 clock_skewed.
"""

from __future__ import annotations

from collections import deque

import structlog

from consensus.types.errors import Fault, Reason
from consensus.types.params import ChainParams

log = structlog.get_logger("clock")

LATEST = 6
"""Proposals looked at: a pause of this process or of the network holds up fewer."""

CLOCK_SKEWED = Reason(
    2555,
    "clock_skewed",
    "skew:count side:text",
    "This machine's clock is about {skew} ms {side} the other validators' clocks: the blocks that this node "
    "proposes are refused or come too late, and it votes against theirs.",
    "Set the clock and keep it set (`timedatectl set-ntp true`); the node notices by itself.",
)


class ClockWatch:
    """Told of every new proposal of others; `skew_ms` and `why` say what follows."""

    def __init__(self, chain: ChainParams) -> None:
        # A proposal leaves when its proposer's clock has reached its time, and travels up to msg_delay.
        self._early_ms = -chain.precision_ms
        self._late_ms = chain.precision_ms + chain.msg_delay_ms
        self._latest: deque[tuple[bytes, int]] = deque(maxlen=LATEST)
        self.skew_ms = 0
        """How far this clock is ahead (behind: below 0) while it is out of bounds; else 0."""

    @property
    def why(self) -> str:
        """A sentence while the clock is wrong, else empty."""
        if not self.skew_ms:
            return ""
        side = "ahead of" if self.skew_ms > 0 else "behind"
        return str(Fault(CLOCK_SKEWED, skew=abs(self.skew_ms), side=side))

    def heard(self, proposer: bytes, time_ms: int, arrived_ms: int) -> None:
        """A new block's proposal of `proposer`, made for `time_ms`, arrived by this clock at `arrived_ms`."""
        self._latest.append((proposer, arrived_ms - time_ms))
        offsets = sorted(offset for _, offset in self._latest)
        is_out = offsets[-1] < self._early_ms or offsets[0] > self._late_ms
        is_known = len(offsets) == LATEST and len({one for one, _ in self._latest}) > 1
        was_out, self.skew_ms = bool(self.skew_ms), offsets[LATEST // 2] if is_out and is_known else 0
        if self.skew_ms and not was_out:
            log.warning(self.why, do=CLOCK_SKEWED.hint)
        elif was_out and not self.skew_ms:
            log.info("the clock agrees with the other validators' again")
