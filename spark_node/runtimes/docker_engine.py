"""What is asked of a Docker engine, one blocking call at a time.

Here: images by digest, the options of every container, its end, what a crash left behind.
Not here: the life of one run (docker.py), the disk of its result (disks.py).
Keeps: no container without the label of this spark, and none with more than `container_options` gives;
an image is used only if the engine resolves it to what the task named.
Every method blocks and belongs in a thread. Errors: 3320 engine_absent, 3321 image_missing,
3322 image_mismatch, 3323 engine_refused.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import docker
import requests
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.types import DeviceRequest, LogConfig, Mount, Ulimit

from consensus.types.errors import Fault, Reason
from spark_node.runtimes.runtime import GPU_MISSING, Order

ENGINE_ABSENT = Reason(
    3320,
    "engine_absent",
    "why:text",
    "No Docker engine answers: {why}.",
    "Start Docker, or offer for wasi tasks only.",
)
IMAGE_MISSING = Reason(
    3321,
    "image_missing",
    "image:text",
    "The image {image} is neither on this machine nor in a registry that it can reach.",
    "The requester pushes it and names its digest; `docker images --digests` shows it.",
)
IMAGE_MISMATCH = Reason(
    3322,
    "image_mismatch",
    "image:text found:text",
    "The engine answers {found} when asked for {image}.",
    "Do not run it: the registry or the engine is not to be trusted.",
)
ENGINE_REFUSED = Reason(
    3323,
    "engine_refused",
    "why:text",
    "The Docker engine refused: {why}.",
    "The engine's log says more; `docker info` shows what it can do.",
)

LABEL = "eub.spark"
CALL_SECONDS = 60
TEMPORARY_SHARE = 4
"""A quarter of the task's memory may be /tmp; tmpfs counts as memory."""
SHARED_MEMORY = "/dev/shm"
"""Private to the container: Python's multiprocessing and NCCL do not start without it."""
PIDS_MAX = 512
OPEN_FILES_MAX = 4096
FRAME_HEAD = struct.Struct(">B3xI")
"""The engine's framing of attached output: stream, three zero bytes, size."""
STDERR = 2
READ_BYTES = 64 * 1024


@dataclass(frozen=True)
class EngineSettings:
    """How this spark uses an engine: the operator's choices."""

    state: Path
    """A private directory of this spark; its path names the spark's containers too."""
    address: str = "unix:///var/run/docker.sock"
    container_runtime: str = ""
    """An installed OCI runtime such as runsc (gVisor) or sysbox-runc; empty: the engine's default."""
    user: int = 1000
    """User and group id inside; ignored without root, where the agent's own is the only one that works."""
    gpus: int = 0
    """How many GPUs the inventory found."""
    gpu_devices: tuple[str, ...] = ()
    """Device files instead of NVIDIA's requests, as AMD wants: /dev/kfd, /dev/dri."""
    memory_bytes_max: int = 0
    """0: what the engine's machine has."""
    cpu_milli_max: int = 0
    """0: what the engine's machine has."""

    @property
    def disks(self) -> Path:
        """Where the results' disks are made."""
        return self.state / "disks"

    @property
    def owner(self) -> str:
        """A short name of this spark, so that two of them may run one task on one engine."""
        return hashlib.sha256(str(self.state).encode()).hexdigest()[:8]

    @property
    def container_user(self) -> int:
        """Never 0."""
        return self.user if os.geteuid() == 0 else os.geteuid()


class Capacity(NamedTuple):
    """What the engine's machine has."""

    cpu_milli: int
    memory_bytes: int
    runtimes: tuple[str, ...]


class Ended(NamedTuple):
    """A container's end as the engine tells it."""

    status: int
    out_of_memory: bool
    """Whether the kernel killed anything inside; the program may have ended well all the same."""


@contextlib.contextmanager
def _engine_faults() -> Iterator[None]:
    try:
        yield
    except APIError as error:
        raise Fault(ENGINE_REFUSED, why=str(error.explanation or error)[:300]) from None
    except (DockerException, requests.exceptions.RequestException) as error:
        raise Fault(ENGINE_ABSENT, why=str(error)[:300]) from None


