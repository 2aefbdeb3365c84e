"""What a running program prints: lines, progress, the tail for the error report.

Here: `LogSink`, which turns byte chunks into lines on a bounded channel, and `EUB_PROGRESS`.
Not here: sealing and uploading chunks (the agent), reading the streams (each runtime).
Keeps: a program never waits for a slow reader and never fills memory: a full channel drops lines and
counts them, a line longer than `LINE_BYTES_MAX` is cut into several, the tail has 64 KiB.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import trio

LINE_BYTES_MAX = 4096
LINES_WAITING_MAX = 1024
"""Lines nobody has read yet; when full, new ones are dropped and counted."""
TAIL_BYTES = 64 * 1024


class Line(NamedTuple):
    """One line of output, without its newline; bytes that are not UTF-8 are replaced."""

    stream: str
    """`out` or `err`; a runtime that cannot tell them apart says `out`."""
    text: str


class Progress(NamedTuple):
    """A program's own account of how far it is."""

    done: int
    total: int


_PROGRESS = re.compile(r"EUB_PROGRESS ([0-9]{1,18})/([0-9]{1,18})\s*", re.ASCII)


def parse_progress(line: str) -> Progress | None:
    """Read a line such as `EUB_PROGRESS 37/100`; anything else is None."""
    match = _PROGRESS.fullmatch(line)
    if match is None:
        return None
    done, total = int(match[1]), int(match[2])
    return Progress(done, total) if total > 0 and done <= total else None


class LogSink:
    """Collects one program's output; `feed` is called on the event loop only."""

    def __init__(self, bytes_max: int) -> None:
        self._send, self.receive = trio.open_memory_channel[Line | Progress](LINES_WAITING_MAX)
        self._partial = {"out": bytearray(), "err": bytearray()}
        self._tail = bytearray()
        self._bytes_max = bytes_max
        self.bytes = 0
        self.dropped = 0
        self.progress: Progress | None = None

    def feed(self, stream: str, chunk: bytes) -> bool:
        """Take a chunk; returns whether the program is still within its limit."""
        kept = chunk[: max(0, self._bytes_max - self.bytes)]
        self.bytes += len(chunk)
        self._tail += kept
        del self._tail[:-TAIL_BYTES]
        partial = self._partial[stream]
        partial += kept
        *whole, rest = bytes(partial).split(b"\n")
        for line in whole:
            self._emit(stream, line)
        while len(rest) > LINE_BYTES_MAX:
            self._emit(stream, rest[:LINE_BYTES_MAX])
            rest = rest[LINE_BYTES_MAX:]
        partial[:] = rest
        return self.bytes <= self._bytes_max

    def close(self) -> None:
        """Emit what stands without a newline and end the channel."""
        for stream, partial in self._partial.items():
            if partial:
                self._emit(stream, bytes(partial))
                partial.clear()
        self._send.close()

    def tail(self) -> bytes:
        """The last 64 KiB."""
        return bytes(self._tail)

    def _emit(self, stream: str, line: bytes) -> None:
        for start in range(0, max(len(line), 1), LINE_BYTES_MAX):
            text = line[start : start + LINE_BYTES_MAX].decode("utf-8", "replace")
            progress = parse_progress(text)
            if progress is not None:
                self.progress = progress
            try:
                self._send.send_nowait(progress or Line(stream, text))
            except (trio.WouldBlock, trio.BrokenResourceError):
                self.dropped += 1
