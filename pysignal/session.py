"""A session: one device of a user, and the interface that code is written against.

The same interface stands in front of an embedded hub and of a server far away, so that code moves
between them unchanged. A session does nothing until it is logged in; a newer login of the same
device, a logout, an overflowing queue and the end of the hub all end it for good, except that it
may log in again.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Self

from pysignal.engine.facts import Event
from pysignal.engine.views import InvitationInfo
from pysignal.errors import (
    HubClosed,
    InvalidParameter,
    NotLoggedIn,
    OutcomeUnknown,
    SignalingError,
)
from pysignal.groups.operations import GroupOperations
from pysignal.listening import ListeningSession
from pysignal.listening import Start as Start
from pysignal.presence import Snapshot
from pysignal.signaling import Signaling

if TYPE_CHECKING:
    from pysignal.following import Watch
    from pysignal.hub import Hub

# Waits that fail in one turn of the loop, when their session ends.
FAILED_PER_TURN: Final = 512


class Session(ListeningSession):
    """One device of a user; made by `Hub.session` and `Hub.login`.

    Attributes:
        user_id: the user.
        device_id: the device.
        signaling: the operations on invitations (SPEC §2).
        groups: the operations on groups (SPEC §8).
        snapshot: what the last login found: open invitations, and those that ended meanwhile.
    """

    signaling: Signaling

    def __init__(self, hub: Hub, user_id: str, device_id: str) -> None:
        super().__init__(user_id, device_id, hub.limits.queue_max, hub._couriers)
        self.hub = hub
        self.signaling = Signaling(self)
        self.groups = GroupOperations(self)
        self.snapshot = Snapshot(0)
        self._told = 0  # commit position up to which the last login had nothing more to ring
        self._is_abandoned = False
        self._end: SignalingError | None = None

    # -- login -------------------------------------------------------------------------------------

    async def login(self, start: Start = "cold") -> None:
        """Come online. Callbacks begin after this has returned.

        Args:
            start: `"cold"` for a new process, which is told again what waits for an answer; `"hot"`
                for the same device coming back, which is told what it has missed (SPEC §7).

        Raises:
            LimitExceeded: the user has too many sessions.
            HubClosed: the hub is not open.
        """
        if start not in ("cold", "hot"):
            raise InvalidParameter("start", f'"cold" or "hot", not {start!r}')
        await self.hub._log_in(self, start == "cold")

    async def logout(self) -> None:
        """Go offline. Invitations stay as they are; waiting outcomes fail with 6014."""
        self._require()
        self.hub._log_out(self, NotLoggedIn("the session has logged out: log in again"))
        # So that the device is not rung again after a restart. A journal that has failed is told of
        # by every operation, and need keep nobody from leaving.
        with suppress(OutcomeUnknown):
            await self.hub._until_durable()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.online and self.hub.is_open:  # else the end of the hub logs it out
            await self.logout()

    def _require(self) -> None:
        """Refuse a call without a login, or from another thread."""
        self.hub._require()
        if self.online:
            return
        if self._end is not None:
            raise NotLoggedIn(f"the session is not logged in: {self._end.message}")
        raise NotLoggedIn("the session is not logged in: await session.login() first")

    def _abandon(self) -> None:
        """Let a login that was given up come to nothing; called where nobody has the session."""
        self._is_abandoned = True
        if self.online:
            self.hub._log_out(self, NotLoggedIn("the login was given up"))

    def _may_follow(self, info: InvitationInfo) -> bool:
        """Whether the session hears of an invitation: as a party, or as a member of its group."""
        if self.user_id == info.inviter or self.user_id in info.statuses:
            return True
        groups = self.hub.shard.groups
        return not info.parties_only and groups.is_member(info.group_id, self.user_id)

    def _heard_up_to(self) -> int | None:
        """The commit position up to which it has heard everything; None for all but what is lost.

        What is lost is told by name to who takes it offline; a session far away may not know all.
        """
        return None

    def _doubtful(self) -> dict[str, int]:
        """The openings that may have been heard or not, with their commit positions."""
        return {}

    def _ended(self, error: SignalingError, callback: str = "") -> None:
        """Note that the session is offline; called by the hub once it is.

        Args:
            error: why.
            callback: the method of `ConnectionListener` that hears it, if any.
        """
        self._end = error
        self._end_streams()
        failure = error if isinstance(error, HubClosed) else NotLoggedIn(error.message)
        self._fail(list(reversed(self._watches)), failure)
        if callback:
            self._tell_connection(callback, error)

    def _fail(self, watches: list[Watch], error: SignalingError) -> None:
        """Fail those who wait for an invitation, some at each turn: there may be thousands."""
        for _ in range(min(FAILED_PER_TURN, len(watches))):
            watches.pop().fail(error)
        if watches:
            self._call_soon(self._fail, watches, error)

    # -- as every session that is listened to ------------------------------------------------------

    def _require_thread(self) -> None:
        self.hub._require_thread()

    def _call_soon(self, call: Callable[..., object], *args: Any) -> None:
        self.hub._call_soon(call, *args)

    def _disconnect(self, error: SignalingError, missed: tuple[Event, ...]) -> None:
        self.hub._log_out(self, error, "on_disconnected", missed)

    def __repr__(self) -> str:
        state = "online" if self.online else "offline"
        return f"<Session {self.user_id} device {self.device_id} {state}>"
