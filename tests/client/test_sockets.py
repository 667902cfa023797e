"""The client on real sockets: what a connection in memory cannot show."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from client.script import News
from doors import Trusting
from ears import Ear

import pysignal
from pysignal import Hub, InvalidParameter, NotLoggedIn
from pysignal.client.socket_wire import dial_to
from pysignal.server.server import Server

pytestmark = pytest.mark.anyio


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with Hub() as hub, Server(hub, Trusting()) as server:
        await server.start()
        yield server


async def until(ready: Any) -> None:
    async with asyncio.timeout(20):
        while not ready():  # noqa: ASYNC110 - real time
            await asyncio.sleep(0.005)


async def test_an_invitation_is_rung_answered_and_over(server: Server) -> None:
    ear = Ear()
    async with (
        pysignal.connect(server.url, "amy", "token") as amy,
        pysignal.connect(server.url, "bob", "token", listener=ear) as bob,
    ):
        invitation = await amy.signaling.invite("bob", "let's talk ☎")
        await until(lambda: ear.heard)
        assert ear.heard[0][1:] == (invitation, "amy", "", ["bob"], "let's talk ☎")
        await bob.signaling.accept(invitation, "yes")
        outcome = await invitation.outcome()
        assert (outcome.status, outcome.data) == ("accepted", "yes")


async def test_a_unix_socket_is_as_good(tmp_path: Path) -> None:
    async with Hub() as hub, Server(hub, Trusting()) as server:
        await server.start(path=tmp_path / "a.sock")
        assert server.url.startswith("unix://")
        async with pysignal.connect(server.url, "amy", "token") as amy:
            assert await amy.signaling.invite("bob")


async def test_a_cut_socket_is_followed_by_another_and_nothing_is_lost(server: Server) -> None:
    ear, news = Ear(), News()
    async with pysignal.connect(server.url, "bob", "token", listener=ear) as bob:
        bob.add_connection_listener(news)
        names = []
        for number in range(5):
            names.append(await server.hub.invite_as("amy", "bob", str(number)))
            for connection in list(server.connections):
                connection.wire.abort()  # type: ignore[attr-defined]
            names.append(await server.hub.invite_as("amy", "bob", str(number)))
            await until(lambda: len(server.connections) == 1 and bob.online)
            assert await bob.signaling.invite("amy") != ""
        await until(lambda: len(ear.heard) == 10)
        assert [call[1] for call in ear.heard] == names
        assert bob.recovered
    assert ("disconnected", 6012) in news.heard


async def test_large_messages_go_through_whole(server: Server) -> None:
    ear = Ear()
    users = [f"user {number}" for number in range(9_999)]
    async with (
        pysignal.connect(server.url, "amy", "token") as amy,
        pysignal.connect(server.url, "user 7", "token", listener=ear) as bob,
    ):
        invitation = await amy.signaling.invite(users, "x" * 12_000, timeout=60)
        await until(lambda: ear.heard)
        assert ear.events[0].invitees == tuple(users)
        await bob.signaling.accept(invitation)
        await amy.signaling.cancel(invitation)
        await until(lambda: len(ear.heard) == 2)
        assert ear.events[1].invitees == tuple(users)
        assert len(ear.events[1].affected) == 9_998


async def test_where_nobody_listens_the_login_says_so() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(NotLoggedIn, match=f"no login within 0.3 s: cannot connect.*{port}"):
            await pysignal.connect(f"ws://127.0.0.1:{port}", "amy", "token", call_timeout=0.3)


@pytest.mark.parametrize("kind", ["404", "other protocol", "no websocket"])
async def test_a_server_of_something_else_is_told_at_once(kind: str) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if kind == "no websocket":
            return web.Response(text="hello")
        response = web.WebSocketResponse(protocols=("other.v1",))
        await response.prepare(request)
        async for _ in response:
            pass
        return response

    app = web.Application()
    if kind != "404":
        app.router.add_get("/signaling", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    with pytest.raises(NotLoggedIn, match="check the url"):
        await pysignal.connect(f"ws://127.0.0.1:{port}", "amy", "token", call_timeout=5)
    await runner.cleanup()


async def test_tls_is_what_wss_means(server: Server) -> None:
    context = ssl.create_default_context()
    url = server.url.replace("ws://", "wss://")
    with pytest.raises(NotLoggedIn, match=r"cannot connect"):
        await pysignal.connect(url, "amy", "token", ssl_context=context, call_timeout=0.3)


@pytest.mark.parametrize(
    "url", ["http://host", "ws://", "unix://host/path", "unix://", "", "ws:/x", 5]
)
def test_a_url_that_leads_nowhere_is_refused_at_once(url: Any) -> None:
    with pytest.raises(InvalidParameter, match="url"):
        dial_to(url)


async def test_a_server_that_goes_and_comes_back_is_found_again(server: Server) -> None:
    port = int(server.url.rpartition(":")[2].partition("/")[0])
    ear = Ear()
    async with pysignal.connect(server.url, "bob", "token", listener=ear) as bob:
        await server.close()
        call = asyncio.create_task(bob.signaling.invite("amy"))
        async with Server(server.hub, Trusting()) as again:
            await again.start(port=port)
            assert await asyncio.wait_for(call, 20)
            assert not bob.recovered
            await server.hub.invite_as("amy", "bob")
            await until(lambda: ear.heard)
            await bob.logout()
