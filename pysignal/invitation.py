"""The handle that `invite` returns: the ID of an invitation, with what can be awaited on top.

A handle costs nothing until it is asked for something. Asked for its outcome or its events, it is
entered with the hub as a `Watch`, which delivery feeds before any listener: so a listener may await
it, and a slow listener delays nobody who does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, Self

from pysignal.engine.facts import Event
from pysignal.engine.views import InvitationInfo
from pysignal.errors import InvitationEnded, LimitExceeded, NotPermitted, SignalingError
from pysignal.following import Outcome, OutcomeWatch, Watch, follow_at_once
from pysignal.streams import EventQueue, EventStream

if TYPE_CHECKING:
    from pysignal.hub import Hub
    from pysignal.signaling import Signaling


class Actor(Protocol):
    """For whom a `Signaling` acts: a session, or a user named by the embedding server."""

    hub: Hub
    user_id: str
    device_number: int
    _watches: dict[Watch, None]
    signaling: Signaling

    def _require(self) -> None:
        """Refuse a call that may not be made now."""

    def _may_follow(self, info: InvitationInfo) -> bool:
        """Whether the actor hears of an invitation."""


class Invitation(str):
    """The ID of an invitation, as `invite` returns it: a `str`, with what can be awaited on top.

    Equal to its ID, hashed as it, and serialised as it. What it hears comes from the hub, never
    behind a listener, so a callback may await it.
    """

    __slots__ = ("_actor",)

    _actor: Any  # an `Actor`; that of an invitation of a server is its session

    def __new__(cls, invite_id: str, actor: Any) -> Self:
        """Make the handle of an invitation.

        Args:
            invite_id: its ID.
            actor: who asks for the outcome and cancels.
        """
        kind = cls if cls is not Invitation else getattr(actor, "_handle", cls)
        handle: Self = super().__new__(kind, invite_id)
        handle._actor = actor
        return handle

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (str.__str__(self),)

    async def outcome(self) -> Outcome:
        """Wait until the invitation has ended, and return how.

        Raises:
            InvitationEnded: it has ended so long ago that nobody remembers how.
            NotPermitted: the actor is no party to it, nor hears of it as a member of the group.
            NotLoggedIn, HubClosed: the session or the hub ended first; the invitation did not.
        """
        watch = follow_at_once(self._actor, str.__str__(self))
        if watch is None:
            watch = OutcomeWatch(self._actor, str.__str__(self))
            hub = self._actor.hub
            watch.ending = hub._loop.create_future()
            try:
                info, is_over = hub._watch(watch)
            except (InvitationEnded, NotPermitted):
                await hub._until_durable()  # it may rest on an end that is not durable yet
                raise
            if is_over:
                last = hub._delivery.recall(watch.invite_id)[-1:]
                return Outcome(watch.invite_id, info.state, info.reason, info.statuses, *last)
            watch.statuses = info.statuses
        try:
            return await watch.ending
        finally:
            watch.stop()

    def __aiter__(self) -> EventStream:
        """Iterate over the invitation's events, one's own included; ends after the last.

        Begun soon after `invite` has returned, it yields every event from the opening on. The hub
        keeps the last 1,024 events of all invitations for those who begin later; older ones of this
        invitation are left out.

        Raises:
            NotLoggedIn, HubClosed: the session is not logged in, or the hub is not open. Where that
                comes later, the iteration ends with it.
            InvitationEnded, NotPermitted: as for `outcome`, by the first step of the iteration.
            LimitExceeded: by a step, after the events that found room: it was read too slowly.
        """
        watch = _EventWatch(self._actor, str.__str__(self))
        return watch.follow(self._actor.hub.limits.queue_max)

    async def cancel(self, data: str = "", *, request_id: str | None = None) -> None:
        """Cancel the invitation; see `Signaling.cancel`."""
        await self._actor.signaling.cancel(self, data, request_id=request_id)


class _EventWatch(Watch):
    """Somebody who iterates over the events."""

    def follow(self, capacity: int) -> EventStream:
        hub = self.actor.hub
        try:
            _, is_over = hub._watch(self)
        except (InvitationEnded, NotPermitted) as refusal:
            return _RefusedStream(hub, refusal.again(), self.stop)
        self._queue = EventQueue(capacity, hub._delivery.recall(self.invite_id))
        if is_over:
            self._queue.end()
        return EventStream(self._queue, self.stop)

    def feed(self, event: Event) -> None:
        if not self._queue.put(event):
            self.fail(LimitExceeded("too many events wait for this iteration: read it faster"))
        elif event.ends:
            self._queue.end()
            self.stop()

    def fail(self, error: SignalingError) -> None:
        self._queue.end(error)
        self.stop()


class _RefusedStream(EventStream):
    """An iteration that was refused; each step says so, when what it may rest on is durable."""

    def __init__(self, hub: Hub, refusal: SignalingError, stop: Callable[[], None]) -> None:
        queue = EventQueue(0)
        queue.end(refusal)
        super().__init__(queue, stop)
        self._hub = hub

    async def __anext__(self) -> Event:
        await self._hub._until_durable()
        return await super().__anext__()
