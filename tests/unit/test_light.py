"""The light client: what it believes, how far it skips, what it refuses, and what forks show."""

from __future__ import annotations

import msgspec
import pytest

from consensus.light import (
    LIGHT_BLOCK,
    LightBlock,
    Terms,
    Trust,
    check_light_block,
    compare,
    follow,
    parse_trust,
    terms_of,
    trust_block,
    trusted_genesis,
    trusting_ms,
)
from consensus.types.codec import encode
from consensus.types.errors import Fault
from consensus.types.keys import verify
from consensus.types.params import MAIN
from consensus.types.vote import vote_hash
from consensus.validators import Validator
from tests.light_world import EPOCH, GENESIS, TERMS, Headers, changed, make_members, secret, sign
from tests.world import World
from vm import head as heads

STEADY = [range(4)] * 12
TURNING = [range(4 * (epoch // 3), 4 * (epoch // 3) + 4) for epoch in range(12)]
"""Every third epoch a wholly different set."""


def test_a_set_that_stays_is_skipped_over_in_one_step():
    chain = Headers(STEADY)
    trace = follow(TERMS, chain.trusted(1), chain.head, chain.now_ms, chain.source)
    assert chain.asked == [chain.head]
    assert [t.height for t in trace] == [1, chain.head]
    assert trace[-1] == chain.trusted(chain.head)


def test_a_set_that_changes_wholly_is_followed_by_the_ends_of_epochs():
    """Bisection asks for heights whose headers outlive pruning, and for the target."""
    chain = Headers(TURNING)
    trace = follow(TERMS, chain.trusted(1), chain.head - 1, chain.now_ms, chain.source)
    assert trace[-1] == chain.trusted(chain.head - 1)
    assert chain.asked[0] == chain.head - 1
    assert all(height % EPOCH == 0 for height in chain.asked[1:])
    assert len(chain.asked) < 12


def test_the_genesis_is_a_base_like_any_other():
    world = World(validators=3)
    base = trusted_genesis(world.genesis, world.validators)
    blocks: dict[int, LightBlock] = {}
    for _ in range(45):
        world.block()
        members = heads.validators_at(world.view, world.height)
        assert members is not None
        assert world.last_commit is not None
        blocks[world.height] = LightBlock(world.headers[-1], world.last_commit, members)
    terms, now = terms_of(world.genesis), world.headers[-1].time_ms
    assert follow(terms, base, 45, now, blocks.__getitem__)[-1].block_id == world.last_id
    for height in range(1, 45):
        trusted = trust_block(terms, Trust(height, blocks[height].commit.block_id), blocks[height])
        assert follow(terms, trusted, 45, now, blocks.__getitem__)[-1].block_id == world.last_id


def test_what_is_older_than_half_the_unbonding_time_is_no_base():
    chain = Headers(STEADY)
    late = chain.trusted(1).time_ms + TERMS.trusting_ms
    assert follow(TERMS, chain.trusted(1), 5, late, chain.source)[-1].height == 5
    with pytest.raises(Fault, match="trust_expired"):
        follow(TERMS, chain.trusted(1), 5, late + 1, chain.source)


def test_half_of_unbonding_is_the_trusting_time():
    assert trusting_ms(MAIN) == 504 * 3_600 * 1_000 // 2
    main = msgspec.structs.replace(World().genesis, prefix="eub", params=MAIN)
    assert terms_of(main).trusting_ms == trusting_ms(MAIN)


def test_on_a_development_network_trust_does_not_end():
    assert terms_of(World().genesis).trusting_ms > 10**15


REFUSED = {
    "two thirds signed": (lambda c: c.light(9, absent=[0]), None),
    "a third is missing": (lambda c: c.light(9, absent=[0, 1]), "two thirds"),
    "another set": (
        lambda c: msgspec.structs.replace(c.light(9), validators=make_members((7, 8, 9))),
        "not those",
    ),
    "a changed header": (lambda c: changed(c.light(9), time_ms=1), "another block"),
    "another height": (lambda c: c.light(10), "instead"),
    "a signature of somebody else": (
        lambda c: msgspec.structs.replace(
            c.light(9),
            commit=msgspec.structs.replace(
                c.light(9).commit, signatures=tuple(reversed(c.light(9).commit.signatures))
            ),
        ),
        "not the validator's",
    ),
    "a bitmap of another size": (
        lambda c: msgspec.structs.replace(
            c.light(9), commit=msgspec.structs.replace(c.light(9).commit, bitmap=b"\x0f\x00")
        ),
        "another size",
    ),
    "an earlier time": (
        lambda c: sign(msgspec.structs.replace(c.header(9), time_ms=1), c.validators(9), range(4)),
        "not after",
    ),
    "a time to come": (
        lambda c: sign(msgspec.structs.replace(c.header(9), time_ms=10**12), c.validators(9), range(4)),
        "lies ahead",
    ),
    "a set that was not announced": (
        lambda c: sign(
            msgspec.structs.replace(c.header(9), validators_hash=_hash_of((0, 1, 2))),
            make_members((0, 1, 2)), range(4),
        ),
        "announces",
    ),
}  # fmt: skip


def _hash_of(names):
    from consensus.validators import validators_hash

    return validators_hash(make_members(names))


@pytest.mark.parametrize("name", REFUSED)
def test_a_block_that_cannot_be_believed_is_refused_with_its_reason(name):
    make, words = REFUSED[name]
    chain = Headers(STEADY)
    if words is None:
        assert follow(TERMS, chain.trusted(8), 9, chain.now_ms, lambda _: make(chain))[-1].height == 9
        return
    with pytest.raises(Fault, match=words):
        follow(TERMS, chain.trusted(8), 9, chain.now_ms, lambda _: make(chain))


def test_a_set_whose_powers_are_inflated_is_refused():
    """Powers beyond T would let one validator count as a quorum."""
    chain = Headers(STEADY)
    fat = tuple(Validator(v.address, v.key, 10**9) for v in make_members((0, 1)))
    from consensus.validators import validators_hash

    header = msgspec.structs.replace(chain.header(9), validators_hash=validators_hash(fat))
    with pytest.raises(Fault, match="do not add up"):
        check_light_block(TERMS, sign(header, fat, [0]))


def test_a_parent_that_is_not_the_trusted_block_is_refused():
    chain, other = Headers(STEADY), Headers(STEADY, salt=1)
    with pytest.raises(Fault, match="parent"):
        follow(TERMS, chain.trusted(8), 9, chain.now_ms, other.source)


def test_a_forger_without_a_third_of_the_trusted_power_is_not_believed():
    """Outsiders sign a chain of their own: bisection comes down to the announced set, which is not theirs."""
    honest, forged = Headers(STEADY), Headers([range(4), *[range(10, 14)] * 11], salt=2)

    def source(height):
        return forged.light(height, absent=range(4))

    with pytest.raises(Fault, match="light_block_refused"):
        follow(TERMS, honest.trusted(1), honest.head, honest.now_ms, source)


def test_the_trusted_hash_must_be_the_block_that_is_given():
    chain = Headers(STEADY)
    right = Trust(5, chain.trusted(5).block_id)
    assert trust_block(TERMS, right, chain.light(5)) == chain.trusted(5)
    with pytest.raises(Fault, match="trusted_block_differs"):
        trust_block(TERMS, Trust(5, bytes(32)), chain.light(5))
    with pytest.raises(Fault, match="instead"):
        trust_block(TERMS, right, chain.light(6))


def test_a_fork_names_who_signed_both_and_proves_it_with_their_signatures():
    ours, theirs = Headers(STEADY), Headers(STEADY, salt=1)
    fork = compare(TERMS, ours.light(9, absent=[3]), theirs.light(9, absent=[0]))
    assert fork is not None
    assert sorted(liar.key for liar in fork.liars) == sorted(secret(n).public for n in (1, 2))
    assert len(fork.proofs) == 2
    assert fork.fault("http://w").facts["power"] == 5 * 10**8
    for proof in fork.proofs:
        for side, signature in ((proof.a, proof.signature_a), (proof.b, proof.signature_b)):
            message = vote_hash(GENESIS, proof.kind, proof.height, proof.round, side.block_id)
            assert verify(proof.key, message, signature)
        assert (proof.a.block_id or b"") < (proof.b.block_id or b"")
    assert compare(TERMS, ours.light(9), ours.light(9, absent=[1])) is None
    later = compare(TERMS, ours.light(9), theirs.light(9, round_=1))
    assert later is not None
    assert len(later.liars) == 4
    assert later.proofs == (), "votes of different rounds are no double signing by themselves"


@pytest.mark.parametrize(
    "text",
    ["", "5", "5:", "x:" + "0" * 64, "5:" + "0" * 63, "5:" + "g" * 64, "-1:" + "0" * 64, "5:" + " " * 64],
)
def test_a_trust_that_is_not_height_and_hash_is_refused(text):
    with pytest.raises(Fault, match="trust_malformed"):
        parse_trust(text)


def test_a_trust_is_read_with_and_without_0x():
    assert parse_trust("7:" + "ab" * 32) == parse_trust("7:0x" + "ab" * 32) == Trust(7, b"\xab" * 32)


def test_a_light_block_survives_the_wire():
    block = Headers(STEADY).light(9)
    assert LIGHT_BLOCK.decode(encode(block)) == block


def test_terms_name_the_network():
    assert Terms(GENESIS, EPOCH, 1_000_000) == TERMS
