"""What a server does with real sockets: handshakes, broken frames, cuts, silence, slow readers."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from server.test_sessions import Trusting

import pysignal
from pysignal import Hub
from pysignal.protocol.numbers import SUBPROTOCOL
from pysignal.server import Server, Settings
from pysignal.server.socket_wire import SocketWire

pytestmark = pytest.mark.anyio

PATIENCE_S = 20
PARAMS = {"user_id": "amy", "token": "amy", "client": "by hand"}
LOGIN: dict[str, Any] = {"jsonrpc": "2.0", "id": 0, "method": "login", "params": PARAMS}


@pytest.fixture
def settings() -> Settings:
    return replace(Settings(), close_s=0.5)


@pytest.fixture
async def server(settings: Settings) -> AsyncIterator[Server]:
    async with Hub() as hub, Server(hub, Trusting(), settings=settings) as server:
        await server.start()
        yield server


class Raw:
    """A WebSocket by hand: bytes in, bytes out."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, server: Server, protocol: str = SUBPROTOCOL) -> Raw:
        """Connect, and go through the handshake."""
        host, port = server.url.removeprefix("ws://").split("/")[0].split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            "GET /signaling HTTP/1.1",
            "Host: localhost",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Protocol: {protocol}",
        ]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        raw = cls(reader, writer)
        async with asyncio.timeout(PATIENCE_S):
            raw.answer = await reader.readuntil(b"\r\n\r\n")
        return raw

    answer: bytes

    def send(self, opcode: int, payload: bytes, fin: bool = True) -> None:
        """Send a frame with a mask of zeros."""
        self.writer.write(frame(opcode, payload, fin))

    async def receive(self) -> tuple[int, bytes]:
        """Receive a frame: (opcode, payload)."""
        async with asyncio.timeout(PATIENCE_S):
            first, length = await self.reader.readexactly(2)
            if length == 126:
                length = int.from_bytes(await self.reader.readexactly(2))
            elif length == 127:
                length = int.from_bytes(await self.reader.readexactly(8))
            return first & 0x0F, await self.reader.readexactly(length)

    async def messages(self) -> list[Any]:
        """Receive a text frame, taken apart."""
        opcode, payload = await self.receive()
        assert opcode == 1, (opcode, payload)
        read = json.loads(payload)
        return read if isinstance(read, list) else [read]

    async def close_code(self) -> int:
        """Receive until the close frame, and return its code."""
        while True:
            opcode, payload = await self.receive()
            if opcode == 8:
                return int.from_bytes(payload[:2])

    async def login(self) -> Any:
        """Log in as amy."""
        self.send(1, json.dumps(LOGIN).encode())
        [answer] = await self.messages()
        return answer["result"]

    def close(self) -> None:
        """Close the socket, without a close frame."""
        self.writer.transport.abort()


def frame(opcode: int, payload: bytes, fin: bool = True) -> bytes:
    """A masked frame."""
    size = len(payload)
    head = bytes([opcode | (0x80 if fin else 0)])
    if size <= 125:
        head += bytes([0x80 | size])
    elif size <= 0xFFFF:
        head += bytes([0x80 | 126]) + size.to_bytes(2)
    else:
        head += bytes([0x80 | 127]) + size.to_bytes(8)
    return head + bytes(4) + payload


async def ended(server: Server) -> None:
    """Wait until the server has no connection any more."""
    async with asyncio.timeout(PATIENCE_S):
        while server.connections:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.001)


async def test_a_handshake_needs_the_subprotocol(server: Server) -> None:
    raw = await Raw.open(server, "chat, other")
    assert b" 400 " in raw.answer.split(b"\r\n")[0]
    raw.close()
    raw = await Raw.open(server, f"other, {SUBPROTOCOL}")
    assert b" 101 " in raw.answer.split(b"\r\n")[0]
    assert f"sec-websocket-protocol: {SUBPROTOCOL}".encode() in raw.answer.lower()
    raw.close()


