"""The same market with a container: an image made on the spot, run by the spark, removed again.

Here: whether a Docker Engine answers, an image of busybox in the engine for the time of a block of code.
Not here: the story that uses them (demonstration.py), what a container may do (spark_node).
Keeps: an image that was there before stays; one that was not is gone afterwards; nothing is downloaded.
"""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
import requests

from tests.image_registry import image_archive

PROGRAM = (
    "busybox tail -n +2 /input/readings.csv | busybox cut -d, -f2 | busybox sort | busybox uniq -c"
    " > /output/rows.txt"
)
"""How many rows each building has."""
ANSWER_S = 5


class Skipped(Exception):
    """Why there is no container task, for a person."""


@contextmanager
def busybox_image(policy: Path) -> Iterator[str]:
    """The id of an image in the engine that the spark of this policy file uses; raise `Skipped`."""
    address = str(tomllib.loads(policy.read_text())["docker"]["address"])
    busybox = static_busybox()
    try:
        engine = docker.DockerClient(base_url=address, timeout=ANSWER_S)
    except (docker.errors.DockerException, requests.exceptions.RequestException):
        raise Skipped(f"no Docker Engine answers at {address}") from None
    archive, image = image_archive(busybox.read_bytes(), {})
    try:
        was_there = bool([one for one in engine.images.list(all=True) if one.id == image])
        engine.images.load(archive)
        try:
            yield image
        finally:
            if not was_there:
                engine.images.remove(image, force=True)
    finally:
        engine.close()


def static_busybox() -> Path:
    found = shutil.which("busybox")
    if found is None:
        raise Skipped("there is no busybox to make an image of (apt-get install busybox-static)")
    told = subprocess.run(["ldd", found], capture_output=True, text=True, check=False)
    if "=>" in told.stdout:
        raise Skipped(
            f"{found} needs libraries; an image wants a static one (apt-get install busybox-static)"
        )
    return Path(found)
