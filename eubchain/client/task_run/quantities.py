"""Times and sizes as people type them: `2h`, `1h30m`, `512M`, `4G`; and back.

Here: parsing and printing, seconds into blocks. Not here: amounts of EUBC (consensus/types/amounts.py).
Units: seconds, bytes (binary multiples), blocks.
Errors: 3150 duration_malformed, 3151 size_malformed.
"""

from __future__ import annotations

import re

from consensus.types.errors import Fault, Reason

DURATION_MALFORMED = Reason(
    3150,
    "duration_malformed",
    "text:text",
    "'{text}' is not a length of time.",
    "Write it as 30s, 10m, 2h, 1h30m or 3d.",
)
SIZE_MALFORMED = Reason(
    3151,
    "size_malformed",
    "text:text",
    "'{text}' is not a size.",
    "Write it as 512M, 4G or 2T (binary multiples), or as a number of bytes.",
)

_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_BYTES = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_DURATION = re.compile(r"(?:[0-9]{1,7}[smhd])+", re.ASCII)
_SIZE = re.compile(r"([0-9]{1,15})([KMGT]?)(?:i?B)?", re.ASCII)
DURATION_S_MAX = 2_592_000
SIZE_BYTES_MAX = 2**50


def parse_duration(text: str) -> int:
    """Seconds of a length of time, 1 s to 30 days; raise `Fault` 3150."""
    if _DURATION.fullmatch(text) is None:
        raise Fault(DURATION_MALFORMED, text=text[:40])
    seconds = sum(int(count) * _SECONDS[unit] for count, unit in re.findall(r"([0-9]+)([smhd])", text))
    if not 1 <= seconds <= DURATION_S_MAX:
        raise Fault(DURATION_MALFORMED, text=text[:40])
    return seconds


def parse_size(text: str) -> int:
    """Bytes of a size; raise `Fault` 3151."""
    match = _SIZE.fullmatch(text)
    size = int(match[1]) * _BYTES[match[2]] if match is not None else SIZE_BYTES_MAX + 1
    if size > SIZE_BYTES_MAX:
        raise Fault(SIZE_MALFORMED, text=text[:40])
    return size


def counted(number: int, thing: str) -> str:
    """A number of things in words: 1 file, 2 files."""
    return f"{number:,} {thing}" + ("" if number == 1 else "s")


def show_size(size: int) -> str:
    """A size in the largest unit that leaves a whole part."""
    for unit, factor in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= factor:
            return f"{size / factor:.1f}".removesuffix(".0") + f" {unit}"
    return f"{size} bytes"


def show_clock(seconds: int) -> str:
    """A length of time as a clock: 0:04, 12:30, 2:00:00."""
    minutes, rest = divmod(max(0, seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def blocks_of(seconds: int, interval_ms: int) -> int:
    """Blocks that last at least so long."""
    return -(-seconds * 1_000 // interval_ms)


def seconds_of(blocks: int, interval_ms: int) -> int:
    """About how long so many blocks take."""
    return blocks * interval_ms // 1_000
