"""`spark_*` and `por_*`: registered sparks, their coefficient and where it comes from.

Errors: 2350 no_such_spark.
"""

from __future__ import annotations

from typing import Any

from consensus.types.address import format_address, parse_address
from consensus.types.errors import Fault, Reason
from consensus.types.naming import to_named
from eubchain.rpc.backend import Backend
from eubchain.rpc.method import AddressText, Decimal, View, method
from vm import members, stake, standing
from vm.members import Register
from vm.spark import ACTIVE, SPARKS, Spark

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
    for address in members.addresses(state, Register.SPARKS):
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
