"""The handle that `invite` returns: the ID of an invitation, with what can be awaited on top.

A handle costs nothing until it is asked for something. Asked for its outcome or its events, it is
entered with the hub as a `Watch`, which delivery feeds before any listener: so a listener may await
it, and a slow listener delays nobody who does.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from pysignal.engine.facts import Event
from pysignal.engine.views import InvitationInfo
from pysignal.errors import InvitationEnded, LimitExceeded, NotPermitted, SignalingError
from pysignal.streams import EventQueue, EventStream

if TYPE_CHECKING:
    from pysignal.delivery import Delivery
    from pysignal.engine.machine import Machine
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
            NotPermitted: the actor is no party to it, nor hears of it as a member of the group.
            NotLoggedIn, HubClosed: the session or the hub ended first; the invitation did not.
        """
        return await _OutcomeWatch(self._actor, str.__str__(self)).outcome()

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


class Watch(ABC):
    """One follower of an invitation, entered with the hub; delivery feeds it.

    Attributes:
        actor: who follows.
        invite_id: what is followed.
    """

    def __init__(self, actor: Actor, invite_id: str) -> None:
        self.actor = actor
        self.invite_id = invite_id

    @abstractmethod
    def feed(self, event: Event) -> None:
        """Hear an event."""

    @abstractmethod
    def fail(self, error: SignalingError) -> None:
        """Stop following, with an error for whoever waits."""

    def give_up(self) -> None:
        """Stop following, as there was no memory to hear an event: who waits asks again."""
        self.fail(LimitExceeded("memory ran out while the invitation was followed: ask again"))

    def stop(self) -> None:
        """Stop following."""
        self.actor.hub._followers.leave(self)


class Followers:
    """Who follows which invitation.

    Args:
        delivery: feeds them.
        machine: the invitations.
    """

    def __init__(self, delivery: Delivery, machine: Machine) -> None:
        self._delivery = delivery
        self._machine = machine
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Watch]:
        """All of them; some may have left by the time they are named."""
        for watches in list(self._delivery.watchers.values()):
            yield from tuple(watches)

    def enter(self, watch: Watch) -> tuple[InvitationInfo, list[Event], bool]:
        """Enter a follower of an invitation.

        Returns:
            (the invitation as it stands, its latest events, whether the last of them was handed
            over: then the follower was not entered, as nothing will follow).

        Raises:
            InvitationEnded: nobody remembers it.
            NotPermitted: the follower does not hear of it.
        """
        info = self._machine.info(watch.invite_id)
        is_over = info is None or 0 < info.ended_position <= self._delivery.fed
        may_follow = info is not None and watch.actor._may_follow(info)
        # To who may not, an end that is remembered is none: they learn open or not, and no more.
        if info is None or (is_over and not may_follow):
            raise InvitationEnded("the invitation is not remembered any more: ask sooner")
        if not may_follow:
            raise NotPermitted("only who hears of an invitation may follow it")
        if not is_over:
            self._delivery.watchers.setdefault(watch.invite_id, []).append(watch)
            watch.actor._watches[watch] = None
            self._count += 1
        return info, self._delivery.recall(watch.invite_id), is_over

    def leave(self, watch: Watch) -> None:
        """Take a follower out; one that is out already is no error."""
        if watch not in watch.actor._watches:
            return
        del watch.actor._watches[watch]
        self._count -= 1
        watches = self._delivery.watchers.get(watch.invite_id)
        if watches is not None and watch in watches:
            watches.remove(watch)
            if not watches:
                del self._delivery.watchers[watch.invite_id]


class _OutcomeWatch(Watch):
    """Somebody who awaits the outcome; each has a future of their own."""

    async def outcome(self) -> Outcome:
        hub = self.actor.hub
        try:
            info, past, is_over = hub._watch(self)
        except (InvitationEnded, NotPermitted):
            await hub._until_durable()  # it may rest on an end that is not durable yet
            raise
        self._statuses = info.statuses
        if is_over:
            last = past[-1] if past else None
            return Outcome(self.invite_id, info.state, info.reason, info.statuses, last)
        self._ending: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        try:
            return await self._ending
        finally:
            self.stop()

    def feed(self, event: Event) -> None:
        status = _STATUS_AFTER.get(event.kind)
        if status is not None:
            for user in event.affected:
                self._statuses[user] = status
        if event.ends and not self._ending.done():
            state = "cancelled" if event.kind == "cancelled" else "completed"
            self._ending.set_result(
                Outcome(self.invite_id, state, event.reason, self._statuses, event)
            )

    def fail(self, error: SignalingError) -> None:
        if not self._ending.done():
            self._ending.set_exception(error.again())


class _EventWatch(Watch):
    """Somebody who iterates over the events."""

    def follow(self, capacity: int) -> EventStream:
        hub = self.actor.hub
        try:
            _, past, is_over = hub._watch(self)
        except (InvitationEnded, NotPermitted) as refusal:
            return _RefusedStream(hub, refusal.again(), self.stop)
        self._queue = EventQueue(capacity, past)
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
