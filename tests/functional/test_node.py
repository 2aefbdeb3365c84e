"""One validator as a real process: blocks, transfers, crashes, refusals to start.

Each test founds its own network on ports that the system chooses; nothing waits for time.
"""

from __future__ import annotations

import os
import random
import signal
import socket
from pathlib import Path

import httpx
import pytest

from tests.node_world import command, found, parsed, running


@pytest.fixture
def network(tmp_path):
    """A network of one validator, founded and not yet started."""
    return found(tmp_path / "net")


def test_a_transfer_becomes_final_and_the_supply_still_adds_up(network):
    with running(network.validators[0]) as node:
        recipient = parsed(command(network.root, "wallet", "list", "--json"))["accounts"][1]["address"]
        done = command(
            network.root, "wallet", "send", recipient, "1.5", "--from", "requester", "--yes", "--json",
            "--node", node.url, password=network.password_file,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        supply = {k: int(v) for k, v in node.call("chain_getSupply").items()}
        assert supply.pop("issued") == sum(supply.values())
        assert int(node.call("account_get", address=recipient)["balance"]) == 100_150_000_000


def test_a_validator_killed_again_and_again_goes_on_where_it_was(network):
    """Twelve kill -9 at random moments: no height is lost, every start signs again, the audit passes."""
    home, highest = network.validators[0], 0
    moments = random.Random(7)
    for _ in range(12):
        with running(home) as node:
            node.wait_height(highest + 1)
            target = highest + 1 + moments.randrange(3)
            node.wait_height(target)
            highest = node.height
            node.kill()
    with running(home) as node:
        assert node.height >= highest
        node.wait_height(highest + 2)
        assert node.stop() == 0
    audit = command(home, "inspect", "--json")
    assert audit.returncode == 0, audit.stdout + audit.stderr


def test_after_a_rollback_the_kept_blocks_are_executed_and_the_validator_signs_on(network):
    """It stands where it stood before any peer is asked, and is silent at no height."""
    home = network.validators[0]
    with running(home) as node:
        node.wait_height(6)
        node.stop()
    head = parsed(command(home, "inspect", "--json"))["height"]
    done = command(home, "rollback", "--to", str(head - 4), "--yes", "--json")
    assert parsed(done)["to"] == head - 4
    with running(home) as node:
        assert node.height >= head
        node.wait_height(head + 3)
        assert node.stop() == 0
    audit = command(home, "inspect", "--json")
    assert audit.returncode == 0, audit.stdout + audit.stderr


def test_a_graceful_stop_ends_with_zero_and_leaves_no_process(network):
    with running(network.validators[0]) as node:
        node.wait_height(2)
        group = node.process.pid
        assert node.stop() == 0
        with pytest.raises(ProcessLookupError):
            os.killpg(group, 0)


def test_a_second_node_on_one_home_is_refused_and_names_the_first(network):
    home = network.validators[0]
    with running(home) as node:
        second = command(home, "start", "--json")
        failure = parsed(second)["error"]
        assert second.returncode == 1
        assert failure["name"] == "home_in_use"
        assert str(node.process.pid) in failure["sentence"]
        node.wait_height(node.height + 1)


@pytest.mark.parametrize(
    ("break_it", "name"),
    [
        (lambda home: (home / "data" / "signer_guard").unlink(), "guard_missing"),
        (lambda home: (home / "data" / "signer_guard").write_bytes(b"x" * 8192), "guard_damaged"),
        (lambda home: (home / "config" / "genesis.json").unlink(), "home_missing"),
        (lambda home: (home / "config" / "config.toml").write_text("[rpc]\nlisen = 1\n"), "config_invalid"),
        (lambda home: _damage_in_the_middle(home / "data" / "wal"), "wal_damaged"),
        (lambda home: (home / "config" / "validator_key.json").chmod(0o644), None),
        (lambda home: (home / "config" / "validator_key.json").write_text("{}"), "validator_key_damaged"),
    ],
)
def test_a_home_that_cannot_be_trusted_is_refused_with_a_reason_and_a_hint(network, break_it, name):
    home = network.validators[0]
    with running(home) as node:
        node.wait_height(3)
        node.stop()
    break_it(home)
    refused = command(home, "start", "--json")
    failure = parsed(refused)["error"]
    assert refused.returncode == 1
    assert name is None or failure["name"] == name
    assert failure["hint"]
    assert "Traceback" not in refused.stderr + refused.stdout


def _damage_in_the_middle(wal: Path) -> None:
    """Break the header of the log: what follows cannot be told from a torn end without it."""
    data = bytearray(wal.read_bytes())
    data[20] ^= 0xFF
    wal.write_bytes(data)


def _raw(url: str, request: bytes) -> bytes:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as plain:
        plain.sendall(request)
        plain.settimeout(10)
        return plain.recv(65536)


def test_bad_requests_get_an_answer_each_and_the_node_goes_on(network):
    """Bodies that are not JSON, are huge, or nest deeply; unknown methods; another origin; a cut line."""
    with running(network.validators[0]) as node:
        rpc = f"{node.url}/rpc"

        def post(content: bytes, **headers: str) -> httpx.Response:
            return httpx.post(rpc, content=content, headers=headers, timeout=30, trust_env=False)

        assert post(b"{").json()["error"]["code"] == -32700
        assert post(b"[" * 200_000).json()["error"]["code"] == -32700
        assert post(b"[]").json()["error"]["code"] == -32600
        assert post(b'{"jsonrpc":"2.0","id":1,"method":"no_such"}').json()["error"]["code"] == -32601
        wrong = b'{"jsonrpc":"2.0","id":1,"method":"chain_getBlock","params":{"height":"x"}}'
        assert post(wrong).json()["error"]["code"] == -32602
        assert post(b" " * (5 * 2**20)).status_code == 413
        assert post(b"{}", origin="https://evil.example").status_code == 403
        assert post(b"{}", host="evil.example").status_code == 403
        batch = (
            b'[{"jsonrpc":"2.0","id":1,"method":"chain_status"},{"jsonrpc":"2.0","method":"chain_status"}]'
        )
        assert [answer["id"] for answer in post(batch).json()] == [1]
        garbage = b'{"jsonrpc":"2.0","id":1,"method":"tx_submit","params":{"transaction":"kpMB"}}'
        assert post(garbage).json()["error"]["data"]["name"] == "malformed"
        assert _raw(node.url, b"\x80\x00 garbage\r\n\r\n")[:4] in (b"", b"HTTP")
        node.wait_height(node.height + 2)


def test_every_method_answers_its_own_example_and_discovery_lists_it(network):
    """OpenRPC is held against real answers: each example gives a result or a documented error."""
    with running(network.validators[0]) as node:
        node.wait_height(2)
        document = node.call("rpc.discover")
        assert document["openrpc"].startswith("1.")
        assert len(document["methods"]) > 20
        for entry in document["methods"]:
            params = {p["name"]: p["value"] for p in entry["examples"][0]["params"]}
            request = {"jsonrpc": "2.0", "id": 7, "method": entry["name"], "params": params}
            if "timeout_s" not in params and entry["name"] in ("tx_wait", "tx_submitAndWait"):
                request["params"] = {**params, "timeout_s": 1}
            answer = httpx.post(f"{node.url}/rpc", json=request, timeout=30, trust_env=False).json()
            assert answer["id"] == 7
            if "error" in answer:
                assert answer["error"]["code"] != -32603, (entry["name"], answer)
                assert answer["error"]["data"]["hint"]


def test_a_stopped_node_is_health_and_metrics_silent_and_a_running_one_reports(network):
    with running(network.validators[0]) as node:
        node.wait_height(2)
        health = httpx.get(f"{node.url}/health", timeout=10, trust_env=False)
        assert health.status_code == 200
        assert health.json()["ready"] is True
        os.killpg(node.process.pid, signal.SIGKILL)
        node.process.wait()
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"{node.url}/health", timeout=2, trust_env=False)
