"""A server that does what a test says, at the other end of wires in memory, in virtual time."""

from __future__ import annotations

import asyncio
import functools
import json
import random
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from ears import Ear
from simulation.loop import SimulationLoop

from pysignal import ConnectionListener, RemoteSession, SignalingListener
from pysignal.protocol.wire import Peer

CLOSE_ABNORMAL = 1006
EMPTY = {"now": 1_700_000_000_000, "open": [], "ended": []}


def play(
    scene: Callable[..., Awaitable[None]], *args: Any, seed: int | None = None, **named: Any
) -> None:
    """Play a scene in virtual time; nothing may be left of it."""
    loop = SimulationLoop(None if seed is None else random.Random(seed))
    try:
        loop.run_until_complete(scene(*args, **named))
        for _ in range(20):
            loop.run_until_complete(asyncio.sleep(0))
        left = asyncio.all_tasks(loop)
        assert not left, f"seed {seed}: tasks are left: {left}"
        assert not loop.failures, f"seed {seed}: {loop.failures}"
    finally:
        loop.cancel_all()
        loop.close()


def virtual(scene: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Make a test of a scene: it is played in asyncio's order, and in a few others."""

    @functools.wraps(scene)
    def test(*args: Any, **named: Any) -> None:
        for seed in (None, 1, 2, 3):
            play(scene, *args, seed=seed, **named)

    return test


class Line:
    """The server's end of one connection, and the wire at the client's end.

    Attributes:
        sent: messages of the client that were not taken yet.
        frames: how many messages each frame of the client has had.
        code: of the client's close, 0 before it.
        is_cut: whether nothing goes through any more.
    """

    def __init__(self, server: ScriptedServer, peer: Peer) -> None:
        self.sent: list[dict[str, Any]] = []
        self.frames: list[int] = []
        self.code = 0
        self.is_cut = False
        self._server = server
        self.peer = peer
        self._inbound: deque[str] = deque()

    # -- the wire at the client's end --------------------------------------------------------------

    def send(self, frame: bytes) -> None:
        """Take a frame of the client."""
        assert not self.code, "a frame behind the close"
        if self.is_cut:
            return
        read = json.loads(frame.decode())
        messages = read if isinstance(read, list) else [read]
        self.frames.append(len(messages))
        self.sent.extend(messages)
        for message in messages:
            self._server.got.append(message)
            self._server.react(self, message)

    def close(self, code: int, reason: str = "") -> None:
        """Take the client's close."""
        if not self.code:
            self.code = code
            if not self.is_cut:
                self._lose(code)

    # -- what a test does --------------------------------------------------------------------------

    def tell(self, *messages: dict[str, Any]) -> None:
        """Send messages in one frame."""
        whole = [{"jsonrpc": "2.0", **message} for message in messages]
        self._inbound.append(json.dumps(whole[0] if len(whole) == 1 else whole))
        asyncio.get_running_loop().call_soon(self._hand_over)

    def _hand_over(self) -> None:
        if self._inbound and not self.is_cut:
            self.peer.received(self._inbound.popleft())

    def answer(self, number: int, result: Any = None) -> None:
        """Answer a request."""
        self.tell({"id": number, "result": result})

    def refuse(self, number: int, code: int, message: str = "no", **details: Any) -> None:
        """Refuse a request."""
        self.tell(refusal(number, code, message, **details))

    def event(self, kind: str = "opened", invite_id: str = "i1", **more: Any) -> None:
        """Tell an event."""
        self.tell(event(kind, invite_id, **more))

    def cut(self, code: int = CLOSE_ABNORMAL) -> None:
        """End the connection; what is on its way is lost."""
        if not self.is_cut:
            self._lose(code)

    def freeze(self) -> None:
        """Let nothing through any more, and tell nobody."""
        self.is_cut = True

    def _lose(self, code: int) -> None:
        self.is_cut = True
        asyncio.get_running_loop().call_soon(self.peer.lost, code)

    def methods(self) -> list[str]:
        """Return the methods of what the client has sent, and forget it."""
        found = [message["method"] for message in self.sent]
        self.sent = []
        return found


class ScriptedServer:
    """Lets every connection in, and answers what a test lets it answer.

    Attributes:
        lines: every connection so far.
        got: every message so far.
        logins: parameters of every login.
        login: gives the result of a login, or a refusal; None answers nothing.
        replies: gives results, by method.
        trouble: raised by whoever dials, or None.
    """

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.got: list[dict[str, Any]] = []
        self.logins: list[dict[str, Any]] = []
        self.login: Callable[[dict[str, Any]], dict[str, Any] | None] = fresh
        self.replies: dict[str, Callable[[dict[str, Any]], Any]] = {
            "logout": lambda _: None,
            "sync": lambda _: {"now": EMPTY["now"]},
            "unfollow": lambda _: None,
        }
        self.trouble: Exception | None = None
        self.dials = 0

    async def dial(self, peer: Peer) -> Line:
        """Connect a client."""
        self.dials += 1
        await asyncio.sleep(0)
        if self.trouble is not None:
            raise self.trouble
        self.lines.append(Line(self, peer))
        return self.lines[-1]

    @property
    def line(self) -> Line:
        """The newest connection."""
        return self.lines[-1]

    def react(self, line: Line, message: dict[str, Any]) -> None:
        """Answer a message, where that was said."""
        if message["method"] == "login":
            self.logins.append(message["params"])
            answer = self.login(message["params"])
            if answer is not None:
                line.tell({"id": 0, **answer})
            return
        reply = self.replies.get(message["method"])
        if reply is not None:
            line.answer(message["id"], reply(message))

    def session(self, token: Any = "token", **options: Any) -> RemoteSession:
        """Make a session that is not logged in yet."""
        options.setdefault("rng", random.Random(7))
        user = options.pop("user_id", "amy")
        return RemoteSession("ws://nowhere", user, token, dial=self.dial, **options)

    async def joined(self, token: Any = "token", **options: Any) -> RemoteSession:
        """Make a session and log it in."""
        session = self.session(token, **options)
        await session.login()
        self.line.methods()
        return session

    async def back(self, count: int | None = None) -> Line:
        """Wait until there is a new connection that has logged in."""
        count = len(self.lines) + 1 if count is None else count
        while len(self.lines) < count or not self.line.sent:  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0.001)
        await turns()
        return self.line


