"""Tiles, tickets and verdicts: the published figures first, then an independent recomputation."""

from __future__ import annotations

import numpy as np
import pytest

from consensus.resource import share
from consensus.resource.proof import Claim, make_proof
from consensus.resource.share import (
    PROFILES,
    digest_words,
    mix,
    panel_a,
    panel_b,
    product,
    ticket,
    tile_ticket,
)

PROFILE = PROFILES[1]
SEED = bytes(range(32))
KEYS = share.panel_keys(PROFILE, 1000, SEED, bytes(range(32, 64)))
ACCOUNT = bytes(range(20))


def tile(p: int, q: int) -> share.Product:
    """C of tile (p, q) by the type that this machine multiplies exactly."""
    kind = share.operand_type()
    return product(panel_a(KEYS, PROFILE, p).astype(kind), panel_b(KEYS, PROFILE, q).astype(kind))


def claim(shares: list[tuple[int, int]], difficulty: int, checked: tuple[int, ...] | None = None) -> Claim:
    """A claim of ACCOUNT in window 7; all of it checked unless said otherwise."""
    proof = make_proof(7, shares)
    return Claim(
        1,
        7,
        SEED,
        ACCOUNT,
        difficulty,
        proof.shares,
        checked if checked is not None else tuple(range(proof.count)),
    )


def winners(difficulty: int, side: int) -> list[tuple[int, int]]:
    """The true shares of ACCOUNT in window 7 among p, q < side."""
    keys = share.panel_keys(PROFILE, 7, SEED, share.owner_bytes(ACCOUNT))
    tiles = [(p, q) for p in range(side) for q in range(side)]
    return [(p, q) for p, q in tiles if share.is_share(ticket(keys, p, q), difficulty)]


def test_the_mixer_and_the_keys_are_the_published_ones():
    """mix(1), mix(2) and k0 … k15 of the golden inputs."""
    assert [mix(1), mix(2)] == [0x042741D6, 0xF1DFE8E9]
    assert " ".join(f"{word:08x}" for word in KEYS) == (
        "464e0697 7926b5f0 69e3d949 7930b287 959dc286 e80e4fc6 4f23658e e721dd44 "
        "7305d1b7 bacb7e8b ebf92756 ece9b753 8c206a8e 83cd0e96 4e1a9b03 60bf4781"
    )


def test_panels_are_the_published_ones():
    """Corners of A_0, A_1 and B_0."""
    assert panel_a(KEYS, PROFILE, 0)[0, :8].tolist() == [86, 97, 81, 17, 4, 42, -5, 77]
    assert panel_a(KEYS, PROFILE, 0)[63, -4:].tolist() == [17, 79, 1, 106]
    assert panel_b(KEYS, PROFILE, 0)[0, :8].tolist() == [89, -53, -36, 96, -105, -66, -62, 25]
    assert panel_a(KEYS, PROFILE, 1)[0, :8].tolist() == [-83, 14, 8, 89, 37, -111, 114, -96]


def test_tile_0_0_is_the_published_one():
    """Product, column sums, digest words and ticket of (0, 0)."""
    c = tile(0, 0)
    assert [c[0, 0], c[1, 2], c[63, 63]] == [401080, -355193, 506413]
    sums, d0, d1 = digest_words(KEYS, c)
    assert [int(sums[0]), int(sums[63]), d0, d1] == [0xAE20EB22, 0x021BD2F8, 0xD3F315B4, 0xE49F8AAD]
    assert ticket(KEYS, 0, 0) == 0xCF4A0F70E4B16228


def test_tile_1_2_is_the_published_one():
    """Product, column sums, digest words and ticket of (1, 2)."""
    c = tile(1, 2)
    assert [c[0, 0], c[1, 2]] == [491741, -313842]
    sums, d0, d1 = digest_words(KEYS, c)
    assert [int(sums[0]), int(sums[63]), d0, d1] == [0xFC49869B, 0x65DA8F61, 0xC7B40ADB, 0x4C28190D]
    assert ticket(KEYS, 1, 2) == 0xFB64F5F174356030


@pytest.mark.parametrize(
    ("b", "entry", "expected"),
    [(-128, 134217728, 0x359B8BB6CF33A9AB), (127, -133169152, 0xFEAEB66C92005DCE)],
)
def test_the_rails_multiply_exactly(b: int, entry: int, expected: int):
    """The largest products there are: all -128 by all -128, and by all 127."""
    shape = (PROFILE.rows, PROFILE.depth)
    c = product(np.full(shape, -128, dtype=np.float32), np.full(shape, b, dtype=np.float32))
    assert (c == entry).all()
    assert tile_ticket(KEYS, c) == expected


def test_the_shares_of_the_golden_keys_are_the_published_ones():
    """Five of 256 tiles win at D = 64."""
    found = [(p, q) for p in range(16) for q in range(16) if share.is_share(ticket(KEYS, p, q), 64)]
    assert found == [(0, 6), (1, 12), (7, 5), (11, 0), (13, 4)]