class Engine:
    """One engine; a lost connection is made again by the next call."""

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._client: Any = None

    def _connected(self) -> Any:
        if self._client is None:
            self._client = docker.DockerClient(base_url=self._settings.address, timeout=CALL_SECONDS)
        return self._client

    def capacity(self) -> Capacity:
        """What there is to lend; raises `Fault(ENGINE_ABSENT)`."""
        with _engine_faults():
            about = self._connected().info()
        return Capacity(about["NCPU"] * 1000, about["MemTotal"], tuple(about.get("Runtimes") or ()))

    # ---------------------------------------------------------------- images

    def is_available(self, image: str) -> bool:
        """Whether the image is here or its registry offers it."""
        with _engine_faults():
            try:
                self._connected().images.get(image)
            except ImageNotFound:
                if image.startswith("sha256:"):
                    return False
                return self._is_offered(image)
        return True

    def _is_offered(self, image: str) -> bool:
        try:
            self._connected().images.get_registry_data(image)
        except APIError:
            # Unknown, private and unreachable are the same to us: it cannot be had.
            return False
        return True

    def fetch(self, image: str) -> tuple[str, tuple[str, ...]]:
        """Pull if needed and compare; returns the image's id and the volumes that it declares."""
        with _engine_faults():
            images = self._connected().images
            try:
                found = images.get(image)
            except ImageNotFound:
                if image.startswith("sha256:"):
                    raise Fault(IMAGE_MISSING, image=image) from None
                try:
                    found = images.pull(image)
                except (NotFound, ImageNotFound):
                    raise Fault(IMAGE_MISSING, image=image) from None
        wanted = image.rpartition("@")[2]
        names = [found.id] if "@" not in image else found.attrs.get("RepoDigests") or []
        if not any(name.rpartition("@")[2] == wanted for name in names):
            raise Fault(IMAGE_MISMATCH, image=image, found=", ".join(names)[:300] or "nothing")
        volumes = (found.attrs.get("Config") or {}).get("Volumes") or {}
        return found.id, tuple(sorted(volumes))

    # ---------------------------------------------------------------- containers

    def create(self, order: Order, image: tuple[str, tuple[str, ...]], output: Path) -> str:
        """Create the container, stopped; returns its id."""
        options = container_options(self._settings, order, image[1], output)
        with _engine_faults():
            try:
                container = self._connected().containers.create(image[0], **options)
            except ImageNotFound:
                raise Fault(IMAGE_MISSING, image=order.spec.image) from None
        return str(container.id)

    def start(self, container: str, gpus: int) -> int | None:
        """Start it; returns an exit status if it could not even begin, None otherwise."""
        with _engine_faults():
            try:
                self._connected().api.start(container)
            except APIError as error:
                why = str(error.explanation or error)
                if gpus and ("device driver" in why or "nvidia" in why.lower()):
                    raise Fault(GPU_MISSING, need=gpus, have=0, why="the engine reaches none") from None
                if "executable file not found" in why or "no such file or directory" in why:
                    return 127
                if "permission denied" in why or "exec format error" in why:
                    return 126
                raise
        return None

    def wait(self, container: str) -> None:
        """Block until the container is over, however long that takes."""
        with _engine_faults():
            self._connected().api.wait(container, timeout=None)

    def ended(self, container: str) -> Ended:
        """Status and flag of a container that is over."""
        with _engine_faults():
            state = self._connected().api.inspect_container(container)["State"]
        return Ended(int(state["ExitCode"]), bool(state["OOMKilled"]))

    def attach(self, container: str) -> Attached:
        """What it will print, from the first byte on, if this is called before `start`."""
        with _engine_faults():
            parameters = {"stdout": 1, "stderr": 1, "stream": 1}
            return Attached(self._connected().api.attach_socket(container, params=parameters))

    def pause(self, container: str) -> None:
        """Freeze every process of it."""
        with _engine_faults():
            self._connected().api.pause(container)

    def resume(self, container: str) -> None:
        """Thaw it."""
        with _engine_faults():
            self._connected().api.unpause(container)

    def kill(self, container: str) -> None:
        """End it now; one that is over, or paused, or gone is fine."""
        with _engine_faults():
            for call in (self._connected().api.unpause, self._connected().api.kill):
                with contextlib.suppress(APIError):
                    call(container)

    def remove(self, container: str) -> None:
        """Remove it with its anonymous volumes, running or not; one that is gone is fine."""
        self.kill(container)
        with _engine_faults(), contextlib.suppress(NotFound):
            self._connected().api.remove_container(container, force=True, v=True)

    def ours(self) -> list[str]:
        """Ids of every container of this spark, in whatever state."""
        with _engine_faults():
            found = self._connected().api.containers(
                all=True, filters={"label": f"{LABEL}={self._settings.state}"}
            )
        return [container["Id"] for container in found]


