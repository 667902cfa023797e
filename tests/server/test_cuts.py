"""A connection cut at every byte of a call: the call takes effect once, and resolves once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any, Literal

import pytest
from doors import Trusting
from ears import Ear
from scale import scaled

from pysignal import Hub, RemoteSession
from pysignal.server import Server

pytestmark = pytest.mark.anyio

Way = Literal["out", "back"]

# What each call and its answer take on the wire, bytes, and a little more.
SIZES: dict[Way, int] = {"out": 230, "back": 110}
PATIENCE_S = 20


class AtOnce(random.Random):
    """Lets a client come back without a pause."""

    def uniform(self, a: float, b: float) -> float:
        """Return the smaller of two numbers."""
        return a


class Proxy:
    """Carries bytes between clients and a server, and cuts where it was told.

    Args:
        port: of the server.

    Attributes:
        cuts: how many connections were cut.
    """

    def __init__(self, port: int) -> None:
        self.cuts = 0
        self._port = port
        self._left: dict[Way, int | None] = {"out": None, "back": None}
        self._pumps: set[asyncio.Task[None]] = set()

    async def open(self) -> str:
        """Listen; returns where clients connect to."""
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        return f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        """Cut everything."""
        self._server.close()
        for pump in list(self._pumps):
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        await self._server.wait_closed()

    def cut_after(self, way: Way, count: int) -> None:
        """Cut the next connection that carries so many bytes more on a way, once."""
        self._left = {"out": None, "back": None, way: count}

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward = await asyncio.open_connection("127.0.0.1", self._port)
        writers = writer, onward[1]
        ways: list[tuple[Way, asyncio.StreamReader, asyncio.StreamWriter]] = [
            ("out", reader, onward[1]),
            ("back", onward[0], writer),
        ]
        for way, source, target in ways:
            pump = asyncio.ensure_future(self._pump(way, source, target, writers))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _pump(
        self,
        way: Way,
        source: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        both: tuple[asyncio.StreamWriter, ...],
    ) -> None:
        try:
            while data := await source.read(1 << 16):
                left = self._left[way]
                if left is not None:
                    if len(data) > left:
                        self._left[way] = None
                        self.cuts += 1
                        target.write(data[:left])
                        await target.drain()
                        return
                    self._left[way] = left - len(data)
                target.write(data)
        except OSError:
            pass  # the other side is gone
        finally:
            for writer in both:
                writer.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with Hub() as hub, Server(hub, Trusting()) as server:
        await server.start()
        yield server


@pytest.fixture
async def proxy(server: Server) -> AsyncIterator[Proxy]:
    proxy = Proxy(int(server.url.split(":")[2].split("/")[0]))
    yield proxy
    await proxy.close()


async def until(ready: Any) -> None:
    """Wait for something that comes by itself."""
    async with asyncio.timeout(PATIENCE_S):
        while not ready():  # noqa: ASYNC110 - real time
            await asyncio.sleep(0.001)


async def dialled(url: str, user: str) -> RemoteSession:
    """Log a client in that comes back at once."""
    session = RemoteSession(url, user, user, rng=AtOnce(user))
    await session.login()
    return session


def places(way: Way) -> range:
    """Where to cut: every byte, or some of them."""
    return range(0, SIZES[way], max(1, SIZES[way] // scaled(SIZES[way])))


@pytest.mark.parametrize("way", SIZES)
async def test_an_invitation_over_a_cut_connection_rings_once(
    server: Server, proxy: Proxy, way: Way
) -> None:
    amy = await dialled(await proxy.open(), "amy")
    bob = await server.hub.login("bob", listener=(ear := Ear()))
    for place in places(way):
        proxy.cut_after(way, place)
        async with asyncio.timeout(PATIENCE_S):
            invitation = await amy.signaling.invite("bob", f"cut at {place}")
        await until(lambda: ear.heard)
        await amy.sync()
        assert [call[0:2] for call in ear.take()] == [("receive_new_invitation", invitation)]
        assert [info.invite_id for info in await server.hub.pending("bob")] == [invitation]
        await bob.signaling.reject(invitation)
        await amy.sync()
    assert proxy.cuts > len(places(way)) // 2
    await amy.logout()


@pytest.mark.parametrize("way", SIZES)
async def test_an_answer_over_a_cut_connection_counts_once(
    server: Server, proxy: Proxy, way: Way
) -> None:
    bob = await dialled(await proxy.open(), "bob")
    amy = await server.hub.login("amy", listener=(ear := Ear()))
    for place in places(way):
        invitation = await amy.signaling.invite("bob", "come")
        await bob.sync()
        proxy.cut_after(way, place)
        async with asyncio.timeout(PATIENCE_S):
            await bob.signaling.accept(invitation, f"cut at {place}")
        await until(lambda: ear.heard)
        await bob.sync()
        assert ear.take() == [("invitee_accepted", invitation, "bob", f"cut at {place}")]
        assert (await invitation.outcome()).status == "accepted"
    assert proxy.cuts > len(places(way)) // 2
    await bob.logout()


@pytest.mark.parametrize("way", SIZES)
async def test_what_is_told_over_a_cut_connection_is_told_once(
    server: Server, proxy: Proxy, way: Way
) -> None:
    amy = await dialled(await proxy.open(), "amy")
    amy.add_signaling_listener(ear := Ear())
    carl = await server.hub.login("carl")
    for place in places(way):
        proxy.cut_after(way, place)
        first = await carl.signaling.invite("amy", f"first {place}")
        second = await carl.signaling.invite("amy", f"second {place}")
        async with asyncio.timeout(PATIENCE_S):
            await amy.sync()
            await until(lambda: len(ear.heard) >= 2)
            await amy.sync()
        assert [call[1] for call in ear.take()] == [first, second]
        await carl.signaling.cancel(first)
        await carl.signaling.cancel(second)
        await until(lambda: len(ear.heard) >= 2)
        ear.take()
    assert proxy.cuts > len(places(way)) // 4
    await amy.logout()
