"""What a person sees of a task: the table before signing, moving clocks, lines, the end.

Here: `Screen` (a terminal with a moving line, plain lines when piped, JSON lines under --json), tables.
Not here: what is told (eubchain/client/task_run/following.py), the verbs (task.py, task_steps.py).
Keeps: never ten seconds without a sign of life; what a stranger's program printed cannot move the
cursor or colour the terminal.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import trio
from rich.console import Console
from rich.live import Live
from rich.text import Text

from consensus.types.amounts import PPB, format_eubc
from eubchain.cli.session import SESSION

if TYPE_CHECKING:
    from eubchain.client.network import Network
    from eubchain.client.sending import Progress as Waiting
    from eubchain.client.task_run.market import OfferSight, Sight
    from eubchain.client.task_run.order import Order
    from eubchain.client.task_run.preview import Preview
    from eubchain.client.task_run.telling import Event
    from spark_node.runtimes.log_lines import Progress

SIGN_OF_LIFE_S = 8.0
TICK_S = 0.5
BAR_CELLS = 20
CANDIDATES_SHOWN = 8
T = TypeVar("T")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def harmless(text: str) -> str:
    """A stranger's line without what terminals obey."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def print_line(text: str) -> None:
    """A line of the program on stdout."""
    print(json.dumps({"event": "log", "text": text}) if SESSION.json else harmless(text), flush=True)


def print_progress(progress: Progress) -> None:
    """The program's own account, as it gave it."""
    if SESSION.json:
        print(json.dumps({"event": "progress", "done": progress.done, "total": progress.total}), flush=True)
    else:
        SESSION.note(_bar(progress))


class Screen:
    """A listener's eyes: shows events, lines and a clock; keeps the last sight for whoever detaches."""

    def __init__(self, interval_ms: int) -> None:
        self.sight: Sight | None = None
        self.is_granted = self._is_paused = False
        self._interval_ms = interval_ms
        self._begun = self._spoken = trio.current_time()
        self._doing = "asking the chain"
        self._progress: Progress | None = None
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        is_live = not SESSION.json and self._console.is_terminal
        self._live = Live(console=self._console, auto_refresh=False, transient=True) if is_live else None

    # ------------------------------------------------------------ what is told

    def told(self, event: Event) -> None:
        """Show an event."""
        if event.kind == "granted":
            self.is_granted = True
        if SESSION.json:
            self._json(event.kind, text=event.text, **event.facts)
            return
        for line in event.text.split("\n"):
            self._print(f"{self._clock()}  {line}")
        if event.kind == "failed" and event.facts["tail"]:
            self._print("  its last output:")
            for line in str(event.facts["tail"]).splitlines()[-10:]:
                self._print(f"    {harmless(line)}")

    def seen(self, sight: Sight) -> None:
        """Keep what the clock is computed from."""
        self.sight = sight
        self.is_granted = self.is_granted or (sight.seat is not None and sight.seat.grant is not None)
        self._doing = stage_words(sight, self._interval_ms)

    def line(self, text: str) -> None:
        """Show a line of the program on stdout: it is the program's output, not ours."""
        if SESSION.json:
            self._json("log", text=text)
            return
        if self._live is not None and self._live.is_started and sys.stdout.isatty():
            self._console.print(harmless(text), markup=False)
        else:
            print(harmless(text), flush=True)
        self._spoken = trio.current_time()

    def note_stage(self, sight: Sight) -> None:
        """Show that a stage has changed."""
        if SESSION.json:
            self._json("stage", task=sight.id.hex(), height=sight.height, text=self._doing)
        else:
            self._print(f"{self._clock()}  {self._doing}")

    def progress(self, progress: Progress) -> None:
        """Keep the program's own account."""
        if SESSION.json and progress != self._progress:
            self._json("progress", done=progress.done, total=progress.total)
        self._progress = progress

    def transferred(self, what: str, done: int, total: int) -> None:
        """Keep how far a transfer is."""
        percent = done * 100 // total if total else 100
        self._doing = f"{what} {percent} % of {total:,} bytes"

    def waiting(self, progress: Waiting) -> None:
        """Keep why a transaction waits."""
        queue = "not in the queue" if progress.ahead is None else f"{progress.ahead} ahead in the queue"
        self._doing = f"a transaction waits: {queue}, until block {progress.valid_until}"

    def doing(self, what: str) -> None:
        """Say what takes time now."""
        self._doing = what

    # ------------------------------------------------------------ signs of life

    async def tick(self) -> None:
        """Move the clock until cancelled."""
        if self._live is not None:
            self._live.start()
        try:
            while True:
                self.refresh()
                await trio.sleep(TICK_S)
        finally:
            if self._live is not None:
                self._live.stop()

    def refresh(self) -> None:
        """Draw the moving line, or say a plain one when it has been quiet for long."""
        if self._is_paused:
            return
        if self._live is not None:
            self._live.update(Text(f"{self._clock()}  {self._status()}"), refresh=True)
        elif trio.current_time() - self._spoken >= SIGN_OF_LIFE_S:
            if SESSION.json:
                self._json("alive", text=self._status(), seconds=self._elapsed())
            else:
                self._print(f"{self._clock()}  {self._status()}")

    def pause(self) -> None:
        """Stop the moving line while a person is asked."""
        self._is_paused = True
        if self._live is not None:
            self._live.stop()

    def resume(self) -> None:
        """Go on moving."""
        self._is_paused = False
        if self._live is not None:
            self._live.start()

    def _elapsed(self) -> int:
        return int(trio.current_time() - self._begun)

    def _clock(self) -> str:
        from eubchain.client.task_run.quantities import show_clock

        return show_clock(self._elapsed())

    def _status(self) -> str:
        from eubchain.client.task_run.story import WORKING, cost_now

        parts = [self._doing]
        if self._progress is not None and self.sight is not None:
            parts.append(_bar(self._progress))
        if self.sight is not None and self.sight.seat is not None and self.sight.seat.stage in WORKING:
            cost = format_eubc(cost_now(self.sight))
            parts.append(f"{cost} of {format_eubc(self.sight.seat.price)} EUBC")
        return "  ".join(parts)

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False)
        self._spoken = trio.current_time()

    def _json(self, kind: str, **facts: Any) -> None:
        print(json.dumps({"event": kind, **facts}, ensure_ascii=False), flush=True)
        self._spoken = trio.current_time()


