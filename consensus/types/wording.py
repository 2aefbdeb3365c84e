"""Turning codes and facts into words, at the edge and in one way for every interface.

Here: rendering of a `Fault` and of a receipt's code and facts; how each kind of fact is written.
Not here: the sentences (beside each rule), other languages (the pages' own tables).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from consensus.types.address import ADDRESS_BYTES, format_address
from consensus.types.amounts import PPB, format_eubc
from consensus.types.errors import FactValue, Fault, Reason


class Wording(NamedTuple):
    """What a person or program is told: the object of JSON answers, field by field."""

    code: int
    name: str
    sentence: str
    hint: str
    facts: dict[str, str | int]


def shown_fact(kind: str, value: FactValue, prefix: str) -> str:
    """One fact as text; `prefix` is the network's address prefix."""
    if isinstance(value, bytes):
        if kind == "address" and len(value) == ADDRESS_BYTES:
            return format_address(value, prefix)
        if kind == "text":
            return value.decode("utf-8", "replace")
        return value.hex()
    if isinstance(value, int):
        if kind == "eubc":
            return f"{format_eubc(value)} EUBC"
        if kind == "ppb":
            hundredths = value * 10_000 // PPB
            return f"{hundredths // 100}.{hundredths % 100:02d} %"
        if kind == "bytes":
            return f"{value:,} bytes"
    return str(value)


def word(reason: Reason, facts: dict[str, FactValue], prefix: str) -> Wording:
    """Render a reason with its facts."""
    kinds = dict(reason.facts)
    shown = {name: shown_fact(kinds[name], value, prefix) for name, value in facts.items()}
    # Programs get integers as integers (grains for amounts), people get the sentence.
    plain: dict[str, str | int] = {
        name: value if isinstance(value, int) else shown[name] for name, value in facts.items()
    }
    return Wording(
        reason.code, reason.name, reason.sentence.format(**shown), reason.hint.format(**shown), plain
    )


def word_fault(fault: Fault, prefix: str) -> Wording:
    """Render a fault."""
    return word(fault.reason, fault.facts, prefix)


def word_receipt(code: int, facts: Sequence[int | bytes], prefix: str) -> Wording:
    """Render the code and facts of a refused transaction's receipt."""
    reason = Reason.registry.get(code)
    if reason is None or len(reason.facts) != len(facts):
        return Wording(code, "unknown", f"The chain refused it with code {code}.", "Update this program.", {})
    return word(reason, {name: facts[i] for i, (name, _) in enumerate(reason.facts)}, prefix)