async def listening(
    server: ScriptedServer, ear: SignalingListener | None = None, **options: Any
) -> tuple[Any, Any]:
    """Log a session in, with an ear."""
    session = server.session(**options)
    ear = ear or Ear()
    session.add_signaling_listener(ear)
    await session.login()
    server.line.methods()
    return session, ear


class News(ConnectionListener):
    """Writes down what happens to the session."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def on_connecting(self) -> None:
        self.heard.append("connecting")

    def on_connected(self) -> None:
        self.heard.append("connected")

    def on_disconnected(self, error: Any) -> None:
        self.heard.append(("disconnected", error.code))

    def on_kicked_offline(self, error: Any) -> None:
        self.heard.append(("kicked", error.code))

    def on_token_expired(self) -> None:
        self.heard.append("expired")


def fresh(_: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The answer to a login that begins anew."""
    result = {
        "recovered": False,
        "cursor": "c0",
        "now": EMPTY["now"],
        "resume_window": 60.0,
        "ping": 25.0,
        "snapshot": EMPTY,
    }
    return {"result": result | more}


def recovered(params: dict[str, Any]) -> dict[str, Any]:
    """The answer to a login that goes on; a cold one begins anew."""
    if params["start"] == "cold":
        return fresh(params)
    return fresh(params, recovered=True, snapshot=None, cursor=params["cursor"])


def refusal(number: int, code: int, message: str = "no", **details: Any) -> dict[str, Any]:
    """An answer that refuses."""
    data = {"name": "name", "remedy": "final", "details": details}
    return {"id": number, "error": {"code": code, "message": message, "data": data}}


def fields(kind: str = "opened", invite_id: str = "i1", **more: Any) -> dict[str, Any]:
    """The fields of an event from bob to amy."""
    invitees = more.get("invitees", ["amy"])
    found = {
        "kind": kind,
        "reason": "",
        "invite_id": invite_id,
        "group_id": "",
        "inviter": "bob",
        "invitee_list": invitees,
        "data": "",
        "invitation_data": "",
        "actor": "bob",
        "device": "1",
        "seq": 1 if kind == "opened" else 2,
        "data_version": 1,
        "position": 1,
        "time": EMPTY["now"],
        "expires_at": EMPTY["now"] + 30_000,
        "ends": kind not in ("opened", "modified"),
        "replayed": False,
        "online_only": False,
        "parties_only": False,
        "pending_count": len(invitees) if kind in ("opened", "modified") else 0,
        "invitees": invitees,
        "pending": invitees if kind in ("opened", "modified") else [],
    }
    return found | more


def event(kind: str = "opened", invite_id: str = "i1", **more: Any) -> dict[str, Any]:
    """An event from bob to amy, as a notification."""
    more.setdefault("cursor", f"{invite_id}-{kind}")
    return {"method": "event", "params": {"now": EMPTY["now"], **fields(kind, invite_id, **more)}}


async def begin(*calls: Coroutine[Any, Any, Any]) -> list[asyncio.Task[Any]]:
    """Make tasks, each of which has taken its first step before the next is made."""
    tasks = []
    for call in calls:
        tasks.append(asyncio.create_task(call))
        await turns(2)
    return tasks


async def turns(count: int = 30) -> None:
    """Let everything run that is ready."""
    for _ in range(count):
        await asyncio.sleep(0)
