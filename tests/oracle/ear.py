"""A listener that writes down everything that a session hears."""

from __future__ import annotations

from typing import Any

from pysignal import (
    ConnectionListener,
    GroupListener,
    SignalingError,
    SignalingEvent,
    SignalingListener,
)


class Ear(SignalingListener, GroupListener, ConnectionListener):
    """The ear of one session.

    Attributes:
        calls: callbacks as (name without `on_`, parameters).
        events: those of invitations, beside their callbacks.
        connection: the codes of what the connection listener was told.
        logins: how often the session has logged in.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.events: list[SignalingEvent] = []
        self.connection: list[int] = []
        self.logins = 0

    def on_receive_new_invitation(
        self, invite_id: str, inviter: str, group_id: str, invitee_list: list[str], data: str
    ) -> None:
        self.calls.append(
            ("receive_new_invitation", invite_id, inviter, group_id, invitee_list, data)
        )

    def on_invitee_accepted(self, invite_id: str, invitee: str, data: str) -> None:
        self.calls.append(("invitee_accepted", invite_id, invitee, data))

    def on_invitee_rejected(self, invite_id: str, invitee: str, data: str) -> None:
        self.calls.append(("invitee_rejected", invite_id, invitee, data))

    def on_invitation_cancelled(self, invite_id: str, inviter: str, data: str) -> None:
        self.calls.append(("invitation_cancelled", invite_id, inviter, data))

    def on_invitation_timeout(self, invite_id: str, invitee_list: list[str]) -> None:
        self.calls.append(("invitation_timeout", invite_id, invitee_list))

    def on_invitation_modified(self, invite_id: str, data: str) -> None:
        self.calls.append(("invitation_modified", invite_id, data))

    def on_signaling_event(self, event: SignalingEvent) -> None:
        self.events.append(event)

    def on_group_created(self, group_id: str) -> None:
        self.calls.append(("group_created", group_id))

    def on_group_dismissed(self, group_id: str, op_user: str) -> None:
        self.calls.append(("group_dismissed", group_id, op_user))

    def on_group_info_changed(self, group_id: str, changes: dict[str, str]) -> None:
        self.calls.append(("group_info_changed", group_id, changes))

    def on_member_enter(self, group_id: str, member_list: list[str]) -> None:
        self.calls.append(("member_enter", group_id, member_list))

    def on_member_leave(self, group_id: str, member: str) -> None:
        self.calls.append(("member_leave", group_id, member))

    def on_quit_from_group(self, group_id: str) -> None:
        self.calls.append(("quit_from_group", group_id))

    def on_member_invited(self, group_id: str, op_user: str, member_list: list[str]) -> None:
        self.calls.append(("member_invited", group_id, op_user, member_list))

    def on_member_kicked(self, group_id: str, op_user: str, member_list: list[str]) -> None:
        self.calls.append(("member_kicked", group_id, op_user, member_list))

    def on_member_info_changed(self, group_id: str, changes: dict[str, dict[str, str]]) -> None:
        self.calls.append(("member_info_changed", group_id, changes))

    def on_grant_administrator(self, group_id: str, op_user: str, member_list: list[str]) -> None:
        self.calls.append(("grant_administrator", group_id, op_user, member_list))

    def on_revoke_administrator(self, group_id: str, op_user: str, member_list: list[str]) -> None:
        self.calls.append(("revoke_administrator", group_id, op_user, member_list))

    def on_disconnected(self, error: SignalingError) -> None:
        self.connection.append(error.code)

    def on_kicked_offline(self, error: SignalingError) -> None:
        self.connection.append(error.code)
