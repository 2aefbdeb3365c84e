"""What a person sees before signing: who could do it, what is reserved, what it can cost at most.

Here: `Preview`, `preview_order`, the refusal of what no registered spark could do.
Not here: printing (eubchain/cli/task_screen.py), signing (posting.py).
Keeps: every figure is computed by the code that charges or settles it.
Errors: 3161 impossible_here, 3162 no_store; 3152 and 3300 of the order.
"""

from __future__ import annotations

from typing import NamedTuple

from consensus.types.errors import Fault, Reason
from eubchain.client.sending import Prepared
from eubchain.client.task_run.inputs import Measured, measure
from eubchain.client.task_run.market import SparkSight, all_sparks, is_fitting, last_prices
from eubchain.client.task_run.order import Order, check_order, check_output, post_of, spec_of, windows_of
from eubchain.client.task_run.quantities import blocks_of, show_size
from eubchain.client.task_run.requester import Requester, prepare_step
from spark_node.storage.places import parse_place
from vm.task.payloads import Resources, Windows
from vm.task.quotes import PostQuote, cost_of_post
from vm.task.terms import gas_for

IMPOSSIBLE_HERE = Reason(
    3161,
    "impossible_here",
    "need:text have:text",
    "No registered spark can do this: it needs {need}; {have}.",
    "Ask for less, or wait until a larger spark registers: `eubchain por top` lists them.",
)
NO_STORE = Reason(
    3162,
    "no_store",
    "url:text",
    "The node at {url} serves no store for sealed data.",
    "Name a node that does with --node, or a place with --place (blob:http://HOST:PORT or file:///DIRECTORY).",
)
ANY_RECIPIENT = "age1" + "q" * 58
STEPS = 3
"""Transactions that a task costs its requester: post, grant, answer."""


class Candidate(NamedTuple):
    """A spark that could take the order."""

    spark: SparkSight
    gas: int
    """What it would lock at the whole price; grains."""
    last_price: int | None
    is_free: bool


class Preview(NamedTuple):
    """An order as it would be posted now."""

    order: Order
    measured: Measured
    windows: Windows
    candidates: tuple[Candidate, ...]
    place: str
    quote: PostQuote
    allow: list[bytes]
    avoid: list[bytes]
    not_before: int
    """The height at which a reservation's clocks start; 0 for none."""
    prepared: Prepared
    """The post with a stand-in recipient: its size, and so its fee, are the final ones."""

    @property
    def fees_max(self) -> int:
        """Of all steps together; grains."""
        return STEPS * self.prepared.fee_max


async def preview_order(requester: Requester, order: Order) -> Preview:
    """Check the order here and on chain; nothing is signed. Raise `Fault` 3152, 3161, 3162, 3300, …"""
    check_order(order)
    check_output(order)
    network, node = requester.network, requester.node
    allow, avoid = ([network.address(text) for text in texts] for texts in (order.allow, order.avoid))
    params = network.rules.params
    windows = windows_of(order, params.market, requester.interval_ms)
    measured = await measure(order)
    spec = spec_of(order, measured.module_digest, measured.size, ANY_RECIPIENT)
    sparks = await all_sparks(node, network)
    able = [
        s
        for s in refuse_impossible(sparks, order.resources)
        if s.kappa >= order.min_kappa and s.address not in avoid and (not allow or s.address in allow)
    ]
    if not able:
        have = "none of those that are large enough is allowed with the coefficient that you ask for"
        raise Fault(IMPOSSIBLE_HERE, need="a spark that you allow", have=have)
    prices = await last_prices(node, network)
    candidates = tuple(
        Candidate(
            s,
            gas_for(params, s.kappa, order.maximum, order.maximum),
            prices.get(s.address),
            s.running < s.slots,
        )
        for s in able
    )
    not_before = 0
    if order.start_in_s:
        head = (await node.call("chain_status"))["height"]
        not_before = head + blocks_of(order.start_in_s, requester.interval_ms)
    payload = post_of(order, spec, windows, allow, avoid, not_before)
    place = order.place or await store_of_node(requester)
    parse_place(place)
    prepared = await prepare_step(requester, payload)
    quote = cost_of_post(payload, params)
    return Preview(order, measured, windows, candidates, place, quote, allow, avoid, not_before, prepared)


async def store_of_node(requester: Requester) -> str:
    """The place of the store that the node serves; raise `Fault` 3162."""
    status = await requester.node.call("chain_status")
    place = status["node"].get("blobs", "")
    if not place:
        raise Fault(NO_STORE, url=requester.node.url)
    return str(place)


def refuse_impossible(sparks: list[SparkSight], needed: Resources) -> list[SparkSight]:
    """Those that declare enough; raise `Fault` 3161 naming the first thing that none has enough of."""
    active = [spark for spark in sparks if spark.is_active]
    if not active:
        raise Fault(IMPOSSIBLE_HERE, need="a spark", have="no spark is registered on this network")
    left = active
    for what, need, shown, have in (
        ("GPUs", needed.gpus, str, lambda s: s.hardware.gpus),
        ("of memory on each GPU", needed.gpu_memory_bytes if needed.gpus else 0, show_size, _gpu_memory),
        ("processor cores", needed.cpus, str, lambda s: s.hardware.cpus),
        ("of memory", needed.memory_bytes, show_size, lambda s: s.hardware.memory_bytes),
        ("of disk", needed.disk_bytes, show_size, lambda s: s.hardware.disk_bytes),
    ):
        enough = [spark for spark in left if have(spark) >= need]
        if not enough:
            largest = max(have(spark) for spark in left)
            among = "" if len(left) == len(active) else " of those with enough of the rest"
            raise Fault(
                IMPOSSIBLE_HERE,
                need=f"{shown(need)} {what}",
                have=f"largest registered spark{among} has {shown(largest)}",
            )
        left = enough
    assert all(is_fitting(spark, needed) for spark in left), "the chain would take their offers"
    return left


def _gpu_memory(spark: SparkSight) -> int:
    return spark.hardware.gpu_memory_bytes
