"""The operations on invitations (SPEC §2).

A `Signaling` acts for a session, or for a user whom the embedding server acts for. It checks the
parameters, in the order of SPEC §2, and hands a command to the hub. What need not wait is done
before it comes here, in `direct`; a coroutine here comes back in the same turn of the loop too,
unless something must come first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from pysignal import text
from pysignal.direct import TIMEOUT_MAX_S, DirectSignaling
from pysignal.engine.views import InvitationInfo
from pysignal.errors import (
    AlreadyTold,
    InvalidParameter,
    NotPermitted,
)
from pysignal.invitation import Invitation
from pysignal.listeners import SignalingListener
from pysignal.shard import LookUp, More, too_late

if TYPE_CHECKING:
    from pysignal.session import Session

_VERSION_MAX: Final = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class SignalingInfo:
    """An invitation as a push or a message tells of it (SPEC §2, `add_invited_signaling`).

    Attributes:
        invite_id: its ID.
        inviter: who invites.
        group_id: the group, `""` for none.
        invitee_list: who is invited, in the order of invitation.
        data: the inviter's data.
        timeout: whole seconds, 0 for never.
        action_type: 1 invite, 2 cancel, 3 accept, 4 reject, 5 timeout.
    """

    invite_id: str
    inviter: str
    group_id: str = ""
    invitee_list: tuple[str, ...] | list[str] = ()
    data: str = ""
    timeout: int = 0
    action_type: int = 1


class Signaling(DirectSignaling):
    """The operations on invitations, for one actor.

    Every operation that changes something takes `request_id`: called again with the same one, it
    returns the first result and changes nothing. Cancelling the await does not undo an operation.
    """

    # -- opening -----------------------------------------------------------------------------------

    async def _invite(
        self,
        invitee: str | Sequence[str],
        data: str | None,
        timeout: float,  # noqa: ASYNC109 - of the invitation, not of the call
        online_user_only: bool,
        request_id: str | None,
    ) -> Invitation:
        actor = self._actor
        actor._require()
        hub = actor.hub
        data = text.data(data, bytes_max=hub.limits.data_bytes_max)
        invitees: str | list[str]
        if isinstance(invitee, str):
            invitees = text.user_id(invitee, "invitee")
        else:
            invitees = list(text.user_ids(invitee, "invitee"))
            check_size(invitees, "invitee", hub.limits.invitees_max)
            if not invitees:
                raise InvalidParameter("invitee", "the list is empty: name at least one user")
            if len(invitees) == 1:
                invitees = invitees[0]
        check_bool(online_user_only, "online_user_only")
        args = (invitees, data, timeout_ms(timeout), online_user_only)
        if request_id is None:
            invite_id = await hub._perform(
                hub.shard.invite, actor.user_id, actor.device_number, *args
            )
        else:
            invite_id = await self._once(request_id, "invite", hub.shard.invite, args)
        return Invitation(invite_id, actor)

    async def invite_in_group(
        self,
        group_id: str,
        invitee_list: Sequence[str],
        data: str | None = "",
        *,
        timeout: float = 30,  # noqa: ASYNC109 - of the invitation, not of the call
        online_user_only: bool = False,
        notify: Literal["members", "parties"] = "members",
        request_id: str | None = None,
    ) -> Invitation:
        """Invite members of a group.

        Args:
            group_id: a group whose member the actor is.
            invitee_list: members; an empty list only tells the group, and is born completed.
            data: opaque text, at most 12 KiB of UTF-8.
            timeout: seconds, rounded to ms; 0 for never, at most 30 days.
            online_user_only: only sessions that are online now are told of the opening.
            notify: `"members"` tells every member of the group, `"parties"` only inviter and
                invitees.
            request_id: see the class.

        Returns:
            The ID of the invitation, with an outcome to await.

        Raises:
            DataTooLong, InvalidParameter, LimitExceeded, NoGroupPermission, NoSuchGroup,
            NotLoggedIn.
        """
        actor = self._actor
        actor._require()
        hub = actor.hub
        data = text.data(data, bytes_max=hub.limits.data_bytes_max)
        group_id = text.group_id(group_id)
        invitees = list(text.user_ids(invitee_list, "invitee_list"))
        check_size(invitees, "invitee_list", hub.limits.invitees_max)
        check_bool(online_user_only, "online_user_only")
        if notify not in ("members", "parties"):
            raise InvalidParameter("notify", f'"members" or "parties", not {notify!r}')
        args = (
            group_id,
            invitees,
            data,
            timeout_ms(timeout),
            online_user_only,
            notify == "parties",
        )
        if request_id is None:
            invite_id = await hub._perform(
                hub.shard.invite_in_group, actor.user_id, actor.device_number, *args
            )
        else:
            invite_id = await self._once(
                request_id, "invite_in_group", hub.shard.invite_in_group, args
            )
        return Invitation(invite_id, actor)

    # -- answering ---------------------------------------------------------------------------------

    async def modify_invitation(
        self,
        invite_id: str,
        data: str | None,
        *,
        expected_version: int | None = None,
        request_id: str | None = None,
    ) -> None:
        """Replace the data of an open invitation as its inviter.

        Args:
            invite_id: not online-only.
            data: the new data.
            expected_version: refuse unless this is the invitation's `data_version`.
            request_id: see the class.

        Raises:
            InvitationEnded: it has ended.
            NotPermitted: the actor is not the inviter.
            NotAvailable: it is online-only.
            VersionConflict: it was modified meanwhile.
            DataTooLong, InvalidParameter, NotLoggedIn.
        """
        self._actor._require()
        if expected_version is not None and not _is_version(expected_version):
            text.data(data, bytes_max=self._actor.hub.limits.data_bytes_max)
            raise InvalidParameter("expected_version", f"1 or more, not {expected_version!r}")
        version = min(expected_version or 0, _VERSION_MAX)
        await self._answer("modify_invitation", invite_id, data, request_id, version)

    async def _answer(
        self,
        name: str,
        invite_id: str,
        data: str | None,
        request_id: str | None,
        *more: Any,
    ) -> None:
        actor = self._actor
        actor._require()
        hub = actor.hub
        command = getattr(hub.shard, name.removesuffix("_invitation"))
        data = text.data(data, bytes_max=hub.limits.data_bytes_max)
        invite_id = text.exact(invite_id, "invite_id")
        if request_id is None:
            await hub._perform(command, actor.user_id, actor.device_number, invite_id, data, *more)
        else:
            await self._once(request_id, name, command, (invite_id, data, *more))

    async def _once(self, request_id: str, name: str, command: Any, args: tuple[Any, ...]) -> Any:
        actor = self._actor
        command = actor.hub._requests.once(actor.user_id, request_id, (name, *args), command)
        return await actor.hub._perform(command, actor.user_id, actor.device_number, *args)

    # -- looking up --------------------------------------------------------------------------------

    async def open_invitations(self, group_id: str) -> list[InvitationInfo]:
        """Return the group's open invitations that every member hears of, whole, oldest first.

        Raises:
            InvalidParameter, NoGroupPermission, NoSuchGroup, NotLoggedIn.
        """
        actor = self._actor
        actor._require()
        group_id = text.group_id(group_id)
        shard = actor.hub.shard
        found = LookUp(lambda: shard.machine.open_ids_in(group_id))
        infos: list[InvitationInfo] = await actor.hub._perform(
            shard.open_in, actor.user_id, group_id, found
        )
        return infos

    async def add_invited_signaling(
        self, info: SignalingInfo, *, request_id: str | None = None
    ) -> None:
        """Mark an open invitation that was learned elsewhere (a push) as told to this session.

        Sends nothing and rings nothing. The info is checked against the engine's own record.

        Raises:
            InvitationEnded: it has ended, or the actor has answered.
            NotPermitted: the actor is not an invitee.
            AlreadyTold: this session knows it.
            InvalidParameter: inviter, group or list differ from the record.
            NotLoggedIn.
        """
        actor = self._actor
        actor._require()
        for name in ("invite_id", "inviter", "group_id"):
            if not isinstance(getattr(info, name, None), str):
                raise InvalidParameter("info", f"{name} must be a str: pass a SignalingInfo")
        if not isinstance(getattr(info, "invitee_list", None), (list, tuple)):
            raise InvalidParameter("info", "invitee_list must be a list of users")

        invite_id = text.exact(info.invite_id, "info")

        def check_and_add(now_ms: int) -> More | None:
            actor._require()  # it may have waited, and the session have logged out
            found = actor.hub.shard.info(now_ms, invite_id)
            if isinstance(found, More):
                return found
            self._add(info, found)
            return None

        command: Any = check_and_add
        if request_id is not None:
            arguments = ("add_invited_signaling", invite_id, info.inviter, info.group_id)
            command = actor.hub._requests.once(
                actor.user_id, request_id, (*arguments, *info.invitee_list), command
            )
        await actor.hub._perform(command)

    def _add(self, info: SignalingInfo, found: InvitationInfo | None) -> None:
        actor = self._actor
        user = actor.user_id
        if found is None or found.state != "open":
            party = found is not None and (user in found.statuses or user == found.inviter)
            raise too_late(found if party else None, user)
        status = found.statuses.get(user)
        if status is None:
            raise NotPermitted("the invitation is not for this user: drop the push")
        if status != "pending":
            raise too_late(found, user)
        if actor.hub._is_told(actor, found.invite_id):
            raise AlreadyTold("this session knows the invitation: drop the push")
        for name in ("inviter", "group_id"):
            if getattr(info, name) != getattr(found, name):
                raise InvalidParameter("info", f"{name} differs from the invitation's own record")
        if list(info.invitee_list) != found.invitee_list:
            raise InvalidParameter("info", "invitee_list differs from the invitation's own record")
        actor.hub._tell(actor, found)

    def add_signaling_listener(self, listener: SignalingListener) -> None:
        """Add a listener, before the login or after; the same one twice counts once."""
        self._session().add_signaling_listener(listener)

    def remove_signaling_listener(self, listener: SignalingListener) -> None:
        """Remove a listener; nothing of it is called once this has returned."""
        self._session().remove_signaling_listener(listener)

    def _session(self) -> Session:
        session: Any = self._actor
        if not hasattr(session, "add_signaling_listener"):
            raise InvalidParameter("listener", "an act of the server has no listeners: log in")
        return session  # type: ignore[no-any-return]


def check_size(invitees: list[str], parameter: str, limit: int) -> None:
    """Refuse a list of invitees that is too long."""
    if len(invitees) > limit:
        raise InvalidParameter(
            parameter, f"{len(invitees)} users, at most {limit} can be invited at once"
        )


def check_bool(value: object, parameter: str) -> None:
    """Refuse what is neither True nor False."""
    if not isinstance(value, bool):
        raise InvalidParameter(parameter, f"True or False, not {value!r}")


def _is_version(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def timeout_ms(timeout: object) -> int:
    """Milliseconds of a timeout in seconds: the nearest, but not 0 unless it was 0."""
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise InvalidParameter("timeout", f"seconds as int or float, not {type(timeout).__name__}")
    if not 0 <= timeout <= TIMEOUT_MAX_S:  # NaN is neither
        raise InvalidParameter(
            "timeout", f"0 (never) to {TIMEOUT_MAX_S} seconds (30 days), not {timeout!r}"
        )
    return max(round(timeout * 1000), 1) if timeout else 0
