"""The search for shares, and the second look before they are sent.

Here: `prove`. Not here: multiplying (the backends), the process and its clock (process.py, __main__.py).
Keeps: no share leaves that the reference has not confirmed, so a bit that flips on a consumer card
cannot cost its owner a slash; tiles are tried in one order, so nobody picks among them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from consensus.resource import share
from consensus.resource.proof import PANELS, SHARES_MAX, Share, make_proof
from spark_node.prover.backend import Backend
from spark_node.prover.order import NOT_BEGUN, Answer, Assignment, Progress

Tell = Callable[[Progress], None]


def tell_nobody(progress: Progress) -> None:
    """For a search that nobody follows."""


def assignment_keys(assignment: Assignment) -> share.Keys:
    """The panel keys of an assignment."""
    profile = share.PROFILES[assignment.profile]
    return share.panel_keys(
        profile, assignment.window, assignment.seed, share.owner_bytes(assignment.account)
    )


def search(
    backend: Backend,
    assignment: Assignment,
    may_go_on: Callable[[], bool],
    begun: Progress = NOT_BEGUN,
    tell: Tell = tell_nobody,
) -> tuple[list[Share], int]:
    """Find up to 56 shares; return them with the number of tiles computed.

    `may_go_on` is asked before each block, `tell` is told after it. Panels of A stay and those of B
    advance, so a block generates half of the panels it multiplies. What was `begun` with blocks of
    another size is done again.
    """
    keys, side = assignment_keys(assignment), backend.side
    if begun.side != side:
        begun = NOT_BEGUN
    winning = np.uint64((share.TICKETS - 1) // assignment.difficulty)
    ps, found, tiles = range(side), list[Share](begun.shares), begun.tiles
    for first in range(begun.next_panel, PANELS, side):
        if len(found) >= SHARES_MAX or not may_go_on():
            break
        qs = range(first, first + side)
        won = np.argwhere(backend.tickets(keys, ps, qs) <= winning)
        found += [(ps[int(row)], qs[int(column)]) for row, column in won]
        tiles += len(ps) * len(qs)
        tell(Progress(tuple(found[:SHARES_MAX]), min(PANELS, first + side), side, tiles))
    return found[:SHARES_MAX], tiles


def confirmed(assignment: Assignment, shares: list[Share]) -> list[Share]:
    """Those of the shares that the reference finds too."""
    keys = assignment_keys(assignment)
    return [(p, q) for p, q in shares if share.is_share(share.ticket(keys, p, q), assignment.difficulty)]


def prove(
    backend: Backend,
    assignment: Assignment,
    may_go_on: Callable[[], bool],
    begun: Progress = NOT_BEGUN,
    tell: Tell = tell_nobody,
) -> Answer:
    """Search until `may_go_on` says no or the proof is full, look at each share again, build the proof."""
    found, tiles = search(backend, assignment, may_go_on, begun, tell)
    kept = confirmed(assignment, found)
    return Answer(make_proof(assignment.window, kept), tiles, len(found) - len(kept), backend.name)
