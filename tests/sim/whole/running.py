"""Running trio so that a seed decides everything: time, the order of tasks, how long a thread takes.

Here: `run_seeded`. Not here: what runs (town.py).
Keeps: one seed, one history. Time is virtual and jumps from deadline to deadline; the order in which
ready tasks run is drawn, so that interleavings are explored too; work for threads runs at once, on the
loop, after a drawn delay.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from random import Random
from typing import Any, TypeVar

import structlog
import trio
import trio._core._run as scheduling
from trio.testing import MockClock

from tests.sim.disk import MemoryDisk

T = TypeVar("T")

DISK_DELAY_MS_MAX = 4
DISK: ContextVar[MemoryDisk] = ContextVar("disk")
"""The disk of the machine whose task runs: tasks inherit it from the one that started them."""
CONTEXTS = {"propose.<locals>.sign": "proposal", "vote.<locals>.sign": "vote"}
"""What is signed in a thread, so that crashes can be told by F1 to F4."""


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    random = Random(seed)

    async def on_the_loop(work: Callable[..., T], *arguments: Any, **how: Any) -> T:
        # As with a thread, cancelling does not stop what has begun.
        with trio.CancelScope(shield=True):
            await trio.sleep(random.randint(0, DISK_DELAY_MS_MAX) / 1000)
        disk = DISK.get()
        name = getattr(work, "__qualname__", "")
        disk.context = next((word for end, word in CONTEXTS.items() if name.endswith(end)), "")
        try:
            return work(*arguments)
        finally:
            disk.context = ""

    kept = scheduling._ALLOW_DETERMINISTIC_SCHEDULING, scheduling._r, trio.to_thread.run_sync
    before = structlog.get_config()
    scheduling._ALLOW_DETERMINISTIC_SCHEDULING = True
    scheduling._r = Random(seed)
    trio.to_thread.run_sync = on_the_loop
    if not structlog.is_configured() or before["logger_factory"] is not _TRACE:
        silent = structlog.make_filtering_bound_logger(logging.CRITICAL)
        structlog.configure(processors=[], wrapper_class=silent, cache_logger_on_first_use=False)
    try:
        yield
    finally:
        scheduling._ALLOW_DETERMINISTIC_SCHEDULING, scheduling._r, trio.to_thread.run_sync = kept
        structlog.configure(**before)


def _when(logger: Any, method: str, event: Any) -> Any:
    event["s"] = f"{trio.current_time():.3f}"
    return event


class _Print:
    def __call__(self, *names: Any) -> Any:
        return structlog.PrintLogger()


_TRACE = _Print()


def trace() -> None:
    """From now on print what nodes log, with the virtual second and the node."""
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, structlog.processors.add_log_level, _when,
                    structlog.dev.ConsoleRenderer(colors=False)],
        logger_factory=_TRACE,
        cache_logger_on_first_use=False,
    )  # fmt: skip


def run_seeded(seed: int, main: Callable[[], Awaitable[T]]) -> T:
    """Run to the end; raise what it raises."""
    with _seeded(seed):
        return trio.run(main, clock=MockClock(autojump_threshold=0))


def collect_rarely() -> None:
    """A process that runs many seeds collects garbage rarely."""
    gc.set_threshold(50_000, 20, 20)
