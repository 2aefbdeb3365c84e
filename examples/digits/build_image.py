#!/usr/bin/env python3
"""Make a container image with Python and scikit-learn from Debian's packages, and load it into an engine.

Here: what of the packages is kept, the layer, the image's description and its id, loading.
Not here: the program (program/train.py: it travels in the task's sealed input, not in the image).
Keeps: the same packages give the same image id on every machine, known before it is loaded; no program
of the packages is run while they are unpacked; standard output carries the id and nothing else.

    python examples/digits/build_image.py [--engine ADDRESS] [--set TASK_FILE]

Needs the Debian package mmdebstrap, a Debian mirror and about 400 MB in the temporary directory.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

SUITE = "bookworm"
PACKAGES = "python3,python3-sklearn"
SOURCES = Path("/etc/apt/sources.list.d/debian.sources")
"""Where the packages come from, if this machine is a Debian itself; otherwise mmdebstrap's own mirror."""
EPOCH_S = 1_735_689_600
"""Every file's time: a moment that does not move (2025-01-01)."""
CREATED = "2025-01-01T00:00:00Z"
KEPT_PROGRAMS = re.compile(r"usr/bin/python3[0-9.]*")
DROPPED = re.compile(
    r"(dev|var|boot|media|mnt|srv|opt|root|home)/.+"
    r"|etc/(?!ssl/).+|usr/(bin|sbin|games|include|local|libexec|src)/.+|usr/share/(?!python).+"
    r"|usr/lib/(gcc|apt|dpkg|systemd|udev|init|valgrind)(/.*)?|usr/lib/python3[.0-9]*/config-.*"
    r"|usr/lib/[^/]+/(perl|perl5|perl-base|gconv|cmake|pkgconfig)(/.*)?|.*\.(a|o)"
    r"|usr/lib/[^/]+/lib(asan|tsan|lsan|ubsan|perl|cc1|itm)\b.*|.*/(tests|__pycache__)/.+"
)
"""Compilers, headers, documents and tests that packages bring along; three quarters of all bytes."""
CONFIG = {
    "Env": [
        "PATH=/usr/bin",
        "HOME=/tmp",
        "PYTHONDONTWRITEBYTECODE=1",
        "PYTHONUNBUFFERED=1",
        # Which linear algebra is used is decided when packages are set up, and here none is.
        "LD_LIBRARY_PATH=/usr/lib/x86_64-linux-gnu/openblas-pthread",
    ],
    "Cmd": ["python3", "--version"],
    "WorkingDir": "/",
}


def is_kept(path: str) -> bool:
    """Whether a path of the unpacked packages belongs into the image."""
    return KEPT_PROGRAMS.fullmatch(path) is not None or DROPPED.fullmatch(path) is None


def write_layer(packages: BinaryIO, layer: BinaryIO) -> str:
    """Copy what is kept out of a tar stream, without times and owners; returns the layer's digest."""
    with (
        tarfile.open(fileobj=packages, mode="r|") as source,
        tarfile.open(fileobj=layer, mode="w", format=tarfile.GNU_FORMAT) as target,
    ):
        for member in source:
            path = member.name.removeprefix("./")
            if path in ("", ".") or not is_kept(path) or member.ischr() or member.isblk():
                continue
            entry = tarfile.TarInfo(path)
            entry.type, entry.size, entry.mode = member.type, member.size, member.mode
            entry.mtime = EPOCH_S
            entry.linkname = member.linkname.removeprefix("./") if member.islnk() else member.linkname
            target.addfile(entry, source.extractfile(member) if member.isreg() else None)
    layer.seek(0)
    return hashlib.file_digest(layer, "sha256").hexdigest()  # type: ignore[arg-type]  # any file will do


def describe(layer_digest: str) -> tuple[bytes, str]:
    """The image's description, and its id: the description's SHA-256."""
    description = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": CREATED,
            "config": CONFIG,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer_digest}"]},
        },
        sort_keys=True,
    ).encode()
    return description, f"sha256:{hashlib.sha256(description).hexdigest()}"


def write_archive(layer: Path, description: bytes, archive: Path) -> None:
    """Write what an engine loads."""
    name = f"{hashlib.sha256(description).hexdigest()}.json"
    manifest = json.dumps([{"Config": name, "RepoTags": None, "Layers": ["layer.tar"]}]).encode()
    with tarfile.open(archive, "w", format=tarfile.GNU_FORMAT) as target:
        for path, content in ((name, description), ("manifest.json", manifest)):
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            target.addfile(entry, io.BytesIO(content))
        target.add(layer, "layer.tar")


@contextmanager
def unpacked_packages(log: BinaryIO) -> Iterator[BinaryIO]:
    """The packages and all that they depend on, unpacked and not set up, as a tar stream."""
    command = [
        "mmdebstrap",
        "--variant=extract",
        "--architectures=amd64",
        f"--include={PACKAGES}",
        SUITE,
        "-",
    ]
    if SOURCES.exists():
        command.append(str(SOURCES))
    environment = os.environ | {"SOURCE_DATE_EPOCH": str(EPOCH_S)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=environment) as process:
        assert process.stdout is not None, "it is a pipe"
        yield process.stdout
        while process.stdout.read(2**16):
            pass  # what follows the archive's end; a closed pipe would look like a failure
        if process.wait():
            raise SystemExit(f"mmdebstrap failed with exit status {process.returncode}")


def set_image(task_file: Path, image: str) -> None:
    """Write the id into a task file's line `image = …`."""
    text, count = re.subn(r'(?m)^image = "[^"]*"$', f'image = "{image}"', task_file.read_text())
    if count != 1:
        raise SystemExit(f"{task_file} has no line that begins with image =")
    task_file.write_text(text)


def load(archive: Path, engine: str) -> None:
    """Load the image into a Docker engine."""
    import docker

    client = docker.DockerClient(base_url=engine) if engine else docker.from_env()
    with archive.open("rb") as content:
        client.images.load(content)
    client.close()


def build(folder: Path, engine: str) -> str:
    """Make the image in `folder` and load it; returns its id."""
    layer, archive = folder / "layer.tar", folder / "image.tar"
    say("unpacking Debian's packages: a minute or two")
    with layer.open("w+b") as target, unpacked_packages(sys.stderr.buffer) as packages:
        digest = write_layer(packages, target)
    description, image = describe(digest)
    say(f"a layer of {layer.stat().st_size // 2**20} MiB; loading it")
    write_archive(layer, description, archive)
    load(archive, engine)
    return image


def say(text: str) -> None:
    """Tell how far it is, on standard error."""
    print(f"build_image: {text}", file=sys.stderr, flush=True)


def main() -> None:
    """Build, load, print the id."""
    parser = argparse.ArgumentParser(description="Make and load an image with Python and scikit-learn.")
    parser.add_argument("--engine", default="", help="address of the Docker engine; else the usual one")
    parser.add_argument("--set", type=Path, metavar="TASK_FILE", help="write the id into this task file")
    arguments = parser.parse_args()
    if shutil.which("mmdebstrap") is None:
        raise SystemExit("mmdebstrap is not installed: apt-get install mmdebstrap")
    with tempfile.TemporaryDirectory(prefix="eub-image-") as folder:
        image = build(Path(folder), arguments.engine)
    if arguments.set is not None:
        set_image(arguments.set, image)
        say(f"{arguments.set} names it now")
    print(image)


if __name__ == "__main__":
    main()
