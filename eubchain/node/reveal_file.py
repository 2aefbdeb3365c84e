"""The file that keeps a reveal chain's checkpoints, so that a start does not hash the whole chain again.

Here: reading it, or making the chain and writing it.
Not here: the chain (consensus/beacon.py), the key file (validator_key.py).
Keeps: the file is as secret as the chain and belongs to its owner alone; one that does not fit the key
is made anew. Making a chain of 2²⁶ takes about a minute, reading its file a millisecond.
"""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

from consensus.beacon import RevealChain
from consensus.types.errors import Fault
from consensus.types.hashing import HASH_BYTES
from eubchain.node.validator_key import ValidatorKey
from eubchain.wallet.private_file import read_private, write_private

_HEAD_BYTES = 16
_SUM_BYTES = 32


def load_reveal_chain(key: ValidatorKey, path: Path) -> RevealChain:
    """The validator's chain, from its file where that fits the key; blocks while a new one is made."""
    head = key.generation.to_bytes(8, "big") + key.length.to_bytes(8, "big")
    stored = read_private(path) if path.exists() else b""
    content, checksum = stored[:-_SUM_BYTES], stored[-_SUM_BYTES:]
    if content[:_HEAD_BYTES] == head and checksum == _checksum(content):
        values = [content[i : i + HASH_BYTES] for i in range(_HEAD_BYTES, len(content), HASH_BYTES)]
        try:
            return RevealChain(key.reveal_secret, key.generation, key.length, values)
        except Fault:
            pass  # of another key: the chain below replaces it
    chain = key.reveal_chain()
    content = head + b"".join(chain.checkpoints)
    write_private(path, content + _checksum(content), replace=True)
    return chain


def _checksum(content: bytes) -> bytes:
    return blake2b(content, digest_size=_SUM_BYTES).digest()