def plain_panel_row(keys: tuple[int, ...], side: int, row: int, words: int) -> list[int]:
    """The first entries of a row, written from the rule with plain integers."""
    k = keys[4 * side : 4 * side + 4]
    a = mix(mix((row + k[0]) % 2**32) ^ k[1])
    b = mix((mix(row ^ k[2]) + k[3]) % 2**32)
    entries = []
    for w in range(words):
        x = (a + w * 0x9E3779B9) % 2**32
        x ^= x >> 17
        x = x * 0xED5AD4BB % 2**32
        x ^= x >> 11
        x ^= b
        x = x * 0xAC4C1B51 % 2**32
        x ^= x >> 15
        x = x * 0x31848BAB % 2**32
        x ^= x >> 14
        entries += [byte - 256 if byte > 127 else byte for byte in x.to_bytes(4, "little")]
    return entries


def test_the_last_panel_of_the_range_is_generated_without_wrapping():
    """Panel 2²⁴ − 1 ends at row 2³⁰ − 1: ids do not alias."""
    last = 2**24 - 1
    row = last * PROFILE.rows + 63
    assert panel_a(KEYS, PROFILE, last)[63, :64].tolist() == plain_panel_row(KEYS, 0, row, 16)
    assert panel_b(KEYS, PROFILE, last)[63, :64].tolist() == plain_panel_row(KEYS, 1, row, 16)


def test_a_ticket_recomputed_with_plain_integers_is_the_same():
    """An entry of C and the whole digest, written again from the rule without numpy arithmetic."""
    c = tile(3, 5)
    words = PROFILE.depth // 4
    left = plain_panel_row(KEYS, 0, 3 * 64 + 10, words)
    right = plain_panel_row(KEYS, 1, 5 * 64 + 20, words)
    assert sum(x * y for x, y in zip(left, right, strict=True)) == c[10, 20]

    d = [0, 0]
    for j in range(64):
        total = 0
        for i in range(64):
            x = ((int(c[i, j]) % 2**32) ^ KEYS[8]) * 0xED5AD4BB % 2**32
            x ^= x >> 15
            x = x * 0xAC4C1B51 % 2**32
            total += x ^ x >> 13
        y = mix(total % 2**32 ^ mix((j + KEYS[9]) % 2**32))
        d = [(d[t] + mix((y + KEYS[12 + t]) % 2**32)) % 2**32 for t in (0, 1)]
    low = mix((d[0] + 0x9E3779B9) % 2**32)
    assert ticket(KEYS, 3, 5) == mix(d[1] ^ low) << 32 | low


def test_float32_and_float64_both_prove_themselves_exact():
    """The self-test passes for the two types that verification may use."""
    assert share.is_exact(np.float32)
    assert share.is_exact(np.float64)


def test_half_precision_fails_the_self_test():
    """A type whose partial sums are not exact is found out."""
    with np.errstate(over="ignore", invalid="ignore"):
        assert not share.is_exact(np.float16)


def test_a_machine_whose_float32_is_wrong_falls_back_to_float64():
    """The self-test decides, not the machine's description."""
    assert share.operand_type.__wrapped__(lambda kind: kind is np.float64) is np.float64
    assert share.operand_type() is np.float32


def test_a_share_lies_strictly_below_its_bound():
    """ticket·D < 2⁶⁴, with both sides of the bound."""
    assert share.is_share(2**58 - 1, 64)
    assert not share.is_share(2**58, 64)
    assert share.is_share(2**64 - 1, 1)


def test_a_true_claim_is_verified_whole():
    """verify answers n when every checked share is one."""
    assert share.verify(claim(winners(8, 5), 8)) == len(winners(8, 5)) > 0
    assert share.verify(claim([], 8)) == 0


def test_the_first_false_share_is_named():
    """A tile that is no share is found at its place; what stands after it is not looked at."""
    true = winners(8, 5)
    false = [(p, q) for p in range(5) for q in range(5) if (p, q) not in true]
    claimed = sorted([*true[:2], false[-1], false[-2]])
    at = min(claimed.index(false[-1]), claimed.index(false[-2]))
    assert share.verify(claim(claimed, 8)) == at


def test_only_the_checked_shares_are_recomputed():
    """A sample that misses the false share verifies the claim whole."""
    true = winners(8, 5)
    false = next((p, q) for p in range(5) for q in range(5) if (p, q) not in true)
    claimed = sorted([*true, false])
    others = tuple(i for i in range(len(claimed)) if i != claimed.index(false))
    assert share.verify(claim(claimed, 8, others)) == len(claimed)
    assert share.verify(claim(claimed, 8, (claimed.index(false),))) == claimed.index(false)


def test_tickets_of_another_account_or_window_differ():
    """Work is bound to its account and window."""
    keys = {
        share.panel_keys(PROFILE, window, SEED, share.owner_bytes(account))
        for window in (7, 8)
        for account in (ACCOUNT, bytes(20))
    }
    assert len({ticket(k, 0, 0) for k in keys}) == 4
