"""A node that tells where its CPU time goes: `python -m scripts.benchmarks._sampled_node HOME OUT`.

Here: the sampler, the node's start under it. Not here: what the samples mean (stages.py).
A profiling signal every so many milliseconds of the process's CPU time looks at the loop's stack; each sample
weighs what the loop's own thread has used since the last one, so that the sum is exact and other threads
and other processes do not count. SIGUSR1 begins, SIGUSR2 writes OUT.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from types import FrameType

from eubchain.cli.main import main

TICK_S = 0.002
"""Of CPU time: five hundred samples a second, at about one part in a hundred."""
DEPTH_MAX = 60


class Sampler:
    """CPU nanoseconds of the loop's thread by stack, innermost frame first."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._root = f"{Path.cwd()}/"
        self._stacks: Counter[str] = Counter()
        self._names: dict[object, str] = {}
        self._last_ns = self._began_ns = self._process_ns = 0

    def begin(self, number: int, frame: FrameType | None) -> None:
        """Forget what was before."""
        self._stacks.clear()
        self._last_ns = self._began_ns = time.thread_time_ns()
        self._process_ns = time.process_time_ns()
        signal.setitimer(signal.ITIMER_PROF, TICK_S, TICK_S)

    def tick(self, number: int, frame: FrameType | None) -> None:
        """Add what the thread has used since the last tick to the stack that is running."""
        now_ns = time.thread_time_ns()
        names = []
        while frame is not None and len(names) < DEPTH_MAX:
            code = frame.f_code
            name = self._names.get(code)
            if name is None:
                path = code.co_filename.removeprefix(self._root).rpartition("site-packages/")[2]
                name = self._names[code] = f"{path}:{code.co_name}"
            names.append(name)
            frame = frame.f_back
        self._stacks["|".join(names)] += now_ns - self._last_ns
        self._last_ns = now_ns

    def write(self, number: int, frame: FrameType | None) -> None:
        """Stop, and write what was seen; the file appears whole."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        loop_ns = time.thread_time_ns() - self._began_ns
        threads_ns = time.process_time_ns() - self._process_ns - loop_ns
        told = {"loop_ns": loop_ns, "threads_ns": threads_ns, "stacks": self._stacks}
        temporary = self._out.with_suffix(".new")
        temporary.write_text(json.dumps(told))
        os.replace(temporary, self._out)


if __name__ == "__main__":
    home, out = sys.argv[1:]
    sampler = Sampler(Path(out))
    signal.signal(signal.SIGUSR1, sampler.begin)
    signal.signal(signal.SIGUSR2, sampler.write)
    signal.signal(signal.SIGPROF, sampler.tick)
    main(["start", "--home", home])
