"""Sparks: accounts that offer compute.

Here: the record that tasks, proofs and the epoch's end share; register, update, retire.
Not here: what its figures come from (consensus/resource, vm/epoch.py).
Keeps: an account has at most one spark. Errors: 1400–1409.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from consensus.types.codec import Name, Record, Uint
from vm.state import Namespace, Table

SLOTS_MAX = 64
ACTIVE, RETIRED = 1, 2


class Hardware(Record, frozen=True):
    """What the operator declares; the protocol proves compute, not a model of card."""

    model: Name
    gpus: Uint
    gpu_memory_bytes: Uint
    """Of the smallest GPU."""
    cpus: Uint
    memory_bytes: Uint
    disk_bytes: Uint


class Spark(Record, frozen=True):
    """A registered compute node; keyed by its account's address."""

    status: Uint
    """ACTIVE or RETIRED (retired by its owner, or pushed out of a full register)."""
    recipient: Annotated[str, Meta(max_length=64, pattern=r"^age1[0-9a-z]{58}\Z")]
    """The age X25519 recipient that grants are sealed to."""
    hardware: Hardware
    slots: Annotated[int, Meta(ge=1, le=SLOTS_MAX)]
    """Seats it runs at one time."""
    judging: bool
    """Whether it may be drawn as a judge."""
    registered_epoch: Uint
    difficulty: Uint
    """D."""
    capacity: Uint
    """S, proved compute in 2⁻¹⁶ tiles per window."""
    banned_until: Uint
    """Epoch before which it proves nothing, after a false share."""
    failed_epoch: Uint
    """1 + the last epoch in which a seat of its failed its availability; 0 for never."""
    running: Uint
    """Seats that fill a slot now."""
    exposure: Uint
    """Grains of gas and pledge locked for its seats."""
    power: Uint
    """P at the last epoch's end, parts per billion."""
    kappa: Uint
    """κ, the coefficient, parts per billion; at registration 2ρ // 3."""


SPARKS = Table(Namespace.SPARK, Spark)
