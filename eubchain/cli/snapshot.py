"""`eubchain snapshot`: the state of one height, to begin a new node with.

Here: list, create, export, restore. Not here: how snapshots are made and checked (eubchain/ledger), those
that a running node cuts by itself (eubchain/node/upkeep.py).
Keeps: nothing is restored that does not lead to the block a person trusts; no ledger is overwritten.
Errors: 2552 snapshot_place_taken.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consensus.types.errors import Fault, Reason
from eubchain.cli.ledger import Ticker, opened
from eubchain.cli.session import SESSION

if TYPE_CHECKING:
    from eubchain.ledger.snapshot import Manifest
    from eubchain.ledger.snapshot_folder import SnapshotFolder
    from eubchain.node.home import Home

app = typer.Typer(
    name="snapshot", help="The state of one height, to begin a node with.", no_args_is_help=True
)

FETCHED = "fetched"
"""Where a snapshot from another node is kept until it is restored, below data/snapshots."""

PLACE_TAKEN = Reason(
    2552,
    "snapshot_place_taken",
    "place:text",
    "{place} is not empty.",
    "Name a new or an empty directory.",
)


def _folder() -> tuple[Home, SnapshotFolder]:
    from eubchain.ledger.snapshot_folder import SnapshotFolder
    from eubchain.node.home import Home

    home = Home(SESSION.home)
    home.check()
    return home, SnapshotFolder(home.snapshots)


@app.command("list")
def list_snapshots() -> None:
    """List the snapshots that this home keeps.

    Example: eubchain snapshot list --home ./node0
    """
    found = _folder()[1].listed()
    rows: list[dict[str, Any]] = [
        {"height": one.height, "block_id": one.block_id.hex(), "chunks": one.chunks, "bytes": one.size}
        for one in found
    ]
    text = "\n".join(
        f"{row['height']:>10}  {row['block_id']}  {row['bytes'] / 2**20:.1f} MiB in {row['chunks']} chunks"
        for row in rows
    )
    SESSION.result({"snapshots": rows}, text or "no snapshots: set snapshots.every_epochs in config.toml")


@app.command()
def create() -> None:
    """Make a snapshot of a stopped node's head; a running one makes its own by snapshots.every_epochs.

    Example: eubchain snapshot create --home ./node0
    """
    from eubchain.ledger.snapshot import cut
    from eubchain.node.config import load_config
    from vm import head as heads
    from vm.named import named_transactions

    home, folder = _folder()
    ticker = Ticker()
    keep = load_config(home.config).number("snapshots", "keep")
    with opened() as held:
        height = held.ledger.height
        named = named_transactions(heads.view(held.ledger, held.rules))
        for done, _ in enumerate(cut(held.ledger, folder.begin(height), named)):
            ticker("slices written", done, 0)
        folder.finish(height, keep)
    block_id = folder.manifest(height).commit.block_id.hex()
    SESSION.result(
        {"height": height, "block_id": block_id, "place": str(folder.place(height))},
        f"snapshot of height {height}: {folder.place(height)}",
    )
    SESSION.follow(f"eubchain snapshot restore {folder.place(height)} --trust {height}:{block_id}")


@app.command()
def export(
    directory: Annotated[Path, typer.Argument(help="Where to copy it; new or empty.")],
    height: Annotated[
        int | None, typer.Option("--height", min=1, help="Which one; the newest if left out.")
    ] = None,
) -> None:
    """Copy a snapshot out of this home, to carry it elsewhere.

    Example: eubchain snapshot export ./carried --home ./node0
    """
    from eubchain.ledger.snapshot_folder import SNAPSHOT_UNKNOWN

    folder = _folder()[1]
    heights = folder.heights()
    chosen = height if height is not None else (heights[-1] if heights else 0)
    if chosen not in heights:
        raise Fault(SNAPSHOT_UNKNOWN, what=f"height {chosen}" if chosen else "any height")
    if directory.exists() and any(directory.iterdir()):
        raise Fault(PLACE_TAKEN, place=str(directory))
    shutil.copytree(folder.place(chosen), directory, dirs_exist_ok=True)
    block_id = folder.manifest(chosen).commit.block_id.hex()
    SESSION.result(
        {"height": chosen, "block_id": block_id, "place": str(directory)},
        f"the snapshot of height {chosen} is in {directory}",
    )
    SESSION.follow(f"eubchain snapshot restore {directory} --trust {chosen}:{block_id} --home NEW_HOME")


@app.command()
def restore(
    source: Annotated[str, typer.Argument(help="A snapshot's directory, or the URL of a node's RPC.")],
    trust: Annotated[str, typer.Option("--trust", help="HEIGHT:HASH of the block it must be of.")],
) -> None:
    """Begin a home's ledger from a snapshot of a block you trust, instead of from the first block.

    Example: eubchain snapshot restore http://127.0.0.1:26650 --trust 1200:HASH --home ./node1
    """
    from consensus.light import parse_trust
    from consensus.types.tree import empty_tree, update_tree
    from eubchain.ledger.restore import restore as restore_ledger
    from eubchain.ledger.snapshot_check import SNAPSHOT_CHUNK_REFUSED
    from genesis.files import read_genesis
    from vm.genesis import genesis_writes

    trusted = parse_trust(trust)
    home, folder = _folder()
    genesis = read_genesis(home.genesis)
    ticker = Ticker()
    with home.locked():
        fetched = folder.root / f"{trusted.height}.{FETCHED}"
        is_remote = "://" in source
        place = fetched if is_remote else Path(source)
        manifest = _fetch(source, trusted.height, place, ticker) if is_remote else _read(place)
        root = update_tree(empty_tree(), genesis_writes(genesis)).root

        def chunk(name: str) -> bytes:
            return (place / name).read_bytes()

        steps = restore_ledger(home.ledger, genesis, root, manifest, trusted.block_id, chunk)
        try:
            for done, _ in enumerate(steps):
                ticker("steps", done, 0)
        except Fault as fault:
            if fault.reason is SNAPSHOT_CHUNK_REFUSED and is_remote:
                (place / str(fault.facts["chunk"])).unlink()  # the next attempt asks for this one only
            raise
        if is_remote:
            shutil.rmtree(place)
    height = manifest.header.height
    SESSION.result(
        {"height": height, "block_id": trusted.block_id.hex(), "home": str(home.root)},
        f"{home.root} stands at height {height}; the blocks after it come from peers",
    )
    SESSION.follow(f"eubchain start --home {home.root}")


def _fetch(url: str, height: int, place: Path, ticker: Ticker) -> Manifest:
    from eubchain.client.connection import Connection
    from eubchain.client.snapshot import fetch_snapshot

    async def run() -> Manifest:
        async with Connection(url) as node:
            return await fetch_snapshot(node, height, place, ticker)

    return SESSION.run(run)


def _read(place: Path) -> Manifest:
    from consensus.types.errors import Rejected
    from eubchain.ledger.snapshot import MANIFEST, MANIFEST_FILE, SNAPSHOT_MALFORMED

    try:
        return MANIFEST.decode((place / MANIFEST_FILE).read_bytes())
    except FileNotFoundError:
        raise Fault(SNAPSHOT_MALFORMED, why=f"there is no manifest in {place}") from None
    except Rejected as error:
        raise Fault(SNAPSHOT_MALFORMED, why=f"its manifest cannot be read: {error}") from None
