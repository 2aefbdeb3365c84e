"""One key, two machines: the copy watches, sees the other sign, and refuses before it has said a word."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.node_world import command, parsed
from tests.playbook_world import play, set_option

pytestmark = pytest.mark.slow


def test_a_copied_home_started_beside_the_first_refuses_to_sign_and_says_why(tmp_path: Path) -> None:
    """An operator copies a validator's home to a new machine, gives it a network identity of its own, and
    forgets to stop the old one (with the old identity, its peers may not even let it in: error 2417). Both
    are started. The copy knows that it was moved: it follows the chain and only watches; the old one's votes
    are enough for it to stop with the reason. The network never sees the key sign twice. Once the old one
    has really been stopped, the copy is told up to where the key has signed, and signs above.
    """
    with play(tmp_path / "net") as stage:
        with stage.step("the home is copied while its node stands, and both are started"):
            stage.kill(3)
            original, copied = stage.homes[3], tmp_path / "copy"
            shutil.copytree(original, copied)
            set_option(copied, "listen", '"127.0.0.1:0"', "p2p")
            (copied / "config" / "node_key.json").unlink()
            stage.start(3)
            stage.until(0, lambda: stage.validator(3, through=0)["signed"] > 0)
        with stage.step("the copy stops by itself and names the twin"):
            refused = command(copied, "start", "--json")
            assert refused.returncode == 1, refused.stdout + refused.stderr
            failure = parsed(refused)["error"]
            assert failure["name"] == "twin_seen"
            assert "signer reset --above" in failure["hint"]
            stage.blocks(2)
        with stage.step("the first goes on as if nothing had been"):
            assert stage.is_validating(3)
        with stage.step("the first is stopped for good; the copy is told up to where it signed, and signs"):
            stage.stop(3)
            last = stage.ask("signer", "show", "--home", str(original))["last"]["height"]
            stage.ask("signer", "reset", "--above", str(last), "--yes", "--home", str(copied))
            stage.homes[3] = copied
            stage.start(3)
            stage.blocks(2)
            stage.until(3, lambda: stage.is_validating(3))
        stage.curtain()
