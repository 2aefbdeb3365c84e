"""What a spark's owner allows: the policy file, re-read whenever it changes.

Here: the options with their comments, `Policy`, `PolicyFile`, changing one option in place.
Not here: what follows from it for a task (offering.py), when the machine is idle (owner.py).
Keeps: a file that cannot be read changes nothing: the last good policy stays in force and `trouble`
says line and caret; whoever edits the file keeps his comments.
Errors: 3210 policy_invalid.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from consensus.types.amounts import parse_eubc
from consensus.types.errors import Fault, Reason, Rejected
from spark_node.job import DOCKER, WASI
from spark_node.settings import Option, Value, Values, options_text, read_options, refusal, toml_value

POLICY_INVALID = Reason(
    3210,
    "policy_invalid",
    "path:text line:count why:text shown:text",
    "{path}, line {line}: {why}.\n{shown}",
    "Mend the line; until then the last good policy stays in force.",
)

NUMPY, TORCH = "numpy", "torch"
"""Kinds of prover backends."""
ALWAYS, NEVER, AUTO = "always", "never", "auto"

HEAD = (
    "# What this spark lends, to whom, and for how much. The agent re-reads the file when it changes;",
    "# a mistake in it changes nothing and is shown by `eubchain spark status`.",
)
OPTIONS = (
    Option("price", "gpu_hour", "1", "The least that an hour of one GPU costs, in EUBC."),
    Option("price", "cpu_hour", "0.05", "The least that an hour of one processor core costs, in EUBC."),
    Option("price", "task", "0", "The least that any task costs, however short, in EUBC."),
    Option("price", "reserve", "0.1", "EUBC that offers never touch, so that fees can be paid."),
    Option(
        "price",
        "promise_percent",
        50,
        "Promised time, in percent of a task's run window: 13 to 100. A task may take twice as long as "
        "promised, and sooner ranks better.",
    ),
    Option("tasks", "runtimes", (WASI, DOCKER), "What may run here: wasi, docker."),
    Option("tasks", "slots", 1, "Tasks at one time, 1 to 64."),
    Option("tasks", "images_allowed", (), "Beginnings of image names; empty allows every pinned image."),
    Option("tasks", "images_denied", (), "Beginnings of image names that are never run."),
    Option("tasks", "requesters_allowed", (), "Addresses; empty works for everyone."),
    Option("tasks", "requesters_denied", (), "Addresses that this spark never works for."),
    Option("tasks", "judging", False, "Whether this spark may be drawn as a judge of others' results."),
    Option("tasks", "reservations", True, "Whether to bind this machine to tasks that start later."),
    Option("machine", "gpus", 64, "GPUs to lend at most."),
    Option("machine", "cpus", 0, "Processors to lend at most; 0 lends all but one."),
    Option("machine", "memory_mib", 0, "Memory to lend at most, MiB; 0 lends three quarters."),
    Option("machine", "disk_mib", 20_480, "Disk to lend at most, MiB; inputs, results and scratch space."),
    Option("machine", "hours", (), 'When it takes work, local time, as in ["22:00-07:00"]; empty is always.'),
    Option("idle", "enabled", False, "Lend only while nobody uses the machine (a desktop)."),
    Option("idle", "after_minutes", 10, "Nobody at keyboard, mouse or terminal for so long."),
    Option("idle", "gpu_percent", 10, "Others keep the GPU below this."),
    Option(
        "idle",
        "release_minutes",
        15,
        "A task paused for so long is given up, 0: at once; its GPU memory stays taken.",
    ),
    Option("idle", "command", (), 'A program that prints milliseconds without input, as in ["xprintidle"].'),
    Option(
        "proving",
        "enabled",
        True,
        "Prove compute in the network's windows: it earns weight and ranks offers.",
    ),
    Option("proving", "backend", "numpy", "What computes: numpy, torch, or a device as in torch:cuda:0."),
    Option("proving", "threads", 0, "Threads of the prover; 0 is all processors but one."),
    Option(
        "proving",
        "pause_tasks",
        AUTO,
        "Freeze what runs while a window is searched: always, never, or auto, which does so if the prover "
        "wants a GPU or more threads than there are processors that are not lent.",
    ),
    Option("docker", "address", "unix:///var/run/docker.sock", "The Docker engine; empty for none."),
    Option("docker", "container_runtime", "", "An OCI runtime such as runsc or sysbox-runc; empty: default."),
    Option(
        "docker", "gpu_devices", (), "Device files instead of NVIDIA's, as AMD wants: /dev/kfd, /dev/dri."
    ),
    Option(
        "storage",
        "listen",
        "127.0.0.1:0",
        "Where the agent serves results that the requester's store refuses; empty: never.",
    ),
    Option("storage", "public", "", "How others reach it, as in http://198.51.100.7:26656; empty: as above."),
    Option("storage", "directory", "", "file: places below this directory may be used; empty: none."),
)

_DEFAULTS: Values = {(option.section, option.key): option.default for option in OPTIONS}
_AMOUNTS = (("price", "gpu_hour"), ("price", "cpu_hour"), ("price", "task"), ("price", "reserve"))
_RANGES = {
    ("price", "promise_percent"): (13, 100),
    ("tasks", "slots"): (1, 64),
    ("idle", "gpu_percent"): (0, 100),
    ("idle", "after_minutes"): (0, 10_080),
}
_SPAN = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-3]):([0-5][0-9])", re.ASCII)


class Policy(NamedTuple):
    """The owner's wishes; amounts in grains, sizes in bytes."""

    gpu_hour: int
    cpu_hour: int
    task_least: int
    reserve: int
    promise_percent: int
    runtimes: tuple[str, ...]
    slots: int
    images_allowed: tuple[str, ...]
    images_denied: tuple[str, ...]
    requesters_allowed: tuple[str, ...]
    requesters_denied: tuple[str, ...]
    judging: bool
    reservations: bool
    gpus: int
    cpus: int
    memory_bytes: int
    disk_bytes: int
    hours: tuple[tuple[int, int], ...]
    """Spans of minutes of the day; a span may pass midnight."""
    idle: IdleRules
    proving: bool
    prover_backend: str
    prover_threads: int
    """0: all but one."""
    pause_tasks: str
    """ALWAYS, NEVER or AUTO."""
    docker_address: str
    container_runtime: str
    gpu_devices: tuple[str, ...]
    listen: str
    public: str
    directory: str

    @property
    def proves_on_gpu(self) -> bool:
        """Whether the prover wants a GPU where there is one."""
        kind, _, device = self.prover_backend.partition(":")
        return self.proving and kind == TORCH and not device.startswith("cpu")

    def is_open(self, minute: int) -> bool:
        """Whether the machine takes work at this minute of the local day."""
        return not self.hours or any(
            start <= minute < end if start <= end else minute >= start or minute < end
            for start, end in self.hours
        )


