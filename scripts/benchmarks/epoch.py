"""The two dearest blocks of Proof of Resource: one that closes a full window, one that ends an epoch.

2,048 sparks with a proof each (verdicts known ahead) and 400 validators, as many as the main network holds.
The reference is the same height with nobody registered but one validator.
"""

from __future__ import annotations

import time

from consensus.resource.proof import share_bytes
from consensus.resource.windows import Window
from consensus.types.codec import encode
from consensus.types.params import MAIN
from consensus.types.reader import MemoryState
from consensus.types.tree import empty_tree, update_tree
from tests.proving import HARDWARE, RECIPIENT, TILES
from tests.world import World
from vm import epoch, measuring
from vm import head as heads
from vm.claims import claims, take_as_true
from vm.members import MEMBERS, Entry, Register
from vm.slices import to_the_end
from vm.spark import SPARKS, Spark
from vm.stake import STAKES, Stake
from vm.state import SUPPLY, State
from vm.validator import VALIDATORS
from vm.windows import PROOFS, WINDOWS, LastWindow, Submitted

SPARK_COUNT, VALIDATOR_COUNT = 2_048, 400
BOND = 10**13


def crowded(world: World, sparks: int, validators: int) -> MemoryState:
    """The world's state with so many registered, written past the rules."""
    state = MemoryState(dict(world.state.entries))
    writes: dict[bytes, bytes | None] = {}

    def put(table: object, key: bytes, record: object) -> None:
        writes[table.prefix + key] = encode(record)  # type: ignore[attr-defined]  # a table

    operator = world.read(VALIDATORS, world["v0"].address)
    for index in range(sparks):
        address = index.to_bytes(20, "big")
        put(SPARKS, address, Spark(1, RECIPIENT, HARDWARE, 2, True, 0, 1000, 10**9, *(0,) * 7))
        put(MEMBERS, bytes([Register.SPARKS]) + BOND.to_bytes(8, "big") + address, Entry(0))
        put(PROOFS, address, Submitted(1_001, share_bytes(TILES)))
        if index < validators:
            put(VALIDATORS, address, operator)
            put(MEMBERS, bytes([Register.VALIDATORS]) + BOND.to_bytes(8, "big") + address, Entry(0))
        put(STAKES, address, Stake(BOND, 0, ()))
    put(MEMBERS, bytes([Register.SPARKS]), Entry(sparks))
    put(MEMBERS, bytes([Register.VALIDATORS]), Entry(validators + 1))
    supply = world.supply()
    added = BOND * sparks
    grown = {"issued": supply.issued + added, "bonded": supply.bonded + added}
    put(
        SUPPLY,
        b"",
        type(supply)(**{name: grown.get(name, getattr(supply, name)) for name in supply.__struct_fields__}),
    )
    resource = MAIN.resource
    window = Window(1_000, 1, resource.window_blocks, resource.grace_blocks, resource.verify_blocks,
                    resource.difficulty_min, resource.verify_budget)  # fmt: skip
    put(WINDOWS, b"", LastWindow(window, bytes(32), bytes(32), bytes(32), 10**9 * sparks, sparks,
                                 len(TILES) * sparks, False, False, False, 0))  # fmt: skip
    state.write(writes)
    return state


def _block(state: MemoryState, world: World, height: int, *, ends: bool) -> float:
    """Milliseconds of the step and of the tree update that follows it."""
    view = heads.view(state, world.rules)
    running = State(state, view.block._replace(height=height, epoch=0))
    claims(running, running.get(WINDOWS, b""))  # the node has looked ahead: samples are drawn already
    tree = empty_tree()
    tree.apply(update_tree(tree, state.entries))
    began = time.perf_counter()
    if ends:
        to_the_end(epoch.end(running))
    else:
        to_the_end(measuring.run(running, bytes(32), take_as_true))
    update_tree(tree, running.finish())
    return (time.perf_counter() - began) * 1000


def run() -> list[dict[str, str | float]]:
    """Milliseconds, the best of three."""
    world = World(MAIN, bonds=[BOND])
    full, empty = crowded(world, SPARK_COUNT, VALIDATOR_COUNT), crowded(world, 0, 0)
    closes = 1_001 + 30 + 4 + 300
    rows = []
    for name, height, ends in (("window_close", closes, False), ("epoch", 3_600, True)):
        value = min(_block(full, world, height, ends=ends) for _ in range(3))
        reference = min(_block(empty, world, height, ends=ends) for _ in range(3))
        rows.append(
            {"name": name, "value": value, "unit": "ms", "reference": reference, "ratio": value / reference}
        )
    return rows
