"""Operations: which one a request asks for, and how its result becomes an answer."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from operator import attrgetter
from typing import Any, Final

import orjson
from msgspec.structs import fields

from pysignal.engine.views import InvitationInfo
from pysignal.errors import SignalingError
from pysignal.presence import Snapshot
from pysignal.protocol import messages as m
from pysignal.protocol import params as p
from pysignal.protocol.frames import Bad
from pysignal.protocol.numbers import INTERNAL_ERROR
from pysignal.protocol.refusals import to_wire
from pysignal.protocol.results import GroupFields, InvitationFields, MemberFields
from pysignal.protocol.writing import invite_answer, null_answer
from pysignal.server.session import ServedSession
from pysignal.signaling import SignalingInfo

Operation = Coroutine[Any, Any, Any]


def answer(number: int | None, result: object) -> bytes:
    """Return the answer with a result."""
    return orjson.dumps({"jsonrpc": "2.0", "id": number, "result": result}, default=str)


def refused(number: int | None, error: SignalingError) -> bytes:
    """Return the answer that refuses a request."""
    return orjson.dumps({"jsonrpc": "2.0", "id": number, "error": to_wire(error)}, default=str)


def failed(number: int | None) -> bytes:
    """Return the answer where something is wrong with the server; a client is told no more."""
    error = {
        "code": INTERNAL_ERROR,
        "message": "the server has failed at this request",
    }
    return orjson.dumps({"jsonrpc": "2.0", "id": number, "error": error})


def wrong(bad: Bad) -> bytes:
    """Return the answer to what is no request."""
    return orjson.dumps({"jsonrpc": "2.0", "id": bad.id, "error": bad.error})


# -- results ---------------------------------------------------------------------------------------


def _reader(kind: type) -> Callable[[Any], dict[str, Any]]:
    names = tuple(field.name for field in fields(kind))
    read = attrgetter(*names)
    return lambda found: dict(zip(names, read(found), strict=True))


invitation: Final[Callable[[InvitationInfo], dict[str, Any]]] = _reader(InvitationFields)
_group: Final = _reader(GroupFields)
_member: Final = _reader(MemberFields)


def snapshot(found: Snapshot) -> dict[str, Any]:
    """Return what a login found, as it travels."""
    return {
        "now": found.now,
        "open": list(map(invitation, found.open)),
        "ended": list(map(invitation, found.ended)),
    }


def _null(number: int, _: object) -> bytes:
    return null_answer(number)


def _invited(number: int, invite_id: str) -> bytes:
    return invite_answer(number, str.__str__(invite_id))


def _page(number: int, result: Any) -> bytes:
    members, next_seq = result
    return answer(number, {"members": list(map(_member, members)), "next_seq": next_seq})


# -- operations ------------------------------------------------------------------------------------


def _invite(s: ServedSession, a: p.InviteParams, request_id: str) -> Operation:
    return s.signaling.invite(
        a.invitee,
        a.data,
        timeout=a.timeout,
        online_user_only=a.online_user_only,
        request_id=request_id,
    )


def _invite_in_group(s: ServedSession, a: p.InviteInGroupParams, request_id: str) -> Operation:
    return s.signaling.invite_in_group(
        a.group_id,
        a.invitee_list,
        a.data,
        timeout=a.timeout,
        online_user_only=a.online_user_only,
        notify=a.notify,
        request_id=request_id,
    )


def _accept(s: ServedSession, a: p.AnswerParams, request_id: str) -> Operation:
    return s.signaling.accept(a.invite_id, a.data, request_id=request_id)


def _reject(s: ServedSession, a: p.AnswerParams, request_id: str) -> Operation:
    return s.signaling.reject(a.invite_id, a.data, request_id=request_id)


def _cancel(s: ServedSession, a: p.AnswerParams, request_id: str) -> Operation:
    return s.signaling.cancel(a.invite_id, a.data, request_id=request_id)


def _modify(s: ServedSession, a: p.ModifyParams, request_id: str) -> Operation:
    return s.signaling.modify_invitation(
        a.invite_id, a.data, expected_version=a.expected_version, request_id=request_id
    )


def _add_invited(s: ServedSession, a: p.AddInvitedParams, request_id: str) -> Operation:
    i = a.info
    info = SignalingInfo(
        i.invite_id, i.inviter, i.group_id, i.invitee_list, i.data, i.timeout, i.action_type
    )
    return s.signaling.add_invited_signaling(info, request_id=request_id)


def _open_invitations(s: ServedSession, a: p.GroupParams, _: str) -> Operation:
    return s.signaling.open_invitations(a.group_id)


def _create(s: ServedSession, a: p.CreateGroupParams, request_id: str) -> Operation:
    return s.groups.create_group(
        a.group_type, a.group_id, a.name, member_list=a.member_list, request_id=request_id
    )


def _join(s: ServedSession, a: p.GroupChangeParams, request_id: str) -> Operation:
    return s.groups.join_group(a.group_id, request_id=request_id)


def _quit(s: ServedSession, a: p.GroupChangeParams, request_id: str) -> Operation:
    return s.groups.quit_group(a.group_id, request_id=request_id)


def _dismiss(s: ServedSession, a: p.GroupChangeParams, request_id: str) -> Operation:
    return s.groups.dismiss_group(a.group_id, request_id=request_id)


def _kick(s: ServedSession, a: p.KickParams, request_id: str) -> Operation:
    return s.groups.kick_group_member(a.group_id, a.user, request_id=request_id)


def _invite_users(s: ServedSession, a: p.InviteUsersParams, request_id: str) -> Operation:
    return s.groups.invite_user_to_group(a.group_id, a.user_list, request_id=request_id)


def _set_role(s: ServedSession, a: p.RoleParams, request_id: str) -> Operation:
    return s.groups.set_group_member_role(a.group_id, a.user, a.role, request_id=request_id)


def _transfer(s: ServedSession, a: p.MemberParams, request_id: str) -> Operation:
    return s.groups.transfer_group_owner(a.group_id, a.user, request_id=request_id)


def _set_info(s: ServedSession, a: p.GroupInfoParams, request_id: str) -> Operation:
    return s.groups.set_group_info(
        a.group_id,
        name=a.name,
        introduction=a.introduction,
        notification=a.notification,
        face_url=a.face_url,
        request_id=request_id,
    )


def _set_member_info(s: ServedSession, a: p.MemberInfoParams, request_id: str) -> Operation:
    return s.groups.set_group_member_info(
        a.group_id, a.user, name_card=a.name_card, request_id=request_id
    )


def _group_info(s: ServedSession, a: p.GroupParams, _: str) -> Operation:
    return s.groups.get_group_info(a.group_id)


def _joined(s: ServedSession, a: p.NoParams, _: str) -> Operation:
    return s.groups.get_joined_group_list()


def _members(s: ServedSession, a: p.MemberListParams, _: str) -> Operation:
    return s.groups.get_group_member_list(
        a.group_id, role=a.role, next_seq=a.next_seq, count=a.count
    )


# For each request: what it begins, from session, parameters and request ID, and how the result is
# written. Those that are not here are the connection's own business.
OPERATIONS: Final[
    dict[type, tuple[Callable[[ServedSession, Any, str], Operation], Callable[[int, Any], bytes]]]
] = {
    m.Invite: (_invite, _invited),
    m.InviteInGroup: (_invite_in_group, _invited),
    m.Accept: (_accept, _null),
    m.Reject: (_reject, _null),
    m.Cancel: (_cancel, _null),
    m.ModifyInvitation: (_modify, _null),
    m.AddInvitedSignaling: (_add_invited, _null),
    m.OpenInvitations: (
        _open_invitations,
        lambda number, infos: answer(number, list(map(invitation, infos))),
    ),
    m.CreateGroup: (_create, lambda number, group_id: answer(number, {"group_id": group_id})),
    m.JoinGroup: (_join, _null),
    m.QuitGroup: (_quit, _null),
    m.DismissGroup: (_dismiss, _null),
    m.KickGroupMember: (_kick, _null),
    m.InviteUserToGroup: (_invite_users, answer),
    m.SetGroupMemberRole: (_set_role, _null),
    m.TransferGroupOwner: (_transfer, _null),
    m.SetGroupInfo: (_set_info, _null),
    m.SetGroupMemberInfo: (_set_member_info, _null),
    m.GetGroupInfo: (_group_info, lambda number, info: answer(number, _group(info))),
    m.GetJoinedGroupList: (
        _joined,
        lambda number, infos: answer(number, list(map(_group, infos))),
    ),
    m.GetGroupMemberList: (_members, _page),
}
