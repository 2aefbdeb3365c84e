"""A private Docker engine for tests.

Here: the fixtures `docker_engine` (address of an engine of this test session's own), `busybox_image` (id
of an image that it has) and `mortal_engine` (for a test that kills it). Tests name this file in
`pytest_plugins`.
Not here: the image's bytes (tests/image_registry.py), what the runtimes do with it
(tests/functional/test_docker_runtime.py).
Keeps: the engine shares nothing with one that the machine may run: own socket, own data, no network.
Where it cannot be started, tests are skipped with the reason.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
import requests

from tests.image_registry import image_archive

START_SECONDS = 30


class PrivateEngine:
    """One dockerd with a home of its own; it can be killed and started again."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="eub-engine-"))
        self.address = f"unix://{self.home}/docker.sock"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers; skips the test where it cannot be started."""
        if os.geteuid() != 0:
            pytest.skip("a private Docker engine needs root")
        if shutil.which("dockerd") is None:
            pytest.skip("dockerd is not installed")
        home = self.home
        # What a killed engine left makes the next one wait for a containerd that is gone.
        for stale in (home / "pid", home / "exec" / "containerd" / "containerd.pid"):
            stale.unlink(missing_ok=True)
        with (home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    "dockerd",
                    *("-H", self.address, "--data-root", str(home / "data")),
                    *("--exec-root", str(home / "exec"), "--pidfile", str(home / "pid")),
                    *("--bridge", "none", "--iptables=false", "--ip6tables=false"),
                    *("--ip-masq=false", "--log-level", "warn"),
                ],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        if not self._answers():
            pytest.skip(f"dockerd does not start here: {(home / 'log').read_text()[-500:]}")

    def _answers(self) -> bool:
        assert self._process is not None, "started"
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                client = docker.DockerClient(base_url=self.address)
            except (docker.errors.DockerException, requests.exceptions.RequestException):
                # The socket gives no sign of its own; waiting for a crash is the pause between two tries.
                try:
                    self._process.wait(0.05)
                except subprocess.TimeoutExpired:
                    continue
            else:
                client.close()
                return True
        return False

    def kill(self) -> None:
        """As a crash would: no goodbye."""
        assert self._process is not None, "started"
        self._process.kill()
        self._process.wait(START_SECONDS)

    def stop(self) -> None:
        """End it and remove its home."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(START_SECONDS)
        # A killed engine leaves its mounts.
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in reversed([mount for mount in mounts if mount.startswith(f"{self.home}/")]):
            subprocess.run(["umount", "-l", mount], check=True)
        shutil.rmtree(self.home, ignore_errors=True)

    def load_busybox(self) -> str:
        """Load a busybox image that declares a volume; returns its id."""
        busybox = Path("/bin/busybox")
        if not busybox.exists():
            pytest.skip("busybox-static is not installed")
        archive, image = image_archive(busybox.read_bytes(), {"Volumes": {"/scratch": {}}})
        client = docker.DockerClient(base_url=self.address)
        client.images.load(archive)
        client.close()
        return image


@pytest.fixture
def mortal_engine() -> Iterator[PrivateEngine]:
    """A started engine for one test that kills it."""
    engine = PrivateEngine()
    try:
        engine.start()
        yield engine
    finally:
        engine.stop()


@pytest.fixture(scope="session")
def session_engine() -> Iterator[PrivateEngine]:
    """The engine that all tests of a session share."""
    engine = PrivateEngine()
    try:
        engine.start()
        yield engine
    finally:
        engine.stop()


@pytest.fixture(scope="session")
def docker_engine(session_engine: PrivateEngine) -> str:
    """The address of a running engine."""
    return session_engine.address


@pytest.fixture(scope="session")
def busybox_image(session_engine: PrivateEngine) -> str:
    """The id of an image that the engine has."""
    return session_engine.load_busybox()