async def test_a_usual_client_gets_through(server: Server) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(server.url.replace("ws:", "http:"), protocols=[SUBPROTOCOL]) as socket,
    ):
        await socket.send_json(LOGIN)
        assert (await socket.receive_json())["result"]["recovered"] is False
        await socket.ping(b"there?")
        await socket.send_json({"jsonrpc": "2.0", "id": 1, "method": "sync"})
        assert (await socket.receive_json())["id"] == 1
        await socket.close()
    await ended(server)


async def test_a_unix_socket_serves_as_well(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "door"
    async with Hub() as hub, Server(hub, Trusting(), settings=settings) as server:
        await server.start(path=path)
        assert server.url == f"unix://{path}"
        connector = aiohttp.UnixConnector(str(path))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.ws_connect("http://localhost/signaling", protocols=[SUBPROTOCOL]) as socket,
        ):
            await socket.send_json(LOGIN)
            assert "result" in await socket.receive_json()


async def test_a_unix_socket_that_is_served_is_taken_from_nobody(tmp_path: Path) -> None:
    path = tmp_path / "door"
    async with Hub() as hub, Server(hub, Trusting()) as server, Server(hub, Trusting()) as other:
        await server.start(path=path)
        with pytest.raises(OSError, match="another server listens"):
            await other.start(path=path)


async def test_before_the_login_little_is_taken(server: Server) -> None:
    raw = await Raw.open(server)
    raw.send(1, b"x" * 100_000)
    assert await raw.close_code() == 1009
    raw.close()
    await ended(server)


class TestHandshakes:
    """Who connects, and says nothing or not enough."""

    @pytest.fixture
    def settings(self) -> Settings:
        return replace(Settings(), login_s=0.2, close_s=0.2)

    @pytest.mark.parametrize("said", [b"", b"GET /signaling HTTP/1.1\r\nHost: x\r\n"])
    async def test_a_connection_without_a_whole_request_is_closed(
        self, server: Server, said: bytes
    ) -> None:
        host, port = server.url.removeprefix("ws://").split("/")[0].split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(said)
        async with asyncio.timeout(PATIENCE_S):
            await reader.read()
        writer.close()


async def test_an_address_in_use_is_told(server: Server) -> None:
    port = int(server.url.rsplit(":", 1)[1].split("/")[0])
    async with Hub() as hub, Server(hub, Trusting()) as other:
        with pytest.raises(OSError, match="in use"):
            await other.start(port=port)


@pytest.mark.parametrize(
    ("opcode", "payload", "code"),
    [
        (1, b"\xff\xfe", 1007),
        (2, b"{}", 1003),
        (3, b"{}", 1002),
        (1, b"x" * ((2 << 20) + 1), 1009),
        (8, b"\x03\xe8", 1000),
        (8, b"", 0),
    ],
    ids=["no UTF-8", "binary", "unknown opcode", "too large", "close", "close without a code"],
)
async def test_a_frame_that_cannot_be_is_closed_with_its_code(
    server: Server, opcode: int, payload: bytes, code: int
) -> None:
    raw = await Raw.open(server)
    await raw.login()
    raw.send(opcode, payload)
    assert await raw.close_code() == code
    raw.close()
    await ended(server)


async def test_fragments_make_one_message_with_pings_between(server: Server) -> None:
    raw = await Raw.open(server)
    text = json.dumps(LOGIN).encode()
    raw.send(1, text[:10], fin=False)
    raw.send(9, b"ping")
    raw.send(0, text[10:20], fin=False)
    raw.send(0, text[20:])
    assert await raw.receive() == (10, b"ping")
    [answer] = await raw.messages()
    assert "result" in answer
    raw.close()


