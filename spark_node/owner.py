"""Whether the machine's owner uses it now: the rules for people who lend a desktop.

Here: `IdleWatch`, which turns observations into a verdict; what this machine can observe.
Not here: pausing and releasing (agent.py), the rules' text (policy.py).
Keeps: the owner's return is seen at the next look; lending begins again only after the whole idle time,
which counts from the agent's start at the earliest, so a reboot does not shorten it.
"""

from __future__ import annotations

import glob
import math
import os
import subprocess
import time
from typing import NamedTuple

from spark_node.inventory import read_gpus
from spark_node.policy import IdleRules

LOOK_S = 1.0
"""Between two looks: with a pause at once, the GPU is free within 3 s."""
COMMAND_TIMEOUT_S = 2.0
TERMINALS = ("/dev/pts/[0-9]*", "/dev/tty[0-9]*")


class Observed(NamedTuple):
    """One look at the machine."""

    input_idle_s: float
    """Since somebody last used keyboard, mouse or terminal; infinite when nothing can tell."""
    gpu_percent: int
    """How busy others keep the busiest GPU; -1 when it cannot be told from our own work."""


class Verdict(NamedTuple):
    """Whether the machine may be lent now."""

    is_free: bool
    why: str
    """Empty when it is free."""
    wait_s: int
    """Seconds without use until it may be, as it looks now."""


class IdleWatch:
    """Remembers since when the machine is unused."""

    def __init__(self, started_s: float) -> None:
        self._unused_since = started_s

    def judge(self, rules: IdleRules, observed: Observed, now_s: float) -> Verdict:
        """The verdict at `now_s`, by the same clock as `started_s`."""
        if not rules.enabled:
            return Verdict(True, "", 0)
        used_at = now_s - observed.input_idle_s
        why = ""
        if used_at > self._unused_since:
            self._unused_since, why = used_at, "you are using it"
        if observed.gpu_percent > rules.gpu_percent:
            self._unused_since = now_s
            why = f"another program uses the GPU ({observed.gpu_percent} %)"
        wait = math.ceil(self._unused_since + rules.after_s - now_s)
        if wait <= 0:
            return Verdict(True, "", 0)
        return Verdict(False, why or "you were using it a moment ago", wait)


def observe(rules: IdleRules, is_working: bool) -> Observed:
    """Look at the machine; `is_working` says that tasks of ours keep its GPUs busy. Blocks, briefly."""
    idle = min(_terminals_idle_s(), _command_idle_s(rules.command))
    busiest = -1
    if not is_working:
        gpus, _ = read_gpus()
        busiest = max((gpu.utilisation_percent for gpu in gpus), default=-1)
    return Observed(idle, busiest)


def _terminals_idle_s() -> float:
    """Since somebody typed into a terminal: the system notes it as the device's access time."""
    newest = 0.0
    for pattern in TERMINALS:
        for path in glob.glob(pattern):
            try:
                newest = max(newest, os.stat(path).st_atime)
            except OSError:
                continue
    return max(0.0, time.time() - newest) if newest else math.inf


def _command_idle_s(command: tuple[str, ...]) -> float:
    """What the owner's own program says, in milliseconds; a program that fails says nothing."""
    if not command:
        return math.inf
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=COMMAND_TIMEOUT_S, check=True, stdin=subprocess.DEVNULL
        )
        return max(0, int(done.stdout.split()[0])) / 1000
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return math.inf
