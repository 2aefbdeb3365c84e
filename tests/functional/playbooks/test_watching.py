"""A healthy network as its operators see it: calm logs, dashboards with data, alerts that are silent.

With Prometheus on the machine the dashboards are read through it, as Grafana would; without it that part
is skipped by name.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.playbook_world import EPOCH_BLOCKS, Play, play

pytestmark = pytest.mark.slow

MONITORING = Path(__file__).parents[3] / "packaging" / "monitoring"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Play]:
    """Four healthy validators, two epochs in."""
    with play(tmp_path_factory.mktemp("healthy") / "net", epoch_blocks=EPOCH_BLOCKS) as made:
        made.pay(through=0)
        made.reach(2 * EPOCH_BLOCKS)
        yield made


def panels() -> list[tuple[str, str]]:
    """(dashboard and panel, expression) of everything that the dashboards ask for."""
    found = []
    for file in sorted((MONITORING / "grafana" / "dashboards").glob("*.json")):
        for panel in json.loads(file.read_text())["panels"]:
            found += [(f"{file.stem}: {panel['title']}", target["expr"]) for target in panel["targets"]]
    return found


def test_a_healthy_network_logs_a_line_a_block_and_warns_of_nothing(stage: Play) -> None:
    """Once everybody knows everybody a node's log has one line for each block and no other."""
    first = max(node.height for node in stage.nodes.values())
    last = stage.blocks(EPOCH_BLOCKS)
    for node in stage.nodes.values():
        lines = [line for line in node.log.read_text(errors="replace").splitlines() if "[" in line]
        loud = [line for line in lines if re.search(r"\[(warning|error|critical) *\]", line)]
        assert not loud, "\n".join(loud)
        begin = next(i for i, line in enumerate(lines) if f" height={first} " in line)
        end = next(i for i, line in enumerate(lines) if f" height={last} " in line)
        assert end - begin == last - first, "\n".join(lines[begin : end + 1])


def test_every_metric_of_dashboards_and_alerts_is_on_the_page_of_a_running_node(stage: Play) -> None:
    """A panel or an alert about something that `/metrics` does not have would never say anything."""
    page = httpx.get(f"{stage.nodes[0].urls['metrics']}/metrics", timeout=30, trust_env=False).text
    there = {re.split(r"[{ ]", line)[0] for line in page.splitlines() if not line.startswith("#")}
    rules = (MONITORING / "rules.yml").read_text()
    asked = {name for _, expr in panels() for name in re.findall(r"\beub_\w+", expr)}
    asked |= set(re.findall(r"\beub_\w+", rules))
    assert asked
    assert asked <= there, asked - there


@contextmanager
def prometheus(folder: Path, targets: list[str]) -> Iterator[httpx.Client]:
    """Prometheus with the rules that ship, scraping these nodes every second."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    shutil.copy(MONITORING / "rules.yml", folder)
    text = (MONITORING / "prometheus.yml").read_text()
    text = text.replace("5s", "1s").replace('["127.0.0.1:26660"]', json.dumps(targets))
    (folder / "prometheus.yml").write_text(text)
    line = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}"]  # fmt: skip
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client:
            yield client
    finally:
        process.terminate()
        process.wait()


def ask(client: httpx.Client, expression: str) -> list[Any]:
    """What Prometheus has for an expression now; nothing while it starts."""
    try:
        answer = client.get("/api/v1/query", params={"query": expression})
    except httpx.ConnectError:
        return []
    if answer.status_code == 503:
        return []
    assert answer.status_code == 200, (expression, answer.text)
    found: list[Any] = answer.json()["data"]["result"]
    return found


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs Prometheus")
def test_no_panel_is_without_data_and_a_stopped_node_is_an_alert(stage: Play, tmp_path: Path) -> None:
    """Prometheus reads the four nodes: every panel shows something and no alert is up; then one is killed."""
    places = [node.urls["metrics"].removeprefix("http://") for node in stage.nodes.values()]
    with prometheus(tmp_path, places) as client:
        for title, expression in panels():
            stage.until(0, lambda e=expression: bool(ask(client, e)))
            assert ask(client, expression), title
        assert ask(client, 'ALERTS{alertstate="firing"}') == []
        stage.kill(3)
        stage.until(0, lambda: bool(ask(client, 'ALERTS{alertname="EubNodeDown"}')))
        (alert,) = ask(client, 'ALERTS{alertname="EubNodeDown"}')
        assert alert["metric"]["instance"] == places[3]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool")
def test_alerts_fire_within_two_minutes_and_only_when_they_should() -> None:
    """The rules are valid, and played against series of numbers they say what their tests expect."""
    for line in (["check", "rules", "rules.yml"], ["test", "rules", "rules_test.yml"]):
        done = subprocess.run(
            ["promtool", *line], cwd=MONITORING, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
