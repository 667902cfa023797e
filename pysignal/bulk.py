"""Many operations in one call, for embedding servers: one pass, a result for each.

A bulk call is one command: nothing comes between its items, which all have the time of its arrival.
It is carried out in slices, so that it never keeps the event loop; what its first slices have done
is heard while the later ones wait. An item that is refused says so in its place of the results, and
stops nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pysignal import text
from pysignal.commands import Bulk
from pysignal.direct import answer_at_once, invite_at_once
from pysignal.errors import InvalidParameter, SignalingError
from pysignal.signaling import check_bool, check_size, timeout_ms

if TYPE_CHECKING:
    from pysignal.hub import Hub

# What one item gave: its result, or what refused it.
Refusal = SignalingError | MemoryError


class Invite(NamedTuple):
    """One item of `Hub.invite_many`; the fields are the parameters of `Signaling.invite`.

    Attributes:
        inviter: the user who invites.
        invitee: a user, or a list of users.
        data: opaque text.
        timeout: seconds, 0 for never.
        group_id: `""`, or a group whose members inviter and invitees are.
        online_user_only: only sessions that are online now are told of the opening.
        request_id: carries the item out once, however often it is sent.
    """

    inviter: str
    invitee: str | Sequence[str]
    data: str | None = ""
    timeout: float = 30
    group_id: str = ""
    online_user_only: bool = False
    request_id: str | None = None


class Answer(NamedTuple):
    """One item of `Hub.answer_many`; the fields are the parameters of `Signaling.accept`.

    Attributes:
        invitee: the user who answers.
        invite_id: the invitation.
        accept: True to accept, False to reject.
        data: opaque text.
        request_id: carries the item out once, however often it is sent.
    """

    invitee: str
    invite_id: str
    accept: bool = True
    data: str | None = ""
    request_id: str | None = None


def invite_many(hub: Hub, items: list[Invite]) -> Bulk:
    """Return the command that opens many invitations."""

    def act(now_ms: int, item: Invite) -> Any:
        inviter, invitee, data, timeout, group_id, online_only, request_id = _whole(item, Invite)
        if request_id is None and group_id == "":
            name = invite_at_once(
                hub._commands, now_ms, inviter, invitee, data, timeout, online_only
            )
            if name is not None:
                return name
        return _invite(hub, now_ms, item)

    return Bulk(items, act)


def answer_many(hub: Hub, items: list[Answer]) -> Bulk:
    """Return the command that answers many invitations."""

    def act(now_ms: int, item: Answer) -> Any:
        invitee, invite_id, accept, data, request_id = _whole(item, Answer)
        if request_id is None and answer_at_once(
            hub._commands, now_ms, invitee, invite_id, accept, data
        ):
            return None
        return _answer(hub, now_ms, item)

    return Bulk(items, act)


def _whole(item: Any, kind: type[Any]) -> Any:
    """Return an item with all its fields; a shorter tuple has the defaults."""
    if type(item) is kind:
        return item
    if not isinstance(item, tuple):
        raise InvalidParameter("items", f"{kind.__name__}, not {type(item).__name__}")
    try:
        return kind(*item)
    except TypeError:
        raise InvalidParameter(
            "items", f"a tuple of {len(item)} is no {kind.__name__}: {', '.join(kind._fields)}"
        ) from None


def _invite(hub: Hub, now_ms: int, item: Any) -> Any:
    """Open an invitation that is no ordinary one, or say what is wrong with it."""
    inviter, invitee, data, timeout, group_id, online_only, request_id = _whole(item, Invite)
    inviter = text.user_id(inviter, "inviter")
    data = text.data(data, bytes_max=hub.limits.data_bytes_max)
    if group_id != "":
        group_id = text.group_id(group_id)
    invitees: Any
    if isinstance(invitee, str):
        invitees = [text.user_id(invitee, "invitee")]
    else:
        invitees = list(text.user_ids(invitee, "invitee"))
        check_size(invitees, "invitee", hub.limits.invitees_max)
        if not invitees and not group_id:
            raise InvalidParameter("invitee", "the list is empty: name at least one user")
    check_bool(online_only, "online_user_only")
    args: tuple[Any, ...]
    if group_id:
        command: Callable[..., Any] = hub.shard.invite_in_group
        args = (group_id, invitees, data, timeout_ms(timeout), online_only, False)
    else:
        command = hub.shard.invite
        invitees = invitees[0] if len(invitees) == 1 else invitees
        args = (invitees, data, timeout_ms(timeout), online_only)
    return _once(hub, inviter, request_id, "invite", command, args)(now_ms, inviter, 0, *args)


def _answer(hub: Hub, now_ms: int, item: Any) -> Any:
    """Answer in no ordinary way, or say what is wrong with it."""
    invitee, invite_id, accept, data, request_id = _whole(item, Answer)
    invitee = text.user_id(invitee, "invitee")
    data = text.data(data, bytes_max=hub.limits.data_bytes_max)
    invite_id = text.exact(invite_id, "invite_id")
    check_bool(accept, "accept")
    command: Callable[..., Any] = hub.shard.accept if accept else hub.shard.reject
    args = (invite_id, data)
    name = "accept" if accept else "reject"
    return _once(hub, invitee, request_id, name, command, args)(now_ms, invitee, 0, *args)


def _once(
    hub: Hub,
    user: str,
    request_id: str | None,
    name: str,
    command: Callable[..., Any],
    args: tuple[Any, ...],
) -> Callable[..., Any]:
    """Return a command that is carried out once where a request ID names it."""
    if request_id is None:
        return command
    return hub._requests.once(user, request_id, (name, *args), command)
