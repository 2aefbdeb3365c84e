"""The process that judges proofs of resource: claims on standard input, verdicts on standard output.

Here: one batch, run as `python -m eubchain.node.verdict_worker`.
Not here: who starts it (verdicts.py), what a share is (consensus/resource/share.py).
Why a process: numpy needs memory that a node should not hold between windows, and a minute of matrix
products beside the event loop would delay every vote.
Keeps: verdicts in the order of the claims; a lower priority than the node, which comes first.
"""

from __future__ import annotations

import os
import sys

from consensus.resource.proof import Claim
from consensus.resource.share import verify
from consensus.types.codec import Codec, encode

PRIORITY = 5
CLAIMS: Codec[tuple[Claim, ...]] = Codec(tuple[Claim, ...])


def main() -> None:
    """Judge one batch."""
    os.nice(PRIORITY)
    claims = CLAIMS.decode(sys.stdin.buffer.read())
    sys.stdout.buffer.write(encode(tuple(verify(claim) for claim in claims)))


if __name__ == "__main__":
    main()
