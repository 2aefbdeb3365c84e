"""How a stored object is called: task, seat, kind and number.

Here: `ObjectName`, its text form and what becomes of it on disk and in a URL.
Not here: where objects lie (shelf.py, directory.py, blob.py), who may touch them (tokens.py).
Keeps: a text that parses is the only spelling of its name and holds nothing but lower case letters,
digits and three slashes, so no name can leave the directory it is joined to.
Errors: 3400 object_name_malformed.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from consensus.types.errors import Fault, Reason

KINDS = ("in", "out", "log", "error")
"""Inputs, results, sealed log chunks, and the report of a failure."""
SEAT_MAX = 255
NUMBER_MAX = 2**31 - 1

OBJECT_NAME_MALFORMED = Reason(
    3400,
    "object_name_malformed",
    "text:text",
    "'{text}' is not the name of an object.",
    "An object is TASK/SEAT/KIND/NUMBER: 64 hex digits, 0-255, one of in, out, log, error, a number.",
)

_FORM = re.compile(r"([0-9a-f]{64})/(0|[1-9][0-9]{0,2})/(in|out|log|error)/(0|[1-9][0-9]{0,9})", re.ASCII)


class ObjectName(NamedTuple):
    """One object of one seat of a task; `task` is the transaction id of its post, 32 bytes."""

    task: bytes
    seat: int
    kind: str
    n: int

    @property
    def text(self) -> str:
        """TASK/SEAT/KIND/NUMBER, as it stands in a URL, in a token and on disk."""
        assert len(self.task) == 32, "a task id has 32 bytes"
        assert self.kind in KINDS, "there are four kinds"
        assert 0 <= self.seat <= SEAT_MAX, "a seat is one byte"
        assert 0 <= self.n <= NUMBER_MAX, "numbers are bounded"
        return f"{self.task.hex()}/{self.seat}/{self.kind}/{self.n}"


def parse_object_name(text: str) -> ObjectName:
    """Read a name; raise `Fault` 3400 for anything but its one spelling."""
    match = _FORM.fullmatch(text)
    if match is None or int(match[2]) > SEAT_MAX or int(match[4]) > NUMBER_MAX:
        raise Fault(OBJECT_NAME_MALFORMED, text=text[:120])
    return ObjectName(bytes.fromhex(match[1]), int(match[2]), match[3], int(match[4]))
