"""One shard: the machine of invitations and the groups, and every command on them.

A command judges by the rules that need both (who is a member), hands over to the machine or to the
groups, and turns what they refuse into the errors of the SDK. It never waits and never reads a
clock: it is called with the time of its arrival and the actor.

A command returns `MORE` where it could not finish within its budget, because much is due or much
ends: the hub calls it again with the same arguments, before any other, until it returns something
else. What it has done so far stands; it judges again from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NoReturn

from pysignal.engine.machine import Machine
from pysignal.engine.refused import Refused
from pysignal.engine.views import InvitationInfo
from pysignal.errors import (
    InvalidParameter,
    InvitationEnded,
    LimitExceeded,
    NoGroupPermission,
    NoSuchGroup,
    NotAvailable,
    NotPermitted,
    VersionConflict,
)
from pysignal.groups.decisions import Groups
from pysignal.groups.records import GroupRecord, leavers

# Steps of the machine in one go: with the events that they make, about a millisecond.
STEPS_MAX: Final = 1024


class More:
    """The type of `MORE`."""


MORE: Final = More()

# Invitees of lists that take about as long to look up as one invitation.
INVITEES_PER_STEP: Final = 8

# How an invitation ended, for a person who tapped too late; by the caller's own status.
_HOW = {
    "accepted": "you have accepted it already",
    "rejected": "you have rejected it already",
    "cancelled": "it was cancelled",
    "timed_out": "it timed out",
}


class LookUp:
    """Open invitations that a command looks up, in slices: there may be many, of many invitees.

    No other command comes between the slices, so that all of them see one state.

    Args:
        names: gives their IDs, when the command has its turn.
    """

    def __init__(self, names: Callable[[], Iterable[str]]) -> None:
        self._names = names
        self._left: Iterator[str] | None = None
        self.found: list[InvitationInfo] = []

    def go_on(self, machine: Machine) -> More | None:
        """Look some more up."""
        if self._left is None:
            self._left = iter(self._names())
        steps = 0
        for name in self._left:
            info = machine.info(name)
            if info is not None and info.state == "open":
                self.found.append(info)
                steps += 1 + len(info.statuses) // INVITEES_PER_STEP
                if steps >= STEPS_MAX:
                    return MORE
        return None


class Shard:
    """The state of one shard, and the commands on it.

    Args:
        machine: the invitations.
        groups: the groups.
        changing: called before a group changes, while everything committed so far still finds its
            audience as it was.
        changed: called with the record of each group change that was applied, whether anybody who
            was a member has stayed, and the actor with the device.
        has_room: asked before anything that ends nothing, whether its records will find room.
    """

    def __init__(
        self,
        machine: Machine,
        groups: Groups,
        changing: Callable[[], None],
        changed: Callable[[GroupRecord, bool, str, int], None],
        has_room: Callable[[], bool],
    ) -> None:
        self.machine = machine
        self.groups = groups
        self._has_room = has_room
        self._changing = changing
        self._changed = changed

    def tick(self, now_ms: int) -> More | None:
        """End what is due."""
        return MORE if self.machine.advance(now_ms, STEPS_MAX) else None

    # -- invitations -------------------------------------------------------------------------------

    def invite(
        self,
        now_ms: int,
        actor: str,
        device: int,
        invitees: str | list[str],
        data: str,
        timeout_ms: int,
        online_only: bool,
    ) -> str | More:
        """Open an invitation without a group; returns its ID."""
        if invitees == actor or (not isinstance(invitees, str) and actor in invitees):
            raise InvalidParameter("invitee", f"{actor!r} is the inviter: invite somebody else")
        self._require_room()
        for is_last in (False, True):
            try:
                return self.machine.open(
                    now_ms,
                    actor,
                    invitees,
                    data,
                    timeout_ms,
                    online_only=online_only,
                    device=device,
                )
            except Refused as refused:
                if is_last or refused.result not in ("due", "table_full"):
                    self._refuse(refused, actor, device)
            # Ends what is due, and lets go of what ended so long ago that it need hold no place.
            if self.tick(now_ms):
                return MORE
        raise AssertionError("the second attempt returns or raises")

    def invite_in_group(
        self,
        now_ms: int,
        actor: str,
        device: int,
        group_id: str,
        invitees: list[str],
        data: str,
        timeout_ms: int,
        online_only: bool,
        parties_only: bool,
    ) -> str | More:
        """Open an invitation in a group; returns its ID."""
        if self.tick(now_ms):
            return MORE
        self.require_member(actor, group_id)
        self._check_invitees(actor, group_id, invitees)
        self._require_room()
        try:
            return self.machine.open(
                now_ms,
                actor,
                invitees,
                data,
                timeout_ms,
                group_id=group_id,
                online_only=online_only,
                parties_only=parties_only,
                device=device,
            )
        except Refused as refused:
            self._refuse(refused, actor, device)

    def accept(
        self, now_ms: int, actor: str, device: int, invite_id: str, data: str
    ) -> More | None:
        """Accept as a pending invitee."""
        return self._operate(self.machine.accept, now_ms, actor, device, invite_id, data)

    def reject(
        self, now_ms: int, actor: str, device: int, invite_id: str, data: str
    ) -> More | None:
        """Reject as a pending invitee."""
        return self._operate(self.machine.reject, now_ms, actor, device, invite_id, data)

    def cancel(
        self, now_ms: int, actor: str | None, device: int, invite_id: str, data: str
    ) -> More | None:
        """Cancel as the inviter, or as the server where the actor is None."""
        return self._operate(self.machine.cancel, now_ms, actor, device, invite_id, data)

    def modify(
        self,
        now_ms: int,
        actor: str,
        device: int,
        invite_id: str,
        data: str,
        expected_version: int,
    ) -> More | None:
        """Replace the data of an open invitation."""

        def modify(now_ms: int, invite_id: str, actor: str, data: str, *, device: int) -> None:
            self._require_room()
            try:
                self.machine.modify(
                    now_ms, invite_id, actor, data, expected_version=expected_version, device=device
                )
            except Refused as refused:
                if refused.result != "conflict" or refused.info is None:
                    raise
                raise VersionConflict(
                    f"expected version {expected_version}, but the invitation is at version "
                    f"{refused.info.data_version}: read it and decide again",
                    expected=expected_version,
                    current=refused.info.data_version,
                ) from None

        return self._operate(modify, now_ms, actor, device, invite_id, data)

    def _operate(
        self,
        operation: Callable[..., None],
        now_ms: int,
        actor: str | None,
        device: int,
        invite_id: str,
        data: str,
    ) -> More | None:
        try:
            operation(now_ms, invite_id, actor, data, device=device)
            return None
        except Refused as refused:
            if refused.result != "due":
                self._refuse(refused, actor, device)
        if self.tick(now_ms):
            return MORE
        return self._operate(operation, now_ms, actor, device, invite_id, data)

    def info(self, now_ms: int, invite_id: str) -> InvitationInfo | More | None:
        """One invitation as it stands; None where the ID names nothing remembered."""
        return MORE if self.tick(now_ms) else self.machine.info(invite_id)

    def pending(self, now_ms: int, user: str, found: LookUp) -> list[InvitationInfo] | More:
        """What waits for a user's answer, oldest first."""
        if self.tick(now_ms) or found.go_on(self.machine):
            return MORE
        return [info for info in found.found if info.statuses.get(user) == "pending"]

    def open_in(
        self, now_ms: int, actor: str, group_id: str, found: LookUp
    ) -> list[InvitationInfo] | More:
        """The open invitations of a group that all its members hear of, oldest first."""
        if self.tick(now_ms):
            return MORE
        self.require_member(actor, group_id)
        if found.go_on(self.machine):
            return MORE
        return [info for info in found.found if not info.parties_only]

    def _require_room(self) -> None:
        """Refuse what would take the room that is kept for what is open to end."""
        if not self._has_room():
            raise LimitExceeded(
                "the disk of the journal is full: make room on it; what is open can be answered "
                "and ends, anything else is taken again when there is room"
            )

    def _check_invitees(self, actor: str, group_id: str, invitees: list[str]) -> None:
        """Refuse the inviter in the list, and who is no member; the first is named."""
        stranger = self.groups.first_stranger(group_id, invitees)
        if actor in invitees and (
            stranger is None or invitees.index(actor) < invitees.index(stranger)
        ):
            raise InvalidParameter(
                "invitee_list", f"{actor!r} is the inviter: leave them out of the list"
            )
        if stranger is not None:
            raise InvalidParameter(
                "invitee_list",
                f"{stranger!r} is not a member of group {group_id!r}: only members can be "
                "invited in it",
                user=stranger,
            )

    def require_member(self, user: str, group_id: str) -> None:
        """Refuse who is no member of a group, and a group that does not exist."""
        if self.groups.is_member(group_id, user):
            return
        if not self.groups.exists(group_id):
            raise NoSuchGroup(f"group {group_id!r} does not exist", group_id=group_id)
        raise NoGroupPermission(
            f"{user!r} is not a member of group {group_id!r}: join it first", group_id=group_id
        )

    def _refuse(self, refused: Refused, actor: str | None, device: int) -> NoReturn:
        info = refused.info
        match refused.result:
            case "unknown" | "ended" | "answered":
                raise too_late(info, actor, _same(refused.device, device)) from None
            case "not_party":
                raise NotPermitted(
                    "only a pending invitee may answer, only the inviter may cancel or modify"
                ) from None
            case "not_modifiable":
                raise NotAvailable(
                    "an online-only invitation cannot be modified: cancel it and send another"
                ) from None
            case "table_full":
                raise LimitExceeded(
                    "the table of invitations or users is full: raise Limits.open_max, users_max "
                    "or groups_max, or try again when some have ended"
                ) from None
        raise refused

    # -- groups ------------------------------------------------------------------------------------

    def change_group(
        self,
        now_ms: int,
        actor: str,
        device: int,
        decide: Callable[..., GroupRecord],
        args: Sequence[Any],
        options: dict[str, Any],
    ) -> GroupRecord | More:
        """Decide a change of a group, end what it ends of invitations, and apply it.

        Args:
            now_ms: time of arrival.
            actor: the user, `""` for the server.
            device: number of the acting device, 0 for none.
            decide: a deciding method of `Groups`; it is asked again after each slice.
            args: its arguments.
            options: its keyword arguments.
        """
        if self.tick(now_ms):
            return MORE
        record = decide(*args, **options)
        if record.changes_nothing:
            return record
        going = leavers(record)
        if record.entrants or not (going or record.dismissed):
            self._require_room()
        if going and self._leave(now_ms, going, record.group_id):
            return MORE
        if record.dismissed and (
            self.machine.dismiss(now_ms, record.group_id, STEPS_MAX)
            or self.groups.disband(record.group_id, STEPS_MAX)
        ):
            return MORE
        self._changing()
        anybody_stays = self.groups.count(record.group_id) > len(going)
        self.groups.apply(record)
        self._changed(record, anybody_stays, actor, device)
        return record

    def _leave(self, now_ms: int, users: Sequence[str], group_id: str) -> More | None:
        """End the parts of users in the invitations of a group, one user after the other."""
        machine = self.machine
        if len(users) == 1:
            return MORE if machine.leave(now_ms, users[0], group_id, STEPS_MAX) else None
        until = machine.pending_count - STEPS_MAX
        for user in users:
            steps = machine.pending_count - until
            if steps <= 0 or machine.leave(now_ms, user, group_id, steps):
                return MORE
        return None


