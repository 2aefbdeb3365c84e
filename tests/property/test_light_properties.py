"""Whatever the sets do, a light client ends where the chain is, and forgers move it nowhere else."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.light import follow
from consensus.types.errors import Fault
from tests.light_world import TERMS, Headers

sets = st.lists(st.sets(st.integers(0, 11), min_size=1, max_size=6).map(sorted), min_size=4, max_size=14)


@settings(max_examples=40, deadline=None)
@given(sets=sets, data=st.data())
def test_every_base_leads_to_the_head_with_few_questions(sets, data):
    chain = Headers(sets)
    base = data.draw(st.integers(1, chain.head - 1))
    target = data.draw(st.integers(base + 1, chain.head))
    trace = follow(TERMS, chain.trusted(base), target, chain.now_ms, chain.source)
    assert trace[-1] == chain.trusted(target)
    assert all(a.height < b.height for a, b in pairwise(trace))
    assert len(chain.asked) == len(set(chain.asked)) <= len(sets)


@settings(max_examples=40, deadline=None)
@given(sets=sets, data=st.data())
def test_outsiders_never_move_a_light_client(sets, data):
    """From some epoch on a chain forged by keys that the honest one never had: nothing of it is believed."""
    honest = Headers(sets)
    from_epoch = data.draw(st.integers(1, len(sets) - 2))
    strangers = [sorted(n + 100 for n in names) for names in sets[from_epoch:]]
    forged = Headers([*sets[:from_epoch], *strangers], salt=1, fork=from_epoch * 4 + 1)
    # The header that announces the strangers would need a quorum of the honest set: they lack it.
    announcing = from_epoch * 4

    def source(height):
        return forged.light(height, absent=range(100) if height >= announcing else ())

    base = data.draw(st.integers(1, announcing))
    target = data.draw(st.integers(announcing + 1, forged.head))
    with pytest.raises(Fault, match="light_block_refused"):
        follow(TERMS, honest.trusted(base), target, honest.now_ms, source)
