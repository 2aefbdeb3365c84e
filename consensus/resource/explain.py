"""Where a coefficient comes from: the seven factors of κ and what the next task would change.

Here: for one account, what each factor contributes, what twice of it would bring, and what its change
since an earlier moment of the epoch has moved, as data; what outcomes of a task of a given price would.
Not here: words for them (the interfaces), the rules themselves (weight.py, reputation.py,
coefficient.py), which this only asks.
Keeps: nothing computed here enters state; every figure is a difference of two κ by the real rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from consensus.resource.coefficient import coefficient, power_term, typical_power
from consensus.resource.reputation import (
    Standing,
    add_audited,
    add_blame,
    add_cheat,
    add_decided,
    add_lost,
    add_posted,
    evidence_unit,
    reputation,
    task_quality,
)
from consensus.resource.weight import resource_powers, share_of
from consensus.types.amounts import PPB, Grains


class Qualities(NamedTuple):
    """The average of an account's own decided tasks, parts per billion each."""

    validation: int
    rating: int
    timeliness: int

    def quality(self) -> int:
        """q of the average task."""
        return task_quality(self.validation, self.rating, self.timeliness)


class Circumstances(NamedTuple):
    """All that the κ of one account is made of."""

    nodes: Sequence[tuple[int, int]]
    """(S, bond) of every account that has either."""
    node: int
    """Which of them is asked about."""
    speed_reference: int
    evidence_price_min: Grains
    epoch_reward: Grains
    fade_shift: int
    standing: Standing
    """Faded to the epoch in question."""
    posted: Grains
    """How much of the good words came from posting tasks; the state does not keep them apart."""
    qualities: Qualities


class Factor(NamedTuple):
    """One of the seven: differences are κ in parts per billion and may be negative."""

    name: str
    has: int
    """What the account has of it: S, grains, or a quality in parts per billion."""
    contributes: int
    """κ less what κ would be without it."""
    doubled: int
    """What κ would gain from twice of it (a quality ends at one), evidence measured as now."""
    doubled_at_once: int
    """The same before evidence has grown with the income: a larger account is asked for more."""


class Earlier(NamedTuple):
    """What the seven factors were at an earlier moment of the same epoch, in which nothing fades."""

    speed: int
    bond: Grains
    completed: Grains
    """Prices of the own tasks decided since."""
    posted: Grains
    """Good words from posting added since."""
    qualities: Qualities


class Event(NamedTuple):
    """What one outcome would change κ by, parts per billion."""

    name: str
    changes: int


class Explanation(NamedTuple):
    """κ with its parts; powers, terms and reputations in parts per billion."""

    kappa: int
    power: int
    typical: int
    power_term: int
    reputation: int
    unit: Grains
    """U: what counts as one unit of evidence."""
    factors: tuple[Factor, ...]
    events: tuple[Event, ...]


def _with_node(case: Circumstances, speed: int, bond: int) -> Circumstances:
    nodes = list(case.nodes)
    nodes[case.node] = (speed, bond)
    return case._replace(nodes=nodes)


def _power(case: Circumstances) -> tuple[int, int]:
    """P of the account and P̂ of all."""
    powers = resource_powers(case.nodes, case.speed_reference)
    return powers[case.node], typical_power(powers)


def _unit(case: Circumstances) -> Grains:
    power, _ = _power(case)
    share = share_of(case.nodes[case.node][0], sum(speed for speed, _ in case.nodes))
    return evidence_unit(case.evidence_price_min, case.epoch_reward, share, power, case.fade_shift)


def _kappa(case: Circumstances, unit: Grains) -> int:
    power, typical = _power(case)
    return coefficient(reputation(case.standing, unit), power_term(power, typical))


def _own_words(case: Circumstances, scale: int, qualities: Qualities) -> Circumstances:
    """The case with `scale` times its own decided tasks, done with other `qualities`.

    The words of own tasks are all words less the good ones from posting. A change of quality moves
    what it says from good to bad or back.
    """
    now = case.standing
    praise = max(0, now.word_good - case.posted)
    worth = praise + now.word_bad
    moved = worth * (qualities.quality() - case.qualities.quality()) // PPB
    better = min(worth, max(0, praise + moved))
    return case._replace(
        standing=Standing(
            now.good * scale,
            now.bad,
            now.word_good - praise + better * scale,
            (worth - better) * scale,
            now.cheats,
            now.epoch,
        )
    )


