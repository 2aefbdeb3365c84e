"""A container image made by hand, and a registry that serves it.

Here: `image_archive`, whose id is the same on every machine, and `Registry`, the pull side of the OCI
distribution protocol on 127.0.0.1, for one image.
Not here: the engine (docker_engine.py).
Keeps: it can also lie, serving other bytes than the digest names.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
REPOSITORY = "eub/busybox"
APPLETS = (
    *("sh", "cat", "chmod", "dd", "echo", "head", "id", "ln", "ls", "mkdir", "mkfifo", "mount", "nc"),
    *("sleep", "touch", "true", "yes"),
)


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


class Registry:
    """Serves one image; use as a context manager."""

    def __init__(self, archive: bytes) -> None:
        """`archive` is what `docker load` reads."""
        with tarfile.open(fileobj=io.BytesIO(archive)) as members:
            files = {member.name: members.extractfile(member).read() for member in members}
        (entry,) = json.loads(files["manifest.json"])
        config = files[entry["Config"]]
        layer = gzip.compress(files[entry["Layers"][0]], 1, mtime=0)
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST_TYPE,
                "config": _described("application/vnd.docker.container.image.v1+json", config),
                "layers": [_described("application/vnd.docker.image.rootfs.diff.tar.gzip", layer)],
            }
        ).encode()
        self._content = {_digest(body): body for body in (manifest, config, layer)}
        self._manifest_digest = _digest(manifest)
        registry = self

        class Handler(BaseHTTPRequestHandler):
            """GET and HEAD of what there is."""

            def do_GET(self) -> None:
                body = registry.answer(self.path)
                self.send_response(404 if body is None else 200)
                kind = MANIFEST_TYPE if "/manifests/" in self.path else "application/octet-stream"
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body or b"")

            do_HEAD = do_GET

            def log_message(self, *arguments: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def name(self, digest: str = "") -> str:
        """The image as a task names it; another digest on request."""
        return f"127.0.0.1:{self._server.server_port}/{REPOSITORY}@{digest or self._manifest_digest}"

    def lie(self) -> None:
        """From now on, serve another manifest under the same digest."""
        self._content[self._manifest_digest] += b" "

    def answer(self, path: str) -> bytes | None:
        """The body for a path, None for what is not there."""
        if path == "/v2/":
            return b"{}"
        return self._content.get(path.rpartition("/")[2])

    def __enter__(self) -> Registry:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _digest(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def _described(kind: str, body: bytes) -> dict[str, object]:
    return {"mediaType": kind, "size": len(body), "digest": _digest(body)}
