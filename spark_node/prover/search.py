"""The search for shares, and the second look before they are sent.

Here: `prove`. Not here: multiplying (the backends), the process and its clock (process.py, __main__.py).
Keeps: no share leaves that the reference has not confirmed, so a bit that flips on a consumer card
cannot cost its owner a slash; no tile is computed twice, also when a search goes on in another process or
with another backend.
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
    advance, so a block generates half of the panels it multiplies; when B is at its end, the next band of
    A begins. Another backend goes on where one `begun` stopped, whatever the size of its blocks.
    """
    keys, side = assignment_keys(assignment), backend.side
    winning = np.uint64((share.TICKETS - 1) // assignment.difficulty)
    found, tiles = list[Share](begun.shares), begun.tiles
    band, height, first = begun.first_panel, max(side, begun.height), begun.next_panel
    while len(found) < SHARES_MAX and band < PANELS and may_go_on():
        ps, qs = range(band, min(PANELS, band + side)), range(first, min(PANELS, first + side))
        won = np.argwhere(backend.tickets(keys, ps, qs) <= winning)
        found += [(ps[int(row)], qs[int(column)]) for row, column in won]
        tiles += len(ps) * len(qs)
        first += len(qs)
        if first == PANELS:
            band, height, first = min(PANELS, band + height), side, 0
        tell(Progress(tuple(found[:SHARES_MAX]), band, height, first, tiles))
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
