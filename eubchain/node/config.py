"""A node's configuration: one TOML file with a comment on every option, and environment overrides.

Here: the options with their types, defaults and comments; reading, refusing what is misspelt.
Not here: the network's parameters (genesis.json), where files lie (home.py).
Keeps: every option stands in the file that `init` writes; an unknown key never passes silently.
Errors: 2500 config_invalid.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from consensus.types.errors import Fault, Reason
from spark_node.settings import Option, Value, nearest, options_text, read_options, refusal, typed_value

CONFIG_INVALID = Reason(
    2500,
    "config_invalid",
    "path:text line:count why:text shown:text",
    "{path}, line {line}: {why}.\n{shown}",
    "Mend the line; `eubchain init --show-config` prints every option with its meaning.",
)

OPTIONS = (
    Option("node", "moniker", "eub-node", "A name for logs and peers; it proves nothing."),
    Option("node", "log_level", "info", "debug, info, warning or error; info is a line a block at most."),
    Option("node", "log_json", False, "Write logs as one JSON object a line."),
    Option("node", "verify_workers", 1, "Processes that check signatures; one checks about 35,000 a second."),
    Option("rpc", "listen", "127.0.0.1:26650", "Where JSON-RPC answers; it holds no keys."),
    Option(
        "rpc", "origins", (), "Browser origins that may use it, as in https://flow.example; none by default."
    ),
    Option(
        "rpc",
        "hosts",
        ("127.0.0.1", "localhost", "::1"),
        'Host names that clients may call it by; "*" for any (behind your own proxy).',
    ),
    Option(
        "metrics", "listen", "127.0.0.1:26660", "Where /metrics answers (Prometheus); empty to switch off."
    ),
    Option("p2p", "listen", "0.0.0.0:26656", "Where other nodes connect; empty to stand alone."),
    Option(
        "p2p", "announce", (), "Addresses that others reach this node at, as in /ip4/192.0.2.1/tcp/26656."
    ),
    Option(
        "p2p",
        "bootstrap",
        (),
        "Nodes to begin with, as in /dns4/node.example/tcp/26656/p2p/ID (`eubchain show-node-id` prints it).",
    ),
    Option("p2p", "network_key", "", "64 hex digits that all nodes of a private network share; else empty."),
    Option(
        "p2p",
        "mdns",
        False,
        "Find nodes of the same local network by multicast DNS; development networks only. A network of more "
        "than five machines in one /24 needs a higher connections_per_subnet_max.",
    ),
    Option("p2p", "connections_max", 128, "Connections at a time."),
    Option("p2p", "connections_per_subnet_max", 4, "Of these, from one /24 (IPv4) or /48 (IPv6)."),
    Option(
        "consensus", "propose_timeout_ms", 1000, "How long round 0 waits for a proposal; 500 more each round."
    ),
    Option("consensus", "vote_timeout_ms", 500, "How long votes are waited for; 250 more each round."),
    Option(
        "consensus", "build_ms", 0, "How long a proposer adds transactions; 0 is a quarter of the interval."
    ),
    Option("mempool", "count_max", 50_000, "Transactions that wait at one time."),
    Option("mempool", "bytes_max", 64 * 2**20, "Bytes of waiting transactions."),
    Option("mempool", "per_sender_max", 64, "Waiting transactions of one account."),
    Option("ledger", "index", True, "Index transactions by id, account and task (history needs it)."),
    Option("ledger", "undo_blocks", 128, "How far `rollback` and recent proofs reach."),
    Option("ledger", "retain_blocks", 0, "Blocks kept; 0 keeps all."),
    Option("sync", "trust", "", "HEIGHT:HASH of a block you trust, for a node that was away too long."),
    Option(
        "sync", "snapshot", False, "Begin a new home from a snapshot that peers keep, without older blocks."
    ),
    Option("snapshots", "every_epochs", 0, "Cut a snapshot of the state every so many epochs; 0 cuts none."),
    Option("snapshots", "keep", 2, "Snapshots kept; older ones are deleted."),
    Option(
        "chain", "upgrades", (), "HEIGHT:VERSION steps agreed on after the genesis; only of private networks."
    ),
    Option("blobs", "serve", False, "Serve sealed task inputs and results; leave off on a validator."),
    Option("blobs", "listen", "127.0.0.1:26655", "Where the blob store answers."),
    Option("blobs", "public_url", "", "How clients reach it when that is not where it listens."),
    Option("blobs", "bytes_max", 20 * 2**30, "Disk that the blob store may fill."),
)


class Config:
    """The values in force: `config.get("rpc", "listen")`, typed readers for each kind."""

    def __init__(self, values: Mapping[tuple[str, str], Value]) -> None:
        self._values = {(o.section, o.key): o.default for o in OPTIONS} | dict(values)

    def _read(self, section: str, key: str, kind: type) -> Any:
        value = self._values[section, key]
        assert isinstance(value, kind), f"{section}.{key} is not a {kind.__name__}"
        return value

    def with_value(self, section: str, key: str, value: Value) -> Config:
        """The same with one option changed."""
        assert (section, key) in self._values, f"{section}.{key} is no option"
        return Config(self._values | {(section, key): value})

    def text(self, section: str, key: str) -> str:
        """A text option."""
        result: str = self._read(section, key, str)
        return result

    def number(self, section: str, key: str) -> int:
        """A number option."""
        result: int = self._read(section, key, int)
        return result

    def flag(self, section: str, key: str) -> bool:
        """A true/false option."""
        result: bool = self._read(section, key, bool)
        return result

    def texts(self, section: str, key: str) -> tuple[str, ...]:
        """A list of texts."""
        result: tuple[str, ...] = self._read(section, key, tuple)
        return result


HEAD = (
    "# EUB Chain node. Every option stands here with its default; the environment variable",
    "# EUBCHAIN_SECTION_KEY (EUBCHAIN_RPC_LISTEN, …) overrides one.",
)


def default_text(changes: Mapping[tuple[str, str], Value] | None = None) -> str:
    """The file that `init` writes: every option, its comment, its default or the given change."""
    return options_text(HEAD, OPTIONS, changes)


def parse_config(
    text: str, path: str = "config.toml", environment: Mapping[str, str] | None = None
) -> Config:
    """Read a configuration; raise `Fault(CONFIG_INVALID)` with line and caret."""
    values = read_options(CONFIG_INVALID, path, text, OPTIONS)
    return Config(values | _overrides(os.environ if environment is None else environment))


def _overrides(environment: Mapping[str, str]) -> dict[tuple[str, str], Value]:
    values: dict[tuple[str, str], Value] = {}
    known = {f"EUBCHAIN_{o.section}_{o.key}".upper(): o for o in OPTIONS}
    sections = tuple({f"EUBCHAIN_{o.section}_".upper() for o in OPTIONS})
    for name, text in environment.items():
        option = known.get(name)
        if option is None:
            if name.startswith(sections):
                why = f"no option has this name{nearest(name, list(known))}"
                raise refusal(CONFIG_INVALID, "the environment", f"{name} = {text}", name, why)
            continue
        if isinstance(option.default, bool):
            parsed: Any = {"true": True, "false": False}.get(text)
        elif isinstance(option.default, int):
            parsed = int(text) if text.isascii() and text.isdigit() else None
        elif isinstance(option.default, tuple):
            parsed = [t for t in text.split(",") if t]
        else:
            parsed = text
        shown = f"{option.key} = {text}"
        values[option.section, option.key] = typed_value(CONFIG_INVALID, option, parsed, f"${name}", shown)
    return values


def load_config(path: Path) -> Config:
    """Read the file of a home."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise Fault(
            CONFIG_INVALID, path=str(path), line=1, why=f"it cannot be read: {why}", shown=""
        ) from None
    return parse_config(text, str(path))
