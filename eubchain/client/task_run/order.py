"""What a requester asks for, and the post that says it on chain.

Here: `Order`, its checks, the windows in blocks, the post and its spec.
Not here: the task file and options it is read from (task_file.py), the sealed job (granting.py).
Keeps: what no machine could run, and what the network's bounds refuse, is refused before a signature.
Errors: 3152 order_invalid; 3300 of the spec.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NoReturn

from consensus.types.codec import encode
from consensus.types.errors import Fault, Reason
from consensus.types.params import MarketParams, WindowBounds
from eubchain.client.task_run.quantities import blocks_of, seconds_of
from spark_node.job import WASI, Spec, check_spec
from vm.task.payloads import Post, Resources, Role, Way, Windows

ROLE = "main"
OFFER_BLOCKS = 3
"""The offer window unless one is asked for: a spark sees the post, offers, and is drawn."""
GRANT_S, START_WASI_S, START_DOCKER_S, REVIEW_S = 60, 60, 1_200, 3_600
"""Windows unless others are asked for; a container's image may have to be pulled."""
RUN_SPARE_PERCENT, RUN_SPARE_BLOCKS_LEAST = 10, 20
"""What the run window adds to the program's own time, for packing, sealing and delivering."""
FUEL_PER_SECOND = 10**10
"""wasi: more than any processor spends, so that the clock decides."""
INPUT_GRAIN_BYTES = 2**20

ORDER_INVALID = Reason(
    3152,
    "order_invalid",
    "what:text why:text",
    "{what}: {why}.",
    "Correct it on the command line or in the task file; nothing was signed.",
)


@dataclass(frozen=True, kw_only=True)
class Order:
    """One run of one program on one spark. Grains, bytes, seconds; 0 s is the usual window."""

    maximum: int
    """M: the most that the spark is paid."""
    time_s: int
    """What the program may take."""
    image: str = ""
    """docker: pinned by digest or image id; empty for a WebAssembly module."""
    module: Path | None = None
    command: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """Often secrets, so they show in no repr."""
    input: Path | None = None
    output: Path | None = None
    input_mount: str = "/input"
    output_mount: str = "/output"
    gpus: int = 0
    gpu_memory_bytes: int = 0
    cpu_milli: int = 1_000
    memory_bytes: int = 512 * 2**20
    disk_bytes: int = 2**30
    output_bytes_max: int = 2**28
    log_bytes_max: int = 64 * 2**20
    start_in_s: int = 0
    """A reservation: how long from now its clocks start; 0 for at once."""
    offer_s: int = 0
    grant_s: int = 0
    start_s: int = 0
    review_s: int = 0
    min_kappa: int = 0
    """Parts per billion."""
    allow: tuple[str, ...] = ()
    """Addresses as text."""
    avoid: tuple[str, ...] = ()
    by_hand: bool = False
    place: str = ""
    """Where sealed data lies; empty: the store of the node that is asked."""
    check: Path | None = None
    """A WASI module that scores the result, run here."""
    pass_mark: int = 60
    cloud_hour: int = 0
    """What an hour of such a machine costs elsewhere, as the requester says; 0 for unknown."""

    @property
    def runtime(self) -> Literal["wasi", "docker"]:
        """`wasi` or `docker`."""
        return "wasi" if self.module is not None else "docker"

    @property
    def resources(self) -> Resources:
        """What a machine must declare."""
        return Resources(
            self.gpus, self.gpu_memory_bytes, -(-self.cpu_milli // 1_000), self.memory_bytes, self.disk_bytes
        )

    @property
    def program(self) -> str:
        """What runs, for people."""
        if self.module is not None:
            return shlex.join((self.module.name, *self.command))
        return shlex.join(self.command) or "the image's own command"


def refuse(what: str, why: str) -> NoReturn:
    """Raise `Fault` 3152."""
    raise Fault(ORDER_INVALID, what=what[:80], why=why)


def check_order(order: Order) -> None:
    """Refuse what contradicts itself or names files that are not there."""
    if bool(order.image) == (order.module is not None):
        refuse(
            "the program", "name one image or one module, with --image or --wasm or in a task file (--file)"
        )
    for what, path in (("module", order.module), ("check", order.check)):
        if path is not None and not path.is_file():
            refuse(what, f"there is no file {path}")
    if order.input is not None and not order.input.exists():
        refuse("input", f"there is no file or directory {order.input}")
    if not 0 <= order.pass_mark <= 100:
        refuse("pass mark", "it is a number from 0 to 100")


def check_output(order: Order) -> None:
    """Refuse a place where the result would mix with other files."""
    output = order.output
    if output is None or not output.exists():
        return
    if not output.is_dir() or any(output.iterdir()):
        refuse("output", f"{output} exists and is not empty; a result is never mixed with other files")


def windows_of(order: Order, market: MarketParams, interval_ms: int) -> Windows:
    """The windows in blocks; what was asked for is refused outside the network's bounds, the rest fits in."""

    def window(name: str, asked_s: int, usual: int, bounds: WindowBounds) -> int:
        if not asked_s:
            return min(max(usual, bounds.least), bounds.most)
        blocks = blocks_of(asked_s, interval_ms)
        if not bounds.least <= blocks <= bounds.most:
            least, most = (seconds_of(b, interval_ms) for b in (bounds.least, bounds.most))
            refuse(f"{name} time", f"{asked_s} s; this network takes {least} s to {most} s")
        return blocks

    own = window("run", order.time_s, 0, market.run)
    spare = max(RUN_SPARE_BLOCKS_LEAST, own * RUN_SPARE_PERCENT // 100)
    start_s = START_WASI_S if order.runtime == WASI else START_DOCKER_S
    return Windows(
        window("offer", order.offer_s, OFFER_BLOCKS, market.offer),
        window("grant", order.grant_s, blocks_of(GRANT_S, interval_ms), market.grant),
        window("start", order.start_s, blocks_of(start_s, interval_ms), market.start),
        min(own + spare, market.run.most),
        window("review", order.review_s, blocks_of(REVIEW_S, interval_ms), market.review),
    )


def spec_of(order: Order, module_digest: bytes | None, input_bytes: int, recipient: str) -> Spec:
    """The public spec; raise `Fault` 3300 for what no machine could run."""
    # Rounded, so that a spec does not tell exactly how much the requester has.
    rounded = -(-max(1, input_bytes) // INPUT_GRAIN_BYTES) * INPUT_GRAIN_BYTES
    spec = Spec(
        order.runtime,
        order.image if module_digest is None else f"sha256:{module_digest.hex()}",
        order.input_mount,
        order.output_mount,
        order.cpu_milli,
        order.memory_bytes,
        order.disk_bytes,
        order.gpus,
        rounded,
        order.output_bytes_max,
        recipient,
        (),
    )
    check_spec(spec)
    return spec


def post_of(
    order: Order,
    spec: Spec,
    windows: Windows,
    allow: list[bytes],
    avoid: list[bytes],
    not_before: int = 0,
) -> Post:
    """The transaction that opens the task: one seat, judged by nobody but the requester."""
    role = Role(ROLE, 1, True, order.maximum, order.resources)
    return Post(
        way=Way.NONE,
        replicas=0,
        roles=(role,),
        min_kappa=order.min_kappa,
        allow=tuple(allow),
        avoid=tuple(avoid),
        windows=windows,
        not_before=not_before,
        by_hand=order.by_hand,
        check=None,
        spec=encode(spec),
    )
