"""The rules of one network: what every function of the transition needs besides the state.

Here: `Rules` and how they come from a genesis record. Not here: the genesis state (vm/genesis.py).
Keeps: rules change only with a version of the schedule, and the schedule is known in advance; no block is
built or executed under a version that this release lacks.
Errors: 1915 version_unsupported, 1916 upgrades_refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from consensus.types.errors import Fault, Reason
from consensus.types.genesis import Genesis, Upgrade, genesis_hash
from consensus.types.params import Params

VERSION_FIRST = 1
VERSIONS_KNOWN = (1,)
"""Header versions that this release can execute; it stops before a height that needs another."""

VERSION_UNSUPPORTED = Reason(
    1915,
    "version_unsupported",
    "height:height version:count",
    "From height {height} on the network runs protocol version {version}, which this release lacks.",
    "Install the release that speaks version {version}; the node goes on from where it stands.",
)


UPGRADES_REFUSED = Reason(
    1916,
    "upgrades_refused",
    "given:text why:text",
    "The version step '{given}' cannot stand: {why}.",
    'Write chain.upgrades as all operators of the network agreed, as in ["120000:2"].',
)


class Rules(NamedTuple):
    """What a network runs by."""

    genesis: bytes
    """The genesis hash, in front of everything that is signed."""
    chain_id: str
    prefix: str
    """Of addresses."""
    time_ms: int
    """The genesis time, which is the parent time of height 1."""
    params: Params
    versions: tuple[Upgrade, ...]
    """The schedule, ascending by height."""
    vesting: frozenset[bytes] | None = None
    """Accounts with vesting locks, which only a genesis makes; None when not known (see `BlockContext`)."""

    def require_version(self, height: int) -> None:
        """Raise `Fault(VERSION_UNSUPPORTED)` if this release cannot execute the block of this height.

        A node asks before it signs anything of the height; the transition asks again.
        """
        version = self.version_at(height)
        if version not in VERSIONS_KNOWN:
            raise Fault(VERSION_UNSUPPORTED, height=height, version=version)

    def version_at(self, height: int) -> int:
        """The version that the header of this height carries."""
        current = VERSION_FIRST
        for upgrade in self.versions:
            if upgrade.height <= height:
                current = upgrade.version
        return current


def upgrades_of(texts: Sequence[str], genesis: Genesis) -> tuple[Upgrade, ...]:
    """Read HEIGHT:VERSION steps that come after the genesis record's; raises `Fault` 1916.

    Every node of the network must have the same ones before the first of their heights.
    """
    found: list[Upgrade] = []
    last = genesis.versions[-1] if genesis.versions else Upgrade(0, VERSION_FIRST)
    for text in texts:
        height, _, version = text.partition(":")
        if not all(part.isascii() and part.isdigit() and len(part) <= 18 for part in (height, version)):
            raise Fault(UPGRADES_REFUSED, given=text[:60], why="it is not HEIGHT:VERSION")
        step = Upgrade(int(height), int(version))
        if step.height <= last.height or step.version <= last.version:
            raise Fault(UPGRADES_REFUSED, given=text[:60], why="heights and versions only rise")
        found.append(step)
        last = step
    return tuple(found)


def rules_of(genesis: Genesis, later: tuple[Upgrade, ...] = ()) -> Rules:
    """The rules of the network that `genesis` founds; `later` steps come from release or config."""
    return Rules(
        genesis_hash(genesis),
        genesis.chain_id,
        genesis.prefix,
        genesis.time_ms,
        genesis.params,
        genesis.versions + later,
        frozenset(lock.address for lock in genesis.vesting),
    )
