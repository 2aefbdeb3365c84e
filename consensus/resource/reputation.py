"""Standing: what an account's past says about it, in money and fading.

Here: the Standing record and its fading, outcomes, the unit of evidence U, ρ and ρ_w, task quality.
Not here: which row of settlement adds what (vm/task/settlement), powers and κ (weight.py,
coefficient.py).
Keeps: good fades rounded down and bad rounded up; every memory lies in 0 … 2⁶²; reading fades a copy,
and only adding an outcome stores one, so a query or an epoch's end never changes state. Only what
auditors that nobody chose have confirmed moves ρ_w, which drives weight; words never do.
Units: memories in grains, s_p, ρ and qualities in parts per billion.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from consensus.types.amounts import PPB
from consensus.types.codec import Record, Uint

MEMORY_MAX = 2**62
FADE_ONE = 2**32
"""A fading factor of one."""
CHEAT = 2 * PPB
"""What one proved cheat adds to s_p."""
EVIDENCE_MAX = 64 * PPB
"""Bound of the audited good and bad, in ρ's units."""
WORDS_MAX = 2 * PPB
"""Bound of all words together: alone they lift ρ to two thirds, never further."""
SILENCE = 8 * PPB // 10
"""Validation and rating of a requester that says nothing."""


class Standing(Record, frozen=True):
    """The memories of an account as stored: true at the epoch's start, faded when read later."""

    good: Uint
    """G: good outcomes confirmed by auditors that nobody chose, grains."""
    bad: Uint
    """H: bad ones."""
    word_good: Uint
    """G_w: good by everything else: requester's check, rating, silence, quorums, posting."""
    word_bad: Uint
    """H_w: bad by everything else, availability failures too."""
    cheats: Uint
    """s_p: proved cheats, 2·10⁹ each."""
    epoch: Uint
    """The epoch in which the last outcome was added."""


NO_STANDING = Standing(0, 0, 0, 0, 0, 0)
"""Where everybody begins."""


@lru_cache(maxsize=8)
def fade_table(shift: int) -> tuple[int, ...]:
    """f(0), f(1), … to the first 0: f(m+1) = ⌊f(m)·(2ᵏ − 1)/2ᵏ⌋ from 2³², for k = `shift`."""
    assert 1 <= shift <= 16, "the table has about 23·2**shift entries"
    table = [FADE_ONE]
    while table[-1] > 0:
        table.append(table[-1] * (2**shift - 1) >> shift)
    return tuple(table)


def faded(standing: Standing, epoch: int, shift: int) -> Standing:
    """The standing as it reads in `epoch`; a copy."""
    assert epoch >= standing.epoch, "standing is read in its own epoch or later"
    table = fade_table(shift)
    factor = table[min(epoch - standing.epoch, len(table) - 1)]
    return Standing(
        standing.good * factor >> 32,
        -(-standing.bad * factor >> 32),
        standing.word_good * factor >> 32,
        -(-standing.word_bad * factor >> 32),
        -(-standing.cheats * factor >> 32),
        epoch,
    )


def _added(standing: Standing, epoch: int, shift: int, **amounts: int) -> Standing:
    """Fade to `epoch`, add to the named memories, saturate."""
    now = faded(standing, epoch, shift)

    def sum_of(name: str, held: int) -> int:
        assert amounts.get(name, 0) >= 0, "outcomes add"
        return min(MEMORY_MAX, held + amounts.get(name, 0))

    return Standing(
        sum_of("good", now.good),
        sum_of("bad", now.bad),
        sum_of("word_good", now.word_good),
        sum_of("word_bad", now.word_bad),
        sum_of("cheats", now.cheats),
        epoch,
    )


def add_decided(standing: Standing, epoch: int, shift: int, price: int, quality: int) -> Standing:
    """A task of `price` grains was decided: π·q // B to the good words, the rest to the bad."""
    assert 0 <= quality <= PPB, "a quality is at most one"
    praise = price * quality // PPB
    return _added(standing, epoch, shift, word_good=praise, word_bad=price - praise)


