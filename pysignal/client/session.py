"""The session of a server: the same interface as an embedded one, over a connection that may break.

Between login and logout it is online, whether or not there is a connection at the moment: calls
wait for one, and what was missed follows once it is back. It ends for good by a logout, by another
login of its device, by a token that is not accepted, by listeners that are too slow; like an
embedded session it may then log in again.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Self

from pysignal import text
from pysignal.client.calls import Calls
from pysignal.client.connection import Connection, Dial
from pysignal.client.gate import Gate
from pysignal.client.groups import RemoteGroups
from pysignal.client.handle import Following, RemoteInvitation, unfollow
from pysignal.client.intake import Intake
from pysignal.client.link import Ending, Link, Random, Token
from pysignal.client.parameters import acknowledgement
from pysignal.client.signaling import RemoteSignaling
from pysignal.client.socket_wire import dial_to
from pysignal.engine.facts import Event
from pysignal.engine.views import InvitationInfo
from pysignal.errors import InvalidParameter, NotLoggedIn, SignalingError
from pysignal.following import Outcome
from pysignal.limits import Limits
from pysignal.listening import ListeningSession, Start
from pysignal.presence import Snapshot
from pysignal.protocol.frames import Incoming, params_of
from pysignal.protocol.reading import info_from
from pysignal.protocol.refusals import from_wire
from pysignal.protocol.results import (
    Error,
    EventParams,
    FollowedParams,
    FollowEndedParams,
    GroupEventParams,
    InvitationFields,
    LoginResult,
    OutcomeResult,
)
from pysignal.receivers import Call

if TYPE_CHECKING:
    from pysignal.interface import Session as EitherSession
    from pysignal.session import Session

log = logging.getLogger("pysignal")

# What was taken is told to the server so long after the first message of it, if not sooner.
ACK_S: Final = 1.0


class RemoteSession(ListeningSession):
    """One device of a user at a server; `connect` makes one and logs it in.

    Args:
        url: of the server: `ws://host:port`, `wss://host:port` or `unix:///path/of/a.sock`.
        user_id: 1 to 128 bytes of UTF-8 without control characters.
        token: proves who the user is; a callable (plain or async) is asked for a fresh one before
            each login. With a plain text the session ends when that has expired.
        device_id: tells the user's devices apart; a newer login of the same one replaces the older.
        call_timeout: how long each call waits for its answer, and a login for its end, seconds.
        ssl_context: for `wss://`, where the system's certificates are not the right ones.
        queue_max: events waiting in one queue at most; one more disconnects the session.
        rng: for the client's name and the pauses between connections.
        dial: makes a connection, in place of one to `url`.

    Attributes:
        user_id: the user.
        device_id: the device.
        signaling: the operations on invitations (SPEC §2).
        groups: the operations on groups (SPEC §8).
        snapshot: what the last login that did not recover found.
        recovered: whether the last login went on as if nothing had happened.
    """

    signaling: RemoteSignaling
    groups: RemoteGroups
    _handle = RemoteInvitation  # what `Invitation(invite_id, session)` makes

    def __init__(
        self,
        url: str,
        user_id: str,
        token: Token,
        *,
        device_id: str = "1",
        call_timeout: float = 10.0,
        ssl_context: ssl.SSLContext | None = None,
        queue_max: int = Limits().queue_max,
        rng: Random | None = None,
        dial: Dial | None = None,
    ) -> None:
        super().__init__(
            text.user_id(user_id, "user_id"), text.device_id(device_id, "device_id"), queue_max, {}
        )
        if not isinstance(token, str) and not callable(token):
            raise InvalidParameter("token", f"a str or a callable, not {type(token).__name__}")
        self._token: Token = token
        self._dial = dial_to(url, ssl_context) if dial is None else dial
        self._timeout_s = call_timeout
        self._rng: Random = random.SystemRandom() if rng is None else rng
        self._client = ""  # made up for each login; connections after it are the same client's
        self._thread: int | None = None
        self._loop: asyncio.AbstractEventLoop
        self._link: Link | None = None
        self._entering: asyncio.Future[None] | None = None
        self._is_connected = False
        self._entry = 0  # number of the answer to a login that nobody has been told of yet
        self._start: Start = "cold"
        self._end: SignalingError | None = None
        self._news: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._ack: asyncio.TimerHandle | None = None
        self._acknowledged: str | None = None
        self._intake = Intake(self)
        self._gate = Gate(self._intake.let_go)
        self._calls = Calls(call_timeout, self._gate)
        self.signaling = RemoteSignaling(self)
        self.groups = RemoteGroups(self)
        self.snapshot = Snapshot(0)
        self.recovered = False

    # -- login -------------------------------------------------------------------------------------

    async def login(self, start: Start = "cold") -> None:
        """Come online. Callbacks begin after this has returned.

        Args:
            start: `"cold"` for a new process, which is told again what waits for an answer; `"hot"`
                for the same device coming back, which is told what it has missed (SPEC §7).

        Raises:
            NotLoggedIn: there was no connection in time; the message says why.
            LimitExceeded: the user has too many sessions.
            SignalingError: the server does not accept the token.
        """
        if start not in ("cold", "hot"):
            raise InvalidParameter("start", f'"cold" or "hot", not {start!r}')
        self._require_thread()
        if self._link is not None:
            raise InvalidParameter("session", "it is logged in already: log it out first")
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._start = start
        self._client = f"{self._rng.getrandbits(64):016x}"
        self._acknowledged = None
        self._intake.begin(start == "cold")
        entering = self._entering = self._loop.create_future()
        self._tell_connection("on_connecting")
        link = self._link = Link(self, self._dial, self._token, self._rng)
        try:
            async with asyncio.timeout(self._timeout_s):
                await entering
        except TimeoutError:
            await self._give_up(link)
            trouble = link.trouble
            why = "the server does not answer" if trouble is None else trouble.message
            raise NotLoggedIn(f"no login within {self._timeout_s:g} s: {why}") from trouble
        except BaseException:
            await self._give_up(link)
            raise
        finally:
            self._entering = None
            if self._entry:
                self._gate.resumed(self._entry)
                self._entry = 0
        self._tell_connection("on_connected")

    async def _give_up(self, link: Link) -> None:
        """Let a login come to nothing."""
        if self._link is link:
            error = NotLoggedIn("the login was given up")
            self._go_offline(error, ())
            self._finish(error)
        await link.stop()

    async def logout(self) -> None:
        """Go offline. Invitations stay as they are; waiting outcomes fail with 6014."""
        self._require()
        link = self._link
        assert link is not None
        error = NotLoggedIn("the session has logged out: log in again")
        self._go_offline(error, ())
        self._calls.fail_all(error, standing=True)
        connection = link.connection
        try:
            if connection is not None:
                leaving = self._loop.create_task(self._calls.ask("logout", {}))
                leaving.add_done_callback(_pass_over)
                await asyncio.wait({leaving, connection.over}, return_when=asyncio.FIRST_COMPLETED)
                if leaving.done() and leaving.exception() is None:
                    self._intake.forget()  # what it was told of is known to the server
        finally:
            self._finish(error)
            link.abandon()
        await link.stop()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.online:
            await self.logout()
        if self._courier is not None:  # a listener may never come back by itself
            await self._courier.stop({asyncio.current_task()})

    async def sync(self) -> None:
        """Wait until what the server had to tell before this call has been handed over.

        Raises:
            NotLoggedIn, OutcomeUnknown: as for every call.
        """
        self._require()
        await self._calls.ask("sync", {}, is_changing=False)
        while len(self._intake.delivery) and self.online:  # noqa: ASYNC110 - each turn delivers
            await asyncio.sleep(0)

    def _require(self) -> None:
        """Refuse a call without a login, or from another thread."""
        self._require_thread()
        if self.online:
            return
        if self._end is not None:
            raise NotLoggedIn(f"the session is not logged in: {self._end.message}")
        raise NotLoggedIn("the session is not logged in: await session.login() first")

    async def _outcome(self, invite_id: str) -> Outcome:
        """Wait until an invitation has ended."""
        found: OutcomeResult = await self._calls.stay("outcome", {"invite_id": invite_id})
        event = None if found.event is None else self._intake.made(found.event, None)
        return Outcome(found.invite_id, found.state, found.reason, found.statuses, event)

    # -- called by the link ------------------------------------------------------------------------

    def _login_params(self, token: str) -> dict[str, Any]:
        params = {
            "user_id": self.user_id,
            "token": token,
            "client": self._client,
            "device_id": self.device_id,
            "start": "hot" if self.online else self._start,
        }
        cursor = self._intake.cursor
        return params if cursor is None else {**params, "cursor": cursor}

    def _logged_in(self, connection: Connection, result: LoginResult) -> None:
        found = result.snapshot
        self._is_connected = True
        self.recovered = result.recovered
        self._acknowledged = result.cursor
        self._intake.logged_in(result.cursor, result.recovered, found.open if found else ())
        if found is not None:
            self.snapshot = Snapshot(found.now, _infos(found.open), _infos(found.ended))
        if self.online:
            self._tell_connection("on_connected")
        elif self._entering is not None and not self._entering.done():
            self.online = True
            self._end = None
            self._entry = self._gate.answer()
            self._entering.set_result(None)
        self._calls.connected(connection)

    def _lost(self, ending: Ending) -> bool:
        self._calls.disconnected()
        if self.online:
            if ending.is_final:
                self._end_by(ending.error, (), ending.callback)
                return False
            if self._is_connected:
                self._is_connected = False
                self._tell_connection("on_disconnected", ending.error)
                self._tell_connection("on_connecting")
            return True
        entering = self._entering
        if entering is None or entering.done():
            return False
        if ending.is_final:
            entering.set_exception(ending.error)
            return False
        return True

    def _message(self, message: Incoming) -> None:
        if not isinstance(message.method, str):
            if message.id is None and isinstance(message.error, Error):
                log.error("the server could not read a message: %s", message.error.message)
            self._calls.answered(message)
            return
        if not self.online:
            return
        try:
            self._take(message)
        except ValueError as problem:  # a FrameError is one
            log.warning("a message of the server is passed over: %s", problem)
            self._intake.pass_over(message)
        if self._ack is None and self._intake.untaken:
            self._ack = self._loop.call_later(ACK_S, self._tell_taken)

    def _take(self, message: Incoming) -> None:
        """Take a notification; what cannot be understood is a ValueError."""
        params = params_of(message)
        if isinstance(params, EventParams):
            self._intake.take_event(params)
        elif isinstance(params, GroupEventParams):
            self._intake.take_group_event(params)
        elif isinstance(params, FollowedParams):
            call = self._calls.get(params.follow)
            if isinstance(call, Following) and not call.feed(self, params.event):
                unfollow(self, call)
        elif isinstance(params, FollowEndedParams):
            self._follow_ended(params)

    def _follow_ended(self, params: FollowEndedParams) -> None:
        call = self._calls.get(params.follow)
        if isinstance(call, Following):
            self._calls.drop(call)
            if params.error is None:
                call.end()
            else:
                call.fail(from_wire(params.error))

    def _ask_for_life(self) -> None:
        self._calls.add(self._calls.make("sync", {}), self._timeout_s)

    # -- how far the listeners have come -----------------------------------------------------------

    def _tell_taken(self) -> None:
        """Tell the server how far the listeners have come, and look again later."""
        if self._ack is not None:
            self._ack.cancel()
            self._ack = None
        connection = None if self._link is None else self._link.connection
        if connection is None:
            return
        waiting = None if self._courier is None else self._courier.oldest()
        self._intake.settle(waiting)
        self._acknowledge(connection)
        if self._intake.untaken:
            self._ack = self._loop.call_later(ACK_S, self._tell_taken)

    def _acknowledge(self, connection: Connection) -> None:
        cursor = self._intake.taken
        if cursor is not None and cursor != self._acknowledged:
            self._acknowledged = cursor
            connection.send(acknowledgement(cursor))

    # -- the end -----------------------------------------------------------------------------------

    def _end_by(self, error: SignalingError, missed: Sequence[Event | Call], callback: str) -> None:
        """End the session without a logout."""
        self._go_offline(error, missed)
        self._finish(error)
        self._tell_connection(callback, *(() if callback == "on_token_expired" else (error,)))

    def _go_offline(self, error: SignalingError, missed: Sequence[Event | Call]) -> None:
        """Let listeners and streams hear nothing more."""
        waiting = None if self._courier is None else self._courier.oldest()
        batched = self._take_batches()
        self._intake.miss([*missed, *batched, *([] if waiting is None else [waiting])])
        if self._link is not None and self._link.connection is not None:
            self._acknowledge(self._link.connection)  # so that nothing else is rung again
        self._close_courier()
        self.online = False
        self._end = error
        self._end_streams()
        if self._ack is not None:
            self._ack.cancel()
            self._ack = None

    def _finish(self, error: SignalingError) -> None:
        """Fail what waits, and be ready for another login."""
        self._link = None
        self._calls.disconnected()
        self._calls.fail_all(error)

    def _disconnect(self, error: SignalingError, missed: tuple[Event, ...]) -> None:
        link = self._link
        self._end_by(error, missed, "on_disconnected")
        if link is not None:
            link.abandon()

    # -- as every session that is listened to ------------------------------------------------------

    def _require_thread(self) -> None:
        if self._thread is not None and threading.get_ident() != self._thread:
            raise RuntimeError(
                "called from another thread than the session's: use "
                "asyncio.run_coroutine_threadsafe(…, loop) or loop.call_soon_threadsafe(…)"
            )

    def _call_soon(self, call: Callable[..., object], *args: Any) -> None:
        self._news.append((call, args))
        if len(self._news) == 1:
            self._loop.call_soon(self._tell_news)

    def _tell_news(self) -> None:
        try:
            while self._news:
                call, args = self._news.popleft()
                call(*args)
        finally:
            if self._news:
                self._loop.call_soon(self._tell_news)

    def __repr__(self) -> str:
        state = "online" if self.online else "offline"
        return f"<RemoteSession {self.user_id} device {self.device_id} {state}>"


def _pass_over(task: asyncio.Task[Any]) -> None:
    """Let nobody be told how a task has ended."""
    if not task.cancelled():
        task.exception()


def _infos(found: list[InvitationFields]) -> list[InvitationInfo]:
    """Read invitations; one that only a newer version understands is left out."""
    infos = []
    for fields in found:
        try:
            infos.append(info_from(fields))
        except ValueError as problem:
            log.warning("an invitation of the snapshot is left out: %s", problem)
    return infos


if TYPE_CHECKING:

    def _are_one_interface(
        embedded: Session, remote: RemoteSession
    ) -> tuple[EitherSession, EitherSession]:
        return embedded, remote
