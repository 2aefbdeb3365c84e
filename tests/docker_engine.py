"""A private Docker engine for tests, and an image made by hand.

Here: the fixtures `docker_engine` (address of an engine of this test session's own) and `busybox_image`
(id of an image that it has). Tests name this file in `pytest_plugins`.
Not here: what the runtimes do with it (tests/functional/test_docker_runtime.py).
Keeps: the engine shares nothing with one that the machine may run: own socket, own data, no network.
Where it cannot be started, tests are skipped with the reason.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
import requests

START_SECONDS = 30
APPLETS = ("sh", "cat", "dd", "echo", "head", "id", "ls", "mount", "nc", "sleep", "touch", "true", "yes")


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[str]:
    """Start dockerd; yields its address."""
    if os.geteuid() != 0:
        pytest.skip("a private Docker engine needs root")
    if shutil.which("dockerd") is None:
        pytest.skip("dockerd is not installed")
    home = Path(tempfile.mkdtemp(prefix="eub-engine-"))
    address = f"unix://{home}/docker.sock"
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                "dockerd",
                *("-H", address, "--data-root", str(home / "data"), "--exec-root", str(home / "exec")),
                *("--pidfile", str(home / "pid"), "--bridge", "none", "--iptables=false"),
                *("--ip6tables=false", "--ip-masq=false", "--log-level", "warn"),
            ],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
        )
    try:
        if not _answers(address, process):
            pytest.skip(f"dockerd does not start here: {(home / 'log').read_text()[-500:]}")
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(START_SECONDS)
        shutil.rmtree(home, ignore_errors=True)


def _answers(address: str, process: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            client = docker.DockerClient(base_url=address)
        except (docker.errors.DockerException, requests.exceptions.RequestException):
            # The socket gives no sign of its own; process.wait doubles as the pause between two tries.
            try:
                process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
        else:
            client.close()
            return True
    return False


@pytest.fixture(scope="session")
def busybox_image(docker_engine: str) -> str:
    """Load a busybox image; returns its id."""
    busybox = Path("/bin/busybox")
    if not busybox.exists():
        pytest.skip("busybox-static is not installed")
    archive, image = image_archive(busybox.read_bytes(), {"Volumes": {"/scratch": {}}})
    client = docker.DockerClient(base_url=docker_engine)
    client.images.load(archive)
    client.close()
    return image


def image_archive(busybox: bytes, config: dict[str, object]) -> tuple[bytes, str]:
    """What `docker load` reads, and the id it will have: the SHA-256 of the configuration."""
    layer = _tar([("bin/busybox", busybox, "")] + [(f"bin/{name}", b"", "/bin/busybox") for name in APPLETS])
    description = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": {"Env": ["PATH=/bin"], "WorkingDir": "/"} | config,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        }
    ).encode()
    identity = hashlib.sha256(description).hexdigest()
    manifest = [{"Config": f"{identity}.json", "RepoTags": None, "Layers": ["layer.tar"]}]
    archive = _tar(
        [
            (f"{identity}.json", description, ""),
            ("layer.tar", layer, ""),
            ("manifest.json", json.dumps(manifest).encode(), ""),
        ]
    )
    return archive, f"sha256:{identity}"


def _tar(members: list[tuple[str, bytes, str]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content, link in members:
            entry = tarfile.TarInfo(name)
            entry.mode = 0o755
            if link:
                entry.type, entry.linkname = tarfile.SYMTYPE, link
            else:
                entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
