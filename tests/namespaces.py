"""Machines of their own for processes, as network namespaces of Linux joined by virtual cables.

Here: `Machines`: namespaces with a cable each to one of two switches, a trunk between the switches, and a
control cable by which the test reaches every machine whatever is cut.
Not here: connections that both ends see end (a kill does that): a cable that is pulled here swallows
packets silently, as a real one does.
Keeps: needs root; everything made is removed by `close`.
"""

from __future__ import annotations

import os
import shutil
import subprocess

PEER_NET = "10.97"
CONTROL_NET = "10.98"


def run(*words: str) -> None:
    """Run a command; raise with what it said."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")


def may_make_machines() -> bool:
    """Whether this process may make namespaces and cables."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    name = f"eubprobe{os.getpid()}"
    try:
        run("ip", "netns", "add", name)
    except RuntimeError:
        return False
    run("ip", "netns", "del", name)
    return True


class Machines:
    """Numbered machines; even the names are this process's own."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._tag = f"e{os.getpid() % 100_000}"
        try:
            self._switch("a")
            self._switch("b")
            run("ip", "link", "add", f"{self._tag}ta", "type", "veth", "peer", "name", f"{self._tag}tb")
            for side in "ab":
                run("ip", "link", "set", f"{self._tag}t{side}", "master", f"{self._tag}s{side}", "up")
            for number in range(count):
                self._machine(number)
        except BaseException:
            self.close()
            raise

    def address(self, number: int) -> str:
        """Where a machine's peers reach it."""
        return f"{PEER_NET}.{number + 1}.1"

    def control(self, number: int) -> str:
        """Where the test reaches it."""
        return f"{CONTROL_NET}.{number}.2"

    def before(self, number: int) -> tuple[str, ...]:
        """Words in front of a command line that runs on a machine."""
        return ("ip", "netns", "exec", self._name(number))

    def unplug(self, number: int) -> None:
        """Pull one machine's cable."""
        run("ip", "link", "set", f"{self._tag}p{number}", "down")

    def plug(self, number: int) -> None:
        """Put it back."""
        run("ip", "link", "set", f"{self._tag}p{number}", "up")

    def part(self) -> None:
        """Pull the trunk: the first half of the machines and the second no longer reach each other."""
        run("ip", "link", "set", f"{self._tag}ta", "down")

    def heal(self) -> None:
        """Put the trunk back."""
        run("ip", "link", "set", f"{self._tag}ta", "up")

    def close(self) -> None:
        """Remove everything; what was never made is no error."""
        names = [f"{self._tag}p{number}" for number in range(self.count)]
        names += [f"{self._tag}c{number}" for number in range(self.count)]
        names += [f"{self._tag}{part}" for part in ("ta", "sa", "sb")]
        for name in names:
            subprocess.run(["ip", "link", "del", name], capture_output=True, check=False)
        for number in range(self.count):
            subprocess.run(["ip", "netns", "del", self._name(number)], capture_output=True, check=False)

    def _name(self, number: int) -> str:
        return f"{self._tag}m{number}"

    def _switch(self, side: str) -> None:
        run("ip", "link", "add", f"{self._tag}s{side}", "type", "bridge")
        run("ip", "link", "set", f"{self._tag}s{side}", "up")

    def _machine(self, number: int) -> None:
        name, side = self._name(number), "a" if number < self.count // 2 else "b"
        run("ip", "netns", "add", name)
        run("ip", "-n", name, "link", "set", "lo", "up")
        for kind, inside in (("p", "peers"), ("c", "control")):
            outside = f"{self._tag}{kind}{number}"
            run("ip", "link", "add", outside, "type", "veth", "peer", "name", inside, "netns", name)
            run("ip", "link", "set", outside, "up")
            run("ip", "-n", name, "link", "set", inside, "up")
        run("ip", "link", "set", f"{self._tag}p{number}", "master", f"{self._tag}s{side}")
        run("ip", "-n", name, "addr", "add", f"{self.address(number)}/16", "dev", "peers")
        run("ip", "addr", "add", f"{CONTROL_NET}.{number}.1/30", "dev", f"{self._tag}c{number}")
        run("ip", "-n", name, "addr", "add", f"{self.control(number)}/30", "dev", "control")
