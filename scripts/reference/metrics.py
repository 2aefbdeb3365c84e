"""docs/reference/metrics.md: what /metrics answers."""

from __future__ import annotations

from eubchain.node.metrics import Metrics
from scripts.reference.sources import WRITTEN, escaped, table

INTRODUCTION = """# Metrics

Prometheus reads them from `http://127.0.0.1:26660/metrics` (option `metrics.listen`). A histogram has the
usual series `_bucket`, `_sum` and `_count`. `/health`, beside JSON-RPC, answers 200 when the node is ready
and 503 when it is not.
"""


def page() -> str:
    """The page."""
    rows = []
    for family in Metrics().registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        rows.append((f"`{name}`", family.type, escaped(family.documentation)))
    return "\n".join([WRITTEN, INTRODUCTION, table(("metric", "kind", "meaning"), rows)])
