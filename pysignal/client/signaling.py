"""The operations on invitations (SPEC §2), as requests to a server.

Parameters are handed over in the order in which they are to be judged: where one cannot be sent at
all, it is the first such one that is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pysignal.client.handle import RemoteInvitation
from pysignal.engine.views import InvitationInfo
from pysignal.errors import InvalidParameter
from pysignal.invitation import Invitation
from pysignal.listeners import SignalingListener
from pysignal.protocol.reading import info_from

if TYPE_CHECKING:
    from pysignal.client.session import RemoteSession
    from pysignal.protocol.results import InviteResult
    from pysignal.signaling import SignalingInfo


class RemoteSignaling:
    """The operations on invitations, for one session of a server.

    They are those of `pysignal.Signaling`, with the same refusals; besides, each raises
    `OutcomeUnknown` where it was sent and no answer came in time, and `NotLoggedIn` where it could
    not be sent. Cancelling the await does not undo an operation.
    """

    def __init__(self, session: RemoteSession) -> None:
        self._session = session

    async def invite(
        self,
        invitee: str | Sequence[str],
        data: str | None = "",
        *,
        timeout: float = 30,  # noqa: ASYNC109 - of the invitation, not of the call
        online_user_only: bool = False,
        offline_push_info: object = None,
        request_id: str | None = None,
    ) -> Invitation:
        """Invite one user, or several without a group; see `Signaling.invite`."""
        params: dict[str, Any] = {
            "data": data,
            "invitee": invitee,
            "online_user_only": online_user_only,
            "timeout": timeout,
            "offline_push_info": offline_push_info,
            "request_id": request_id,
        }
        return await self._open("invite", params, "", invitee)

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
        """Invite members of a group; see `Signaling.invite_in_group`."""
        params: dict[str, Any] = {
            "data": data,
            "group_id": group_id,
            "invitee_list": invitee_list,
            "online_user_only": online_user_only,
            "notify": notify,
            "timeout": timeout,
            "request_id": request_id,
        }
        return await self._open("invite_in_group", params, group_id, invitee_list)

    async def _open(
        self, method: str, params: dict[str, Any], group_id: str, invitees: str | Sequence[str]
    ) -> Invitation:
        session = self._session
        session._require()

        def note(result: InviteResult) -> None:
            if not isinstance(invitees, str):
                session._intake.invited(result.invite_id, session.user_id, group_id, invitees)

        result = await session._calls.ask(method, params, noted=note)
        return RemoteInvitation(result.invite_id, session)

    async def accept(
        self, invite_id: str, data: str | None = "", *, request_id: str | None = None
    ) -> None:
        """Accept as a pending invitee; see `Signaling.accept`."""
        await self._answer("accept", invite_id, data, request_id)

    async def reject(
        self, invite_id: str, data: str | None = "", *, request_id: str | None = None
    ) -> None:
        """Reject as a pending invitee; see `Signaling.reject`."""
        await self._answer("reject", invite_id, data, request_id)

    async def cancel(
        self, invite_id: str, data: str | None = "", *, request_id: str | None = None
    ) -> None:
        """Cancel as the inviter; see `Signaling.cancel`."""
        await self._answer("cancel", invite_id, data, request_id)

    async def modify_invitation(
        self,
        invite_id: str,
        data: str | None,
        *,
        expected_version: int | None = None,
        request_id: str | None = None,
    ) -> None:
        """Replace the data of an open invitation; see `Signaling.modify_invitation`."""
        more = {} if expected_version is None else {"expected_version": expected_version}
        await self._answer("modify_invitation", invite_id, data, request_id, **more)

    async def _answer(
        self, method: str, invite_id: str, data: str | None, request_id: str | None, **more: Any
    ) -> None:
        self._session._require()
        params = {"data": data, **more, "invite_id": invite_id, "request_id": request_id}
        await self._session._calls.ask(method, params)

    async def open_invitations(self, group_id: str) -> list[InvitationInfo]:
        """Return a group's open invitations; see `Signaling.open_invitations`."""
        self._session._require()
        found = await self._session._calls.ask(
            "open_invitations", {"group_id": group_id}, is_changing=False
        )
        return [info_from(fields) for fields in found]

    async def add_invited_signaling(
        self, info: SignalingInfo, *, request_id: str | None = None
    ) -> None:
        """Mark an invitation that was learned elsewhere; see `Signaling.add_invited_signaling`."""
        self._session._require()
        told = {
            name: getattr(info, name, None)
            for name in ("invite_id", "inviter", "group_id", "invitee_list")
        }
        for name, value in told.items():
            if not isinstance(value, (list, tuple) if name == "invitee_list" else str):
                raise InvalidParameter("info", f"{name}: pass a SignalingInfo")
        await self._session._calls.ask(
            "add_invited_signaling",
            {"info": told, "request_id": request_id},
            noted=lambda _: self._session._intake.told(info.invite_id),
        )

    def add_signaling_listener(self, listener: SignalingListener) -> None:
        """Add a listener, before the login or after; the same one twice counts once."""
        self._session.add_signaling_listener(listener)

    def remove_signaling_listener(self, listener: SignalingListener) -> None:
        """Remove a listener; nothing of it is called once this has returned."""
        self._session.remove_signaling_listener(listener)
