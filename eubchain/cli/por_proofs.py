"""`eubchain por window, claims, tile, verify`: proofs of resource, looked at and judged on this machine.

Here: the verbs. Not here: coefficients (query.py), the arithmetic (consensus/resource/share.py).
Keeps: `tile` and `verify` need no node, so that a proof can be judged by whoever doubts it.
Errors: 1591 claims_unreadable, 1592 not_a_tile.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from consensus.types.address import parse_address
from consensus.types.errors import Fault, Reason
from eubchain.cli.query import por
from eubchain.cli.session import SESSION

if TYPE_CHECKING:
    from consensus.resource.proof import Claim
    from consensus.resource.share import Keys

CLAIMS_UNREADABLE = Reason(
    1591,
    "claims_unreadable",
    "path:text why:text",
    "'{path}' holds no claims: {why}.",
    "Write one with `eubchain por claims --json > claims.json` while a window runs.",
)
NOT_A_TILE = Reason(
    1592,
    "not_a_tile",
    "why:text",
    "That names no tile: {why}.",
    "Give --words K0,…,K15 or --window, --seed and --owner; p and q are below 16777216.",
)


Word = Annotated[int, msgspec.Meta(ge=0, lt=2**32)]


class ClaimFile(msgspec.Struct):
    """One claim as `por claims --json` prints it."""

    profile: Word
    window: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
    seed: str
    account: str
    difficulty: Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
    shares: list[tuple[Word, Word]]
    checked: list[int] | None = None


class ClaimsFile(msgspec.Struct):
    """What `por claims --json` prints, as far as it is read here."""

    claims: list[ClaimFile]


@por.command("window")
def window() -> None:
    """Show the window in which compute is proved now, or was last.

    Example: eubchain por window
    """
    found = SESSION.asked("por_window")
    if found is None:
        SESSION.result({"window": None}, "no window has been announced yet")
        return
    state = "takes proofs" if found["is_open"] else "takes no proofs"
    text = (
        f"window {found['window']}  announced in epoch {found['epoch']}, {state}\n"
        f"  search until {found['search_until']}, last block for proofs {found['last_proof']}\n"
        f"  {found['proofs']} proofs"
    )
    SESSION.result(found, text)


@por.command("claims")
def claims() -> None:
    """Show what the proofs of the running window claim; with --json, a file for `por verify`.

    Example: eubchain por claims --json
    """
    found = SESSION.asked("por_claims")
    lines = [
        f"{len(c['shares']):>2} shares at difficulty {c['difficulty']:<10} {len(c['checked'])} checked  "
        f"{c['account']}"
        for c in found["claims"]
    ]
    SESSION.result(found, "\n".join(lines) or "no proof is waiting for its verdict")


@por.command("tile")
def tile(
    p: Annotated[int, typer.Argument(help="The panel of side A.")],
    q: Annotated[int, typer.Argument(help="The panel of side B.")],
    words: Annotated[
        str | None, typer.Option("--words", help="The sixteen key words as hexadecimal, with commas.")
    ] = None,
    profile: Annotated[int, typer.Option("--profile", help="The shape of tiles.")] = 1,
    window: Annotated[int, typer.Option("--window", help="The height that opened the window.")] = 0,
    seed: Annotated[
        str | None, typer.Option("--seed", help="The window's seed, 64 hexadecimal digits.")
    ] = None,
    owner: Annotated[
        str | None, typer.Option("--owner", help="An address, or the 32 bytes of the key derivation.")
    ] = None,
) -> None:
    """Compute one tile and print its digest and ticket, for other implementations to compare with.

    Example: eubchain por tile 1 2 --words 464e0697,7926b5f0,69e3d949,7930b287,959dc286,e80e4fc6,4f23658e,e721dd44,7305d1b7,bacb7e8b,ebf92756,ece9b753,8c206a8e,83cd0e96,4e1a9b03,60bf4781
    """  # noqa: E501  # an example stands on one line
    from consensus.resource import share
    from consensus.resource.proof import PANELS

    if profile not in share.PROFILES:
        raise Fault(NOT_A_TILE, why=f"there is no profile {profile}")
    if not (0 <= p < PANELS and 0 <= q < PANELS):
        raise Fault(NOT_A_TILE, why=f"({p}, {q}) is out of range")
    shape = share.PROFILES[profile]
    keys = _keys(words) if words is not None else _derived(shape.number, window, seed, owner)
    kind = share.operand_type()
    product = share.product(
        share.panel_a(keys, shape, p).astype(kind), share.panel_b(keys, shape, q).astype(kind)
    )
    sums, d0, d1 = share.digest_words(keys, product)
    ticket = share.tile_ticket(keys, product)
    facts = {
        "p": p,
        "q": q,
        "keys": [f"{word:08x}" for word in keys],
        "first": int(product[0][0]),
        "last": int(product[-1][-1]),
        "sums": [f"{int(sums[0]):08x}", f"{int(sums[-1]):08x}"],
        "digest": [f"{d0:08x}", f"{d1:08x}"],
        "ticket": f"{ticket:016x}",
        "difficulty": (share.TICKETS - 1) // max(1, ticket),
    }
    SESSION.result(
        facts,
        f"ticket {facts['ticket']}  a share at difficulties up to {facts['difficulty']}\n"
        f"  digest {d0:08x} {d1:08x}, C[0][0] {facts['first']}, C[-1][-1] {facts['last']}",
    )


def _keys(words: str) -> Keys:
    try:
        keys = tuple(int(word, 16) for word in words.split(","))
    except ValueError as error:
        raise Fault(NOT_A_TILE, why=str(error)) from None
    if len(keys) != 16 or not all(0 <= word < 2**32 for word in keys):
        raise Fault(NOT_A_TILE, why=f"{len(keys)} words were given; there are 16, of 32 bits")
    return keys


def _derived(profile: int, window: int, seed: str | None, owner: str | None) -> Keys:
    from consensus.resource import share

    if seed is None or owner is None:
        raise Fault(NOT_A_TILE, why="neither key words nor both seed and owner are given")
    plain = owner.removeprefix("0x")
    padded = bytes.fromhex(plain) if _is_hash(plain) else share.owner_bytes(_account(owner))
    return share.panel_keys(share.PROFILES[profile], window, _seed(seed), padded)


def _is_hash(text: str) -> bool:
    return len(text) == 64 and all(letter in "0123456789abcdef" for letter in text)


def _seed(text: str) -> bytes:
    plain = text.removeprefix("0x")
    if not _is_hash(plain):
        raise Fault(NOT_A_TILE, why="a seed has 64 hexadecimal digits")
    return bytes.fromhex(plain)


def _account(text: str) -> bytes:
    """An address of whichever network: a proof is judged without knowing one."""
    return parse_address(text, text.partition("1")[0])


@por.command("verify")
def verify(
    file: Annotated[Path, typer.Argument(help="Claims as `por claims --json` prints them.")],
    every: Annotated[
        bool, typer.Option("--all", help="Recompute every share, not only those that validators check.")
    ] = False,
) -> None:
    """Judge claims by recomputing their tiles on this machine, without a node.

    Example: eubchain por verify claims.json
    """
    from consensus.resource.share import verify as judge

    verdicts: list[dict[str, Any]] = []
    for shown, claim in _read_claims(file, every):
        found = judge(claim)
        is_true = found == len(shown.shares)
        verdicts.append(
            {
                "account": shown.account,
                "shares": len(shown.shares),
                "checked": len(claim.checked),
                "is_true": is_true,
                "false_index": None if is_true else found,
            }
        )
    lines = [
        f"{v['account']}  {v['checked']} of {v['shares']} shares recomputed: "
        + ("all true" if v["is_true"] else f"share {v['false_index']} is false")
        for v in verdicts
    ]
    SESSION.result({"verdicts": verdicts}, "\n".join(lines) or "the file holds no claims")


def _read_claims(file: Path, every: bool) -> list[tuple[ClaimFile, Claim]]:
    """The file's claims, checked as the chain checks proofs; raises `Fault` 1591."""
    from consensus.resource.proof import Claim, make_proof
    from consensus.resource.share import PROFILES

    def unreadable(why: object) -> Fault:
        return Fault(CLAIMS_UNREADABLE, path=str(file), why=str(why).replace("`", ""))

    try:
        read = msgspec.json.decode(file.read_bytes(), type=ClaimsFile)
    except OSError as error:
        raise unreadable((error.strerror or "unknown").lower()) from None
    except msgspec.DecodeError as error:
        raise unreadable(error) from None
    found: list[tuple[ClaimFile, Claim]] = []
    for shown in read.claims:
        try:
            proof = make_proof(shown.window, shown.shares)
            account, seed = _account(shown.account), _seed(shown.seed)
        except Fault as fault:
            raise unreadable(fault) from None
        indices = range(proof.count)
        checked = indices if every or shown.checked is None else sorted({*shown.checked} & {*indices})
        if shown.profile not in PROFILES:
            raise unreadable(f"there is no profile {shown.profile}")
        claim = Claim(
            shown.profile, shown.window, seed, account, shown.difficulty, proof.shares, tuple(checked)
        )
        found.append((shown, claim))
    return found
