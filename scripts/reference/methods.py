"""docs/reference/rpc.md: every JSON-RPC method, as `rpc.discover` tells it."""

from __future__ import annotations

import json
from typing import Any

from eubchain.rpc.method import METHODS, Method, View, openrpc
from eubchain.rpc.server import BATCH_CALLS_MAX, BODY_BYTES_MAX, SUBSCRIPTIONS_PER_CONNECTION_MAX
from eubchain.rpc.subscriptions import QUEUE_MAX, TOPICS
from scripts.reference.sources import WRITTEN, escaped, field_notes, import_everything, table

INTRODUCTION = f"""# JSON-RPC

JSON-RPC 2.0 on HTTP POST `/rpc` and on the WebSocket `/ws`; by default on 127.0.0.1:26650. Parameters go by
name (an object) or by position (an array). A batch holds at most {BATCH_CALLS_MAX} calls, a body
{BODY_BYTES_MAX // 2**20} MiB. Amounts are grains as decimal strings; bytes are 0x-hex, transactions base64.
The node holds no keys: it takes signed transactions only. `rpc.discover` answers the OpenRPC document of what
stands here.

An error's `code` is that of JSON-RPC 2.0 where it has one, else [the reason's](errors.md); `data` always has
`code`, `name`, `facts` and `hint`.

## Subscriptions

On `/ws`: `eub_subscribe` with `[topic]` or `[topic, "0x…"]` (a txid, a task) answers a number, and
`eub_unsubscribe` takes it. Topics: {", ".join(f"`{topic}`" for topic in TOPICS)}.
At most {SUBSCRIPTIONS_PER_CONNECTION_MAX} subscriptions a connection; {QUEUE_MAX} messages wait for a slow
reader, then new ones are dropped and the next one that arrives says in `dropped` how many were.
"""


def page() -> str:
    """The page."""
    import_everything()
    document = openrpc("EUB Chain", "", METHODS.values())
    parts = [WRITTEN, INTRODUCTION, "## Methods\n"]
    for entry in document["methods"]:
        parts.append(_method(METHODS[entry["name"]], entry))
    parts.append("## Types\n")
    for name, schema in sorted(document["components"]["schemas"].items()):
        parts.append(_type(name, schema))
    return "\n".join(parts)


def _method(method: Method, entry: dict[str, Any]) -> str:
    lines = [f"### {method.name}\n", method.summary + "\n"]
    if method.description:
        lines.append(method.description + "\n")
    if entry["params"]:
        rows = [
            (f"`{p['name']}`", _kind(p["schema"]), "required" if p["required"] else _default(p["schema"]))
            for p in entry["params"]
        ]
        lines.append(table(("parameter", "type", ""), rows))
    lines.append(f"Result: {_kind(entry['result']['schema'])}\n")
    call = {"jsonrpc": "2.0", "id": 1, "method": method.name, "params": method.example}
    lines.append(f"```json\n{json.dumps(call)}\n```\n")
    return "\n".join(lines)


def _default(schema: dict[str, Any]) -> str:
    value = schema.get("default")
    return "optional" if value is None else f"default `{json.dumps(value)}`"


def _type(name: str, schema: dict[str, Any]) -> str:
    lines = [f"### {_short(name)}\n", escaped(schema.get("description", "")) + "\n"]
    notes = _notes(name)
    rows = [
        (f"`{field}`", _kind(kind), escaped(notes.get(field, "")))
        for field, kind in schema.get("properties", {}).items()
    ]
    lines.append(table(("field", "type", ""), rows))
    return "\n".join(lines)


def _notes(name: str) -> dict[str, str]:
    """What stands below the fields of a type and of those that it extends."""
    waiting: list[type] = [View]
    notes: dict[str, str] = {}
    while waiting:
        view = waiting.pop()
        waiting += view.__subclasses__()
        if name in (view.__name__, f"{view.__module__}.{view.__name__}"):
            for ancestor in reversed(view.__mro__):
                if issubclass(ancestor, View):
                    notes |= field_notes(ancestor)
    return notes


def _short(name: str) -> str:
    """A type's name; two types of one name are told apart by their modules."""
    return name.removeprefix("eubchain.rpc.methods.").removeprefix("eubchain.rpc.")


def _kind(schema: dict[str, Any] | bool) -> str:
    """A schema in a few words."""
    if isinstance(schema, bool):
        return "anything"
    if "$ref" in schema:
        name = _short(schema["$ref"].rsplit("/", 1)[1])
        return f"[{name}](#{name.lower().replace('.', '')})"
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    if "description" in schema:
        return escaped(schema["description"])
    kind = schema.get("type")
    if kind == "array" and "prefixItems" in schema:
        return f"[{', '.join(_kind(item) for item in schema['prefixItems'])}]"
    if kind == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    if kind == "object":
        inner = schema.get("additionalProperties")
        return f"object of {_kind(inner)}" if isinstance(inner, dict) and inner else "object"
    return kind or "anything"
