"""docs/reference/config.md: every option of a node's config.toml and of a spark's policy."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from eubchain.node import config
from scripts.reference.sources import WRITTEN, escaped, table
from spark_node import policy
from spark_node.settings import Option, toml_value

INTRODUCTION = """# Configuration

TOML files with a comment on every option. A misspelt option is refused with its line and the nearest name.

## A node: `<home>/config/config.toml`

`eubchain init` writes it; `eubchain init --show-config` prints it. The environment variable
`EUBCHAIN_SECTION_KEY`, as in `EUBCHAIN_RPC_LISTEN`, overrides an option; in a list, values are separated by
commas. A mistake stops the node ([error 2500](errors.md#config_invalid)).
"""
POLICY = """## A spark: what its owner lends

`eubchain spark init` writes the file, `eubchain spark set` changes one option, and the agent re-reads it when
it changes. A mistake leaves the last good policy in force ([error 3210](errors.md#policy_invalid)).
"""


def page() -> str:
    """The page."""
    parts = [WRITTEN, INTRODUCTION, *_sections(config.OPTIONS), POLICY, *_sections(policy.OPTIONS)]
    return "\n".join(parts)


def _sections(options: Sequence[Option]) -> list[str]:
    parts = []
    for section, members in groupby(options, key=lambda option: option.section):
        parts += [f"### [{section}]\n", table(("option", "default", "meaning"), map(_row, members))]
    return parts


def _row(option: Option) -> tuple[str, ...]:
    return f"`{option.key}`", f"`{toml_value(option.default)}`", escaped(option.comment)
