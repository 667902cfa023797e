"""The calls of a client: each has a number, is sent until it is answered, and resolves once.

A call is made once and keeps its number over all connections, so a server that has carried it out
answers again and does nothing twice. What is not answered is sent again after each login, in the
order of the numbers. Who stops waiting for a call leaves it as it is: it may take effect.

Calls that wait for an invitation (`outcome`, `follow`) belong to their connection and may wait for
long: they take none of the places in flight, and have no timeout.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

from pysignal.client.gate import Gate
from pysignal.client.parameters import request
from pysignal.errors import NotLoggedIn, OutcomeUnknown, SignalingError
from pysignal.protocol.frames import FrameError, Incoming, result_of
from pysignal.protocol.messages import REQUESTS, Request
from pysignal.protocol.refusals import from_wire
from pysignal.protocol.results import Error

# Calls that are sent and unanswered; others wait for their turn.
IN_FLIGHT_MAX: Final = 256

# A change that was sent so long ago is not sent again: the server may have forgotten its result,
# which it keeps for two minutes, and would carry it out once more. Seconds.
AGAIN_S: Final = 110.0

_KINDS: Final[dict[str, type[Request]]] = {
    str(kind.__struct_config__.tag): kind for kind in REQUESTS
}


class Line(Protocol):
    """A connection that is logged in, as far as calls need it."""

    def send(self, message: bytes) -> None:
        """Send a message behind those before it."""


class Call:
    """One call.

    Args:
        number: its number.
        method: its method.
        message: as it is sent.

    Attributes:
        is_sent: whether it has been sent on some connection.
        is_changing: whether it may have taken effect without our knowing.
    """

    __slots__ = (
        "aging",
        "answer_number",
        "future",
        "in_flight",
        "is_changing",
        "is_sent",
        "is_stale",
        "message",
        "method",
        "noted",
        "number",
        "takes_place",
        "timer",
    )

    def __init__(self, number: int, method: str, message: bytes) -> None:
        self.number = number
        self.method = method
        self.message = message
        self.future: asyncio.Future[Any] | None = None
        self.noted: Callable[[Any], None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.answer_number = 0
        self.is_sent = False
        self.is_stale = False
        self.aging: asyncio.TimerHandle | None = None
        self.in_flight = False
        self.is_changing = True
        self.takes_place = True

    def grow_stale(self) -> None:
        """Note that it was sent for the first time too long ago to be sent again."""
        self.is_stale = True

    def written(self) -> bytes:
        """Return the message."""
        return self.message

    def resolve(self, result: Any, gate: Gate) -> None:
        """Take the answer."""
        if self.noted is not None:
            self.noted(result)
        if self.future is not None and not self.future.done():
            self.reserve(gate)
            self.future.set_result(result)

    def reserve(self, gate: Gate) -> None:
        """Let the events that come from now on wait until the caller has been resumed."""
        if not self.answer_number and self.future is not None and not self.future.done():
            self.answer_number = gate.answer()

    def fail(self, error: SignalingError) -> None:
        """Take a refusal, or the end of waiting."""
        if self.future is not None and not self.future.done():
            self.future.set_exception(error)

    @property
    def stays(self) -> bool:
        """Whether it is asked again on each connection, though it was answered."""
        return False


class Calls:
    """All calls of one client that are not answered yet.

    Args:
        timeout_s: how long each call may wait for its answer, seconds.
        gate: counts the answers.
    """

    def __init__(self, timeout_s: float, gate: Gate) -> None:
        self._timeout_s = timeout_s
        self._gate = gate
        self._number = 0
        self._pending: dict[int, Call] = {}  # in the order of their numbers
        self._waiting: deque[Call] = deque()  # for their turn on this connection
        self._in_flight = 0
        self._line: Line | None = None

    def __len__(self) -> int:
        return len(self._pending)

    def get(self, number: int) -> Call | None:
        """Return an unanswered call by its number."""
        return self._pending.get(number)

    # -- making ------------------------------------------------------------------------------------

    async def ask(
        self,
        method: str,
        params: dict[str, Any],
        *,
        is_changing: bool = True,
        noted: Callable[[Any], None] | None = None,
    ) -> Any:
        """Make a call, and return its result.

        Args:
            method: of a request.
            params: its parameters by name.
            is_changing: whether it changes anything.
            noted: called with the result before anything else that has come with it is read.

        Raises:
            NotLoggedIn: it was not sent in time, or before the session ended: nothing was changed.
            OutcomeUnknown: it was sent, and no answer came.
            SignalingError: it was refused.
        """
        call = self.make(method, params)
        call.noted = noted
        call.is_changing = is_changing
        return await self._wait(call, self._timeout_s)

    async def stay(self, method: str, params: dict[str, Any]) -> Any:
        """Make a call that is answered when something has happened, and return its result.

        Who stops waiting takes it back: there is nothing that it could change.
        """
        call = self.make(method, params)
        call.is_changing = call.takes_place = False
        try:
            return await self._wait(call, None)
        except asyncio.CancelledError:
            self.take_back(call)
            raise

    def take_back(self, call: Call) -> None:
        """Forget a call that waits for an invitation, and let the server forget it."""
        if self.drop(call) and call.is_sent and self._line is not None:
            self.add(self.make("unfollow", {"follow": call.number}), self._timeout_s)

    def make(self, method: str, params: dict[str, Any], kind: type[Call] = Call) -> Call:
        """Make a call; `add` lets it go."""
        message = request(self._number + 1, method, params)
        self._number += 1
        return kind(self._number, method, message)

    async def _wait(self, call: Call, timeout_s: float | None) -> Any:
        future = call.future = asyncio.get_running_loop().create_future()
        self.add(call, timeout_s)
        try:
            return await future
        finally:
            if call.answer_number:
                self._gate.resumed(call.answer_number)

    def add(self, call: Call, timeout_s: float | None = None) -> None:
        """Let a call go, at once where it can.

        Args:
            call: just made.
            timeout_s: how long it may wait for its answer, seconds; None for ever.
        """
        self._pending[call.number] = call
        if timeout_s is not None:
            loop = asyncio.get_running_loop()
            call.timer = loop.call_later(timeout_s, self._time_out, call, timeout_s)
        if self._line is not None:
            self._waiting.append(call)
            self._send_some()

    def drop(self, call: Call) -> bool:
        """Forget a call; False where it was answered or forgotten before."""
        if self._pending.pop(call.number, None) is None:
            return False
        for timer in (call.timer, call.aging):
            if timer is not None:
                timer.cancel()
        if call.in_flight:
            call.in_flight = False
            self._in_flight -= 1
            self._send_some()
        return True

    def _time_out(self, call: Call, timeout_s: float) -> None:
        if not self.drop(call):
            return
        if call.is_sent:
            call.fail(_unanswered(call, f"within {timeout_s:g} s"))
        else:
            call.fail(
                NotLoggedIn(
                    f"{call.method}: not sent within {timeout_s:g} s, as there was no connection; "
                    "nothing was changed, try again once connected"
                )
            )

    # -- the connection ----------------------------------------------------------------------------

    def connected(self, line: Line) -> None:
        """Send what is not answered, in the order of the numbers.

        Args:
            line: has just logged in.
        """
        self._line = line
        self._in_flight = 0
        for call in list(self._pending.values()):
            if call.is_stale and call.is_changing:
                self.drop(call)
                call.fail(_unanswered(call, "in two minutes"))
        for call in self._pending.values():
            call.in_flight = False
            # What it did may be among the events that were missed: its caller comes before them.
            if call.is_sent and call.is_changing:
                call.reserve(self._gate)
        self._waiting = deque(self._pending.values())
        self._send_some()

    def disconnected(self) -> None:
        """Keep what is not answered for the next connection."""
        self._line = None
        self._waiting.clear()

    def _send_some(self) -> None:
        while self._line is not None and self._waiting:
            call = self._waiting[0]
            if call.takes_place and self._in_flight >= IN_FLIGHT_MAX:
                return
            self._waiting.popleft()
            if call.number not in self._pending:
                continue
            if call.takes_place:
                call.in_flight = True
                self._in_flight += 1
            if not call.is_sent:
                call.is_sent = True
                if call.is_changing and self._timeout_s > AGAIN_S:
                    loop = asyncio.get_running_loop()
                    call.aging = loop.call_later(AGAIN_S, call.grow_stale)
            self._line.send(call.written())

    def answered(self, message: Incoming) -> None:
        """Take an answer; one to a call that nobody waits for any more is passed over."""
        call = self._pending.get(message.id) if isinstance(message.id, int) else None
        if call is None:
            return
        if isinstance(message.error, Error):
            self.drop(call)
            call.fail(from_wire(message.error))
            return
        try:
            result = result_of(message, _KINDS[call.method])
        except FrameError as problem:
            self.drop(call)
            call.fail(OutcomeUnknown(f"{call.method}: {problem}; is the server a newer one?"))
            return
        if not call.stays:
            self.drop(call)
        call.resolve(result, self._gate)

    def fail_all(self, error: SignalingError, *, standing: bool = False) -> None:
        """Fail what waits, as the session has ended.

        Args:
            error: why.
            standing: only those that wait for an invitation.
        """
        for call in list(self._pending.values()):
            if standing and call.takes_place:
                continue
            self.drop(call)
            if call.is_sent and call.is_changing:
                call.fail(
                    OutcomeUnknown(
                        f"{call.method}: the session ended before the answer came, and whether it "
                        f"took effect is unknown: {error.message}"
                    )
                )
            else:
                call.fail(NotLoggedIn(error.message))


def _unanswered(call: Call, when: str) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"{call.method}: no answer {when}, and whether it took effect is unknown; look, or repeat "
        "it with the request_id that it had"
    )
