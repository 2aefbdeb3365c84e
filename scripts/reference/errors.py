"""docs/reference/errors.md: every reason, in words, by the range of its code."""

from __future__ import annotations

from consensus.types.errors import Reason
from scripts.reference.sources import WRITTEN, escaped, import_everything, table

RANGES = (
    (1000, "Encoding and transactions"),
    (1100, "Accounts, amounts and addresses"),
    (1200, "Stake"),
    (1300, "Validators"),
    (1400, "Sparks"),
    (1500, "Proof of Resource"),
    (1600, "Tasks"),
    (1800, "Evidence"),
    (1900, "Blocks"),
    (2000, "Agreement, write-ahead log, signer guard"),
    (2100, "Ledger"),
    (2200, "Mempool"),
    (2300, "RPC"),
    (2400, "Network"),
    (2500, "Node and configuration"),
    (3000, "Wallet"),
    (3100, "Client and task run"),
    (3200, "Spark agent"),
    (3300, "Runtimes"),
    (3400, "Storage and sealing"),
    (3900, "Command line"),
)
"""First code and title of each range."""

INTRODUCTION = """# Errors

Every refusal and failure has a code that is never reused, a name, a sentence with its facts, and a hint.
`eubchain help error CODE` prints one. A receipt holds code and facts (integers, and byte strings of at most
64 bytes) in the order in which they stand here; JSON-RPC answers code, name, facts, sentence and hint; the
command prints sentence and hint, or the same object under `--json`. Codes 1001–1999 are the chain's own and
the only ones that can stand in a receipt.
"""


def page() -> str:
    """The page."""
    import_everything()
    parts = [WRITTEN, INTRODUCTION]
    starts = [first for first, _ in RANGES] + [4000]
    for (first, title), end in zip(RANGES, starts[1:], strict=True):
        reasons = [Reason.registry[code] for code in sorted(Reason.registry) if first <= code < end]
        if reasons:
            parts += [f"\n## {title}\n", table(("code", "name", "facts", "what it says · *what to do*"),
                                               map(_row, reasons))]  # fmt: skip
    return "\n".join(parts)


def _row(reason: Reason) -> tuple[str, ...]:
    facts = ", ".join(f"{name}: {kind}" for name, kind in reason.facts)
    words = f"{escaped(reason.sentence)}<br>*{escaped(reason.hint)}*"
    return f'<a id="{reason.name}"></a>{reason.code}', f"`{reason.name}`", facts, words
