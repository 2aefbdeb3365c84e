"""docs/protocol/records.md: the layout of every record that is hashed, signed, sent or stored.

Here: the walk over the code's records, and their types in words. Not here: what the records mean for the
rules (docs/protocol, written by people), the keys of state (docs/protocol/state.md).
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from inspect import getmodule
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from msgspec import Meta

from consensus import light
from consensus.agreement import inputs, messages
from consensus.resource.proof import Proof
from consensus.types import block, genesis, params, receipt, transaction, tree_proof
from consensus.types.codec import INTEGER_MAX, Record
from consensus.validators import Validator
from eubchain.ledger import snapshot
from p2p import messages as wire
from p2p.frames import BODY_BYTES_MAX, Kind, channel_of
from scripts.reference.sources import WRITTEN, escaped, field_notes, import_everything, summary, table
from spark_node import job
from vm.due import DueKind
from vm.registry import OPERATIONS
from vm.state import Namespace, Table

INTRODUCTION = """# Records

Every record is a msgpack array of exactly these fields in this order ([encoding](encoding.md)). A record with
a number has it as its first element. `u63` is an integer of 0 … 2⁶³ − 1; `nil` stands for what is absent;
`[x]` is an array of x; bounds count bytes of byte strings, characters of texts (code points; those of
consensus are ASCII) and elements of arrays.
"""
SECTIONS: tuple[tuple[str, tuple[type[Record], ...]], ...] = (
    ("Genesis", (genesis.Genesis, params.Params)),
    ("Transactions", (transaction.Transaction, transaction.Body, transaction.KeyAuth,
                      transaction.MultisigAuth, transaction.EvidenceAuth)),
    ("Receipts", (receipt.Receipt, receipt.Event)),
    ("Blocks", (block.Block, block.Header, block.Commit, Validator)),
    ("Agreement", (messages.Proposal, messages.Vote, messages.Certificate)),
    ("Inputs of the agreement, as the log keeps them", get_args(inputs.RecordedInput)),
    ("Messages between nodes", (
        wire.Hello, wire.Goodbye, wire.Status, wire.ProposalMessage, wire.BlockPart, wire.ProposedBlock,
        wire.Transactions, wire.Wtxids, wire.GetBlocks, wire.FinalBlocks, wire.GetProposed,
        wire.GetTransactions, wire.GetSnapshots, wire.SnapshotOffers, wire.GetChunk, wire.GetLightBlock,
        wire.GetPeers, wire.AddressRecords)),
    ("Light clients and snapshots", (light.LightBlock, snapshot.Manifest, snapshot.EpochEnd)),
    ("Proofs of state", (tree_proof.StateProof, tree_proof.StateRange)),
    ("Proof of Resource", (Proof,)),
    ("Spec and job of a task", (job.Spec, job.Job)),
)  # fmt: skip


class _Book:
    """Records in the order in which they are first met, each once."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self._written: set[type] = set()

    def section(self, title: str, records: Iterable[type[Record]]) -> None:
        """A section of records, each followed by those that it is made of."""
        self.parts.append(f"## {title}\n")
        waiting = list(records)
        while waiting:
            record = waiting.pop(0)
            if record in self._written:
                continue
            self._written.add(record)
            self.parts.append(_record(record))
            waiting = [*_inner(record), *waiting]


def page() -> str:
    """The page."""
    import_everything()
    book = _Book()
    for title, records in SECTIONS:
        book.section(title, records)
    book.parts.append("## Payloads\n\nBy type number. *Lane*: it may use the lane when it is due.\n")
    rows = [
        (str(_tag(o.payload)), f"`{o.name}`", _link(o.payload), "lane" if o.is_due else "")
        for o in sorted(OPERATIONS, key=lambda o: _tag(o.payload))
    ]
    book.parts.append(table(("type", "transaction", "record", ""), rows))
    book.section("Payload records", (o.payload for o in sorted(OPERATIONS, key=lambda o: _tag(o.payload))))
    book.parts.append("## Namespaces of state\n\nThe first byte of every key; [keys](state.md).\n")
    tables = [Table.registry[number] for number in sorted(Table.registry)]
    book.parts.append(
        table(("byte", "namespace", "record"),
              ((str(int(t.namespace)), f"`{t.namespace.name.lower()}`", _link(t.record)) for t in tables))
    )  # fmt: skip
    unused = [n.name.lower() for n in Namespace if n not in Table.registry]
    if unused:
        book.parts.append(f"Reserved and empty: {', '.join(unused)}.\n")
    book.section("Records of state", (t.record for t in tables))
    book.parts.append("## Kinds of due entries\n\nIn firing order within a height.\n")
    kinds = [(str(int(k)), f"`{k.name.lower()}`") for k in DueKind]
    book.parts.append(table(("kind", "entry"), kinds))
    book.parts.append(_numbers())
    book.parts.append("## Kinds of frames\n\nOn the [streams between nodes](network.md).\n")
    frames = (
        (str(int(k)), f"`{k.name.lower()}`", channel_of(k).value, f"{BODY_BYTES_MAX[k]:,}") for k in Kind
    )
    book.parts.append(table(("kind", "frame", "stream", "bytes at most"), frames))
    return "\n".join([WRITTEN, INTRODUCTION, *book.parts])


