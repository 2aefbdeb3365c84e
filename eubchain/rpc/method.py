"""One declaration per RPC method: its schema, its help, its OpenRPC entry and its handler.

Here: the `method` decorator, checked at import, and the call itself (decoding parameters).
Not here: transport and batches (server.py), the methods (methods/*.py), the node behind them
(backend.py).
Keeps: a method's parameters and result are what its annotations say; both sides are checked.
Errors: 2300 unknown_method, 2301 invalid_parameters.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, get_type_hints

import msgspec
import trio

from consensus.types.errors import Fault, Reason

if TYPE_CHECKING:
    from eubchain.rpc.backend import Backend

UNKNOWN_METHOD = Reason(
    2300,
    "unknown_method",
    "method:text",
    "There is no method {method}.",
    "Ask rpc.discover for the list.",
)
INVALID_PARAMETERS = Reason(
    2301,
    "invalid_parameters",
    "method:text why:text",
    "{method} cannot read its parameters: {why}.",
    "Compare them with the method's entry in rpc.discover.",
)

Hex = Annotated[str, msgspec.Meta(pattern=r"^0x([0-9a-f]{2})*\Z", description="bytes as 0x-hex")]
Base64 = Annotated[
    str, msgspec.Meta(description="bytes as base64", extra_json_schema={"contentEncoding": "base64"})
]
Decimal = Annotated[str, msgspec.Meta(pattern=r"^[0-9]+\Z", description="grains as a decimal string")]
GRAINS_DIGITS_MAX = 18
"""Of a price or an amount that a caller names: 10**17 grains are all there ever are."""
GivenGrains = Annotated[
    str,
    msgspec.Meta(
        pattern=rf"^[0-9]{{1,{GRAINS_DIGITS_MAX}}}\Z",
        description=f"grains as a decimal string of at most {GRAINS_DIGITS_MAX} digits",
    ),
]
AddressText = Annotated[str, msgspec.Meta(max_length=90, description="an address in bech32m")]

Handler = Callable[..., Awaitable[Any]]

LONG_READ = trio.Lock()
"""Held by a method that reads many blocks: one at a time, in slices, or their objects would fill memory."""


class View(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """A JSON object of an answer."""


class Method(NamedTuple):
    """A declared method."""

    name: str
    summary: str
    description: str
    parameters: type[msgspec.Struct]
    required: tuple[str, ...]
    result: Any
    example: dict[str, Any]
    handler: Handler


METHODS: dict[str, Method] = {}


def method(name: str, *, example: dict[str, Any]) -> Callable[[Handler], Handler]:
    """Declare `async def handler(backend, …) -> Result` as the RPC method `namespace_verbNoun`."""

    def declare(handler: Handler) -> Handler:
        assert re.fullmatch(r"(rpc\.[a-z]+|[a-z]+_[a-z][A-Za-z]*)", name), f"{name}: not namespace_verbNoun"
        assert name not in METHODS, f"{name} is declared twice"
        text = inspect.getdoc(handler)
        assert text, f"{name} has no docstring"
        hints = get_type_hints(handler, include_extras=True)
        signature = list(inspect.signature(handler).parameters.values())
        assert signature[0].name == "backend", f"{name}: the first parameter is the backend"
        fields: list[Any] = []
        for parameter in signature[1:]:
            assert parameter.name in hints, f"{name}: {parameter.name} has no type"
            if parameter.default is inspect.Parameter.empty:
                fields.append((parameter.name, hints[parameter.name]))
            else:
                fields.append((parameter.name, hints[parameter.name], parameter.default))
        schema = msgspec.defstruct(f"{name}_parameters", fields, forbid_unknown_fields=True, frozen=True)
        required = tuple(p.name for p in signature[1:] if p.default is inspect.Parameter.empty)
        assert set(required) <= set(example), f"{name}: its example lacks a required parameter"
        summary, _, rest = text.partition("\n")
        METHODS[name] = Method(
            name, summary, rest.strip(), schema, required, hints["return"], example, handler
        )
        msgspec.convert(example, schema)  # the example must be callable as it stands
        return handler

    return declare


async def call(backend: Backend, name: str, params: Any) -> Any:
    """Run a method with parameters by name (an object) or by position (an array)."""
    declared = METHODS.get(name)
    if declared is None:
        raise Fault(UNKNOWN_METHOD, method=name[:64])
    fields = declared.parameters.__struct_fields__
    if params is None:
        params = {}
    if isinstance(params, list):
        if len(params) > len(fields):
            raise Fault(INVALID_PARAMETERS, method=name, why=f"it takes at most {len(fields)}")
        params = dict(zip(fields, params, strict=False))
    try:
        values = msgspec.convert(params, declared.parameters)
    except msgspec.ValidationError as error:
        raise Fault(INVALID_PARAMETERS, method=name, why=str(error).replace("`", "")) from None
    return await declared.handler(backend, **{field: getattr(values, field) for field in fields})


def openrpc(title: str, version: str, methods: Iterable[Method]) -> dict[str, Any]:
    """The OpenRPC 1.3 document of these methods."""
    methods = sorted(methods)
    types = [m.result for m in methods] + [m.parameters for m in methods]
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    entries = []
    for declared, result in zip(methods, schemas[: len(methods)], strict=True):
        own = components.pop(declared.parameters.__name__)
        entries.append(
            {
                "name": declared.name,
                "summary": declared.summary,
                "description": declared.description,
                "paramStructure": "either",
                "params": [
                    {"name": field, "required": field in declared.required, "schema": schema}
                    for field, schema in own["properties"].items()
                ],
                "result": {"name": "result", "schema": result},
                "examples": [
                    {
                        "name": "example",
                        "params": [{"name": k, "value": v} for k, v in declared.example.items()],
                    }
                ],
            }
        )
    return {
        "openrpc": "1.3.2",
        "info": {"title": title, "version": version},
        "methods": entries,
        "components": {"schemas": components},
    }
