"""Listener base classes, and how a listener's methods are found and called.

A listener is a subclass that overrides what it wants to hear. A listener of plain methods is called
by the hub when it delivers; one with an `async def` method by its session's courier.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from pysignal.engine.facts import Event
from pysignal.errors import SignalingError
from pysignal.receivers import Subscription


class SignalingListener:
    """Override what you want to hear; each method can be a plain one or `async def`.

    Plain methods are called when the hub delivers. A listener with an `async def` method is called,
    with all its methods, in one task of its session, so that it hears everything in order.

    Who hears what is the table of SPEC §4: the acting session hears nothing of what it did itself,
    the actor's other sessions do. Users, groups and invitations are given by their IDs.
    """

    def on_receive_new_invitation(
        self, invite_id: str, inviter: str, group_id: str, invitee_list: list[str], data: str
    ) -> Awaitable[None] | None:
        """Hear of a new invitation.

        Args:
            invite_id: its ID, for `accept`, `reject` and `cancel`.
            inviter: who invites.
            group_id: the group, `""` where there is none.
            invitee_list: who is invited, in the order of invitation.
            data: the inviter's data, byte-exact.
        """
        return None

    def on_invitee_accepted(
        self, invite_id: str, invitee: str, data: str
    ) -> Awaitable[None] | None:
        """Hear that an invitee accepted.

        Args:
            invite_id: the invitation.
            invitee: who accepted; yourself where another device of yours did.
            data: the invitee's data.
        """
        return None

    def on_invitee_rejected(
        self, invite_id: str, invitee: str, data: str
    ) -> Awaitable[None] | None:
        """Hear that an invitee rejected, or left the group while pending (data `""`).

        Args:
            invite_id: the invitation.
            invitee: who rejected.
            data: the invitee's data.
        """
        return None

    def on_invitation_cancelled(
        self, invite_id: str, inviter: str, data: str
    ) -> Awaitable[None] | None:
        """Hear that an invitation was cancelled.

        Args:
            invite_id: the invitation.
            inviter: who had invited.
            data: the inviter's data, `""` where the server or a group change cancelled.
        """
        return None

    def on_invitation_timeout(
        self, invite_id: str, invitee_list: list[str]
    ) -> Awaitable[None] | None:
        """Hear that an invitation's deadline has passed.

        Args:
            invite_id: the invitation.
            invitee_list: who had not answered, in the order of invitation.
        """
        return None

    def on_invitation_modified(self, invite_id: str, data: str) -> Awaitable[None] | None:
        """Hear that the inviter replaced the invitation's data.

        Args:
            invite_id: the invitation.
            data: the new data.
        """
        return None

    def on_signaling_event(self, event: Event) -> Awaitable[None] | None:
        """Hear any of the above as one object, with all that the callbacks have no room for.

        Args:
            event: shared by all who hear it, and read-only.
        """
        return None

    def on_signaling_events(self, events: list[Event]) -> Awaitable[None] | None:
        """Hear the same in batches: for classes of thousands, where everybody hears everybody.

        Each event that the session hears comes in exactly one batch, in the order of the commits;
        a batch has what one turn of the loop, or two where there is much, has brought. The other
        methods of the listener are called for each event as well, before its batch; handles
        (`Invitation.outcome`, iterations) hear it before both.

        Args:
            events: at least one; the list is the listener's own, the events are shared.
        """
        return None


class ConnectionListener:
    """Override what you want to hear of the session itself; plain methods or `async def`.

    An embedded session calls `on_disconnected` and `on_kicked_offline` alone; one of a server calls
    all of them, in the order in which things happened.
    """

    def on_connecting(self) -> Awaitable[None] | None:
        """Hear that there is no connection, and that one is tried for until there is one.

        Calls that are made meanwhile wait for it, up to their timeout.
        """
        return None

    def on_connected(self) -> Awaitable[None] | None:
        """Hear that the session is logged in at its server, for the first time or again.

        `session.recovered` tells whether it has gone on as if nothing had happened; else
        `session.snapshot` is a new one.
        """
        return None

    def on_disconnected(self, error: SignalingError) -> Awaitable[None] | None:
        """Hear that the session has ended without a logout, or has lost its connection.

        `session.online` tells the two apart: it is True while a connection is tried for again.

        Args:
            error: why: the session was too slow (7008; log in hot to catch up), the hub was closed
                (6013), the connection was lost (6012), or the server has refused the login.
        """
        return None

    def on_kicked_offline(self, error: SignalingError) -> Awaitable[None] | None:
        """Hear that a newer login of the same device took this session's place.

        Args:
            error: code 6208.
        """
        return None

    def on_token_expired(self) -> Awaitable[None] | None:
        """Hear that the session has ended, as its token has expired: log in with a fresh one.

        Not called while `token` is a callable that gives fresh ones.
        """
        return None


# The method for each kind of event, by the number of the kind (`Event.kind`).
_METHODS = (
    "",
    "on_receive_new_invitation",
    "on_invitee_accepted",
    "on_invitee_rejected",
    "on_invitation_cancelled",
    "on_invitation_timeout",
    "on_invitation_modified",
)


def subscribe(listener: object, base: type) -> Subscription:
    """Look up what a listener overrides, once.

    Where one of its methods is `async def`, all are called by the session's courier: what a
    listener hears is in order, however its methods are written.
    """
    found = {
        name: overridden(listener, base, name) for name in vars(base) if name.startswith("on_")
    }
    return Subscription(
        listener,
        [found.get(name) for name in _METHODS],
        found.get("on_signaling_event"),
        found.get("on_signaling_events"),
        any(method is not None and is_async(method) for method in found.values()),
    )


def overridden(listener: object, base: type, name: str) -> Callable[..., Any] | None:
    """Return a listener's method, or None where it is the one of the base class."""
    method: Callable[..., Any] = getattr(listener, name)
    if getattr(method, "__func__", None) is getattr(base, name):
        return None
    return method


def is_async(method: Callable[..., Any]) -> bool:
    """Whether a method is `async def`."""
    return inspect.iscoroutinefunction(method) or inspect.iscoroutinefunction(
        getattr(method, "__call__", None)  # noqa: B004 - an object whose __call__ is async
    )
