"""Twenty thousand broken messages on real sockets: each answered, or its connection closed."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from doors import Trusting
from protocol.mutations import a_request, broken
from scale import scaled
from server.test_sockets import Raw

import pysignal
from pysignal import Hub
from pysignal.protocol.frames import requests_in
from pysignal.protocol.messages import Ack
from pysignal.server import Server, Settings

pytestmark = pytest.mark.anyio

# Broken messages of one connection, of which each is looked at before the next one.
BURST = 24

# The number of the request that comes last: no broken one has it.
LAST = 1 << 40

FRAME_BYTES_MAX = 16_384
PATIENCE_S = 20

# Why a server may send such a client away, and that it may have logged out.
CLOSES = (1000, 1002, 1007, 1008, 1009)
TEXT, CLOSE = 1, 8
INTERNAL_ERROR = -32603


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    settings = replace(Settings(), frame_bytes_max=FRAME_BYTES_MAX, close_s=0.5)
    async with Hub() as hub, Server(hub, Trusting(), settings=settings) as server:
        await server.start()
        yield server


def written(source: random.Random) -> bytes:
    """Draw a broken text, as bytes that may not even be UTF-8."""
    if source.random() < 0.002:
        return b'"' + b"x" * FRAME_BYTES_MAX + b'"'
    text = broken(source, json.dumps(a_request(source), ensure_ascii=source.random() < 0.5))
    return text.encode(errors="surrogatepass")


def answers_due(texts: list[bytes]) -> Counter[int | None]:
    """Say how often each number is to be answered; a text that is no UTF-8 closes."""
    due: Counter[int | None] = Counter()
    for text in texts:
        try:
            found = requests_in(text.decode())
        except UnicodeDecodeError:
            return due
        due.update(message.id for message in found if not isinstance(message, Ack))
    return due


async def burst(server: Server, seed: int) -> None:
    """Send some broken messages over a connection of their own, and judge what comes back."""
    source = random.Random(seed)
    texts = [written(source) for _ in range(BURST)]
    raw = await Raw.open(server)
    login = {"user_id": "bob", "token": "bob", "client": f"{seed}", "device_id": f"{seed % 8}"}
    first = {"jsonrpc": "2.0", "id": 0, "method": "login", "params": login}
    last = {"jsonrpc": "2.0", "id": LAST, "method": "sync", "params": {}}
    for text in [json.dumps(first).encode(), *texts, json.dumps(last).encode()]:
        raw.send(TEXT, text)
    answered: Counter[int | None] = Counter()
    while True:
        opcode, payload = await raw.receive()
        if opcode == CLOSE:
            code = int.from_bytes(payload[:2])
            assert code in CLOSES, f"closed with {code}: {payload[2:]!r}"
            break
        assert opcode == TEXT
        read = json.loads(payload)
        for message in read if isinstance(read, list) else [read]:
            if "method" not in message:
                judge(message)
                answered[message["id"]] += 1
        if LAST in answered:
            due = answers_due(texts)
            await settle(raw, due, answered)
            due[0] += 1
            due[LAST] += 1
            assert answered == due
            break
    raw.close()


async def settle(raw: Raw, due: Counter[int | None], answered: Counter[int | None]) -> None:
    """Read on until all has been answered: what takes a turn more comes behind the last."""
    while sum(answered.values()) < sum(due.values()) + 2:
        opcode, payload = await raw.receive()
        assert opcode == TEXT, (opcode, payload)
        read = json.loads(payload)
        for message in read if isinstance(read, list) else [read]:
            if "method" not in message:
                judge(message)
                answered[message["id"]] += 1


def judge(message: dict[str, Any]) -> None:
    """Judge an answer: it says something, and nothing of the server's inside."""
    assert ("result" in message) != ("error" in message), message
    error = message.get("error")
    if error is not None:
        assert error["code"] != INTERNAL_ERROR, message
        assert error["message"]
        assert "Traceback" not in json.dumps(message)


async def test_broken_messages_are_answered_or_their_connection_is_closed(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for seed in range(scaled(20_000 // BURST + 1, at_least=4)):
        try:
            async with asyncio.timeout(PATIENCE_S):
                await burst(server, seed)
        except BaseException as error:
            raise AssertionError(f"seed {seed}: {error!r}") from error
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    async with pysignal.connect(server.url, "amy", "amy") as amy:
        assert await amy.signaling.invite("carl")
    server.hub.shard.machine.check()
