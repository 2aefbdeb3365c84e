"""The light client: from a block that is trusted to any later one, by headers and commits alone.

Here: what a light client is given (`LightBlock`), what it stands on (`Trusted`), skipping verification
with bisection, what two different final blocks of one height prove.
Not here: asking nodes and choosing witnesses (eubchain/client/light.py), proofs of state entries
(types/tree_proof.py), the rules of blocks (vm/validity.py), which a light client leaves to full nodes.
Keeps: nothing is believed without more than two thirds of its own set and, unless the trusted header
names that set, more than a third of the trusted one; nothing older than the trusting time is a base.
Errors: 1920 trust_malformed, 1921 trust_expired, 1922 light_block_refused, 1923 chain_forked,
1924 trusted_block_differs.

A set changes at epoch ends only, so a trusted header names, by its hash, the set of the whole epoch of
the next height: any header of that epoch is verified as an adjacent one is. Bisection therefore stops at
the ends of epochs, whose headers and commits outlive pruning.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Annotated, NamedTuple

from msgspec import Meta

from consensus.agreement.evidence import DoubleSign, double_vote
from consensus.agreement.messages import Vote
from consensus.types.block import Commit, Header, block_id
from consensus.types.codec import Codec, Record
from consensus.types.errors import Fault, Reason
from consensus.types.genesis import Genesis, genesis_hash
from consensus.types.keys import verify
from consensus.types.params import Params
from consensus.types.vote import PRECOMMIT, vote_hash
from consensus.validators import (
    TOTAL_POWER,
    Validator,
    ValidatorSet,
    is_honest_part,
    is_quorum,
    validators_hash,
)

LIGHT_BLOCK_BYTES_MAX = 256 * 1024
VALIDATORS_MAX = 512
"""As many as a commit's bitmap has bits."""
CLOCK_DRIFT_MS = 10_000
"""How far a header may lie ahead of this machine's clock."""

DEV_PREFIX = "deub"
TRUSTING_WITHOUT_END_MS = 2**62

TRUST_MALFORMED = Reason(
    1920,
    "trust_malformed",
    "given:text",
    "'{given}' is not HEIGHT:HASH, a height and the 64 hexadecimal digits of a block id.",
    "Take both from a source you trust, as from `eubchain status --json` of your own node.",
)
TRUST_EXPIRED = Reason(
    1921,
    "trust_expired",
    "height:height age:seconds limit:seconds",
    "The trusted block {height} is {age} old; after {limit} its validators may have taken their bonds back.",
    "Take a newer HEIGHT:HASH from a source you trust.",
)
LIGHT_BLOCK_REFUSED = Reason(
    1922,
    "light_block_refused",
    "height:height why:text",
    "The block {height} that was given cannot be believed: {why}.",
    "The node that gave it is faulty or lies: ask another one.",
)
CHAIN_FORKED = Reason(
    1923,
    "chain_forked",
    "height:height ours:hash theirs:hash witness:text power:ppb",
    "Two blocks are final at height {height}: {ours}, and {theirs} according to {witness}. "
    "Validators with {power} of the power signed both.",
    "Believe neither and pay nobody; ask the operators of the network, and keep both answers.",
)
TRUSTED_BLOCK_DIFFERS = Reason(
    1924,
    "trusted_block_differs",
    "height:height given:hash trusted:hash",
    "At height {height} the node has the block {given}; the trusted one is {trusted}.",
    "Compare the trusted hash with its source; if it is right, this node is of another chain.",
)


class LightBlock(Record, frozen=True):
    """A header with what makes it final, as a node gives it."""

    header: Header
    commit: Commit
    """For this block."""
    validators: Annotated[tuple[Validator, ...], Meta(max_length=VALIDATORS_MAX)]
    """V(height)."""


LIGHT_BLOCK = Codec[LightBlock](LightBlock, LIGHT_BLOCK_BYTES_MAX)


class Trust(NamedTuple):
    """What a person trusts from outside the network."""

    height: int
    block_id: bytes


class Trusted(NamedTuple):
    """What the next header is verified against."""

    height: int
    """0 for the genesis."""
    block_id: bytes
    time_ms: int
    validators: ValidatorSet
    """V(height); at the genesis, V(1)."""
    next_validators_hash: bytes


class Terms(NamedTuple):
    """What a light client knows of its network, and how long it trusts."""

    genesis: bytes
    """The genesis hash."""
    epoch_blocks: int
    trusting_ms: int


