"""The rules of one network: what every function of the transition needs besides the state.

Here: `Rules` and how they come from a genesis record. Not here: the genesis state (vm/genesis.py).
Keeps: rules change only with a version of the schedule, and the schedule is known in advance.
"""

from __future__ import annotations

from typing import NamedTuple

from consensus.types.genesis import Genesis, Upgrade, genesis_hash
from consensus.types.params import Params

VERSION_FIRST = 1
VERSIONS_KNOWN = (1,)
"""Header versions that this release can execute; it stops before a height that needs another."""


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

    def version_at(self, height: int) -> int:
        """The version that the header of this height carries."""
        current = VERSION_FIRST
        for upgrade in self.versions:
            if upgrade.height <= height:
                current = upgrade.version
        return current


def rules_of(genesis: Genesis, later: tuple[Upgrade, ...] = ()) -> Rules:
    """The rules of the network that `genesis` founds; `later` steps come from release or config."""
    return Rules(
        genesis_hash(genesis),
        genesis.chain_id,
        genesis.prefix,
        genesis.time_ms,
        genesis.params,
        genesis.versions + later,
    )