def _same(answered_on: int, device: int) -> bool | None:
    """Whether an answer came from this device; None where no device answered."""
    return answered_on == device if answered_on else None


def too_late(
    info: InvitationInfo | None, actor: str | None, same_device: bool | None = None
) -> InvitationEnded:
    """Make the error for an operation that came too late, as helpful as the caller may know.

    Args:
        info: the invitation, for a party to it.
        actor: the caller; None for the server.
        same_device: whether the caller answered it on this device; None where that is unknown.
    """
    if info is None:
        return InvitationEnded("no open invitation has this ID: it has ended, or never existed")
    status = info.statuses.get(actor or "", "")
    alone = info.state != "open" and len(info.statuses) == 1
    if status == "rejected" and alone and info.reason == "left_group":
        how = "you have left the group"
    elif status in ("accepted", "rejected"):
        how = _HOW[status]
        if same_device is not None:
            how += " on this device" if same_device else " on another device"
    elif info.state == "cancelled":
        how = _HOW["cancelled"]
    elif "timed_out" in info.statuses.values():
        how = _HOW["timed_out"]
    elif alone:
        invitee, answer = next(iter(info.statuses.items()))
        left = info.reason == "left_group"
        how = f"{invitee!r} has {'left the group' if left else f'{answer} it'}"
    else:
        how = "everybody has answered"
    return InvitationEnded(
        f"the invitation cannot be changed any more: {how}",
        how=how,
        status=status,
        state=info.state,
        reason=info.reason,
    )
