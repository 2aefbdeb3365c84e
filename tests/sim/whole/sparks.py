"""The sparks of a simulated town: accounts that bond, register, and prove compute in every window.

Here: which accounts, when they send what, true and false proofs, verdicts without processes.
Not here: the rules (vm/resource.py), the prover (spark_node/prover), other users (users.py).
Keeps: tiles are computed and judged by the real arithmetic; only the number of tiles is tiny, since a
difficulty of one makes every tile a share.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import trio
from msgspec.structs import replace

from consensus.resource.proof import Claim, Share, make_proof
from consensus.resource.share import PROFILES, is_share, owner_bytes, panel_keys, ticket
from consensus.resource.windows import opens_at, takes_proofs_at
from consensus.types.amounts import eubc
from consensus.types.params import Params
from eubchain.node.verdicts import Verdicts
from tests.proving import HARDWARE, RECIPIENT
from tests.world import Person
from vm import head as heads
from vm.claims import judge_here, may_prove
from vm.resource import Prove
from vm.spark import ACTIVE, SPARKS, RegisterSpark, RetireSpark
from vm.stake import STAKES, Bond
from vm.state import State
from vm.windows import PROOFS, announced_epoch, last_window

if TYPE_CHECKING:
    from tests.sim.whole.node import WholeNode
    from tests.sim.whole.town import Town

PAUSE_MS = (40, 300)
SHARES = (8, 14)
"""Of an honest proof: the least that earns anything, and a few more."""
FALSE_DIFFICULTY = 16
"""Of a spark that claims tiles without computing them: eight of eight are shares once in 2³²."""
VERDICT_MS_MAX = 1_500
"""How long the processes that judge may take; windows wait two blocks for them."""
DEATHS = 0.1
"""The share of batches whose process dies once."""

judge_once = lru_cache(4_096)(judge_here)


class LoopVerdicts(Verdicts):
    """Judges on the loop after a drawn while, each claim once for all nodes."""

    def __init__(self, town: Town) -> None:
        super().__init__(processes=2)
        self._random = town.random

    def judge(self, claim: Claim) -> int:
        known = self._known.get(claim)
        return judge_once(claim) if known is None else known

    async def _judge(self, batch: list[Claim]) -> None:
        await trio.sleep(self._random.randint(1, VERDICT_MS_MAX) / 1000)
        if self._random.random() < DEATHS:
            await trio.sleep(1.0)
        self._known.update((claim, judge_once(claim)) for claim in batch)


def with_windows(params: Params) -> Params:
    """Windows so short and frequent that a seed sees some close; each checks a sample of its shares."""
    resource = replace(
        params.resource,
        window_wait_blocks=2,
        window_blocks=2,
        grace_blocks=1,
        verify_blocks=2,
        verify_budget=24,
        s_ref=16 * 2**16,
    )
    return replace(params, resource=resource)


class Sparks:
    """All sparks of a town; `liars` among them claim tiles that they never computed."""

    def __init__(self, town: Town, owners: Sequence[Person], liars: Sequence[Person]) -> None:
        self.town, self.random = town, town.random
        self.owners, self.liars = list(owners), list(liars)
        self.proofs: dict[str, int] = {"true": 0, "false": 0}
        """Sent, whatever became of them."""

    async def run(self) -> None:
        """Prove until cancelled."""
        while self.owners:
            await trio.sleep(self.random.randint(*PAUSE_MS) / 1000)
            node = self.random.choice(self.town.nodes)
            if node.is_up and node.net is not None and hasattr(node, "service"):
                for owner in self.owners:
                    await self._act(node, owner)
                    if not node.is_up:
                        break

    async def _act(self, node: WholeNode, owner: Person) -> None:
        view = node.service.view()
        spark = view.get(SPARKS, owner.address)
        if spark is None or spark.status != ACTIVE:
            await self._register(node, owner, view)
            return
        last = last_window(view)
        if last is None or last.seed is None or last.is_closed:
            return
        if not takes_proofs_at(last.window, heads.head(view).height + 1):
            return
        is_due = may_prove(spark, announced_epoch(view, last.window)) and not view.get(PROOFS, owner.address)
        if not is_due or self.random.random() < 0.3:
            return
        if self.random.random() < 0.03:
            await self.town.users.submit(node, owner, RetireSpark())
            return
        window = opens_at(last.window)
        is_false = owner in self.liars
        difficulty = 1 if is_false else spark.difficulty
        shares = tiles(window, last.seed, owner.address, difficulty, self.random.randint(*SHARES))
        if await self.town.users.submit(node, owner, Prove(make_proof(window, shares))):
            self.proofs["false" if is_false else "true"] += 1

    async def _register(self, node: WholeNode, owner: Person, view: State) -> None:
        if view.get(STAKES, owner.address) is None:
            await self.town.users.submit(node, owner, Bond(eubc(self.random.randint(1, 300))))
            return
        difficulty = FALSE_DIFFICULTY if owner in self.liars else 1
        await self.town.users.submit(node, owner, RegisterSpark(RECIPIENT, HARDWARE, 2, True, difficulty))


@lru_cache(1_024)
def tiles(window: int, seed: bytes, account: bytes, difficulty: int, count: int) -> tuple[Share, ...]:
    """So many shares of an account, found by computing tiles in order; at difficulty one, any."""
    grid = ((p, q) for p in range(2**12) for q in range(4))
    if difficulty == 1:
        return tuple(tile for tile, _ in zip(grid, range(count), strict=False))
    keys = panel_keys(PROFILES[1], window, seed, owner_bytes(account))
    found: list[Share] = []
    while len(found) < count:
        p, q = next(grid)
        if is_share(ticket(keys, p, q), difficulty):
            found.append((p, q))
    return tuple(found)
