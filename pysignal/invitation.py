"""The handle that `invite` returns: the ID of an invitation, with what can be awaited on top.

A handle costs nothing until it is asked for something. Asked for its outcome or its events, it is
entered with the hub as a `Watch`, which delivery feeds before any listener: so a listener may await
it, and a slow listener delays nobody who does.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from pysignal.engine.facts import Event
from pysignal.errors import LimitExceeded, SignalingError

if TYPE_CHECKING:
    from pysignal.hub import Hub
    from pysignal.signaling import Signaling

# What becomes of an invitee, by the kind of event that names them.
_STATUS_AFTER: Final = {
    "accepted": "accepted",
    "rejected": "rejected",
    "cancelled": "cancelled",
    "timed_out": "timed_out",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an invitation ended.

    Attributes:
        invite_id: the invitation.
        state: `"completed"`, or `"cancelled"` by the inviter, the server or a group change.
        reason: why, where no party did it, as in `Event.reason`.
        statuses: where each invitee stands (accepted, rejected, cancelled, timed_out), in the order
            of invitation.
        event: the last event; None when the end was asked for long afterwards.
    """

    invite_id: str
    state: str
    reason: str
    statuses: dict[str, str]
    event: Event | None = None

    @property
    def status(self) -> str:
        """The status of the one invitee, or the one that all share; `""` where they differ."""
        different = set(self.statuses.values())
        return different.pop() if len(different) == 1 else ""

    @property
    def accepted(self) -> list[str]:
        """Who accepted, in the order of invitation."""
        return [user for user, status in self.statuses.items() if status == "accepted"]

    @property
    def data(self) -> str:
        """The data of the last answer or of the cancel; `""` when it is not known any more."""
        return "" if self.event is None else self.event.data


class Actor(Protocol):
    """For whom a `Signaling` acts: a session, or a user named by the embedding server."""

    hub: Hub
    user_id: str
    device_number: int
    watches: set[Watch]
    signaling: Signaling

    def require(self) -> None:
        """Refuse a call that may not be made now."""


class Invitation(str):
    """The ID of an invitation, as `invite` returns it: a `str`, with what can be awaited on top.

    Equal to its ID, hashed as it, and serialised as it. What it hears comes from the hub, never
    behind a listener, so a callback may await it.
    """

    __slots__ = ("_actor",)

    _actor: Actor

    def __new__(cls, invite_id: str, actor: Actor) -> Invitation:
        """Make the handle of an invitation.

        Args:
            invite_id: its ID.
            actor: who asks for the outcome and cancels.
        """
        handle = super().__new__(cls, invite_id)
        handle._actor = actor
        return handle

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (str.__str__(self),)

    async def outcome(self) -> Outcome:
        """Wait until the invitation has ended, and return how.

        Raises:
            InvitationEnded: it has ended so long ago that nobody remembers how.
            NotLoggedIn, HubClosed: the session or the hub ended first; the invitation did not.
        """
        watch = self._actor.hub.watch(self._actor, str.__str__(self))
        try:
            return await watch.outcome()
        finally:
            watch.close()

    def __aiter__(self) -> AsyncIterator[Event]:
        """Iterate over the invitation's events, one's own included; ends after the last.

        Begun soon after `invite` has returned, it yields every event from the opening on. The hub
        keeps the last 1,024 events of all invitations for those who begin later; older ones of this
        invitation are left out.
        """
        return self._actor.hub.watch(self._actor, str.__str__(self))

    async def cancel(self, data: str = "", *, request_id: str | None = None) -> None:
        """Cancel the invitation; see `Signaling.cancel`."""
        await self._actor.signaling.cancel(self, data, request_id=request_id)


class Watch:
    """One follower of an invitation: an outcome that is awaited, or an iteration."""

    def __init__(
        self,
        actor: Actor,
        invite_id: str,
        statuses: dict[str, str],
        capacity: int,
        past: list[Event],
    ) -> None:
        self._actor = actor
        self._invite_id = invite_id
        self._statuses = statuses
        self._capacity = capacity
        self._waiting: deque[Event] = deque(past)
        self._waiter: asyncio.Future[None] | None = None
        self._only_outcome = False
        self._outcome: Outcome | None = None
        self._error: SignalingError | None = None

    def feed(self, event: Event) -> None:
        """Hear an event; called by delivery."""
        status = _STATUS_AFTER.get(event.kind)
        if status is not None:
            for user in event.affected:
                self._statuses[user] = status
        if not self._only_outcome:
            if len(self._waiting) >= self._capacity:
                self.fail(LimitExceeded("too many events wait for this iteration: read it faster"))
                return
            self._waiting.append(event)
        if event.ends:
            state = "cancelled" if event.kind == "cancelled" else "completed"
            self.end(Outcome(self._invite_id, state, event.reason, self._statuses, event))
        else:
            self._wake()

    def end(self, outcome: Outcome) -> None:
        """Note how the invitation ended."""
        self._outcome = outcome
        self._actor.watches.discard(self)
        self._wake()

    def fail(self, error: SignalingError) -> None:
        """Stop following, with an error for whoever waits."""
        self._error = error
        self.close()
        self._wake()

    def close(self) -> None:
        """Stop following."""
        self._actor.hub.unwatch(self._actor, self._invite_id, self)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self) -> None:
        if self._waiter is not None:
            raise RuntimeError("this iteration is read by another task: begin one for each")
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    async def outcome(self) -> Outcome:
        """Wait for the end."""
        self._only_outcome = True
        while self._outcome is None:
            if self._error is not None:
                raise self._error.again()
            await self._wait()
        return self._outcome

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        while not self._waiting:
            if self._error is not None:
                raise self._error.again()
            if self._outcome is not None:
                raise StopAsyncIteration
            await self._wait()
        return self._waiting.popleft()

    async def aclose(self) -> None:
        """Stop following."""
        self.close()
