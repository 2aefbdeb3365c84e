"""What the market's payloads may hold: bounds of every field, tags of every type."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from consensus.types.codec import INTEGER_MAX, SUPPLY_MAX, Codec, encode
from consensus.types.errors import Rejected
from consensus.types.params import MAIN
from spark_node.job import Spec, spec_digest
from tests.market import RECIPIENT, REQUESTER, Market, deliver_of, fail_of, post_of
from vm.task.operations import OPERATIONS
from vm.task.payloads import (
    Accept,
    Check,
    Decline,
    Deliver,
    Grant,
    Offer,
    Post,
    Resources,
    Reveal,
    Role,
    SeatEnvelope,
    Start,
    Windows,
)
from vm.task.records import SEATS, TASKS

ID = bytes([255]) * 32
LONGEST = INTEGER_MAX
RESOURCES = Resources(*[LONGEST] * 5)
LARGEST_POST = Post(
    3,
    7,
    tuple(Role("x" * 64, 255, True, SUPPLY_MAX, RESOURCES) for _ in range(8)),
    10**9,
    (bytes(20),) * 64,
    (bytes(20),) * 16,
    Windows(*[LONGEST] * 5),
    LONGEST,
    True,
    Check(ID, 100),
    bytes(8 * 1024),
)
LARGEST = (
    LARGEST_POST,
    Offer(ID, 7, SUPPLY_MAX, LONGEST),
    Grant(ID, ID, tuple(SeatEnvelope(seat, bytes(4096)) for seat in range(12))),
    Start(ID, 255, bytes(1024)),
    Deliver(ID, 255, ID, LONGEST, ("x" * 1024, "y" * 1024), ID, RECIPIENT, bytes(1024)),
    Accept(ID, 255, 100, 5),
    Reveal(ID, 255, ID, bytes(16)),
)


@pytest.mark.parametrize("payload", LARGEST, ids=lambda p: type(p).__name__)
def test_the_largest_payload_fits_a_transaction(payload: Any) -> None:
    raw = encode(payload)
    assert Codec(type(payload)).decode(raw) == payload
    assert len(raw) < MAIN.chain.transaction_bytes_max


def test_types_are_numbered_fifty_to_sixty_seven_without_gaps() -> None:
    tags = sorted(operation.payload.__struct_config__.tag for operation in OPERATIONS)
    assert tags == list(range(50, 68))
    assert all(operation.name == f"task.{operation.payload.__name__.lower()}" for operation in OPERATIONS)


def changed(payload: Any, **changes: Any) -> Any:
    return msgspec.structs.replace(payload, **changes)


BASE_DELIVER, BASE_FAIL = deliver_of(ID), fail_of(ID)


@pytest.mark.parametrize(
    "payload",
    [
        post_of(way=4),
        post_of(replicas=8),
        post_of(roles=()),
        post_of(roles=LARGEST_POST.roles + LARGEST_POST.roles[:1]),
        post_of(roles=(Role("", 1, True, 1, RESOURCES),)),
        post_of(roles=(Role("Main", 1, True, 1, RESOURCES),)),
        post_of(roles=(Role("main", 0, True, 1, RESOURCES),)),
        post_of(roles=(Role("main", 1, True, 0, RESOURCES),)),
        post_of(roles=(Role("main", 1, True, SUPPLY_MAX + 1, RESOURCES),)),
        post_of(min_kappa=10**9 + 1),
        post_of(allow=(bytes(20),) * 65),
        post_of(avoid=(bytes(20),) * 17),
        post_of(allow=(bytes(19),)),
        post_of(check=Check(ID, 101)),
        post_of(spec=b""),
        post_of(spec=bytes(8 * 1024 + 1)),
        post_of(not_before=LONGEST + 1),
        post_of(by_hand=1),
        Offer(ID, 8, 1, 1),
        Offer(ID, 0, 0, 1),
        Grant(ID, ID, ()),
        Grant(ID, ID, (SeatEnvelope(0, b""),)),
        Grant(ID, ID, (SeatEnvelope(0, bytes(4097)),)),
        Grant(ID, ID, (SeatEnvelope(256, b"x"),)),
        Start(ID, 0, bytes(1025)),
        Decline(ID, 0, 0),
        Decline(ID, 0, 7),
        changed(BASE_DELIVER, places=()),
        changed(BASE_DELIVER, places=("a", "b", "c")),
        changed(BASE_DELIVER, places=("with space",)),
        changed(BASE_DELIVER, places=("x" * 1025,)),
        changed(BASE_DELIVER, places=("line\n",)),
        changed(BASE_DELIVER, recipient="age1short"),
        changed(BASE_DELIVER, recipient=RECIPIENT + "\n"),
        changed(BASE_DELIVER, envelope=bytes(1025)),
        changed(BASE_DELIVER, seal=bytes(31)),
        changed(BASE_FAIL, code=0),
        changed(BASE_FAIL, code=8),
        changed(BASE_FAIL, exit_status=2**32),
        changed(BASE_FAIL, place=""),
        Accept(ID, 0, 101, 1),
        Accept(ID, 0, 0, 0),
        Accept(ID, 0, 0, 6),
        Reveal(ID, 0, bytes(33), bytes(16)),
        Reveal(ID, 0, b"", bytes(16)),
        Reveal(ID, 0, b"x", bytes(15)),
    ],
)
def test_a_field_beyond_its_bound_is_malformed(payload: Any) -> None:
    with pytest.raises(Rejected):
        Codec(type(payload)).decode(encode(payload))


def test_the_state_holds_digests_and_not_what_the_transactions_carry() -> None:
    """A task with the longest spec, envelope and places takes no more state than a short one."""
    sizes = []
    for spec in (b"s", bytes(8 * 1024)):
        market = Market()
        task_id = market.delivered(spec=spec)
        sizes.append(len(encode(market.task(task_id))) + len(encode(market.seat(task_id))))
    assert sizes[0] == sizes[1]
    assert sizes[0] < 1_000


def test_a_specs_digest_on_the_chain_is_the_agents() -> None:
    spec = Spec(
        "wasi", "sha256:" + "0" * 64, "/input", "/output", 1_000, 2**26, 2**20, 0, 1, 1, RECIPIENT, ()
    )
    market = Market()
    task_id = market.post(spec=encode(spec))
    assert market.task(task_id).spec == spec_digest(spec)


def test_records_read_back_as_they_were_written() -> None:
    market = Market()
    task_id = market.delivered()
    task, seat = market.task(task_id), market.seat(task_id)
    assert TASKS.decode(encode(task)) == task
    assert SEATS.decode(encode(seat)) == seat
    assert task.requester == REQUESTER
