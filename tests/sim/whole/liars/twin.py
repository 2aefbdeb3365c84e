"""The twin: two machines run one key, each with a guard of its own that knows nothing of the other's."""

from __future__ import annotations

from tests.sim.whole.liars.liar import Liar


class Twin(Liar):
    """An honest program, started twice by mistake: together the two sign twice."""

    def repent(self) -> None:
        """One of the two is switched off for good."""
        if self.is_lying and self.index >= len(self.town.operators):
            self.is_gone = True
        super().repent()
