"""The twin: two machines run one key, each with a guard of its own that knows nothing of the other's."""

from __future__ import annotations

from tests.sim.whole.node import WholeNode


class Twin(WholeNode):
    """An honest program, started twice by mistake: together the two sign twice."""

    is_honest = False
