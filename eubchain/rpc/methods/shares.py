"""`validator_shares`: who proposed the latest blocks, beside the power that each had while they were made.

Here: counting headers. Not here: how a proposer is drawn (consensus/validators.py), the drawing
(eubchain/cli/por_plot.py).
Keeps: reads a bounded number of headers, the latest first; a block counts for the power of its own set.
"""

from __future__ import annotations

from collections import Counter

import trio

from consensus.types.address import format_address
from consensus.types.hashing import ZERO_HASH
from consensus.validators import TOTAL_POWER, ValidatorSet
from eubchain.ledger.reading import LedgerReader
from eubchain.rpc.backend import Backend
from eubchain.rpc.method import LONG_READ, View, method
from vm.validator import VALIDATORS

BLOCKS_MAX = 10_000
"""Headers that one call reads."""
SLICE_HEADERS = 64
"""Headers read between two pauses."""


class ShareView(View):
    """One validator's blocks."""

    address: str
    name: str
    blocks: int
    """How many of them it proposed."""
    power: int
    """Its mean power of 10^9 over them: what share of blocks is expected."""


class SharesView(View):
    """Blocks by proposer; `blocks` is how many were counted: fewer where the chain or the node has fewer."""

    first: int
    last: int
    blocks: int
    validators: list[ShareView]


class Shares:
    """What the headers say."""

    def __init__(self) -> None:
        self.blocks = 0
        self.proposed: Counter[bytes] = Counter()
        self.powers: Counter[bytes] = Counter()
        """Summed over blocks."""

    def add(self, proposer: bytes, validators: ValidatorSet) -> None:
        """Count one block."""
        self.blocks += 1
        self.proposed[proposer] += 1
        for validator in validators:
            self.powers[validator.address] += validator.power

    def mean_power(self, address: bytes) -> int:
        """Parts of `TOTAL_POWER`."""
        assert self.powers.total() == TOTAL_POWER * self.blocks, "every set has the whole power"
        return self.powers[address] // max(1, self.blocks)


async def count_shares(ledger: LedgerReader, blocks: int) -> Shares:
    """The latest `blocks` blocks by proposer, as far back as this node has all of them."""
    found = Shares()
    known: tuple[bytes, ValidatorSet | None] = (ZERO_HASH, None)
    for height in range(ledger.height, max(0, ledger.height - blocks), -1):
        if height % SLICE_HEADERS == 0:
            await trio.lowlevel.checkpoint()
        header = ledger.header(height)
        if header is None:
            break
        if header.validators_hash != known[0]:
            # Sets change only where epochs end, so one is remembered.
            known = (header.validators_hash, ledger.validator_set(header.validators_hash))
        if known[1] is None:
            break
        found.add(header.proposer, known[1])
    return found


@method("validator_shares", example={"blocks": 1000})
async def shares(backend: Backend, blocks: int = 1_000) -> SharesView:
    """How many of the latest blocks (at most 10,000) each validator proposed, and what its power was."""
    ledger, state = backend.ledger(), backend.view()
    async with LONG_READ:
        found = await count_shares(ledger, max(1, min(blocks, BLOCKS_MAX)))
    rows = []
    for address in found.powers:
        record = state.get(VALIDATORS, address)
        rows.append(
            ShareView(
                address=format_address(address, backend.prefix),
                name="" if record is None else record.name,
                blocks=found.proposed[address],
                power=found.mean_power(address),
            )
        )
    return SharesView(
        first=ledger.height - found.blocks + 1,
        last=ledger.height,
        blocks=found.blocks,
        validators=sorted(rows, key=lambda row: (-row.power, row.address)),
    )