def container_options(
    settings: EngineSettings, order: Order, volumes: tuple[str, ...], output: Path
) -> dict[str, Any]:
    """Everything a task's container is created with; what is not named here it does not get."""
    spec = order.spec
    user = settings.container_user
    assert user != 0, "a task never runs as root"
    temporary = max(2**20, spec.memory_bytes // TEMPORARY_SHARE)
    scratch = f"size={temporary},mode=1777,nosuid,nodev,noexec"
    mounts = [
        Mount(spec.input_mount, str(order.input), type="bind", read_only=True),
        Mount(spec.output_mount, str(output), type="bind"),
    ]
    mounted = {mount["Target"] for mount in mounts}
    options: dict[str, Any] = {
        "command": list(order.command) or None,
        "name": f"eub-{settings.owner}-{order.name}",
        "hostname": "task",
        "labels": {LABEL: str(settings.state), "eub.task": order.name},
        # The only place that a program may write to besides its result.
        "environment": {"HOME": "/tmp"} | dict(order.environment),
        "user": f"{user}:{user}",
        "network_mode": "none",
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "mem_limit": spec.memory_bytes,
        "memswap_limit": spec.memory_bytes,
        "oom_score_adj": 500,
        "nano_cpus": spec.cpu_milli * 10**6,
        "pids_limit": PIDS_MAX,
        "ipc_mode": "none",
        "init": True,
        # Volumes that the image declares would be unlimited space on the host.
        "tmpfs": {path: scratch for path in ("/tmp", SHARED_MEMORY, *volumes) if path not in mounted},
        "ulimits": [
            Ulimit(name="nofile", soft=OPEN_FILES_MAX, hard=OPEN_FILES_MAX),
            Ulimit(name="fsize", soft=spec.disk_bytes, hard=spec.disk_bytes),
            Ulimit(name="core", soft=0, hard=0),
        ],
        # Output is read as it comes and never touches the engine's disk: a log file would take the
        # engine's processor for every line, outside of what the task may use.
        "log_config": LogConfig(type="none"),
        "mounts": mounts,
        "healthcheck": {"test": ["NONE"]},
        # The operator's proxy settings may hold passwords.
        "use_config_proxy": False,
    }
    if settings.container_runtime:
        options["runtime"] = settings.container_runtime
    if spec.gpus and settings.gpu_devices:
        options["devices"] = [f"{path}:{path}:rw" for path in settings.gpu_devices]
        options["group_add"] = ["video"]
    elif order.gpus:
        options["device_requests"] = [DeviceRequest(device_ids=[*order.gpus], capabilities=[["gpu"]])]
    elif spec.gpus:
        options["device_requests"] = [DeviceRequest(count=spec.gpus, capabilities=[["gpu"]])]
    return options


class Attached:
    """The output of one container; a reader that is slow slows the container, not the machine."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._socket: socket.socket = getattr(raw, "_sock", raw)
        self._socket.settimeout(None)

    def read(self, take: Callable[[str, bytes], None]) -> None:
        """Hand over every chunk until the container ends or `close` is called elsewhere."""
        waiting = bytearray()
        while True:
            try:
                block = self._socket.recv(READ_BYTES)
            except OSError:
                return
            if not block:
                return
            waiting += block
            while len(waiting) >= FRAME_HEAD.size:
                stream, size = FRAME_HEAD.unpack_from(waiting)
                if len(waiting) < FRAME_HEAD.size + size:
                    break
                chunk = bytes(waiting[FRAME_HEAD.size : FRAME_HEAD.size + size])
                del waiting[: FRAME_HEAD.size + size]
                take("err" if stream == STDERR else "out", chunk)

    def close(self) -> None:
        """End `read`, from any thread; may be repeated."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._raw.close()
