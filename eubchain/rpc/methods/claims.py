"""`por_claims`: what the running window's proofs claim, so that anybody can judge them too."""

from __future__ import annotations

from consensus.resource.proof import parse_shares
from consensus.types.address import format_address
from eubchain.rpc.backend import Backend
from eubchain.rpc.method import Hex, View, method
from vm import claims, windows


class ClaimView(View):
    """One proof as validators judge it."""

    profile: int
    window: int
    seed: Hex
    account: str
    difficulty: int
    """A tile is a share if its ticket times this is below 2^64."""
    shares: list[tuple[int, int]]
    """Tiles (p, q), ascending."""
    checked: list[int]
    """Indices of the shares that validators recompute: all, or a sample when the window is crowded."""


class ClaimsView(View):
    """The claims of the running window."""

    height: int
    is_final: bool
    """No more proofs can come, and what is checked is known."""
    claims: list[ClaimView]


@method("por_claims", example={})
async def por_claims(backend: Backend) -> ClaimsView:
    """Every proof of the running window; none once it has closed, for then verdicts are in state."""
    state = backend.view()
    last = windows.last_window(state)
    found = [] if last is None else claims.claims(state, last)
    return ClaimsView(
        height=state.block.height,
        is_final=last is not None and last.sample_beacon is not None and not last.is_closed,
        claims=[
            ClaimView(
                profile=claim.profile,
                window=claim.window,
                seed="0x" + claim.seed.hex(),
                account=format_address(account, backend.prefix),
                difficulty=claim.difficulty,
                shares=parse_shares(claim.shares),
                checked=list(claim.checked),
            )
            for account, claim in found
        ],
    )
