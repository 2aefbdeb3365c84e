"""The file that keeps a reveal chain's checkpoints, so that a start does not hash the whole chain again.

Here: reading it, or making the chain and writing it; the chain of the generation before beside it, for as
long as the network holds that one's commitment.
Not here: the chain (consensus/beacon.py), the key file (validator_key.py).
Keeps: the file is as secret as the chain and belongs to its owner alone; one that does not fit the key
is made anew. Making a chain of 2²⁶ takes about a minute, reading its file a millisecond.
"""

from __future__ import annotations

from collections.abc import Sequence
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


class Reveals:
    """This home's reveal chain, and the one before it while a renewal is on its way.

    A new chain is effective two epochs after its transaction; a validator that had only one of the two would
    let its turns pass until then, or from then on.
    """

    def __init__(self, chains: Sequence[RevealChain]) -> None:
        assert chains, "a home has a chain"
        self._chains = tuple(chains)

    @property
    def length(self) -> int:
        """Proposals of a whole chain."""
        return self._chains[0].length

    def _holding(self, commitment: bytes) -> RevealChain:
        for chain in self._chains[1:]:
            try:
                chain.position(commitment)
            except Fault:
                continue
            return chain
        return self._chains[0]

    def position(self, commitment: bytes) -> int:
        """How many reveals are left below `commitment`; raise `Fault` 1390 when it is another chain's."""
        return self._holding(commitment).position(commitment)

    def reveal(self, commitment: bytes) -> bytes:
        """The preimage of `commitment`; raise `Fault` 1390, 1391."""
        return self._holding(commitment).reveal(commitment)


def load_reveals(key: ValidatorKey, path: Path, commitment: bytes | None) -> Reveals:
    """The chains that a home needs while the network holds `commitment` of it, None for none."""
    chain = load_reveal_chain(key, path)
    if commitment is None or key.generation == 0:
        return Reveals([chain])
    try:
        chain.position(commitment)
    except Fault:
        before = key._replace(generation=key.generation - 1)
        return Reveals([chain, load_reveal_chain(before, path.with_name(path.name + "_before"))])
    return Reveals([chain])


def renewed(key: ValidatorKey, commitment: bytes) -> ValidatorKey:
    """The key whose chain replaces the one of `commitment`: of the next generation, once this one is in use.

    The same chain again would reveal what everybody has seen, and its holder's part in every draw with it.
    """
    try:
        key.reveal_chain().position(commitment)
    except Fault:
        return key  # raised already, and the network has not heard of it
    return key._replace(generation=key.generation + 1)


def _checksum(content: bytes) -> bytes:
    return blake2b(content, digest_size=_SUM_BYTES).digest()