class IdleRules(NamedTuple):
    """When a machine counts as unused."""

    enabled: bool
    after_s: int
    gpu_percent: int
    release_after_s: int
    command: tuple[str, ...]


def default_policy_text(changes: Values | None = None) -> str:
    """The file that `spark init` writes."""
    return options_text(HEAD, OPTIONS, changes)


def parse_policy(text: str, path: str = "policy.toml") -> Policy:
    """Read a policy; raise `Fault` 3210 with line and caret."""
    values = _DEFAULTS | read_options(POLICY_INVALID, path, text, OPTIONS)

    def refuse(section: str, key: str, why: str) -> Fault:
        return refusal(POLICY_INVALID, path, text, key, why, section=section)

    amounts: dict[tuple[str, str], int] = {}
    for name in _AMOUNTS:
        try:
            amounts[name] = parse_eubc(str(values[name]))
        except Rejected as rejected:
            raise refuse(*name, f"{'.'.join(name)}: {rejected.facts['why']!s}") from None
    for (section, key), (least, most) in _RANGES.items():
        if not least <= _number(values, section, key) <= most:
            raise refuse(section, key, f"{section}.{key} must be from {least} to {most}")
    for runtime in _texts(values, "tasks", "runtimes"):
        if runtime not in (WASI, DOCKER):
            raise refuse("tasks", "runtimes", f"there is no runtime {runtime}; choose among wasi, docker")
    if values["proving", "pause_tasks"] not in (ALWAYS, NEVER, AUTO):
        raise refuse("proving", "pause_tasks", "proving.pause_tasks must be always, never or auto")
    spans = []
    for span in _texts(values, "machine", "hours"):
        match = _SPAN.fullmatch(span)
        if match is None:
            raise refuse("machine", "hours", f"{span} is no span of time such as 22:00-07:00")
        spans.append((int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4])))
    return _policy(values, amounts, tuple(spans))