def _numbers() -> str:
    """The enumerations that fields of tasks hold."""
    from vm.task import payloads
    from vm.task import records as tasks

    kinds: tuple[type[IntEnum], ...] = (
        payloads.Way, payloads.DeclineCode, payloads.FailCode, payloads.DisputeKind,
        tasks.TaskState, tasks.Stage, tasks.Ending, tasks.Blame,
    )  # fmt: skip
    parts = ["## Numbers of the task market\n"]
    for kind in kinds:
        listed = " · ".join(f"{int(member)} `{member.name.lower()}`" for member in kind)
        parts.append(f"**{kind.__name__}** ({_uncapitalised(summary(kind))}) {listed}\n")
    return "\n".join(parts)


def _uncapitalised(text: str) -> str:
    return text[:1].lower() + text[1:].rstrip(".")


def _tag(record: type[Record]) -> Any:
    return record.__struct_config__.tag


def _anchor(record: type) -> str:
    module = getmodule(record)
    assert module is not None
    return f"{module.__name__.rsplit('.', 1)[1]}-{record.__name__}".lower().replace("_", "-")


def _link(record: type) -> str:
    return f"[{record.__name__}](#{_anchor(record)})"


def _record(record: type[Record]) -> str:
    hints = get_type_hints(record, include_extras=True)
    notes = field_notes(record)
    rows = [(f"`{f}`", _words(hints[f]), escaped(notes.get(f, ""))) for f in record.__struct_fields__]
    tag = _tag(record)
    if tag is not None:
        rows = [("*number*", str(tag), ""), *rows]
    text = f'<a id="{_anchor(record)}"></a>\n**{record.__name__}**: {escaped(summary(record))}\n\n'
    return text + (table(("field", "type", ""), rows) if rows else "No fields: an empty array.\n")


def _inner(record: type[Record]) -> list[type[Record]]:
    """The records that fields hold, in order."""
    found: list[type[Record]] = []

    def walk(hint: Any) -> None:
        origin = get_origin(hint)
        kind = hint if origin is None else origin
        if isinstance(kind, type) and issubclass(kind, Record):
            found.append(kind)
        for argument in get_args(hint):
            walk(argument)

    for hint in get_type_hints(record, include_extras=True).values():
        walk(hint)
    return found


def _words(hint: Any) -> str:
    """A type in words."""
    if get_origin(hint) is Annotated:
        inner, *rest = get_args(hint)
        meta = next((m for m in rest if isinstance(m, Meta)), None)
        return _bounded(inner, meta)
    return _bounded(hint, None)


def _bounded(kind: Any, meta: Meta | None) -> str:
    if get_origin(kind) is Annotated:  # bounds upon bounds: the outer ones hold as well
        inner, *rest = get_args(kind)
        return _bounded(inner, meta or next(m for m in rest if isinstance(m, Meta)))
    if get_origin(kind) in (Union, UnionType):
        members = [m for m in get_args(kind) if m is not NoneType]
        names = " or ".join(_words(m) for m in members)
        return f"{names} or nil" if NoneType in get_args(kind) else names
    if get_origin(kind) is tuple:
        arguments = get_args(kind)
        if arguments[-1] is Ellipsis:
            return f"[{_words(arguments[0])}]{_sizes(meta)}"
        return f"[{', '.join(_words(a) for a in arguments)}]"
    if isinstance(kind, TypeVar):
        return "payload"
    origin = get_origin(kind)
    record = kind if origin is None else origin
    if isinstance(record, type) and issubclass(record, Record):
        return _link(record)
    return _plain(kind, meta)


def _plain(kind: Any, meta: Meta | None) -> str:
    if kind is bool:
        return "true or false"
    if isinstance(kind, type) and issubclass(kind, IntEnum):
        return " or ".join(f"{int(m)} {m.name.lower()}" for m in kind)
    if kind is int:
        return _integer(meta)
    if kind is bytes:
        return f"bytes{_sizes(meta)}"
    if kind is str:
        pattern = f" `{meta.pattern}`" if meta is not None and meta.pattern else ""
        return f"text{_sizes(meta)} {escaped(pattern)}".rstrip()
    choices = " or ".join(f"`{choice}`" for choice in get_args(kind))
    assert choices, f"a type without words: {kind}"
    return choices


def _integer(meta: Meta | None) -> str:
    if meta is None:
        return "integer"
    low = meta.ge if meta.ge is not None else 0
    high = meta.le if meta.le is not None else (None if meta.lt is None else meta.lt - 1)
    if high is None or high == INTEGER_MAX:
        return "u63" if low == 0 else f"u63 ≥ {low}"
    return f"{low} … {high:,}".replace(",", "\u2009") if high >= 10_000 else f"{low} … {high}"


def _sizes(meta: Meta | None) -> str:
    if meta is None or (meta.min_length is None and meta.max_length is None):
        return ""
    if meta.min_length == meta.max_length:
        return f" {meta.max_length}"
    low = "" if not meta.min_length else f"{meta.min_length} … "
    return f" {low}{meta.max_length}" if low else f" ≤ {meta.max_length}"
