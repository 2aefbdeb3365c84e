"""What Prometheus reads: gauges and counters of one node, on their own port.

Here: every metric with its help, the page. Not here: `/health` (eubchain/rpc/server.py).
Keeps: names start with `eub_`; docs/reference/metrics.md lists them and a test compares.
"""

from __future__ import annotations

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

BLOCK_SECONDS = (0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0, 8.0, 16.0, 32.0)


class Metrics:
    """One node's metrics."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        made = self.registry
        self.height = Gauge("eub_height", "Height of the last final block", registry=made)
        self.round = Gauge("eub_commit_round", "Round in which the last block was decided", registry=made)
        self.transactions = Counter("eub_transactions", "Transactions in final blocks", registry=made)
        self.refused = Counter("eub_transactions_refused", "Transactions that were refused", registry=made)
        self.block_interval = Histogram(
            "eub_block_interval_seconds", "Time between two blocks", buckets=BLOCK_SECONDS, registry=made
        )
        self.waiting = Gauge("eub_mempool_transactions", "Transactions that wait", registry=made)
        self.waiting_bytes = Gauge("eub_mempool_bytes", "Bytes of waiting transactions", registry=made)
        self.base_price = Gauge("eub_base_price_grains", "Base price, grains per unit", registry=made)
        self.validators = Gauge("eub_validators", "Validators in the set", registry=made)
        self.is_validator = Gauge("eub_is_validator", "1 while this node's key is in the set", registry=made)
        self.missed_commits = Counter(
            "eub_missed_commits", "Final blocks whose commit lacks this validator's signature", registry=made
        )
        self.reveals_left = Gauge("eub_reveals_left", "Proposals left in the reveal chain", registry=made)
        self.disk_refuses = Gauge(
            "eub_disk_refuses", "1 while the disk takes no writes and nothing is signed", registry=made
        )
        self.clock_skew_ms = Gauge(
            "eub_clock_skew_ms", "How far this clock is ahead of the others', 0 within bounds", registry=made
        )
        self.peers = Gauge("eub_peers", "Connected peers", registry=made)
        self.validator_peers = Gauge("eub_validator_peers", "Connected validators", registry=made)
        self.p2p_bytes_in = Gauge("eub_p2p_received_bytes", "Bytes received from peers", registry=made)
        self.p2p_bytes_out = Gauge("eub_p2p_sent_bytes", "Bytes sent to peers", registry=made)
        self.p2p_messages_in = Gauge(
            "eub_p2p_received_messages", "Messages from peers, by kind", ["kind"], registry=made
        )
        self.p2p_messages_out = Gauge(
            "eub_p2p_sent_messages", "Messages to peers, by kind", ["kind"], registry=made
        )
        self.p2p_aborted = Gauge("eub_p2p_aborted", "Connections that ended", registry=made)
        self.p2p_deaths = Gauge("eub_p2p_deaths", "Failures of the network part", registry=made)
        self.synced_blocks = Gauge("eub_synced_blocks", "Final blocks taken from peers", registry=made)
        self.tasks_matched = Counter("eub_tasks_matched", "Task seats matched", registry=made)
        self.tasks_closed = Counter("eub_tasks_closed", "Task seats closed", registry=made)


def metrics_application(metrics: Metrics) -> Starlette:
    """The page on its own port."""

    async def page(request: Request) -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return Starlette(routes=[Route("/metrics", page, methods=["GET"])])