def _posted(case: Circumstances, scale: int) -> Circumstances:
    now = case.standing
    word_good = now.word_good + (scale - 1) * min(case.posted, now.word_good)
    standing = Standing(now.good, now.bad, word_good, now.word_bad, now.cheats, now.epoch)
    return case._replace(standing=standing)


def _variants(case: Circumstances) -> list[tuple[str, int, Circumstances, Circumstances]]:
    """Each factor with what there is of it, the case without it, and the case with twice of it."""
    speed, bond = case.nodes[case.node]
    asked = case.qualities
    found = [
        ("compute", speed, _with_node(case, 0, bond), _with_node(case, 2 * speed, bond)),
        ("bonded", bond, _with_node(case, speed, 0), _with_node(case, speed, 2 * bond)),
    ]
    done = case.standing.good + max(0, case.standing.word_good - case.posted)
    found.append(("completed", done, _own_words(case, 0, asked), _own_words(case, 2, asked)))
    found.append(("posted", case.posted, _posted(case, 0), _posted(case, 2)))
    for name in ("timeliness", "validation", "rating"):
        has: int = getattr(asked, name)
        without = _own_words(case, 1, asked._replace(**{name: 0}))
        doubled = _own_words(case, 1, asked._replace(**{name: min(PPB, 2 * has)}))
        found.append((name, has, without, doubled))
    return found


def _events(case: Circumstances, price: Grains) -> list[tuple[str, Standing]]:
    """The standing after each outcome of a task at `price`."""
    now, epoch, shift = case.standing, case.standing.epoch, case.fade_shift
    decided = add_decided(now, epoch, shift, price, case.qualities.quality())
    return [
        ("decided_by_word", decided),
        ("decided_and_audited", add_audited(decided, epoch, shift, price)),
        ("posted", add_posted(now, epoch, shift, price)),
        ("timed_out", add_blame(now, epoch, shift, price)),
        ("lost", add_lost(now, epoch, shift, price)),
        ("cheated", add_cheat(add_lost(now, epoch, shift, price), epoch, shift)),
    ]


def explain(case: Circumstances, price: Grains) -> Explanation:
    """Take κ apart for one account; `price` (grains) is that of the task whose outcomes are shown."""
    power, typical = _power(case)
    unit = _unit(case)
    kappa = _kappa(case, unit)
    factors = tuple(
        Factor(
            name,
            has,
            kappa - _kappa(without, unit),
            _kappa(doubled, unit) - kappa,
            _kappa(doubled, _unit(doubled)) - kappa,
        )
        for name, has, without, doubled in _variants(case)
    )
    events = tuple(
        Event(name, _kappa(case._replace(standing=after), unit) - kappa)
        for name, after in _events(case, price)
    )
    return Explanation(
        kappa,
        power,
        typical,
        power_term(power, typical),
        reputation(case.standing, unit),
        unit,
        factors,
        events,
    )


def _without_worth(case: Circumstances, grains: Grains) -> Circumstances:
    """The case before own tasks of this worth were decided, at the average quality of all."""
    now = case.standing
    praise = max(0, now.word_good - case.posted)
    worth = praise + now.word_bad
    left = max(0, worth - grains)
    good = praise * left // worth if worth else 0
    bad = now.word_bad * left // worth if worth else 0
    standing = Standing(now.good, now.bad, now.word_good - praise + good, bad, now.cheats, now.epoch)
    return case._replace(standing=standing)


def moves(case: Circumstances, earlier: Earlier) -> dict[str, int]:
    """What each factor's change since `earlier` has moved κ by, parts per billion, by factor.

    Each is κ less what it would be with this one factor as it was and evidence measured as now: that a
    larger account is asked for more evidence stays outside, as does how factors add up.
    """
    speed, bond = case.nodes[case.node]
    now = case.standing
    unposted = Standing(
        now.good, now.bad, max(0, now.word_good - earlier.posted), now.word_bad, now.cheats, now.epoch
    )
    cases = {
        "compute": _with_node(case, earlier.speed, bond),
        "bonded": _with_node(case, speed, earlier.bond),
        "completed": _without_worth(case, earlier.completed),
        "posted": case._replace(standing=unposted),
    }
    for name in ("timeliness", "validation", "rating"):
        then = case.qualities._replace(**{name: getattr(earlier.qualities, name)})
        cases[name] = _own_words(case, 1, then)
    unit = _unit(case)
    kappa = _kappa(case, unit)
    return {name: kappa - _kappa(before, unit) for name, before in cases.items()}
