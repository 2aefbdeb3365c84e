"""`por_explain`: an account's coefficient, taken apart into its seven factors by the chain's own rules.

Here: gathering what the rules need from state and history. Not here: the rules
(consensus/resource/explain.py), the figures that the chain stores (methods/spark.py: por_get).
Keeps: what state does not keep apart is read from history and said to be an estimate.
"""

from __future__ import annotations

from consensus.resource.explain import Circumstances, Explanation, moves
from consensus.resource.explain import explain as take_apart
from consensus.types.address import parse_address
from eubchain.rpc.backend import Backend
from eubchain.rpc.method import LONG_READ, AddressText, Decimal, GivenGrains, View, method
from eubchain.rpc.past import Past, past_tasks, posted_words
from eubchain.rpc.since import Since, average_marks, since_epoch
from vm import members, spark, stake, standing, validator
from vm.members import Register
from vm.rewards import block_reward
from vm.spark import SPARKS
from vm.state import State

TASK_PRICE = "500000000"
"""Of the task whose outcomes are shown unless a price is given: 5 EUBC."""


class FactorView(View):
    """One of the seven; differences are parts per billion of the coefficient and may be negative."""

    name: str
    has: Decimal
    """Proved compute in 2⁻¹⁶ tiles, grains, or a quality in parts per billion."""
    contributes: int
    doubled: int
    doubled_at_once: int
    had: Decimal
    """What there was of it when the epoch began, in the unit of `has`."""
    moved: int
    """What the change since then has moved the coefficient by."""


class OutcomeView(View):
    """What one outcome would change the coefficient by, parts per billion."""

    name: str
    changes: int


class SinceView(View):
    """What happened to the account in the running epoch."""

    began: int
    """The epoch's first height."""
    moved: int
    """The coefficient less `kappa_stored`, which an earlier epoch's end found."""
    rest: int
    """What the seven leave of it: faults, fading, others, more evidence asked of a larger account."""
    decided: int
    posted: int
    failed: int
    windows: int
    """Windows that closed with its proof and counted."""
    shares: int
    missed: Decimal
    """Proved compute lost by sending no proof, 2⁻¹⁶ tiles."""
    bonded: Decimal
    """Grains, negative when more was taken back."""


class ExplainView(View):
    """The coefficient with its parts, in parts per billion."""

    address: str
    kappa: int
    """By the present state; the chain's own figure moves at the next epoch's end."""
    kappa_stored: int
    power: int
    power_typical: int
    power_term: int
    reputation: int
    evidence_unit: Decimal
    """Grains that count as one unit of evidence for an account of this size."""
    factors: list[FactorView]
    outcomes: list[OutcomeView]
    since: SinceView
    history_read: int
    """Transactions from which the marks and the posted tasks were read; 0 without an index."""


@method("por_explain", example={"address": "deub1xc6xqjvm4txn9tvm8eurw6wktyx694ez3w5u4z"})
async def explain(backend: Backend, address: AddressText, price: GivenGrains = TASK_PRICE) -> ExplainView:
    """A coefficient: its parts, what moved it in this epoch, what a task at `price` grains would change."""
    account = parse_address(address, backend.prefix)
    ledger, state = backend.ledger(), backend.view()
    async with LONG_READ:
        past = await past_tasks(ledger, account)
    case = circumstances(state, account, past)
    since = since_epoch(state, ledger, account, past)
    found = take_apart(case, int(price))
    return _view(address, spark.kappa(state, account), found, since, moves(case, since.earlier), past.read)


def circumstances(state: State, account: bytes, past: Past) -> Circumstances:
    """What the rules read for one account at the head."""
    params = state.block.params
    listed = members.addresses(state, Register.VALIDATORS) + members.addresses(state, Register.SPARKS)
    nodes = sorted({*listed, account})
    words = posted_words(past, params.chain.epoch_blocks, state.block.epoch, params.resource.fade_shift)
    return Circumstances(
        nodes=[_node(state, node) for node in nodes],
        node=nodes.index(account),
        speed_reference=params.resource.s_ref,
        evidence_price_min=params.resource.evidence_price,
        epoch_reward=block_reward(params.validators, state.block.height + 1) * params.chain.epoch_blocks,
        fade_shift=params.resource.fade_shift,
        standing=standing.faded(state, account),
        posted=words,
        qualities=average_marks(list(past.decided)),
    )


def _node(state: State, address: bytes) -> tuple[int, int]:
    record = state.get(SPARKS, address)
    speed = 0 if record is None else spark.proving_capacity(record, state.block.epoch)
    bond = 0 if validator.is_barred(state, address) else stake.stake(state, address).bonded
    return speed, bond


def _view(
    address: str, stored: int, found: Explanation, since: Since, moved: dict[str, int], read: int
) -> ExplainView:
    then = since.earlier
    had = {
        "compute": then.speed,
        "bonded": then.bond,
        "completed": max(0, _has(found, "completed") - then.completed),
        "posted": max(0, _has(found, "posted") - then.posted),
        **then.qualities._asdict(),
    }
    return ExplainView(
        address=address,
        kappa=found.kappa,
        kappa_stored=stored,
        power=found.power,
        power_typical=found.typical,
        power_term=found.power_term,
        reputation=found.reputation,
        evidence_unit=str(found.unit),
        factors=[
            FactorView(
                name=factor.name,
                has=str(factor.has),
                contributes=factor.contributes,
                doubled=factor.doubled,
                doubled_at_once=factor.doubled_at_once,
                had=str(had[factor.name]),
                moved=moved[factor.name],
            )
            for factor in found.factors
        ],
        outcomes=[OutcomeView(name=event.name, changes=event.changes) for event in found.events],
        since=SinceView(
            began=since.began,
            moved=found.kappa - stored,
            rest=found.kappa - stored - sum(moved.values()),
            decided=since.decided,
            posted=since.posted,
            failed=since.failed,
            windows=since.windows,
            shares=since.shares,
            missed=str(since.missed),
            bonded=str(since.bonded),
        ),
        history_read=read,
    )


def _has(found: Explanation, name: str) -> int:
    return next(factor.has for factor in found.factors if factor.name == name)