def add_audited(standing: Standing, epoch: int, shift: int, price: int) -> Standing:
    """An audit confirmed a task of `price` grains: π // 2 to G."""
    return _added(standing, epoch, shift, good=price // 2)


def add_lost(standing: Standing, epoch: int, shift: int, price: int) -> Standing:
    """An audit or dispute refuted a task of `price` grains: π to H."""
    return _added(standing, epoch, shift, bad=price)


def add_cheat(standing: Standing, epoch: int, shift: int) -> Standing:
    """A cheat was proved: s_p rises by 2B."""
    return _added(standing, epoch, shift, cheats=CHEAT)


def add_posted(standing: Standing, epoch: int, shift: int, price: int) -> Standing:
    """A task that the account posted at `price` grains was settled: π // 4 to its good words."""
    return _added(standing, epoch, shift, word_good=price // 4)


def add_blame(standing: Standing, epoch: int, shift: int, amount: int) -> Standing:
    """A fault known by word alone (a time-out, a release, a lost quorum): `amount` grains to H_w."""
    return _added(standing, epoch, shift, word_bad=amount)


def validation_quality(score: int) -> int:
    """Quality of a check's score of 0 … 100."""
    assert 0 <= score <= 100, "a score is at most 100"
    return score * PPB // 100


def rating_quality(stars: int) -> int:
    """Quality of one to five stars."""
    assert 1 <= stars <= 5, "one to five stars"
    return (stars - 1) * PPB // 4


def timeliness_quality(promised_blocks: int, taken_blocks: int) -> int:
    """Quality of delivering `taken_blocks` after the start, having promised `promised_blocks`."""
    return min(PPB, promised_blocks * PPB // max(1, taken_blocks))


def task_quality(validation: int, rating: int, timeliness: int) -> int:
    """q of a decided task: half validation, three tenths satisfaction, two tenths timeliness."""
    return (5 * validation + 3 * rating + 2 * timeliness) // 10


def evidence_unit(price_min: int, epoch_reward: int, share: int, power: int, shift: int) -> int:
    """U, grains: what counts as one unit of evidence for an account of this size.

    Money is measured against the account's own chain income: `epoch_reward` E is the reward of a
    block at the epoch's end times the epoch's blocks, minted or not; `share` c and `power` P are
    parts per billion; `price_min` is the least income per epoch that is assumed of anybody.
    """
    return max(price_min, epoch_reward // 2 * (share + power) // PPB) << shift


class Evidence(NamedTuple):
    """Four memories against U, parts per billion: what enters ρ and ρ_w."""

    good: int
    bad: int
    word_good: int
    word_bad: int


def evidence(standing: Standing, unit: int) -> Evidence:
    """g, h, g_w, h_w of a standing (already faded) whose unit of evidence is `unit` grains."""
    assert unit > 0, "the least income keeps the unit positive"
    good = min(EVIDENCE_MAX, 4 * PPB * standing.good // unit)
    bad = min(EVIDENCE_MAX, -(-4 * PPB * standing.bad // unit))
    word_good = 4 * PPB * standing.word_good // unit
    word_bad = -(-4 * PPB * standing.word_bad // unit)
    words = word_good + word_bad
    if words > WORDS_MAX:
        word_good = WORDS_MAX * word_good // words
        word_bad = WORDS_MAX - word_good
    return Evidence(good, bad, word_good, word_bad)


def weight_reputation(standing: Standing, unit: int) -> int:
    """ρ_w, parts per billion: drives weight and the resource pool. A newcomer has one half."""
    good, bad, _, _ = evidence(standing, unit)
    return PPB * (2 * PPB + good) // (4 * PPB + good + bad + standing.cheats)


def reputation(standing: Standing, unit: int) -> int:
    """ρ, parts per billion: drives the coefficient; words count here. A newcomer has one half."""
    good, bad, word_good, word_bad = evidence(standing, unit)
    positive = good + word_good
    return PPB * (2 * PPB + positive) // (4 * PPB + positive + bad + word_bad + standing.cheats)
