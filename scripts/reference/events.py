"""docs/reference/events.md: every kind of event that a receipt can hold."""

from __future__ import annotations

from consensus.types.receipt import EventKind
from scripts.reference.sources import WRITTEN, escaped, import_everything, table

INTRODUCTION = """# Events

What happened, as a code and facts in the order given here. Events of a transaction stand in its receipt.
What the due queue and an epoch's end did stands in the block's own receipt, the last of each block.
"""


def page() -> str:
    """The page."""
    import_everything()
    kinds = [EventKind.registry[code] for code in sorted(EventKind.registry)]
    rows = [
        (
            f'<a id="{kind.name}"></a>{kind.code}',
            f"`{kind.name}`",
            ", ".join(f"{name}: {fact}" for name, fact in kind.facts),
            escaped(kind.sentence),
        )
        for kind in kinds
    ]
    return "\n".join([WRITTEN, INTRODUCTION, table(("code", "name", "facts", "in words"), rows)])
