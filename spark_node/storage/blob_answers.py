"""How a blob store refuses, as both ends know it.

Here: the reasons that only a server has, a fault as JSON, and a fault read from a stranger's JSON.
Not here: the server (blob_server.py), the client (blob.py).
Keeps: a client shows a server's refusal in words of its own, with facts of the declared kinds only.
Errors: 3450 access_denied, 3451 request_malformed, 3452 range_not_there, 3453 upload_stalled.
"""

from __future__ import annotations

import re

from consensus.types.errors import Fault, Reason

FAULT_HEADER = "eub-fault"
"""Where an HTTP store puts a refusal that has no body: ASCII JSON."""

ACCESS_DENIED = Reason(
    3450,
    "access_denied",
    "account:address method:text name:text",
    "{account} may not {method} '{name}': it is no party of this task, or not now.",
    "Requester, seated sparks and judges may; compare the account and the state of the task.",
)
REQUEST_MALFORMED = Reason(
    3451,
    "request_malformed",
    "what:text",
    "The request's {what} is missing or malformed.",
    "Use the client library, or read the store's page of the documentation.",
)
RANGE_NOT_THERE = Reason(
    3452,
    "range_not_there",
    "size:bytes",
    "The object has {size} bytes and none in the range that was asked for.",
    "Ask for one range that begins inside the object.",
)
UPLOAD_STALLED = Reason(
    3453,
    "upload_stalled",
    "have:bytes",
    "The upload sent nothing for too long; {have} bytes are kept.",
    "Continue it from there.",
)

_HEX = re.compile(r"([0-9a-f]{2}){1,32}", re.ASCII)


def fault_object(fault: Fault) -> dict[str, object]:
    """A fault as every interface sends it; bytes are shown as hex."""
    facts = {k: v.hex() if isinstance(v, bytes) else v for k, v in fault.facts.items()}
    return {
        "code": fault.reason.code,
        "message": fault.reason.sentence.format(**facts),
        "data": {"name": fault.reason.name, "facts": facts, "hint": fault.reason.hint.format(**facts)},
    }


def told_fault(answer: dict[str, object]) -> Fault | None:
    """The fault that a server names, if it is one of storage with just the facts that belong to it."""
    code, data = answer.get("code"), answer.get("data")
    reason = Reason.registry.get(code) if isinstance(code, int) and 3400 <= code < 3500 else None
    facts = data.get("facts") if isinstance(data, dict) else None
    if reason is None or not isinstance(facts, dict) or set(facts) != {name for name, _ in reason.facts}:
        return None
    told: dict[str, int | bytes | str] = {}
    for name, kind in reason.facts:
        value = facts[name]
        if kind in ("hash", "address") and isinstance(value, str) and _HEX.fullmatch(value):
            told[name] = bytes.fromhex(value)
        elif kind == "text" and isinstance(value, str):
            told[name] = "".join(c if c.isprintable() else "?" for c in value[:200])
        elif kind not in ("hash", "address", "text") and isinstance(value, int) and 0 <= value < 2**63:
            told[name] = value
        else:
            return None
    return Fault(reason, **told)
