"""One connection of a client: its login, its requests, its end.

A connection lets nothing in before its login, and takes nothing after its end. It knows wires, not
sockets. What must survive it is the session's.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, Final

import orjson

from pysignal.clock import stopwatch_ns
from pysignal.errors import (
    HubClosed,
    InvalidParameter,
    KickedOff,
    LimitExceeded,
    NotAvailable,
    NotLoggedIn,
    OutcomeUnknown,
    SignalingError,
    TokenExpired,
)
from pysignal.invitation import Invitation
from pysignal.protocol import messages as m
from pysignal.protocol.frames import Bad, requests_in
from pysignal.protocol.numbers import (
    CLOSE_GOING_AWAY,
    CLOSE_KICKED,
    CLOSE_NORMAL,
    CLOSE_POLICY,
    CLOSE_SLOW,
    CLOSE_TOO_BIG,
    CLOSE_TOO_MANY,
    CLOSE_UNAUTHORIZED,
)
from pysignal.protocol.refusals import to_wire
from pysignal.protocol.wire import PatientWire
from pysignal.protocol.writing import event_fields, null_answer
from pysignal.server.calls import Caller
from pysignal.server.operations import answer, failed, refused, snapshot, wrong
from pysignal.text import data as checked_data

if TYPE_CHECKING:
    from pysignal.server.server import Server
    from pysignal.server.session import ServedSession

log = logging.getLogger("pysignal.server")

# Frames that may come while those before them are not taken yet: many more than are read at once.
HELD_MAX: Final = 16_384

# How long the requests of one connection keep the loop, and how many are taken between two looks.
TURN_NS: Final = 1_000_000
TAKEN_PER_LOOK: Final = 16

_MINUTE_S: Final = 60.0

# How a refused login is closed, where it is not for what it has shown.
_CLOSES: Final = {
    InvalidParameter.code: CLOSE_POLICY,
    HubClosed.code: CLOSE_GOING_AWAY,
    KickedOff.code: CLOSE_KICKED,
    LimitExceeded.code: CLOSE_TOO_MANY,
    OutcomeUnknown.code: CLOSE_GOING_AWAY,
}


class Connection:
    """A peer of a wire.

    Args:
        server: whose door it came through.
        wire: how it is answered.
    """

    def __init__(self, server: Server, wire: PatientWire) -> None:
        self.wire = wire
        self.session: ServedSession | None = None
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._login: asyncio.Task[None] | None = None
        # What has come and is not taken yet: of one frame, and whole frames behind it.
        self._requests: Iterator[Any] = iter(())
        self._held: deque[str] = deque()
        self._is_held = self._is_paused = False
        self._is_closed = self._is_leaving = False
        self._caller: Caller | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        # What `unfollow` can end: the task, and what is told then.
        self._ending: dict[int, tuple[asyncio.Task[None], bytes]] = {}
        self._bad = 0
        self._forgiving: asyncio.TimerHandle | None = None
        self._expiry: asyncio.TimerHandle | None = None
        self._deadline: asyncio.TimerHandle | None = self._loop.call_later(
            server.settings.login_s, self._too_late
        )

    # -- what the wire tells -----------------------------------------------------------------------

    def received(self, text: str) -> None:
        """Take a frame."""
        if self._is_closed:
            return
        if self.session is None or self._is_held:
            self._before_its_turn(text)
        else:
            self._requests = iter(requests_in(text))
            self._go_on()

    def _go_on(self) -> None:
        """Take requests, for a millisecond; then others have their turns, and this one goes on.

        A client that does not read its answers is asked for no more.
        """
        until_ns = stopwatch_ns() + TURN_NS
        taken = 0
        try:
            while not self._is_closed:
                for request in self._requests:
                    self._take(request)
                    taken += 1
                    if taken % TAKEN_PER_LOOK == 0 and (
                        self._is_paused or stopwatch_ns() >= until_ns
                    ):
                        self._hold()
                        return
                if not self._held:
                    break
                self._requests = iter(requests_in(self._held.popleft()))
        except Exception:
            log.exception("a frame could not be taken")
            self._close(CLOSE_GOING_AWAY, "the server has failed at this frame")
        if self._is_held:
            self._is_held = False
            self.wire.go_on()

    def _hold(self) -> None:
        """Let the client wait until it is this connection's turn again."""
        if not self._is_held:
            self._is_held = True
            self.wire.hold()
        if not self._is_paused:  # else `resumed` goes on
            self._loop.call_soon(self._go_on)

    def lost(self, code: int) -> None:
        """Hear that the connection has ended."""
        self._is_closed = True
        self._server.connections.discard(self)
        for timer in (self._deadline, self._expiry, self._forgiving):
            if timer is not None:
                timer.cancel()
        for task in self._tasks:
            task.cancel()
        if self.session is not None:
            self.session.detach(self)

    def paused(self) -> None:
        """Hear that the client reads too slowly."""
        self._is_paused = True
        if self.session is not None and self.session.connection is self:
            self.session.outbox.pause()

    def resumed(self) -> None:
        """Hear that there is room again."""
        self._is_paused = False
        if self._is_held and self.session is not None:
            self._loop.call_soon(self._go_on)
        if self.session is not None and self.session.connection is self:
            self.session.outbox.resume()

    # -- login -------------------------------------------------------------------------------------

    def _before_its_turn(self, text: str) -> None:
        """Take a login, or keep a frame until what came before it was taken."""
        if self._login is not None:
            self._held.append(text)
            if len(self._held) > HELD_MAX:
                self._close(CLOSE_POLICY, "too many frames at once")
            return
        if len(text) > self._server.settings.login_frame_bytes_max:
            self._close(CLOSE_TOO_BIG, "so much is not taken before a login")
            return
        first, *others = requests_in(text)
        if isinstance(first, Bad):
            self.wire.send(wrong(first))
            self._close(CLOSE_POLICY, "the first message is to be a login")
        elif not isinstance(first, m.Login):
            number = first.id if isinstance(first, m.Request) else None
            self.wire.send(refused(number, NotLoggedIn("log in first: no request comes before")))
            self._close(CLOSE_UNAUTHORIZED, "the first message is to be a login")
        else:
            self._is_held = True
            self.wire.hold()
            self._login = self._loop.create_task(self._log_in(first, others))

    async def _log_in(self, request: m.Login, others: list[Any]) -> None:
        """Log in, answer, and go on with what came meanwhile."""
        params = request.params
        try:
            identity = self._server.authenticator.authenticate(
                params.user_id, params.token, self._server.clock.now_ms()
            )
            session, recovered = await self._server.admit(params, identity.user_id)
        except SignalingError as error:
            self._refuse_login(request.id, error)
            return
        except Exception:
            log.exception("a login could not be carried out")
            if not self._is_closed:
                self.wire.send(failed(request.id))
            self._close(CLOSE_GOING_AWAY, "the server has failed at this login")
            return
        if self._is_closed:
            session.keep_for_a_while()
            return
        assert self._deadline is not None
        self._deadline.cancel()
        self._deadline = None
        self.session = session
        self.wire.trust()
        self._caller = Caller(session, session.outbox, self._post, f"{params.client}/")
        if identity.expires_ms is not None:
            left_s = (identity.expires_ms - self._server.clock.now_ms()) / 1000
            self._expiry = self._loop.call_later(max(left_s, 0), self._expired)
        session.attach(self)
        self._answer_login(request.id, session, params.cursor if recovered else None)
        self._requests = iter(others)
        self._go_on()

    def _answer_login(self, number: int, session: ServedSession, cursor: str | None) -> None:
        """Say how the login went; `cursor` is the client's own where the session goes on."""
        settings = self._server.settings
        result = {
            "recovered": cursor is not None,
            "cursor": cursor or self._server.cursor_of(session),
            "now": session.hub.now_ms,
            "resume_window": settings.resume_window_s,
            "ping": settings.ping_s,
            "snapshot": snapshot(session.snapshot) if cursor is None else None,
        }
        session.outbox.post(answer(number, result))
        session.outbox.send_again()

    def _refuse_login(self, number: int, error: SignalingError) -> None:
        if self._is_closed:
            return
        self.wire.send(refused(number, error))
        self._close(_CLOSES.get(error.code, CLOSE_UNAUTHORIZED), error.name)

    def _too_late(self) -> None:
        self._close(CLOSE_UNAUTHORIZED, "no login came in time")

    def _expired(self) -> None:
        self.end(TokenExpired("the token has expired: log in with a new one"), CLOSE_UNAUTHORIZED)

    # -- requests ----------------------------------------------------------------------------------

    def _take(self, request: Any) -> None:
        """Begin what a message asks for."""
        session = self.session
        if self._is_closed or session is None:
            return
        if self._is_leaving and isinstance(request, m.Request):
            self._post(refused(request.id, NotLoggedIn("it comes behind a logout")))
            return
        if type(request) in _OWN:
            _OWN[type(request)](self, session, request)
        elif isinstance(request, Bad):
            self._refuse(request)
        else:
            assert self._caller is not None
            self._caller.take(request)

    def _post(self, text: bytes) -> None:
        """Answer, unless the client has gone: it will ask again."""
        if not self._is_closed and self.session is not None:
            self.session.outbox.post(text)

    def _refuse(self, bad: Bad) -> None:
        """Answer what is no request; a client that sends nothing else is sent away."""
        if bad.data is not None:
            try:
                checked_data(bad.data, bytes_max=self._server.hub.limits.data_bytes_max)
            except SignalingError as error:
                self._post(refused(bad.id, error))
                return
        self._post(wrong(bad))
        if bad.error["code"] > 0:  # a request with a wrong parameter
            return
        if self._bad == 0:
            self._forgiving = self._loop.call_later(_MINUTE_S, self._forgive)
        self._bad += 1
        if self._bad > self._server.settings.bad_messages_max:
            self._close(CLOSE_POLICY, "too many messages that are no requests")

    def _forgive(self) -> None:
        self._bad = 0

    def _log_in_again(self, session: ServedSession, request: m.Login) -> None:
        self._post(refused(request.id, InvalidParameter("login", "the connection is logged in")))

    def _acknowledge(self, session: ServedSession, request: m.Ack) -> None:
        number, position = self._server.cursors.read(request.params.cursor)
        if number is not None and position is not None:
            session.outbox.acknowledge(number, position)

    def _sync(self, session: ServedSession, request: m.Sync) -> None:
        async def sync() -> bytes:
            await session.hub._until_delivered()
            return answer(request.id, {"now": session.hub.now_ms})

        self._begin(request.id, sync())

    def _log_out(self, session: ServedSession, request: m.Logout) -> None:
        async def log_out() -> bytes:
            await session.logout()
            return null_answer(request.id)

        self._is_leaving = True

        self._begin(request.id, log_out(), close=CLOSE_NORMAL)

    def _await_outcome(self, session: ServedSession, request: m.AwaitOutcome) -> None:
        async def outcome() -> bytes:
            found = await Invitation(request.params.invite_id, session).outcome()
            written = {
                "invite_id": found.invite_id,
                "state": found.state,
                "reason": found.reason,
                "statuses": found.statuses,
                "event": None
                if found.event is None
                else orjson.Fragment(event_fields(found.event)),
            }
            return answer(request.id, written)

        withdrawn = NotAvailable("nobody waits for this outcome any more: it was unfollowed")
        self._begin(request.id, outcome(), ended=refused(request.id, withdrawn))

    def _follow(self, session: ServedSession, request: m.Follow) -> None:
        params, number = request.params, request.id

        async def follow() -> bytes:
            try:
                async for event in Invitation(params.invite_id, session):
                    if event.seq > params.after:
                        self._post(_followed(number, event_fields(event)))
            except SignalingError as error:
                return _follow_ended(number, to_wire(error))
            return _follow_ended(number, None)

        begun, ended = null_answer(number), _follow_ended(number, None)
        self._begin(number, follow(), begun=begun, ended=ended)

    def _unfollow(self, session: ServedSession, request: m.Unfollow) -> None:
        task, told = self._ending.get(request.params.follow, (None, b""))
        if task is not None and task.cancel():
            self._post(told)
        self._post(null_answer(request.id))

    def _begin(
        self,
        number: int,
        work: Coroutine[Any, Any, bytes],
        *,
        close: int | None = None,
        begun: bytes | None = None,
        ended: bytes | None = None,
    ) -> None:
        """Let a task work out an answer, which may take long.

        Args:
            number: of the request.
            work: gives the answer, or what comes last.
            close: the code to close with behind it.
            begun: what is told first.
            ended: what is told where `unfollow` ends it; None where that must not be.
        """
        if len(self._tasks) >= self._server.settings.waits_max:
            work.close()
            error = LimitExceeded("too many outcomes and followings wait on this connection")
            self._post(refused(number, error))
            return
        if begun is not None:
            self._post(begun)

        async def run() -> None:
            try:
                text = await work
            except SignalingError as error:
                text = refused(number, error)
            except Exception:
                log.exception("a request could not be carried out")
                text = failed(number)
            self._post(text)
            if close is not None and self.session is not None:
                self.session.outbox.flush()
                self._close(close)

        task = self._loop.create_task(run())
        self._tasks.add(task)
        if ended is not None:
            self._ending[number] = task, ended
        task.add_done_callback(lambda over: self._forget(number, over, work))

    def _forget(
        self, number: int, task: asyncio.Task[None], work: Coroutine[Any, Any, bytes]
    ) -> None:
        work.close()  # it may have been cancelled before it began
        self._tasks.discard(task)
        if number in self._ending and self._ending[number][0] is task:
            del self._ending[number]

    # -- the end -----------------------------------------------------------------------------------

    def end(self, error: SignalingError, code: int) -> None:
        """Say why, and close; who has asked for a logout is answered instead."""
        if self._is_closed or self._is_leaving:
            return
        if self.session is not None:
            ended = {
                "jsonrpc": "2.0",
                "method": "session_ended",
                "params": {"error": to_wire(error)},
            }
            self.session.outbox.post(orjson.dumps(ended, default=str))
            self.session.outbox.flush()
        self._close(code, error.name)

    def too_slow(self) -> None:
        """Close, as the client does not read what it is sent; it can come back for it."""
        self._close(CLOSE_SLOW, "slow")

    def replaced(self) -> None:
        """Close, as the client has come back over another connection."""
        self._close(CLOSE_GOING_AWAY, "the client has a newer connection")

    def _close(self, code: int, reason: str = "") -> None:
        if self._is_closed:
            return
        self._is_closed = True
        if self.session is not None:
            self.session.detach(self)
        self.wire.close(code, reason)
        if self._is_held:  # so that the answer to the close is read
            self.wire.go_on()


def _session_ended(error: SignalingError) -> bytes:
    params = {"error": to_wire(error)}
    return orjson.dumps(
        {"jsonrpc": "2.0", "method": "session_ended", "params": params}, default=str
    )


def _followed(number: int, written: bytes) -> bytes:
    params = {"follow": number, "event": orjson.Fragment(written)}
    return orjson.dumps({"jsonrpc": "2.0", "method": "followed", "params": params})


def _follow_ended(number: int, error: dict[str, Any] | None) -> bytes:
    params = {"follow": number, "error": error}
    return orjson.dumps({"jsonrpc": "2.0", "method": "follow_ended", "params": params}, default=str)


# The requests that are no operations of the session.
_OWN: Final[dict[type, Callable[[Connection, ServedSession, Any], None]]] = {
    m.Login: Connection._log_in_again,
    m.Ack: Connection._acknowledge,
    m.Sync: Connection._sync,
    m.Logout: Connection._log_out,
    m.AwaitOutcome: Connection._await_outcome,
    m.Follow: Connection._follow,
    m.Unfollow: Connection._unfollow,
}
