"""Talking to a node: JSON-RPC over HTTP, its errors as `Fault`s of ours.

Here: one connection with keep-alive, calls, batches.
Not here: signing and waiting (sending.py), tasks (task_run.py).
Keeps: the node's own sentence reaches the person; a node that is not there is named, with its URL.
Errors: 3100 node_unreachable, 3101 answer_malformed; `RemoteRefusal` carries the node's own.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import httpx

from consensus.types.errors import Fault, Reason
from consensus.types.wording import Wording

CALL_TIMEOUT_S = 30.0
ANSWER_BYTES_MAX = 64 * 2**20

NODE_UNREACHABLE = Reason(
    3100,
    "node_unreachable",
    "url:text why:text",
    "No node answers at {url}: {why}.",
    "Start one with `eubchain start` (or `eubchain devnet`), or name another with --node URL.",
)
ANSWER_MALFORMED = Reason(
    3101,
    "answer_malformed",
    "url:text why:text",
    "What answers at {url} is not an EUB node: {why}.",
    "Check the address given with --node; the RPC port is rpc.listen in the node's config.toml.",
)


class RemoteRefusal(Exception):
    """An error the node answered with, in the node's own words."""

    def __init__(self, wording: Wording) -> None:
        super().__init__(wording)
        self.wording = wording

    def __str__(self) -> str:
        return f"{self.wording.code} {self.wording.name}: {self.wording.sentence}"


class Connection:
    """An open line to one node; use as `async with Connection(url) as node:`."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        # trust_env off: a proxy variable of the shell must not reroute calls to the user's own node.
        self._http = httpx.AsyncClient(timeout=CALL_TIMEOUT_S, trust_env=False)
        self._number = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def call(self, method: str, **params: Any) -> Any:
        """Call one method with named parameters and return its result."""
        self._number += 1
        request = {"jsonrpc": "2.0", "id": self._number, "method": method, "params": params}
        answer = await self._post(request)
        if not isinstance(answer, dict):
            raise Fault(ANSWER_MALFORMED, url=self.url, why="it does not answer with an object")
        if "error" in answer:
            raise RemoteRefusal(_wording(answer["error"]))
        if "result" not in answer:
            raise Fault(ANSWER_MALFORMED, url=self.url, why="its answer has neither result nor error")
        return answer["result"]

    async def _post(self, request: Any) -> Any:
        try:
            response = await self._http.post(f"{self.url}/rpc", json=request)
        except httpx.TimeoutException:
            why = f"no answer within {CALL_TIMEOUT_S:.0f} s"
            raise Fault(NODE_UNREACHABLE, url=self.url, why=why) from None
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            raise Fault(NODE_UNREACHABLE, url=self.url, why=str(error) or type(error).__name__) from None
        if len(response.content) > ANSWER_BYTES_MAX:
            raise Fault(ANSWER_MALFORMED, url=self.url, why="its answer is larger than 64 MiB")
        try:
            return response.json()
        except (ValueError, RecursionError):
            why = f"HTTP {response.status_code} without JSON"
            raise Fault(ANSWER_MALFORMED, url=self.url, why=why) from None


def _wording(error: Any) -> Wording:
    if not isinstance(error, dict):
        return Wording(-32603, "error", str(error)[:500], "", {})
    data = error.get("data")
    if not isinstance(data, dict):
        data = {"hint": "The node's log has the details."}
    return Wording(
        int(data.get("code") or error.get("code") or -32603),
        str(data.get("name", "error")),
        str(error.get("message", "")),
        str(data.get("hint", "")),
        data.get("facts", {}),
    )
