"""Two operators found a network by passing files, as the how-to says, and one of them loses its data.

Each operator has a home of its own; only entries, the genesis file and node ids go from one to the other.
"""

from __future__ import annotations

import secrets
import shutil
import socket
from pathlib import Path

import pytest

from tests.node_world import command, parsed, running


def free_port() -> int:
    """A port that nobody listens at now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def set_options(home: Path, **options: str) -> None:
    """Write options of the [p2p] section, and let the other servers take any port."""
    file = home / "config" / "config.toml"
    text = (
        file.read_text().replace("127.0.0.1:26650", "127.0.0.1:0").replace("127.0.0.1:26660", "127.0.0.1:0")
    )
    before, p2p, after = text.partition("[p2p]")
    lines = after.splitlines()
    for name, value in options.items():
        at = next(i for i, line in enumerate(lines) if line.startswith(f"{name} = "))
        lines[at] = f"{name} = {value}"
    file.write_text(before + p2p + "\n".join(lines) + "\n")


def done(home: Path, *words: str, password: Path | None = None):
    """Run a command that must succeed; its last JSON object."""
    ended = command(home, *words, "--json", password=password)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return parsed(ended)


@pytest.mark.slow
def test_two_operators_found_a_network_and_one_recovers_after_losing_its_data(tmp_path):
    password = tmp_path / "password"
    password.write_text("correct horse\n")
    password.chmod(0o600)
    homes = [tmp_path / "lab-1", tmp_path / "lab-2"]
    entries = []
    for home in homes:
        done(home, "wallet", "new", "operator", password=password)
        made = command(
            home, "genesis", "entry", "--name", home.name, "--chain-id", "eub-lab", "--bond", "10000",
            password=password,
        )  # fmt: skip
        entries.append(tmp_path / f"{home.name}.json")
        entries[-1].write_text(made.stdout)
    genesis = tmp_path / "genesis.json"
    done(homes[0], "genesis", "new", str(genesis), "--chain-id", "eub-lab", "--network", "dev")
    done(homes[0], "genesis", "add", str(genesis), *map(str, entries))
    agreed = {done(home, "genesis", "verify", str(genesis))["genesis_hash"] for home in homes}
    assert len(agreed) == 1
    places = []
    for home in homes:
        done(home, "init", "--genesis", str(genesis), "--validator", password=password)
        identity = done(home, "show-node-id")["id"]
        port = free_port()
        places.append((f"127.0.0.1:{port}", f"/ip4/127.0.0.1/tcp/{port}/p2p/{identity}"))
    network_key = secrets.token_hex(32)
    for home, (listen, _), (_, other) in zip(homes, places, reversed(places), strict=True):
        set_options(home, listen=f'"{listen}"', bootstrap=f'["{other}"]', network_key=f'"{network_key}"')

    with running(homes[0]) as first:
        with running(homes[1]) as second:
            second.wait_height(4)
            assert second.stop() == 0
        last = done(homes[1], "signer", "show")["last"]["height"]
        shutil.rmtree(homes[1] / "data")
        (homes[1] / "data").mkdir(mode=0o700)
        refused = command(homes[1], "start", "--json")
        assert parsed(refused)["error"]["name"] == "guard_missing"
        done(homes[1], "signer", "reset", "--above", str(last), "--yes")
        with running(homes[1]) as second:
            second.wait_height(last + 3)
            first.wait_height(last + 3)
            ids = {node.call("chain_getHeader", height=last + 2)["block_id"] for node in (first, second)}
            assert len(ids) == 1
