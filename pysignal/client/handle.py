"""The handle of an invitation whose hub is far away: the same `Invitation`, asked by requests.

What it asks for belongs to a connection, so it is asked again on each new one; events that come
twice by that are dropped by their `seq`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from pysignal.client.calls import Call
from pysignal.client.parameters import request
from pysignal.engine.facts import Event
from pysignal.errors import LimitExceeded, SignalingError
from pysignal.following import Outcome
from pysignal.invitation import Invitation
from pysignal.streams import EventQueue, EventStream

if TYPE_CHECKING:
    from pysignal.client.gate import Gate
    from pysignal.client.session import RemoteSession
    from pysignal.protocol.results import EventFields


class RemoteInvitation(Invitation):
    """The ID of an invitation, with what can be awaited on top."""

    __slots__ = ()

    @property
    def _session(self) -> RemoteSession:
        session: RemoteSession = self._actor
        return session

    async def outcome(self) -> Outcome:
        """Wait until the invitation has ended, and return how; see `Invitation.outcome`."""
        session = self._session
        session._require()
        return await session._outcome(str.__str__(self))

    def __aiter__(self) -> EventStream:
        """Iterate over the invitation's events; see `Invitation.__aiter__`."""
        session = self._session
        session._require()
        return follow(session, str.__str__(self))


class Following(Call):
    """The call behind one iteration; its number stands for it in what the server tells.

    Attributes:
        seq: of the last event that was taken.
        opening: the opening of an invitation with a long list of invitees, once it was heard.
    """

    __slots__ = ("invite_id", "is_open", "opening", "queue", "seq")

    invite_id: str
    queue: EventQueue

    def begin(self, invite_id: str, queue: EventQueue) -> None:
        """Say what is followed, and into which queue."""
        self.invite_id = invite_id
        self.queue = queue
        self.seq = 0
        self.opening: Event | None = None
        self.is_open = True
        self.is_changing = self.takes_place = False

    @property
    def stays(self) -> bool:
        """Whether it is asked again on each connection, though it was answered."""
        return self.is_open

    def written(self) -> bytes:
        """Return the message, which asks for what has not been taken."""
        params = {"invite_id": self.invite_id, "after": self.seq}
        return request(self.number, self.method, params) if self.seq else self.message

    def resolve(self, result: Any, gate: Gate) -> None:
        """Take the answer: what is followed comes behind it."""

    def fail(self, error: SignalingError) -> None:
        """Come to the end with an error."""
        self.is_open = False
        self.queue.end(error)

    def end(self) -> None:
        """Come to the end."""
        self.is_open = False
        self.queue.end()

    def feed(self, session: RemoteSession, fields: EventFields) -> bool:
        """Take an event; False when there is no room for it, or nobody reads."""
        if fields.seq <= self.seq:
            return True
        event = session._intake.made(fields, self.opening)
        if event.seq == 1:
            self.opening = event
        self.seq = event.seq
        if self.queue.put(event):
            return True
        self.fail(LimitExceeded("too many events wait for this iteration: read it faster"))
        return False


def follow(session: RemoteSession, invite_id: str) -> EventStream:
    """Begin to follow an invitation.

    Args:
        session: logged in.
        invite_id: the invitation.
    """
    calls = session._calls
    call = calls.make("follow", {"invite_id": invite_id}, Following)
    assert isinstance(call, Following)
    queue = EventQueue(session._queue_max)
    call.begin(invite_id, queue)
    calls.add(call)
    loop = asyncio.get_running_loop()

    def stop() -> None:
        # Called by the collector too, at any moment, and when the loop is gone.
        if not loop.is_closed():
            loop.call_soon(unfollow, session, call)

    return EventStream(queue, stop)


def unfollow(session: RemoteSession, call: Following) -> None:
    """Stop following, and let the server know where it was asked."""
    call.is_open = False
    session._calls.take_back(call)
