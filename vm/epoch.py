"""The epoch's end: standing becomes power, rewards are paid, the next validators are chosen.

Here: its steps in their order, the figures of every validator and spark, the next set.
Not here: the arithmetic (consensus/resource, consensus/validators.py), what happens in between
(vm/tally.py, vm/evidence.py).
Keeps: only accounts in the registers of validators and sparks are walked; no rule here reads whether
the due queue is late; a set always follows: if nobody would remain, the last one stays.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from consensus.resource import coefficient, reputation, weight
from consensus.types.amounts import PPB
from consensus.types.params import ResourceParams
from consensus.types.receipt import EventKind
from consensus.validators import Candidate, Validator, ValidatorSet, make_set
from vm import evidence, funds, measuring, members, outage, pools, spark, standing, tally, validator
from vm import head as heads
from vm.members import Register
from vm.rewards import block_reward
from vm.slices import SLICE_RECORDS
from vm.spark import SPARKS
from vm.stake import stake
from vm.state import State
from vm.tally import TALLIES, Row, Tally
from vm.validator import ACTIVE, VALIDATORS

MISSED_PROPOSALS_LEAST = 4
"""Fewer missed proposals than this jail nobody."""

REWARD_PAID = EventKind(
    1952, "reward_paid", "account:address amount:eubc", "{account} was paid {amount} for the epoch's blocks."
)
PROOF_PAID = EventKind(
    1953, "proof_paid", "account:address amount:eubc", "{account} was paid {amount} for proved compute."
)
SET_STAYS = EventKind(
    1954,
    "validator_set_stays",
    "epoch:count",
    "Nobody would be a validator after epoch {epoch}; the last set stays, whoever stands in it.",
)


class Node(NamedTuple):
    """An account in a register, with what its power comes from."""

    address: bytes
    speed: int
    """S that counts."""
    bond: int
    """Bonded grains that count; none of the jailed and tombstoned."""


class Figures(NamedTuple):
    """What the epoch's end found for an account; parts per billion."""

    node: Node
    power: int
    weight_reputation: int
    reputation: int
    kappa: int


def end(state: State) -> Generator[None, None, None]:
    """Close the epoch whose last block this is, pausing between slices."""
    counted = tally.tally(state)
    yield from _read_ahead(state)
    was_outage = outage.decide(state, counted)
    if not was_outage:
        _jail_the_absent(state, counted)
    yield from measuring.settle_misses(state, was_outage)
    evidence.correlate(state)
    yield
    found = yield from _figures(state)
    yield from _store_coefficients(state, found)
    _pay_rewards(state)
    yield from _pay_pool(state, found)
    for address in members.addresses(state, Register.VALIDATORS):
        validator.apply_pending(state, address)
    yield
    yield from _choose_set(state, found)
    _prune(state)


def _read_ahead(state: State) -> Generator[None, None, None]:
    """Read every spark in slices: whatever walks them below finds them in the overlay."""
    for index, address in enumerate(members.addresses(state, Register.SPARKS)):
        if index % SLICE_RECORDS == 0:
            yield
        state.get(SPARKS, address)


def _jail_the_absent(state: State, counted: Tally) -> None:
    """Jail members of the running set that signed too little or let too many proposals pass.

    Only members: whoever left the set owes at most one last signature, which is no measure of it.
    """
    rows = {row.address: row for row in counted.rows}
    for member in heads.validators_at(state, state.block.height) or ():
        row = rows.get(member.address)
        account = state.get(VALIDATORS, member.address)
        assert account is not None, "whoever stands in a set has a record"
        if row is None or account.status != ACTIVE:
            continue
        if is_absent(row, state.block.params.validators.min_signed_percent):
            validator.jail(state, member.address)
            state.emit(validator.JAIL(account=row.address, due=row.due, signed=row.signed, missed=row.missed))


def is_absent(row: Row, signed_percent_least: int) -> bool:
    """Whether a tally is that of a validator which is not there."""
    too_few_signed = 100 * row.signed < signed_percent_least * row.due
    turns = row.proposed + row.missed
    return too_few_signed or (row.missed >= MISSED_PROPOSALS_LEAST and 2 * row.missed >= turns)


def registered_nodes(state: State) -> Generator[None, None, list[Node]]:
    """Every account with an active validator or spark, by address."""
    listed = members.addresses(state, Register.VALIDATORS) + members.addresses(state, Register.SPARKS)
    found: list[Node] = []
    for index, address in enumerate(sorted(dict.fromkeys(listed))):
        if index % SLICE_RECORDS == 0:
            yield
        record = state.get(SPARKS, address)
        speed = 0 if record is None else spark.proving_capacity(record, state.block.epoch)
        bond = 0 if validator.is_barred(state, address) else stake(state, address).bonded
        found.append(Node(address, speed, bond))
    return found


