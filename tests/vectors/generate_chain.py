"""Write chain.json: a chain of 200 blocks with everything that a replay needs, and the roots it must reach.

Here: the story's blocks as they stand in a ledger. Not here: what happens in it (chain_story.py), the replay
(tests/unit/test_chain_vectors.py).
Bytes are hexadecimal. Rewrite the file with `python -m tests.vectors.generate_chain`; a commit that moves it
says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from consensus.types.block import block_id
from consensus.types.codec import encode
from tests.vectors.chain_story import StoryWorld, tell
from vm.genesis import genesis_writes

HERE = Path(__file__).parent
BYTES_MAX = 10**6
"""Of the file: a vector that nobody clones is no vector."""


def told(entries: Mapping[bytes, bytes | None]) -> list[list[str]]:
    """A whole state, by key."""
    return [[key.hex(), value.hex()] for key, value in sorted(entries.items()) if value is not None]


def block_rows(world: StoryWorld) -> list[dict[str, Any]]:
    """Every block; its last commit is the encoding of nil at height 1."""
    commits = [None, *world.commits]
    rows = []
    for header, outcome, last_commit in zip(world.headers, world.outcomes, commits, strict=False):
        rows.append(
            {
                "height": header.height,
                "id": block_id(world.rules.genesis, header).hex(),
                "header": encode(header).hex(),
                "transactions": [candidate.raw.hex() for candidate in outcome.included],
                "last_commit": encode(last_commit).hex(),
                "receipts": [encode(receipt).hex() for receipt in outcome.receipts],
                "receipts_root": header.receipts_root.hex(),
                "state_root": header.state_root.hex(),
            }
        )
    return rows


@cache
def files() -> dict[str, str]:
    """The text of the file."""
    world = tell()
    content = {
        "genesis": encode(world.genesis).hex(),
        "genesis_hash": world.rules.genesis.hex(),
        "genesis_state_root": world.genesis_root.hex(),
        "genesis_state": told(genesis_writes(world.genesis)),
        "blocks": block_rows(world),
        "last_commit": encode(world.last_commit).hex(),
        "final_state": told(world.state.entries),
    }
    text = json.dumps(content, indent=1) + "\n"
    assert len(text) <= BYTES_MAX, f"{len(text)} bytes"
    return {"chain.json": text}


if __name__ == "__main__":
    for file_name, text in files().items():
        (HERE / file_name).write_text(text)
        print(f"{file_name}: {len(text)} bytes")
