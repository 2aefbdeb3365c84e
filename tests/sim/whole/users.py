"""Those who use a simulated town: they pay, bond, post tasks, register a validator, come back from jail.

Here: who submits what, when, through which node. Not here: what becomes of it (the chain), evidence
(nodes make it themselves). Keeps: what a user sends is well formed; whether it succeeds is the chain's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import trio

from consensus.types.amounts import eubc
from consensus.types.codec import encode
from consensus.types.transaction import TRANSACTION_VERSION, Body, KeyAuth, Transaction, sign_hash
from tests.market import post_of
from tests.world import CHAIN_ID, MAX_PRICE, Operator, Person
from vm import funds
from vm import head as heads
from vm.account import MultiTransfer, Output, Transfer
from vm.stake import STAKES, Bond, Unbond
from vm.validator import JAILED, VALIDATORS, RegisterValidator, Unjail

if TYPE_CHECKING:
    from tests.sim.whole.node import WholeNode
    from tests.sim.whole.town import Town

PAUSE_MS = (50, 500)
TTL_BLOCKS = 40
WISHES = ("pay", "pay many", "post", "pay", "pay all", "bond", "unbond")


class Users:
    """All of a town's users."""

    def __init__(self, town: Town) -> None:
        self.town, self.random = town, town.random
        self.people = [person for name, person in town.chain.people.items() if not name.startswith("v")]
        self.submitted = 0
        self.accepted = 0

    async def run(self) -> None:
        """Use the town until cancelled."""
        while True:
            await trio.sleep(self.random.randint(*PAUSE_MS) / 1000)
            node = self.random.choice(self.town.nodes)
            if node.is_up and node.net is not None and hasattr(node, "service"):
                await self._act(node)

    async def pay(self, per_second: float) -> None:
        """Pay at this rate through every node in turn, each person once a block or so."""
        turn = 0
        while True:
            await trio.sleep(1 / per_second)
            node, person = self.town.nodes[turn % len(self.town.nodes)], self.people[turn % len(self.people)]
            turn += 1
            if node.net is not None and hasattr(node, "service"):
                await self.submit(node, person, Transfer(self.people[0].address, turn))

    async def _act(self, node: WholeNode) -> None:
        operators = [n.operator for n in self.town.nodes]
        person = self.random.choice([*self.people, *operators])
        owns_node = next((o for o in operators if o.address == person.address), None)
        payload = self._operators_wish(node, owns_node) if owns_node is not None else None
        # Founders keep their bonds, or liars would soon hold a third.
        wishes = WISHES if person in self.people else WISHES[:3]
        await self.submit(node, person, payload or self._wish(node, person, wishes))

    def _operators_wish(self, node: WholeNode, operator: Operator) -> Any:
        """What somebody who runs a validator does first: bond, register, come back."""
        view = node.service.view()
        registered = view.get(VALIDATORS, operator.address)
        bonded = view.get(STAKES, operator.address)
        if bonded is None:
            return Bond(eubc(self.random.randint(100, 800)))
        if registered is None:
            return RegisterValidator(
                operator.name, operator.consensus.public, operator.possession, operator.chain.commitment
            )
        epoch = heads.epoch_of(heads.head(view).height + 1, self.town.rules.params.chain.epoch_blocks)
        if registered.status == JAILED and epoch >= registered.jailed_until:
            return Unjail()
        return None

    def _wish(self, node: WholeNode, person: Person, wishes: Sequence[str]) -> Any:
        random = self.random
        other = random.choice(self.people).address
        match random.choice(wishes):
            case "pay":
                return Transfer(other, random.randint(1, eubc(20)))
            case "pay all":
                have = funds.account(node.service.view(), person.address).balance
                return Transfer(other, max(1, have - random.randint(0, 10**7)))
            case "pay many":
                return MultiTransfer(tuple(Output(p.address, random.randint(1, 10**6)) for p in self.people))
            case "bond":
                return Bond(eubc(random.randint(1, 40)))
            case "unbond":
                return Unbond(eubc(random.randint(1, 40)))
        return post_of()

    async def submit(self, node: WholeNode, person: Person, payload: Any) -> bool:
        """Through a node; whether it was new and accepted there."""
        view = node.service.view()
        nonce = node.mempool.pending_nonce(person.address, funds.account(view, person.address).nonce)
        until = heads.head(view).height + TTL_BLOCKS
        tip = self.random.randint(0, 3)
        body = Body(TRANSACTION_VERSION, CHAIN_ID, person.address, nonce, MAX_PRICE, tip, until, payload)
        signature = person.secret.sign(sign_hash(self.town.rules.genesis, encode(body)))
        raw = encode(Transaction(body, KeyAuth(person.secret.public, signature)))
        self.submitted += 1
        outcomes = await node.service.submit([raw])
        self.accepted += outcomes[0].is_new
        return outcomes[0].is_new