def _figures(state: State) -> Generator[None, None, list[Figures]]:
    """c, P, U, ρ_w, ρ and κ of everyone."""
    params = state.block.params
    nodes = yield from registered_nodes(state)
    powers = node_powers(nodes, params.resource)
    typical = coefficient.typical_power(powers)
    speed_total = sum(node.speed for node in nodes)
    epoch_reward = block_reward(params.validators, state.block.height) * params.chain.epoch_blocks
    found: list[Figures] = []
    for index, (node, power) in enumerate(zip(nodes, powers, strict=True)):
        if index % SLICE_RECORDS == 0:
            yield
        share = weight.share_of(node.speed, speed_total)
        unit = standing.unit(state, share, power, epoch_reward)
        past = standing.faded(state, node.address)
        rho = reputation.reputation(past, unit)
        kappa = coefficient.coefficient(rho, coefficient.power_term(power, typical))
        found.append(Figures(node, power, reputation.weight_reputation(past, unit), rho, kappa))
    return found


def node_powers(nodes: Sequence[Node], params: ResourceParams) -> list[int]:
    """P of every node."""
    return weight.resource_powers([(node.speed, node.bond) for node in nodes], params.s_ref)


def _store_coefficients(state: State, found: Sequence[Figures]) -> Generator[None, None, None]:
    for index, figures in enumerate(found):
        if index % SLICE_RECORDS == 0:
            yield
        address = figures.node.address
        record = state.get(SPARKS, address)
        if record is None or record.status != spark.ACTIVE:
            continue
        if (record.power, record.kappa) != (figures.power, figures.kappa):
            changed = replace(record, power=figures.power, kappa=figures.kappa)
            state.put(SPARKS, address, changed)


def _pay_rewards(state: State) -> None:
    """Pay what accrued since the last epoch's end; the tally's other figures are cleared below."""
    counted = tally.tally(state)
    for row in counted.rows:
        if row.accrued:
            state.supply.accrued -= row.accrued
            funds.credit(state, row.address, row.accrued)
            state.emit(REWARD_PAID(account=row.address, amount=row.accrued))


def _pay_pool(state: State, found: Sequence[Figures]) -> Generator[None, None, None]:
    """Divide the resource pool over the sparks that the last good window credited."""
    by_address = {figures.node.address: figures for figures in found}
    credited = [
        by_address[address]
        for address in members.addresses(state, Register.CREDITED)
        if address in by_address and by_address[address].node.speed > 0
    ]
    shares = [(figures.node.speed, figures.weight_reputation) for figures in credited]
    payments = weight.pool_payments(pools.held(state, pools.RESOURCE), shares)
    paid = pools.take(state, pools.RESOURCE, sum(payments))
    assert paid == sum(payments), "shares round down"
    for index, (figures, payment) in enumerate(zip(credited, payments, strict=True)):
        if index % SLICE_RECORDS == 0:
            yield
        if payment:
            funds.credit(state, figures.node.address, payment)
            state.emit(PROOF_PAID(account=figures.node.address, amount=payment))


def _choose_set(state: State, found: Sequence[Figures]) -> Generator[None, None, None]:
    """x, u and V(h + 1)."""
    params = state.block.params
    candidates: list[Candidate] = []
    for index, figures in enumerate(found):
        if index % SLICE_RECORDS == 0:
            yield
        address = figures.node.address
        account = state.get(VALIDATORS, address)
        if account is None or account.status not in (ACTIVE, validator.JAILED):
            continue
        now = weight.epoch_weight(figures.power, figures.weight_reputation)
        bonded = stake(state, address).bonded
        may_vote = account.status == ACTIVE and bonded >= params.validators.min_bond
        u = weight.voting_weight(now, account.weight_before, may_vote)
        candidates.append(Candidate(address, account.key, u, bonded))
        validator.remember_weight(state, address, now)
    yield
    chosen = make_set(candidates, params.validators.max_validators)
    if not chosen:
        chosen = _last_set(state)
        state.emit(SET_STAYS(epoch=state.block.epoch))
    heads.store_validators(state, state.block.height + 1, chosen)


def _last_set(state: State) -> ValidatorSet:
    """The running set, with keys that a pending change has replaced meanwhile."""
    running = heads.validators_at(state, state.block.height)
    assert running, "a height has validators"
    kept: list[Validator] = []
    for member in running:
        account = state.get(VALIDATORS, member.address)
        assert account is not None, "whoever stands in a set has a record"
        kept.append(Validator(member.address, account.key, member.power))
    return tuple(kept)


def _prune(state: State) -> None:
    """Clear the tally and forget what is older than its period."""
    state.put(TALLIES, b"", tally.EMPTY_TALLY)
    params = state.block.params.validators
    heads.forget_validators(state, state.block.epoch - params.evidence_epochs)
    outage.forget(state, state.block.epoch - params.evidence_epochs - params.unbonding_epochs)


def genesis_weights(bonds: Sequence[tuple[bytes, int]], params: ResourceParams) -> list[int]:
    """x of the first validators, given as (address, bond): nothing is proved and nobody has a past."""
    nodes = [Node(address, 0, bond) for address, bond in bonds]
    return [weight.epoch_weight(power, PPB // 2) for power in node_powers(nodes, params)]
