"""docs/reference/parameters.md: the parameters of the three published networks, side by side."""

from __future__ import annotations

from typing import Any

from consensus.types.amounts import format_eubc
from consensus.types.params import DEV, MAIN, TEST, Params, WindowBounds
from scripts.reference.sources import WRITTEN, escaped, field_notes, summary, table

AMOUNTS = frozenset(
    {"min_bond", "reward", "evidence_price", "gas_floor", "spark_bond", "task_deposit", "offer_deposit",
     "audit_seed"}
)  # fmt: skip
"""Fields in grains, shown in EUBC."""
TITLES = {
    "chain": "Blocks and time (`chain`)",
    "fees": "Fees (`fees`)",
    "validators": "Validators, stake and rewards (`validators`)",
    "resource": "Proof of Resource (`resource`)",
    "market": "The task market (`market`)",
}

INTRODUCTION = """# Network parameters

Part of a network's genesis record, under these names; a private network may choose its own
(`eubchain genesis new`). They change only with a protocol version. What a node may choose for itself is in
[its configuration](config.md). Times of blocks are milliseconds; amounts are shown in EUBC and stored in
grains (10⁸ to one).
"""


def page() -> str:
    """The page."""
    parts = [WRITTEN, INTRODUCTION]
    for section in Params.__struct_fields__:
        networks = [getattr(network, section) for network in (DEV, TEST, MAIN)]
        kind = type(networks[0])
        notes = field_notes(kind)
        rows = [
            (
                f"`{field}`",
                *(_shown(field, getattr(network, field)) for network in networks),
                escaped(notes.get(field, "")),
            )
            for field in kind.__struct_fields__
        ]
        parts += [f"## {TITLES[section]}\n", f"{summary(kind)}\n",
                  table(("parameter", "dev", "test", "main", "meaning"), rows)]  # fmt: skip
    return "\n".join(parts)


def _shown(field: str, value: Any) -> str:
    if isinstance(value, WindowBounds):
        return f"{value.least:,} – {value.most:,}"
    if field in AMOUNTS:
        return f"{format_eubc(value)} EUBC"
    return f"{value:,}"
