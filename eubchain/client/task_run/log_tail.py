"""A running program's output as it arrives: lines and progress out of sealed chunks.

Here: `follow_log`, which ends with the log or when nothing more can come.
Not here: chunks and their sealing (spark_node/storage/logs.py), showing lines (eubchain/cli).
Keeps: no line is shown twice or left out, also over an interruption; a store that is away is asked again.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from consensus.types.errors import Fault
from eubchain.client.task_run.journal import Journal
from eubchain.client.task_run.market import SEAT
from eubchain.client.task_run.requester import Requester
from spark_node.runtimes.log_lines import Progress, parse_progress
from spark_node.storage.logs import POLL_S, LogReader

RETRY_S = 2.0
PASSING = frozenset({"place_unreachable", "access_denied", "place_refuses"})
"""Faults that time may heal: a store of another node learns of the match a block later."""


class LineCutter:
    """Cuts bytes into lines; a line without an end waits for it."""

    def __init__(self, line: Callable[[str], None], progress: Callable[[Progress], None]) -> None:
        self._line, self._progress, self._rest = line, progress, b""

    def feed(self, data: bytes) -> None:
        """Take bytes of the log."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        for raw in whole:
            self._tell(raw)

    def close(self) -> None:
        """Tell what stands without an end."""
        if self._rest:
            self._tell(self._rest)
            self._rest = b""

    def _tell(self, raw: bytes) -> None:
        text = raw.decode("utf-8", "replace")
        progress = parse_progress(text)
        if progress is None:
            self._line(text)
        else:
            self._progress(progress)


async def follow_log(
    requester: Requester,
    journal: Journal,
    line: Callable[[str], None],
    progress: Callable[[Progress], None],
    *,
    is_over: Callable[[], bool],
) -> int:
    """Tell every line from the first on; return how many bytes the program lost to its limit.

    Ends with the last chunk, or once `is_over` says that no more will come and the store has none.
    Raise `Fault` 3412, 3480, 3481 for a log that cannot be trusted.
    """
    cutter = LineCutter(line, progress)
    async with requester.store(journal.job().log_place, journal.state.place) as store:
        reader = LogReader(store, journal.task, SEAT, journal.identity())
        while True:
            was_over = is_over()
            try:
                chunk = await reader.read()
            except Fault as fault:
                if fault.reason.name not in PASSING:
                    raise
                if was_over:
                    break
                await trio.sleep(RETRY_S)
                continue
            if chunk is not None:
                cutter.feed(chunk.data)
                if chunk.is_last:
                    cutter.close()
                    return chunk.dropped
            elif was_over:
                break
            else:
                await trio.sleep(POLL_S)
    cutter.close()
    return 0