def _policy(
    values: Values, amounts: dict[tuple[str, str], int], spans: tuple[tuple[int, int], ...]
) -> Policy:
    return Policy(
        gpu_hour=amounts["price", "gpu_hour"],
        cpu_hour=amounts["price", "cpu_hour"],
        task_least=amounts["price", "task"],
        reserve=amounts["price", "reserve"],
        promise_percent=_number(values, "price", "promise_percent"),
        runtimes=_texts(values, "tasks", "runtimes"),
        slots=_number(values, "tasks", "slots"),
        images_allowed=_texts(values, "tasks", "images_allowed"),
        images_denied=_texts(values, "tasks", "images_denied"),
        requesters_allowed=_texts(values, "tasks", "requesters_allowed"),
        requesters_denied=_texts(values, "tasks", "requesters_denied"),
        judging=bool(values["tasks", "judging"]),
        reservations=bool(values["tasks", "reservations"]),
        gpus=_number(values, "machine", "gpus"),
        cpus=_number(values, "machine", "cpus"),
        memory_bytes=_number(values, "machine", "memory_mib") * 2**20,
        disk_bytes=_number(values, "machine", "disk_mib") * 2**20,
        hours=spans,
        idle=IdleRules(
            bool(values["idle", "enabled"]),
            _number(values, "idle", "after_minutes") * 60,
            _number(values, "idle", "gpu_percent"),
            _number(values, "idle", "release_minutes") * 60,
            _texts(values, "idle", "command"),
        ),
        proving=bool(values["proving", "enabled"]),
        prover_backend=str(values["proving", "backend"]),
        prover_threads=_number(values, "proving", "threads"),
        pause_tasks=str(values["proving", "pause_tasks"]),
        docker_address=str(values["docker", "address"]),
        container_runtime=str(values["docker", "container_runtime"]),
        gpu_devices=_texts(values, "docker", "gpu_devices"),
        listen=str(values["storage", "listen"]),
        public=str(values["storage", "public"]),
        directory=str(values["storage", "directory"]),
    )


def _number(values: Values, section: str, key: str) -> int:
    value = values[section, key]
    assert isinstance(value, int), "numbers are read as numbers"
    return value


def _texts(values: Values, section: str, key: str) -> tuple[str, ...]:
    value = values[section, key]
    assert isinstance(value, tuple), "lists are read as tuples"
    return value


def changed_text(text: str, section: str, key: str, value: Value) -> str:
    """The file with one option changed in its place, every comment kept."""
    lines, inside, last = text.splitlines(), False, -1
    for number, line in enumerate(lines):
        stripped = line.strip()
        if stripped.startswith("["):
            inside = stripped == f"[{section}]"
        if inside:
            last = number if stripped else last
            if re.match(rf"{re.escape(key)}\s*=", stripped):
                lines[number] = f"{key} = {toml_value(value)}"
                return "\n".join(lines) + "\n"
    addition = [f"{key} = {toml_value(value)}"]
    if last < 0:
        lines += ["", f"[{section}]", *addition]
    else:
        lines[last + 1 : last + 1] = addition
    return "\n".join(lines) + "\n"


class PolicyFile:
    """The file and the last good policy in it."""

    def __init__(self, path: Path) -> None:
        """Read it; raise `Fault` 3210 when it is bad from the start."""
        self._path = path
        self._seen = self._stamp()
        self.policy = parse_policy(self._read(), str(path))
        self.trouble: Fault | None = None
        """What is wrong with the file as it stands now."""

    def refresh(self, told: Callable[[Fault | None], None] = lambda _: None) -> bool:
        """Read it again if it changed; returns whether another policy is in force now."""
        stamp = self._stamp()
        if stamp == self._seen:
            return False
        self._seen = stamp
        try:
            policy = parse_policy(self._read(), str(self._path))
        except Fault as fault:
            self.trouble = fault
            told(fault)
            return False
        self.trouble = None
        told(None)
        is_new, self.policy = policy != self.policy, policy
        return is_new

    def _stamp(self) -> tuple[int, int, int]:
        try:
            status = os.stat(self._path)
        except OSError:
            return 0, 0, 0
        return status.st_mtime_ns, status.st_size, status.st_ino

    def _read(self) -> str:
        try:
            return self._path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise Fault(
                POLICY_INVALID, path=str(self._path), line=1, why=f"it cannot be read: {why}", shown=""
            ) from None
