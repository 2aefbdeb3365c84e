"""What `scripts/run` shows: a network of this machine's own, a transfer, a task from post to paid.

Where a Docker Engine answers, a second task runs in a container (container_task.py). Every step is the
`eubchain` command that a person would type, printed before it runs; nothing here reaches into the node.
The last line of `--once` is one JSON object.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from scripts.container_task import PROGRAM, Skipped, busybox_image  # noqa: E402  # found from the clone only

TASK_FILE = ROOT / "examples" / "words" / "task.toml"
START_S = 90.0


class Failed(Exception):
    """A step did not do what it should; its words are for the person."""


class Demonstration:
    """One network and what is done on it."""

    def __init__(self, home: Path, validators: int) -> None:
        self.home, self.validators = home, validators
        self.is_repeated = (home / "genesis.json").exists()
        self.password = ["--password-file", str(home / "password")]
        command = [sys.executable, "-m", "eubchain", "devnet", "--home", str(home), "--json"]
        command += ["--validators", str(validators), "--sparks", "1"]
        show("eubchain devnet --home " + short(home) + f" --validators {validators} --sparks 1")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)

    def ready(self) -> dict[str, Any]:
        """Wait until every part runs; the devnet says so in one line."""
        assert self.process.stdout is not None, "its output is a pipe"
        line = self.process.stdout.readline()
        facts: dict[str, Any] = json.loads(line) if line else {}
        if "rpc" not in facts:
            sentence = facts.get("error", {}).get("sentence", "it ended without a word")
            raise Failed(f"the network did not start: {sentence}")
        print(f"  {facts['chain_id']} answers at {facts['rpc']}", flush=True)
        return facts

    def run(self, *words: str, quiet: bool = False) -> dict[str, Any]:
        """Run a verb with --json; returns its last object."""
        if not quiet:
            show("eubchain " + " ".join(short(w) for w in words))
        line = [
            sys.executable,
            "-m",
            "eubchain",
            *words,
            "--home",
            str(self.home),
            "--json",
            "--yes",
            *self.password,
        ]
        done = subprocess.run(line, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        last: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1]) if done.stdout.strip() else {}
        if done.returncode != 0:
            sentence = last.get("error", {}).get("sentence") or done.stderr.strip()
            raise Failed(f"eubchain {' '.join(words)}: {sentence}")
        return last

    def follow(self, *words: str, command: tuple[str, ...] = ()) -> None:
        """Run a verb that tells a story, showing it as a person would see it; `command` stands after --."""
        tail = ["--", *command] if command else []
        show("eubchain " + short(shlex.join([*words, *tail])))
        home = ["--home", str(self.home), "--yes", *self.password]
        line = [sys.executable, "-m", "eubchain", *words, *home, *tail]
        done = subprocess.run(line, stdin=subprocess.DEVNULL, check=False)
        if done.returncode != 0:
            raise Failed(f"eubchain {' '.join(words)} ended with code {done.returncode}")

    def stop(self) -> None:
        """End the network and everything in it."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)


def show(line: str) -> None:
    """The command that runs now."""
    print(f"$ {line}", flush=True)


def short(text: str | Path) -> str:
    """A path below the clone as a person would type it."""
    return str(text).replace(str(ROOT) + "/", "")


def transfer(demo: Demonstration) -> dict[str, Any]:
    """Send 1.5 EUBC to another account of the wallet and wait until it is final."""
    accounts = demo.run("wallet", "list", quiet=True)["accounts"]
    recipient = next(a["address"] for a in accounts if a["name"] == "validator0")
    # The wallet asks before it pays the same twice; whoever runs this again means it.
    again = ["--again"] if demo.is_repeated else []
    sent = demo.run("wallet", "send", recipient, "1.5", *again)
    print(f"  1.5 EUBC to {recipient} final in block {sent['height']}, txid {sent['txid']}", flush=True)
    return sent


def task(demo: Demonstration, out: Path) -> tuple[dict[str, Any], str]:
    """Run the example task; returns its final state and the SHA-256 of all its results in name order."""
    demo.follow("task", "run", "--file", str(TASK_FILE), "--output", str(out), "--stars", "5")
    newest = demo.run("task", "list", quiet=True)["tasks"][0]
    final = demo.run("task", "status", newest["task"], quiet=True)
    digest = hashlib.sha256()
    for path in sorted(p for p in out.rglob("*") if p.is_file()):
        digest.update(path.read_bytes())
    summary = next(iter(sorted(out.glob("*.csv"))), None)
    if summary is not None:
        print(f"  {short(summary)}:", flush=True)
        for line in summary.read_text().splitlines()[:4]:
            print(f"    {line}", flush=True)
    return final, digest.hexdigest()


def container_task(demo: Demonstration, out: Path) -> str:
    """Run a task in a container where an engine answers; returns its state, or why there was none."""
    try:
        with busybox_image(demo.home / "spark0" / "spark" / "policy.toml") as image:
            words = ["--image", image, "--input", str(TASK_FILE.parent / "input"), "--output", str(out)]
            limits = ["--price", "1", "--time", "1m", "--stars", "5"]
            demo.follow("task", "run", *words, *limits, command=("sh", "-c", PROGRAM))
    except Skipped as why:
        print(f"  no container task: {why}", flush=True)
        return f"skipped: {why}"
    for line in (out / "rows.txt").read_text().splitlines():
        print(f"    {line}", flush=True)
    newest = demo.run("task", "list", quiet=True)["tasks"][0]
    state: str = demo.run("task", "status", newest["task"], quiet=True)["seats"][0]["outcome"]["ending"]
    return state


def play(arguments: argparse.Namespace, demo: Demonstration, started: float) -> int:
    """The whole story; returns the exit code."""
    demo.ready()
    sent = transfer(demo)
    out = Path(tempfile.mkdtemp(prefix="eubchain-result-")) / "result"
    final, digest = task(demo, out)
    container = container_task(demo, out.parent / "container")
    status = demo.run("status", quiet=True)
    report = {
        "ok": True,
        "height": status["height"],
        "validators": status["validators"],
        "txid": sent["txid"],
        "task": final["task"],
        "state": final["seats"][0]["outcome"]["ending"],
        "result_sha256": digest,
        "container": container,
        "seconds": round(time.monotonic() - started, 1),
    }
    if not arguments.once:
        print(f"  everything worked; results are in {out}. The network runs until Ctrl-C.", flush=True)
        print(f"  try: eubchain wallet history --home {short(demo.home)}", flush=True)
        demo.process.wait()
    print(json.dumps(report), flush=True)
    return 0


def main() -> int:
    """Parse, play, and stop everything whatever happened."""
    parser = argparse.ArgumentParser(prog="scripts/run")
    parser.add_argument("--once", action="store_true", help="stop when the task is paid")
    parser.add_argument("--home", type=Path, default=ROOT / ".devnet", help="where the network's state lies")
    parser.add_argument("--validators", type=int, default=4, help="how many, a process each")
    arguments = parser.parse_args()
    started = time.monotonic()
    demo = Demonstration(arguments.home.absolute(), arguments.validators)
    try:
        return play(arguments, demo, started)
    except Failed as failure:
        print(f"error: {failure}", file=sys.stderr)
        print(json.dumps({"ok": False, "error": str(failure)}), flush=True)
        return 1
    except KeyboardInterrupt:
        return 0
    finally:
        demo.stop()


if __name__ == "__main__":
    sys.exit(main())
