"""The link of a client: one connection after the other, until the session has come to its end.

What a lost connection, a refused login and each close code mean is decided by one function,
`ending_of`; the loop around it dials, logs in, and waits before it tries again: a random time up to
a bound that doubles, so that thousands who lost their server together do not come back together.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple, Protocol

from pysignal.client.connection import Connection, Dial
from pysignal.client.parameters import request
from pysignal.errors import (
    KickedOff,
    NotLoggedIn,
    OutcomeUnknown,
    Remedy,
    SignalingError,
    TokenExpired,
)
from pysignal.protocol.frames import FrameError, Incoming, params_of, result_of
from pysignal.protocol.messages import Login
from pysignal.protocol.numbers import CLOSE_KICKED, CLOSE_UNAUTHORIZED
from pysignal.protocol.refusals import from_wire
from pysignal.protocol.results import EndedParams, Error, LoginResult

log = logging.getLogger("pysignal")

# Before the n-th try in a row that came to nothing: up to FIRST · 2^n seconds, at most MOST.
PAUSE_FIRST_S: Final = 0.2
PAUSE_MOST_S: Final = 20.0
# A connection that has lasted so long begins the count anew, seconds.
LASTED_S: Final = 5.0

# How long a connection, and then its login, may take, seconds.
DIAL_S: Final = 10.0
LOGIN_S: Final = 10.0

Token = str | Callable[[], str | Awaitable[str]]

# Refusals of a login that pass: the journal has failed, the server ends, too many logins.
PASSING: Final = frozenset({6012, 6013, 10023})


class Random(Protocol):
    """Where randomness comes from; `random.Random` is one."""

    def uniform(self, a: float, b: float, /) -> float:
        """Return a number between two."""

    def getrandbits(self, k: int, /) -> int:
        """Return a whole number of so many bits."""


class Ending(NamedTuple):
    """Why a connection has ended, and what follows.

    Attributes:
        error: why.
        is_final: whether the session has ended with it.
        callback: the method of `ConnectionListener` that hears of a final end.
        is_at_once: whether to come back without a pause.
    """

    error: SignalingError
    is_final: bool = False
    callback: str = "on_disconnected"
    is_at_once: bool = False


class LinkedSession(Protocol):
    """The session behind a link."""

    def _login_params(self, token: str) -> dict[str, Any]:
        """Say who logs in, and how far it has come."""

    def _logged_in(self, connection: Connection, result: LoginResult) -> None:
        """Go on with a connection that has just logged in."""

    def _lost(self, ending: Ending) -> bool:
        """Hear that a try has come to its end; returns whether to try again."""

    def _message(self, message: Incoming) -> None:
        """Take a message."""

    def _ask_for_life(self) -> None:
        """Ask the server for anything."""


class Link:
    """Keeps one session connected.

    Args:
        session: whose link it is.
        dial: makes a connection.
        token: proves who the user is, or gives a fresh proof each time it is asked.
        rng: for the pauses.

    Attributes:
        connection: the one that is logged in, or None.
        trouble: why the last try came to nothing, or None.
    """

    def __init__(self, session: LinkedSession, dial: Dial, token: Token, rng: Random) -> None:
        self._session = session
        self._dial = dial
        self._token = token
        self._rng = rng
        self._tries = 0
        self._was_refused = False  # the last token, as expired
        self._told_end: SignalingError | None = None
        self._current: Connection | None = None
        self.connection: Connection | None = None
        self.trouble: SignalingError | None = None
        self._task = asyncio.get_running_loop().create_task(self._keep())

    async def stop(self) -> None:
        """End, and wait for a moment until nothing is left of it."""
        if self._task is not asyncio.current_task():
            self._task.cancel()
            await asyncio.wait({self._task})

    def abandon(self) -> None:
        """End, and wait for nothing."""
        self._task.cancel()
        if self._current is not None:
            self._current.close()

    # -- the loop ----------------------------------------------------------------------------------

    async def _keep(self) -> None:
        """Connect, and connect again, until the end; a bug of ours ends the session too."""
        try:
            await self._go_on()
        except Exception:
            log.exception("the client has failed")
            self._session._lost(Ending(OutcomeUnknown("the client has failed"), is_final=True))

    async def _go_on(self) -> None:
        while True:
            ending = await self._try()
            self.trouble = ending.error
            if not self._session._lost(ending):
                return
            if not ending.is_at_once:
                pause_s = min(PAUSE_FIRST_S * 2 ** min(self._tries, 16), PAUSE_MOST_S)
                self._tries += 1
                await asyncio.sleep(self._rng.uniform(0, pause_s))

    async def _try(self) -> Ending:
        """Connect once, and stay as long as that lasts; returns why it has ended."""
        try:
            token = await self._fresh_token()
        except Exception as error:
            log.exception("the token callback raised")
            return Ending(NotLoggedIn(f"the token callback raised {type(error).__name__}"))
        connection = self._current = Connection(self)
        self._told_end = None
        try:
            try:
                async with asyncio.timeout(DIAL_S):
                    connection.open(await self._dial(connection))
            except SignalingError as error:
                return Ending(error, is_final=error.remedy is not Remedy.RETRY)
            except (OSError, TimeoutError) as error:
                return Ending(OutcomeUnknown(f"cannot connect: {str(error) or 'too slow'}"))
            connection.send(request(0, "login", self._session._login_params(token)))
            lasted = asyncio.get_running_loop().call_later(LOGIN_S, self._look, connection)
            try:
                await asyncio.wait({connection.over})
            finally:
                lasted.cancel()
            return self._ending(connection.over.result())
        finally:
            self._current = self.connection = None
            connection.close()
            await connection.until_gone()

    async def _fresh_token(self) -> str:
        if isinstance(self._token, str):
            return self._token
        token = self._token()
        return await token if inspect.isawaitable(token) else token

    def _look(self, connection: Connection) -> None:
        """Give up a connection whose login was not answered in time."""
        if self.connection is not connection:
            connection.close()

    def _lasted(self, connection: Connection) -> None:
        if self.connection is connection:
            self._tries = 0

    # -- messages ----------------------------------------------------------------------------------

    def message(self, connection: Connection, message: Incoming) -> None:
        """Take a message of a connection."""
        if connection is not self._current:
            return
        if self.connection is None:
            self._take_login(connection, message)
        elif message.method == "session_ended":
            ended = params_of(message)
            assert isinstance(ended, EndedParams)
            self._told_end = from_wire(ended.error)
            connection.close()
        else:
            self._session._message(message)

    def _take_login(self, connection: Connection, message: Incoming) -> None:
        if message.id != 0:
            raise FrameError("the server says something before it has answered the login")
        if isinstance(message.error, Error):
            self._told_end = from_wire(message.error)
            connection.close()
            return
        result = result_of(message, Login)
        self.connection = connection
        self._was_refused = False
        asyncio.get_running_loop().call_later(LASTED_S, self._lasted, connection)
        self._session._logged_in(connection, result)

    def is_silent(self) -> None:
        """Ask the server for anything, to hear whether it is there."""
        if self.connection is not None:
            self._session._ask_for_life()

    def _ending(self, code: int) -> Ending:
        """Say what follows the end of a connection."""
        was_in = self.connection is not None
        ending = ending_of(self._told_end, code, was_in)
        if ending.error.code == TokenExpired.code and not isinstance(self._token, str):
            if not self._was_refused:
                self._was_refused = True
                return Ending(ending.error, is_at_once=True)
            return Ending(ending.error)  # the callable may give a better one later
        return ending


def ending_of(told: SignalingError | None, code: int, was_in: bool) -> Ending:
    """Say what follows the end of a connection.

    Args:
        told: what the server said of it, by a refusal of the login or by `session_ended`.
        code: the close code.
        was_in: whether it had logged in.
    """
    if told is None:
        if code == CLOSE_KICKED:
            told = KickedOff("another login of the same device took its place")
        elif code == CLOSE_UNAUTHORIZED:
            error = NotLoggedIn("the server does not accept the token: log in with a fresh one")
            return Ending(error, is_final=True)
        else:
            what = "the connection was lost" if was_in else "the server did not answer the login"
            return Ending(OutcomeUnknown(f"{what} (close code {code})"))
    if told.code == KickedOff.code:
        return Ending(told, True, "on_kicked_offline")
    if told.code == TokenExpired.code:
        return Ending(told, True, "on_token_expired")
    if was_in:
        return Ending(told)
    # A server that ends will be followed by one that begins.
    return Ending(told, told.code not in PASSING)