def terms_of(genesis: Genesis) -> Terms:
    """The terms of a network: trust lasts half as long as a bond is on its way back.

    On a development network, which guards nothing and unbonds within a minute, it does not end.
    """
    lasting = genesis.prefix == DEV_PREFIX
    trusting = TRUSTING_WITHOUT_END_MS if lasting else trusting_ms(genesis.params)
    return Terms(genesis_hash(genesis), genesis.params.chain.epoch_blocks, trusting)


def trusting_ms(params: Params) -> int:
    """Half the unbonding time: who could forge a header still has its bond, and time to lose it."""
    epochs, chain = params.validators.unbonding_epochs, params.chain
    return epochs * chain.epoch_blocks * chain.block_interval_ms // 2


def parse_trust(text: str) -> Trust:
    """Read HEIGHT:HASH; raise `Fault` 1920."""
    height, _, digest = text.strip().partition(":")
    digest = digest.removeprefix("0x")
    well_formed = height.isascii() and height.isdigit() and len(height) <= 18
    try:
        found = bytes.fromhex(digest) if len(digest) == 64 and digest.isascii() else b""
    except ValueError:
        found = b""
    if not well_formed or len(found) != 32:
        raise Fault(TRUST_MALFORMED, given=text[:100])
    return Trust(int(height), found)


def trusted_genesis(genesis: Genesis, validators: ValidatorSet) -> Trusted:
    """Stand on the genesis record, whose state has this V(1)."""
    return Trusted(0, genesis_hash(genesis), genesis.time_ms, validators, validators_hash(validators))


# ------------------------------------------------------------------ one block


def _refuse(height: int, why: str) -> Fault:
    return Fault(LIGHT_BLOCK_REFUSED, height=height, why=why)


def check_light_block(terms: Terms, block: LightBlock) -> Trusted:
    """Raise `Fault` 1922 unless the block is final by its own set; that set is not believed by this."""
    header, commit, validators = block.header, block.commit, block.validators
    height = header.height
    if sum(member.power for member in validators) != TOTAL_POWER:
        raise _refuse(height, "the powers of its validators do not add up")
    if validators_hash(validators) != header.validators_hash:
        raise _refuse(height, "its validators are not those that its header names")
    identity = block_id(terms.genesis, header)
    if commit.block_id != identity:
        raise _refuse(height, "its commit is for another block")
    try:
        positions = commit.signers(len(validators))
    except Fault as fault:
        raise _refuse(height, str(fault.facts["why"])) from None
    signers = [validators[position] for position in positions]
    if not is_quorum(sum(signer.power for signer in signers)):
        raise _refuse(height, "two thirds of its validators or fewer signed it")
    message = vote_hash(terms.genesis, PRECOMMIT, height, commit.round, identity)
    for signer, signature in zip(signers, commit.signatures, strict=True):
        if not verify(signer.key, message, signature):
            raise _refuse(height, "a signature of its commit is not the validator's")
    return Trusted(height, identity, header.time_ms, validators, header.next_validators_hash)


def trust_block(terms: Terms, trust: Trust, block: LightBlock) -> Trusted:
    """Stand on the block that a person trusts; raise `Fault` 1922, 1924."""
    identity = block_id(terms.genesis, block.header)
    if (block.header.height, identity) != trust:
        height = block.header.height
        if height != trust.height:
            raise _refuse(trust.height, f"the block of height {height} was given instead")
        raise Fault(TRUSTED_BLOCK_DIFFERS, height=height, given=identity, trusted=trust.block_id)
    return check_light_block(terms, block)


