"""`connect`: a session of a server in one line, to be awaited or entered."""

from __future__ import annotations

import ssl
from collections.abc import Generator
from typing import Any

from pysignal.client.connection import Dial
from pysignal.client.link import Random, Token
from pysignal.client.session import RemoteSession
from pysignal.limits import Limits
from pysignal.listeners import SignalingListener
from pysignal.listening import Start


class Connecting:
    """A session that logs in when it is awaited, or entered by `async with`.

    Args:
        session: not logged in.
        start: see `RemoteSession.login`.
    """

    def __init__(self, session: RemoteSession, start: Start) -> None:
        self._session = session
        self._start = start

    async def _log_in(self) -> RemoteSession:
        await self._session.login(self._start)
        return self._session

    def __await__(self) -> Generator[Any, None, RemoteSession]:
        return self._log_in().__await__()

    async def __aenter__(self) -> RemoteSession:
        return await self._log_in()

    async def __aexit__(self, *details: object) -> None:
        await self._session.__aexit__(*details)


def connect(
    url: str,
    user_id: str,
    token: Token,
    *,
    device_id: str = "1",
    start: Start = "cold",
    listener: SignalingListener | None = None,
    call_timeout: float = 10.0,
    ssl_context: ssl.SSLContext | None = None,
    queue_max: int = Limits().queue_max,
    rng: Random | None = None,
    dial: Dial | None = None,
) -> Connecting:
    """Make a session of a server and log it in: await it, or enter it by `async with`.

    `session = await pysignal.connect(…)` is to be logged out at its end, `async with
    pysignal.connect(…) as session` does that too.

    Args:
        url: `ws://host:port`, `wss://host:port` or `unix:///path/of/a.sock`.
        user_id: the user.
        token: a JWT or a UserSig for that user, or a callable (plain or async) that gives a fresh
            one each time it is asked.
        device_id: the device; a newer login of the same one replaces the older.
        start: see `RemoteSession.login`.
        listener: heard from the first callback on.
        call_timeout: how long each call waits for its answer, and the login for its end, seconds.
        ssl_context: for `wss://`, where the system's certificates are not the right ones.
        queue_max: events waiting in one queue at most; one more disconnects the session.
        rng: for the client's name and the pauses between connections.
        dial: makes a connection, in place of one to `url`.

    Raises:
        InvalidParameter: at once; what the login raises is told by `RemoteSession.login`.
    """
    session = RemoteSession(
        url,
        user_id,
        token,
        device_id=device_id,
        call_timeout=call_timeout,
        ssl_context=ssl_context,
        queue_max=queue_max,
        rng=rng,
        dial=dial,
    )
    if listener is not None:
        session.add_signaling_listener(listener)
    return Connecting(session, start)