def _bar(progress: Progress) -> str:
    filled = progress.done * BAR_CELLS // progress.total
    percent = progress.done * 100 // progress.total
    return f"▕{'█' * filled}{' ' * (BAR_CELLS - filled)}▏ {percent} %"


def stage_words(sight: Sight, interval_ms: int) -> str:
    """Where a task stands, in a few words."""
    from eubchain.client.task_run.quantities import seconds_of, show_clock
    from vm.task.records import Stage

    def clock(blocks: int) -> str:
        return show_clock(seconds_of(max(0, blocks), interval_ms))

    seat = sight.seat
    if sight.is_final:
        return "settled" if seat is not None else "ended without a match"
    if seat is None:
        left = clock(sight.offers_end - sight.height)
        return f"waiting for offers, {left} left (block {sight.offers_end}), {sight.task.offers} so far"
    spent, left = clock(sight.height - seat.entered), clock(seat.deadline - sight.height)
    match seat.stage:
        case Stage.RESERVED:
            return f"reserved, begins in {clock(sight.task.not_before - sight.height)}"
        case Stage.MATCHED:
            return f"handing over the job, at most {left} left"
        case Stage.STARTING:
            return f"the spark prepares {spent}, at most {left} left"
        case Stage.RUNNING:
            promised = clock(seat.started + seat.promise - sight.height)
            return f"running {spent}, promised in {promised}, at most {left} left"
        case Stage.REVIEW:
            return f"in review, {left} left (block {seat.deadline})"
        case _:
            return "settled"


# ---------------------------------------------------------------------------------------- tables


async def busy(screen: Screen, what: str, work: Callable[[], Awaitable[T]]) -> T:
    """Do something that may take long, with signs of life."""
    screen.doing(what)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(screen.tick)
        done = await work()
        nursery.cancel_scope.cancel()
    return done


def show_preview(preview: Preview, network: Network) -> None:
    """All that a person should know before signing."""
    if SESSION.json:
        print(json.dumps({"event": "preview", **preview_facts(preview, network)}), flush=True)
    for line in preview_lines(preview, network):
        SESSION.note(line)


