"""A blob server that is killed in the middle of a transfer costs time, never bytes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from consensus.types.keys import SecretKey
from spark_node.storage import blob
from spark_node.storage.blob import AccessSigner, BlobStore
from spark_node.storage.objects import ObjectName
from spark_node.storage.store import PIECE_BYTES

ROOT = Path(__file__).resolve().parents[2]
NAME = ObjectName(b"\5" * 32, 0, "in", 0)
SIZE = 48 * 2**20
LIMIT_S = 60


def free_port() -> int:
    """A port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def server(root: Path, port: int) -> subprocess.Popen[bytes]:
    """Start the server's process."""
    program = Path(__file__).with_name("blob_server_process.py")
    return subprocess.Popen(
        [sys.executable, str(program), str(root), str(port)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.mark.trio
async def test_a_killed_server_continues_where_it_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Upload a third; kill -9; start again: the rest follows. Then the same for the download."""
    monkeypatch.setattr(blob, "ATTEMPTS_MAX", 9)  # a loaded machine starts Python slowly
    source, target, port = tmp_path / "source", tmp_path / "target", free_port()
    source.write_bytes(os.urandom(SIZE))
    killed: list[int] = []
    running = server(tmp_path / "shelf", port)

    def kill_once(done: int, of: int) -> None:
        nonlocal running
        if of // 3 < done < of and not killed:
            killed.append(done)
            running.send_signal(signal.SIGKILL)
            running.wait()
            running = server(tmp_path / "shelf", port)

    signer = AccessSigner(SecretKey(b"\1" * 32), bytes(32), lambda: 0)
    try:
        with trio.fail_after(LIMIT_S):
            async with BlobStore(f"http://127.0.0.1:{port}", signer) as store:
                sent: list[int] = []

                def sending(done: int, of: int) -> None:
                    sent.append(done)
                    kill_once(done, of)

                stored = await store.put(NAME, source, progress=sending)
                assert killed
                # From the start again it would be four thirds.
                assert len(sent) * PIECE_BYTES < SIZE * 5 // 4, "the kept bytes were not sent again"
                killed.clear()
                received: list[int] = []

                def receiving(done: int, of: int) -> None:
                    received.append(done)
                    kill_once(done, of)

                await store.get(NAME, target, digest=stored.digest, progress=receiving)
                assert killed
                assert received == sorted(received), "no byte was fetched twice"
        assert target.read_bytes() == source.read_bytes()
    finally:
        running.kill()
        running.wait()