def check_age(terms: Terms, trusted: Trusted, now_ms: int) -> None:
    """Raise `Fault` 1921 when a trusted block is too old to build on."""
    age = now_ms - trusted.time_ms
    if age > terms.trusting_ms:
        raise Fault(TRUST_EXPIRED, height=trusted.height, age=age // 1000, limit=terms.trusting_ms // 1000)


def is_enough(terms: Terms, trusted: Trusted, block: LightBlock, now_ms: int) -> bool:
    """Whether `trusted` makes `block`, final by its own set, believed; False asks for one between.

    Raise `Fault` 1922 when the two contradict each other.
    """
    header = block.header
    assert header.height > trusted.height, "light clients go forward"
    if header.time_ms <= trusted.time_ms:
        raise _refuse(header.height, f"its time is not after that of height {trusted.height}")
    if header.time_ms > now_ms + CLOCK_DRIFT_MS:
        raise _refuse(header.height, "its time lies ahead; is this machine's clock right?")
    if header.height == trusted.height + 1 and header.parent != trusted.block_id:
        raise _refuse(header.height, "its parent is not the block before")
    if _epoch(terms, header.height) == _epoch(terms, trusted.height + 1):
        if header.validators_hash != trusted.next_validators_hash:
            raise _refuse(header.height, f"its set is not the one that block {trusted.height} announces")
        return True
    signers = block.commit.signers(len(block.validators))
    keys = {block.validators[position].key for position in signers}
    return is_honest_part(sum(member.power for member in trusted.validators if member.key in keys))


def _epoch(terms: Terms, height: int) -> int:
    return (height - 1) // terms.epoch_blocks


# ------------------------------------------------------------------ a chain of them

Source = Callable[[int], LightBlock]
"""The light block of a height; raises whatever its caller wants to see when there is none."""


def follow_steps(
    terms: Terms, trusted: Trusted, height: int, now_ms: int
) -> Generator[int, LightBlock, list[Trusted]]:
    """Stepwise, without IO: yield heights, be sent their light blocks, return what came to be trusted.

    The last one is that of `height`; the first is `trusted`. Raise `Fault` 1921, 1922.
    """
    check_age(terms, trusted, now_ms)
    trace = [trusted]
    if height <= trusted.height:
        if height < trusted.height:
            raise _refuse(height, f"it is below the trusted height {trusted.height}")
        return trace
    waiting: list[tuple[LightBlock, Trusted]] = []
    wanted = height
    while True:
        block = yield wanted
        if block.header.height != wanted:
            raise _refuse(wanted, f"the block of height {block.header.height} was given instead")
        waiting.append((block, check_light_block(terms, block)))
        while waiting and is_enough(terms, trace[-1], waiting[-1][0], now_ms):
            trace.append(waiting.pop()[1])
        if not waiting:
            return trace
        wanted = _between(terms, trace[-1].height, waiting[-1][0].header.height)


def _between(terms: Terms, low: int, high: int) -> int:
    """An epoch's last height halfway; the end of the epoch after `low` in the end, which always does."""
    first, last = _epoch(terms, low + 1), _epoch(terms, high) - 1
    assert first <= last, "a block of the announced epoch needs none between"
    return ((first + last) // 2 + 1) * terms.epoch_blocks


def follow(terms: Terms, trusted: Trusted, height: int, now_ms: int, source: Source) -> list[Trusted]:
    """`follow_steps` with a source that answers at once."""
    steps = follow_steps(terms, trusted, height, now_ms)
    wanted = next(steps, None)
    while wanted is not None:
        try:
            wanted = steps.send(source(wanted))
        except StopIteration as end:
            found: list[Trusted] = end.value
            return found
    return [trusted]


# ------------------------------------------------------------------ witnesses


class Fork(NamedTuple):
    """Two final blocks of one height: a third of the power has lied."""

    height: int
    ours: bytes
    theirs: bytes
    liars: tuple[Validator, ...]
    """Who signed both, with their powers in our block's set."""
    proofs: tuple[DoubleSign, ...]
    """Evidence that costs them their bonds; none when the two commits are of different rounds."""

    def fault(self, witness: str) -> Fault:
        """The fork in words, naming the witness that showed it."""
        return Fault(
            CHAIN_FORKED,
            height=self.height,
            ours=self.ours,
            theirs=self.theirs,
            witness=witness,
            power=sum(liar.power for liar in self.liars),
        )


def compare(terms: Terms, ours: LightBlock, theirs: LightBlock) -> Fork | None:
    """What a witness's block says of ours; None when they are the same. Both have been verified."""
    assert ours.header.height == theirs.header.height, "witnesses are asked for the same height"
    identities = block_id(terms.genesis, ours.header), block_id(terms.genesis, theirs.header)
    if identities[0] == identities[1]:
        return None
    signed, also = _signatures(ours), _signatures(theirs)
    liars = tuple(member for member in ours.validators if member.key in signed and member.key in also)
    proofs: tuple[DoubleSign, ...] = ()
    if ours.commit.round == theirs.commit.round:
        proofs = tuple(_proof(ours, theirs, liar.key, signed, also) for liar in liars)
    return Fork(ours.header.height, *identities, liars, proofs)


def _signatures(block: LightBlock) -> dict[bytes, bytes]:
    positions: Sequence[int] = block.commit.signers(len(block.validators))
    keys = [block.validators[position].key for position in positions]
    return dict(zip(keys, block.commit.signatures, strict=True))


def _proof(
    ours: LightBlock, theirs: LightBlock, key: bytes, signed: dict[bytes, bytes], also: dict[bytes, bytes]
) -> DoubleSign:
    height, round_ = ours.header.height, ours.commit.round
    first = Vote(PRECOMMIT, height, round_, ours.commit.block_id, 0, signed[key])
    second = Vote(PRECOMMIT, height, round_, theirs.commit.block_id, 0, also[key])
    return double_vote(first, second, key)
