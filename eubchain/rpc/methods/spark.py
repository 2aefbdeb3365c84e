"""`spark_*` and `por_*`: registered sparks, their coefficient and where it comes from.

Errors: 2350 no_such_spark.
"""

from __future__ import annotations

from typing import Any

import trio

from consensus.resource.windows import last_proof_at, opens_at, takes_proofs_at
from consensus.types.address import format_address, parse_address
from consensus.types.errors import Fault, Reason
from consensus.types.naming import to_named
from eubchain.rpc.backend import Backend
from eubchain.rpc.method import AddressText, Decimal, Hex, View, method
from vm import members, stake, standing, windows
from vm.members import Register
from vm.spark import ACTIVE, SPARKS, Spark

SLICE_SPARKS = 32
"""Sparks shown between two pauses."""

NO_SUCH_SPARK = Reason(
    2350,
    "no_such_spark",
    "account:address",
    "{account} has no spark.",
    "Register one with `eubchain spark init`.",
)


class SparkView(View):
    """A registered spark; coefficient and power in parts per billion."""

    address: str
    status: str
    recipient: str
    hardware: dict[str, Any]
    slots: int
    running: int
    judging: bool
    kappa: int
    power: int
    capacity: int
    difficulty: int
    """D: tiles per share of its next proof."""
    registered_epoch: int
    banned_until: int
    """Epoch before which it proves nothing; 0 for none."""
    exposure: Decimal
    bonded: Decimal


def spark_view(backend: Backend, address: bytes, spark: Spark) -> SparkView:
    """A spark as JSON."""
    return SparkView(
        address=format_address(address, backend.prefix),
        status="active" if spark.status == ACTIVE else "retired",
        recipient=spark.recipient,
        hardware=to_named(spark.hardware, backend.prefix),
        slots=spark.slots,
        running=spark.running,
        judging=spark.judging,
        kappa=spark.kappa,
        power=spark.power,
        capacity=spark.capacity,
        difficulty=spark.difficulty,
        registered_epoch=spark.registered_epoch,
        banned_until=spark.banned_until,
        exposure=str(spark.exposure),
        bonded=str(stake.stake(backend.view(), address).bonded),
    )


@method("spark_get", example={"address": "deub1xc6xqjvm4txn9tvm8eurw6wktyx694ez3w5u4z"})
async def get(backend: Backend, address: AddressText) -> SparkView:
    """One spark."""
    account = parse_address(address, backend.prefix)
    spark = backend.view().get(SPARKS, account)
    if spark is None:
        raise Fault(NO_SUCH_SPARK, account=account)
    return spark_view(backend, account, spark)


@method("spark_list", example={})
async def list_sparks(backend: Backend) -> list[SparkView]:
    """Every registered spark that has not retired, the highest coefficient first."""
    state = backend.view()
    found = []
    for index, address in enumerate(members.addresses(state, Register.SPARKS)):
        if index % SLICE_SPARKS == SLICE_SPARKS - 1:
            await trio.lowlevel.checkpoint()
        spark = state.get(SPARKS, address)
        assert spark is not None, "a listed spark has its record"
        found.append(spark_view(backend, address, spark))
    return sorted(found, key=lambda s: (-s.kappa, s.address))


class PorView(View):
    """An account's Proof of Resource: coefficient, power, and the memories behind its reputation."""

    address: str
    kappa: int
    power: int
    capacity: int
    bonded: Decimal
    standing: dict[str, Any]
    """The four memories in grains and proved cheats, faded to this epoch."""


@method("por_get", example={"address": "deub1xc6xqjvm4txn9tvm8eurw6wktyx694ez3w5u4z"})
async def por_get(backend: Backend, address: AddressText) -> PorView:
    """The coefficient of an account and what it rests on."""
    account = parse_address(address, backend.prefix)
    state = backend.view()
    spark = state.get(SPARKS, account)
    return PorView(
        address=address,
        kappa=spark.kappa if spark else standing.newcomer_kappa(state, account),
        power=spark.power if spark else 0,
        capacity=spark.capacity if spark else 0,
        bonded=str(stake.stake(state, account).bonded),
        standing=to_named(standing.faded(state, account), backend.prefix),
    )


class WindowView(View):
    """The last window of proving that was announced; heights."""

    window: int
    """Its name: the height that opened it."""
    epoch: int
    """In which it was announced."""
    search_until: int
    """Proofs that are ready by then have the grace blocks to be included."""
    last_proof: int
    is_open: bool
    """Whether the next block may hold a proof."""
    seed: Hex | None
    """Of the tiles; None until it is known."""
    proofs: int
    """That count so far."""
    has_proved: bool | None
    """Whether `address` has proved in it; None when no address was asked for."""


@method("por_window", example={})
async def por_window(backend: Backend, address: AddressText | None = None) -> WindowView | None:
    """The last window of proving, None before the first; with `address`, whether that spark has proved."""
    state = backend.view()
    last = windows.last_window(state)
    if last is None:
        return None
    account = None if address is None else parse_address(address, backend.prefix)
    return WindowView(
        window=opens_at(last.window),
        epoch=windows.announced_epoch(state, last.window),
        search_until=opens_at(last.window) + last.window.window_blocks,
        last_proof=last_proof_at(last.window),
        is_open=takes_proofs_at(last.window, state.block.height + 1),
        seed=None if last.seed is None else "0x" + last.seed.hex(),
        proofs=last.proofs,
        has_proved=None if account is None else state.get(windows.PROOFS, account) is not None,
    )
