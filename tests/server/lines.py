"""A line: a connection in memory, between a server and whoever speaks by hand at the other end."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

from pysignal.server import Server
from pysignal.server.connection import Connection

ABNORMAL = 1006


class Line:
    """A client's end of a connection in memory; also the wire at the server's end.

    Attributes:
        heard: notifications, in order.
        answers: by number.
        code: of the server's close; 0 while it is open.
        frames: how many have come.
    """

    def __init__(self, server: Server) -> None:
        self.heard: list[dict[str, Any]] = []
        self.answers: dict[int | None, dict[str, Any]] = {}
        self.code = 0
        self.frames = 0
        self._numbers = itertools.count(1)
        self._connection: Connection = server.connect(self)

    # -- the wire at the server's end --------------------------------------------------------------

    def send(self, frame: bytes) -> None:
        """Take a frame of the server."""
        assert not self.code, "nothing is sent behind a close"
        self.frames += 1
        read = json.loads(frame)
        for message in read if isinstance(read, list) else [read]:
            if "method" in message:
                self.heard.append(message)
            else:
                assert message["id"] not in self.answers or message["id"] is None
                self.answers[message["id"]] = message

    def close(self, code: int, reason: str = "") -> None:
        """Take the server's close."""
        if not self.code:
            self.code = code
            asyncio.get_running_loop().call_soon(self._connection.lost, code)

    def trust(self) -> None:
        """Take whatever comes, as always."""

    def hold(self) -> None:
        """Send no more; this client does not care."""

    def go_on(self) -> None:
        """Send again."""

    # -- the client's end --------------------------------------------------------------------------

    def write(self, *messages: dict[str, Any]) -> None:
        """Send messages in one frame."""
        self.write_text(json.dumps(messages[0] if len(messages) == 1 else messages))

    def write_text(self, text: str) -> None:
        """Send a frame."""
        if not self.code:
            self._connection.received(text)

    def break_off(self) -> None:
        """Let the connection end without a close."""
        if not self.code:
            self.code = ABNORMAL
            self._connection.lost(ABNORMAL)

    def pause(self) -> None:
        """Read no more."""
        self._connection.paused()

    def resume(self) -> None:
        """Read again."""
        self._connection.resumed()

    def request(self, method: str, number: int | None = None, /, **params: Any) -> int:
        """Send a request; returns its number."""
        number = next(self._numbers) if number is None else number
        self.write({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        return number

    async def ask(self, method: str, number: int | None = None, /, **params: Any) -> Any:
        """Send a request, and return its result or its error."""
        number = self.request(method, number, **params)
        answer = await self.answer(number)
        return answer.get("result", answer.get("error"))

    async def answer(self, number: int | None) -> dict[str, Any]:
        """Wait for an answer."""
        async with asyncio.timeout(20):
            while number not in self.answers:
                assert not self.code, f"closed with {self.code}"
                await asyncio.sleep(0)
        return self.answers[number]

    async def login(self, user_id: str, **params: Any) -> Any:
        """Log in; returns the result or the error."""
        given = {"user_id": user_id, "token": user_id, "client": f"client of {user_id}"} | params
        return await self.ask("login", 0, **given)

    async def settle(self) -> None:
        """Wait until the server has told all that it has to tell."""
        await self.ask("sync")

    def events(self) -> list[tuple[str, str]]:
        """Return what was heard of invitations: (kind, invite ID)."""
        return [
            (message["params"]["kind"], message["params"]["invite_id"])
            for message in self.heard
            if message["method"] == "event"
        ]

    def cursor(self) -> str:
        """Return where the client stands."""
        for message in reversed(self.heard):
            if "cursor" in message["params"]:
                return str(message["params"]["cursor"])
        return str(self.answers[0]["result"]["cursor"])
