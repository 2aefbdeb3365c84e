"""`por_ranking`: everybody with power, the strongest first, and what the power is made of."""

from __future__ import annotations

from consensus.resource import weight
from consensus.types.address import format_address
from eubchain.rpc.backend import Backend
from eubchain.rpc.method import Decimal, View, method
from vm import epoch, members, standing
from vm.members import Register
from vm.slices import to_the_end
from vm.spark import SPARKS
from vm.validator import VALIDATORS


class RankView(View):
    """One account; shares and figures in parts per billion, by the state at the head."""

    rank: int
    address: str
    power: int
    """P: what the next epoch's end would find if nothing changed."""
    compute: int
    """c: its share of all proved compute that counts."""
    stake: int
    """s: its share of all bonds that count."""
    capacity: int
    """S that counts, in 2⁻¹⁶ tiles a window."""
    bonded: Decimal
    kappa: int
    """The coefficient as the chain holds it."""
    is_credited: bool
    """Whether it shares the resource pool, by the last window that counted."""
    is_validator: bool


class RankingView(View):
    """The order, and how much of power is compute."""

    height: int
    compute_fraction: int
    """f, parts per billion: at most one half."""
    capacity: Decimal
    """ΣS."""
    accounts: list[RankView]


@method("por_ranking", example={"limit": 20})
async def por_ranking(backend: Backend, limit: int = 100) -> RankingView:
    """Accounts by power: what part is compute, what part is stake, who is credited."""
    state = backend.view()
    reference = state.block.params.resource.s_ref
    nodes = to_the_end(epoch.registered_nodes(state))
    powers = epoch.node_powers(nodes, state.block.params.resource)
    speeds, bonds = sum(node.speed for node in nodes), sum(node.bond for node in nodes)
    credited = frozenset(members.addresses(state, Register.CREDITED))
    ordered = sorted(zip(powers, nodes, strict=True), key=lambda found: (-found[0], found[1].address))
    accounts = []
    for rank, (power, node) in enumerate(ordered[: max(0, limit)], 1):
        spark = state.get(SPARKS, node.address)
        newcomer = standing.newcomer_kappa(state, node.address)
        accounts.append(
            RankView(
                rank=rank,
                address=format_address(node.address, backend.prefix),
                power=power,
                compute=weight.share_of(node.speed, speeds),
                stake=weight.share_of(node.bond, bonds),
                capacity=node.speed,
                bonded=str(node.bond),
                kappa=newcomer if spark is None else spark.kappa,
                is_credited=node.address in credited,
                is_validator=state.get(VALIDATORS, node.address) is not None,
            )
        )
    return RankingView(
        height=state.block.height,
        compute_fraction=weight.compute_fraction(speeds, reference),
        capacity=str(speeds),
        accounts=accounts,
    )
