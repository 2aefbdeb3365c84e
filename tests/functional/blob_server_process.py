"""A blob server in a process of its own, for tests that kill it: ROOT and PORT are its arguments."""

from __future__ import annotations

import sys
from pathlib import Path

import trio
from hypercorn.config import Config
from hypercorn.trio import serve

from spark_node.storage.blob_server import blob_application
from spark_node.storage.shelf import Shelf, ShelfLimits


async def everybody(account: bytes, task: bytes, seat: int, kind: str, method: str) -> bool:
    """This test's chain knows only parties."""
    return True


def main() -> None:
    """Serve until killed."""
    shelf = Shelf(Path(sys.argv[1]), ShelfLimits(free_bytes_min=0))
    application = blob_application(shelf, everybody, genesis=bytes(32), now_s=lambda: 0)
    config = Config()
    config.bind = [f"127.0.0.1:{sys.argv[2]}"]
    trio.run(serve, application, config)


if __name__ == "__main__":
    main()
