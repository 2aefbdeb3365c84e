"""Cables are pulled between machines: one alone, then two from two; no fork, and all goes on afterwards.

The machines are network namespaces, which only root may make; elsewhere this story is skipped by name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.namespaces import Machines, may_make_machines
from tests.playbook_world import VALIDATORS, Play, set_option

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not may_make_machines(), reason="needs root to make network namespaces"),
]


@pytest.fixture
def machines() -> Iterator[Machines]:
    made = Machines(VALIDATORS)
    yield made
    made.close()


def _settle(stage: Play, machines: Machines) -> None:
    """Every home on a machine of its own, told of all the others."""
    old = [_listen_port(home) for home in stage.homes]
    for number, home in enumerate(stage.homes):
        text = (home / "config" / "config.toml").read_text()
        for other, port in enumerate(old):
            text = text.replace(f"/ip4/127.0.0.1/tcp/{port}/", f"/ip4/{machines.address(other)}/tcp/{port}/")
        (home / "config" / "config.toml").write_text(text)
        set_option(home, "listen", f'"{machines.address(number)}:{old[number]}"', "p2p")
        set_option(home, "listen", f'"{machines.control(number)}:0"', "rpc")
        set_option(home, "hosts", '["*"]', "rpc")


def _listen_port(home: Path) -> int:
    section = (home / "config" / "config.toml").read_text().partition("[p2p]\n")[2]
    line = next(line for line in section.splitlines() if line.startswith("listen = "))
    return int(json.loads(line.partition(" = ")[2]).rpartition(":")[2])


def test_cables_pulled_and_put_back_leave_one_chain_and_every_payment_final(
    tmp_path: Path, machines: Machines
) -> None:
    """Four validators on four machines. One machine's cable is pulled: three go on, and it catches up when
    the cable is back. Then the trunk breaks and leaves two and two: neither half has two thirds, so both
    stand, and each takes payments that must wait. The trunk is mended: one chain, every payment once.
    """
    stage = Play(tmp_path / "net")
    try:
        with stage.step("four machines start and everybody knows everybody"):
            _settle(stage, machines)
            for number in range(VALIDATORS):
                stage.start(number, before=machines.before(number))
            for number in range(VALIDATORS):
                stage.until_peers(number, VALIDATORS - 1)
        with stage.step("one cable is pulled: three go on"):
            machines.unplug(3)
            stage.pay(through=0)
            stage.blocks(6, (0, 1, 2))
        with stage.step("it is put back: the fourth catches up and signs"):
            machines.plug(3)
            stage.blocks(2)
            stage.until(3, lambda: stage.is_validating(3))
        with stage.step("the trunk breaks: each half takes a payment and stands"):
            machines.part()
            for number in range(VALIDATORS):
                stage.until(number, lambda number=number: not stage.is_ready(number))
            stands = [node.height for node in stage.nodes.values()]
            stage.pay(through=0)
            stage.pay(through=3)
            assert max(stands) - min(stands) <= 1
            assert [node.height for node in stage.nodes.values()] == stands
        with stage.step("it is mended: all go on together"):
            machines.heal()
            stage.blocks(4)
        stage.curtain()
    finally:
        stage.end()
