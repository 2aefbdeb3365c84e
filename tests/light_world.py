"""Chains of headers and commits for tests of the light client: sets that change by epoch, forks, forgeries.

Here: `Headers`, made from a list of who validates in each epoch; every block is signed by whom a test says.
Not here: states and transactions (tests/world.py), a node (tests/node_world.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from functools import cache

import msgspec

from consensus.light import LightBlock, Terms, Trusted
from consensus.types.address import key_address
from consensus.types.block import Commit, Header, block_id
from consensus.types.hashing import ZERO_HASH
from consensus.types.keys import SecretKey
from consensus.types.vote import PRECOMMIT, vote_hash
from consensus.validators import TOTAL_POWER, Validator, ValidatorSet, divide, validators_hash

GENESIS = hashlib.sha256(b"light").digest()
EPOCH = 4
INTERVAL_MS = 1_000
TERMS = Terms(GENESIS, EPOCH, trusting_ms=1_000_000)


@cache
def secret(name: int) -> SecretKey:
    """A validator's key."""
    return SecretKey(hashlib.sha256(b"light %d" % name).digest())


@cache
def make_members(names: tuple[int, ...]) -> ValidatorSet:
    """A set in which these have equal power."""
    ordered = sorted(names, key=lambda name: key_address(secret(name).public))
    powers = divide(TOTAL_POWER, [1] * len(ordered))
    keys = [secret(name).public for name in ordered]
    return tuple(Validator(key_address(k), k, p) for k, p in zip(keys, powers, strict=True))


class Headers:
    """A chain whose epoch e is validated by `sets[e]`; `salt` makes it another chain from `fork` on."""

    def __init__(self, sets: Sequence[Collection[int]], *, salt: int = 0, fork: int = 1) -> None:
        self.sets = [make_members(tuple(sorted(names))) for names in sets]
        self.names = {secret(name).public: name for names in sets for name in names}
        self.salt, self.fork = salt, fork
        self._headers: dict[int, Header] = {}
        self.asked: list[int] = []

    @property
    def head(self) -> int:
        """The last height of the last epoch but one: the next set must be known."""
        return (len(self.sets) - 1) * EPOCH

    @property
    def now_ms(self) -> int:
        """A moment after the head."""
        return (self.head + 1) * INTERVAL_MS

    def validators(self, height: int) -> ValidatorSet:
        """V(height)."""
        return self.sets[(height - 1) // EPOCH]

    def header(self, height: int) -> Header:
        """The header of a height."""
        if height not in self._headers:
            parent = GENESIS if height == 1 else block_id(GENESIS, self.header(height - 1))
            self._headers[height] = Header(
                1, height, 0, height * INTERVAL_MS, parent, self.validators(height)[0].address,
                ZERO_HASH, bytes(31) + bytes([self.salt if height >= self.fork else 0]),
                ZERO_HASH, ZERO_HASH, validators_hash(self.validators(height)),
                validators_hash(self.validators(height + 1)), ZERO_HASH,
            )  # fmt: skip
        return self._headers[height]

    def light(self, height: int, absent: Collection[int] = (), round_: int = 0) -> LightBlock:
        """The block with the precommits of everybody but `absent`."""
        header = self.header(height)
        return sign(
            header, self.validators(height), [n for n in self.names.values() if n not in absent], round_
        )

    def source(self, height: int) -> LightBlock:
        """What an honest node answers, remembering what it was asked."""
        self.asked.append(height)
        return self.light(height)

    def trusted(self, height: int) -> Trusted:
        """The block as one that is trusted."""
        header = self.header(height)
        return Trusted(
            height, block_id(GENESIS, header), header.time_ms, self.validators(height),
            header.next_validators_hash,
        )  # fmt: skip


def sign(header: Header, members: ValidatorSet, names: Collection[int], round_: int = 0) -> LightBlock:
    """A light block that those of `names` who are members have signed."""
    identity = block_id(GENESIS, header)
    message = vote_hash(GENESIS, PRECOMMIT, header.height, round_, identity)
    secrets = {secret(name).public: secret(name) for name in names}
    bits, signatures = 0, []
    for position, member in enumerate(members):
        if member.key in secrets:
            bits |= 1 << position
            signatures.append(secrets[member.key].sign(message))
    bitmap = bits.to_bytes((len(members) + 7) // 8, "little")
    return LightBlock(header, Commit(round_, identity, bitmap, tuple(signatures)), members)


def changed(block: LightBlock, **fields: object) -> LightBlock:
    """The block with other fields of its header, under the commit it has."""
    return msgspec.structs.replace(block, header=msgspec.structs.replace(block.header, **fields))