async def test_a_cut_at_any_byte_of_a_frame_carries_it_out_wholly_or_not_at_all(
    server: Server,
) -> None:
    request = {"jsonrpc": "2.0", "id": 1, "method": "invite", "params": {"invitee": "bob"}}
    whole = frame(1, json.dumps(request).encode())
    for cut in range(len(whole) + 1):
        before = server.hub.stats()["open"]
        raw = await Raw.open(server)
        await raw.login()
        raw.writer.write(whole[:cut])
        await raw.writer.drain()
        if cut < len(whole):
            raw.writer.write_eof()
        else:
            await raw.messages()
        raw.close()
        await ended(server)
        assert server.hub.stats()["open"] == before + (cut == len(whole)), f"cut at {cut}"


async def test_bad_messages_are_answered_and_then_sent_away(server: Server) -> None:
    raw = await Raw.open(server)
    await raw.login()
    for _ in range(20):
        raw.send(1, b"no JSON")
        [answer] = await raw.messages()
        assert answer["error"]["code"] == -32700
        assert answer["id"] is None
    raw.send(1, b"no JSON")
    assert await raw.close_code() == 1008
    raw.close()


class TestSilence:
    """Clients of which nothing is heard."""

    @pytest.fixture
    def settings(self) -> Settings:
        return replace(Settings(), ping_s=0.3, dead_s=1.5, close_s=0.2)

    async def test_it_is_asked_and_then_given_up(self, server: Server) -> None:
        raw = await Raw.open(server)
        await raw.login()
        assert (await raw.receive())[0] == 9
        # A half-open connection: nothing answers, and nothing ends.
        await ended(server)
        assert server.hub.stats()["sessions"] == 1, "the session waits for its client"
        raw.close()

    async def test_who_answers_stays(self, server: Server) -> None:
        raw = await Raw.open(server)
        await raw.login()
        for _ in range(5):
            opcode, payload = await raw.receive()
            assert opcode == 9
            raw.send(10, payload)
        assert len(server.connections) == 1
        raw.close()


class TestSlowSocket:
    """A client whose socket is full."""

    @pytest.fixture
    def settings(self) -> Settings:
        return replace(Settings(), waiting_bytes_max=1 << 16, close_s=0.2, frame_bytes_max=1 << 20)

    async def test_it_is_closed_and_its_session_goes_on(self, server: Server) -> None:
        raw = await Raw.open(server)
        cursor = (await raw.login())["cursor"]
        sock: socket.socket = raw.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.writer.transport.pause_reading()  # type: ignore[attr-defined]
        bob = await server.hub.login("bob")
        names = []
        async with asyncio.timeout(PATIENCE_S):
            while server.sessions["amy", "1"].connection is not None:
                names.append(await bob.signaling.invite("amy", "x" * 12_000))
                await asyncio.sleep(0)
        assert len(names) < 1000, "what waits is bounded"
        raw.close()
        back = await Raw.open(server)
        again = PARAMS | {"start": "hot", "cursor": cursor}
        request = LOGIN | {"params": again}
        back.send(1, json.dumps(request).encode())
        heard: list[str] = []
        while len(heard) < len(names):
            for message in await back.messages():
                if "method" in message:
                    heard.append(message["params"]["invite_id"])
                else:
                    assert message["result"]["recovered"]
        assert heard == names
        back.close()


async def test_a_client_comes_back_for_more_than_any_buffer_holds(server: Server) -> None:
    async with pysignal.connect(server.url, "bob", "bob") as bob:
        heard: list[str] = []

        class Counting(pysignal.SignalingListener):
            def on_receive_new_invitation(
                self, invite_id: str, inviter: str, group_id: str, invitees: list[str], data: str
            ) -> None:
                heard.append(invite_id)

        bob.signaling.add_signaling_listener(Counting())
        [connection] = server.connections
        assert isinstance(connection.wire, SocketWire)
        connection.wire.abort()
        names = [await server.hub.invite_as("amy", "bob", "\x01" * 12_000) for _ in range(500)]
        async with asyncio.timeout(PATIENCE_S):
            while len(heard) < len(names):  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.01)
        assert heard == names
        assert bob.recovered
    # All of it in one answer: a client takes what its server has.
    async with pysignal.connect(server.url, "bob", "bob", device_id="2") as bob:
        assert len(bob.snapshot.open) == len(names)
