"""Serving within bounds: places are counted, silence is ended, a stop lets answers out."""

from __future__ import annotations

from functools import partial

import httpx
import pytest
import trio
import trio.testing
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from consensus.types.errors import Fault
from spark_node.storage import http_serving
from spark_node.storage.http_serving import serve_http


def _application(slow: trio.Event | None = None) -> Starlette:
    async def hello(request):
        if slow is not None:
            await slow.wait()
        return PlainTextResponse("hello")

    return Starlette(routes=[Route("/", hello)])


async def _get(url: str) -> str:
    async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
        return (await client.get(url)).text


async def test_one_connection_more_than_there_are_places_waits_until_one_closes(nursery):
    stopping = trio.Event()
    serve = partial(serve_http, _application(), "127.0.0.1:0", stopping, connections_max=3)
    url = await nursery.start(serve)
    host, port = url.removeprefix("http://").split(":")
    held = [await trio.open_tcp_stream(host, int(port)) for _ in range(3)]
    with trio.move_on_after(0.3) as waited:
        await _get(url)
    assert waited.cancelled_caught
    await held[0].aclose()
    with trio.fail_after(10):
        assert await _get(url) == "hello"
    for _ in range(20):  # places come back however a connection ends
        assert await _get(url) == "hello"
    stopping.set()


async def test_a_silent_connection_is_closed(nursery, monkeypatch):
    monkeypatch.setattr(http_serving, "SILENCE_S", 0.2)
    stopping = trio.Event()
    url = await nursery.start(partial(serve_http, _application(), "127.0.0.1:0", stopping))
    host, port = url.removeprefix("http://").split(":")
    stream = await trio.open_tcp_stream(host, int(port))
    with trio.fail_after(10):
        assert await stream.receive_some(10) == b""
    stopping.set()


async def test_a_stop_lets_an_answer_out_that_is_under_way(nursery):
    stopping, slow = trio.Event(), trio.Event()
    url = await nursery.start(partial(serve_http, _application(slow), "127.0.0.1:0", stopping))
    answers = []

    async def ask():
        answers.append(await _get(url))

    async with trio.open_nursery() as asking:
        asking.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked(0.1)
        stopping.set()
        await trio.testing.wait_all_tasks_blocked(0.1)
        slow.set()
    assert answers == ["hello"]


async def test_a_port_that_is_taken_is_an_error_at_once(nursery):
    stopping = trio.Event()
    url = await nursery.start(partial(serve_http, _application(), "127.0.0.1:0", stopping))
    place = url.removeprefix("http://")
    with pytest.raises(Fault, match=rf"3457 .*{place}.*address already in use") as caught:
        await serve_http(_application(), place, stopping)
    assert "Stop the program that has the port" in caught.value.reason.hint
    stopping.set()