def preview_lines(preview: Preview, network: Network) -> list[str]:
    """The table of candidates and the figures."""
    from eubchain.client.task_run.quantities import counted, seconds_of, show_clock, show_size

    interval = network.rules.params.chain.block_interval_ms
    order, quote, windows = preview.order, preview.quote, preview.windows
    wait = seconds_of(windows.offer + 2, interval)
    rows = [("", "spark", "machine", "coefficient", "last price", "would lock", "starts in")]
    for number, candidate in enumerate(preview.candidates[:CANDIDATES_SHOWN]):
        hardware, spark = candidate.spark.hardware, candidate.spark
        machine = (
            f"{hardware.gpus} × {hardware.model}"
            if hardware.gpus
            else f"{hardware.cpus} core{'' if hardware.cpus == 1 else 's'}"
        )
        price = format_eubc(candidate.last_price) if candidate.last_price is not None else "-"
        starts = f"about {wait} s" if candidate.is_free else "when a slot is free"
        rows.append(
            (
                "✓" if number == 0 and candidate.is_free else " ",
                short(network.show(spark.address)),
                machine,
                f"{spark.kappa * 100 // PPB / 100:.2f}",
                price,
                format_eubc(candidate.gas),
                starts,
            )
        )
    lines = [f"  {line}" for line in table(rows)]
    more = len(preview.candidates) - CANDIDATES_SHOWN
    if more > 0:
        lines.append(f"    and {more} more")
    held = quote.escrow + quote.deposit
    balance = preview.prepared.spendable
    left = max(0, balance - held - preview.fees_max)
    review = seconds_of(windows.review, interval)
    cloud = order.cloud_hour * order.time_s // 3_600
    return [
        *lines,
        f"  runs       {order.program} ({order.runtime}), {counted(preview.measured.files, 'file')}, "
        f"{show_size(preview.measured.size)} of input",
        f"  needs      {_needs(order)}",
        f"  reserves   {format_eubc(quote.escrow)} EUBC for the spark; what is not used comes back",
        *([f"  elsewhere  about {format_eubc(cloud)} EUBC for the same time"] if cloud else []),
        f"  deposit    {format_eubc(quote.deposit)} EUBC, returns when the task's records are deleted",
        f"  fees       at most {format_eubc(preview.fees_max)} EUBC for three transactions",
        f"  balance    {format_eubc(balance)} → {format_eubc(left)} EUBC at least ({network.rules.chain_id})",
        f"  time       at most {show_clock(order.time_s)}; with packing and delivery {windows.run} blocks",
        "  judge      you: accept pays the spark; reject burns the price, nobody gets it",
        f"  silence    accepts: not back within {show_clock(review)} of the delivery, and the spark is paid"
        + ("" if order.check else "; --check FILE scores the result for you"),
        f"  at most    {format_eubc(quote.escrow + preview.fees_max)} EUBC can be lost, whatever happens",
    ]


def _needs(order: Order) -> str:
    from eubchain.client.task_run.quantities import show_size

    cores = f"{order.cpu_milli / 1_000:g} core{'' if order.cpu_milli == 1_000 else 's'}"
    parts = [cores, f"{show_size(order.memory_bytes)} of memory", f"{show_size(order.disk_bytes)} of disk"]
    if order.gpus:
        memory = f" with {show_size(order.gpu_memory_bytes)}" if order.gpu_memory_bytes else ""
        parts.insert(0, f"{order.gpus} GPU{'' if order.gpus == 1 else 's'}{memory}")
    return ", ".join(parts)


def preview_facts(preview: Preview, network: Network) -> dict[str, Any]:
    """The same for programs; grains as decimal strings."""
    return {
        "candidates": [
            {
                "spark": network.show(candidate.spark.address),
                "kappa": candidate.spark.kappa,
                "gas": str(candidate.gas),
                "last_price": None if candidate.last_price is None else str(candidate.last_price),
                "is_free": candidate.is_free,
            }
            for candidate in preview.candidates
        ],
        "escrow": str(preview.quote.escrow),
        "deposit": str(preview.quote.deposit),
        "fees_max": str(preview.fees_max),
        "balance": str(preview.prepared.spendable),
        "place": preview.place,
    }


def offer_lines(offers: list[OfferSight], network: Network, interval_ms: int) -> list[str]:
    """Standing offers, the best first."""
    from eubchain.client.task_run.quantities import seconds_of, show_clock

    rows = [("spark", "asks", "promises", "coefficient", "would lock")]
    rows += [
        (
            network.show(offer.spark),
            format_eubc(offer.price),
            show_clock(seconds_of(offer.promise, interval_ms)),
            f"{offer.kappa * 100 // PPB / 100:.2f}",
            format_eubc(offer.gas),
        )
        for offer in offers
    ]
    return table(rows)


def table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Rows with aligned columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    padded = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    return ["   ".join(cells).rstrip() for cells in padded]


def short(address: str) -> str:
    """An address that fits a column."""
    return f"{address[:10]}…{address[-2:]}"
