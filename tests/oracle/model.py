"""The whole hub as SPEC §2 to §8 describe it: who may do what, who hears it, what logins find.

Every operation is a method with the name and the arguments of the real one, after `by`: the user
and the device that act, `""` for an act of the embedding server. It returns what the real one
returns, or raises a `Failure`. The model is told the ID of each new invitation, nothing else.

What a session is to hear waits in its queue until `settle`, which stands for the event loop's turn:
only then was it told.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Final

from oracle import parameters
from oracle.calls import Call, Calls, Fact, Fields, Refusal
from oracle.group_acts import GroupActs
from oracle.groups import Change, GroupsModel
from oracle.parameters import Failure, wrong
from pysignal import Limits

Place = tuple[str, str]  # user and device
# What is called (None for an end that is not told), the event of it, and the invitation.
Item = tuple[tuple[Any, ...], Fields | None, Call | None]

CODES: Final = {
    "unknown": 8010, "ended": 8010, "answered": 8010, "not_party": 8011, "not_modifiable": 7014,
    "conflict": 8006, "table_full": 7008,
}  # fmt: skip
NOT_KEPT: Final = (7008, 6012)  # refusals that the same call may not meet again


@dataclass(slots=True, eq=False)
class Device:
    """What is known of one device of a user, online or away.

    Attributes:
        told: the invitations that it was told of, ever since a cold login.
        open: those of them whose end it does not know.
        untold: open ones that its last login left out.
        queue: what it is to hear.
        calls, events: what it has heard since somebody asked.
    """

    told: set[str] = field(default_factory=set)
    open: set[str] = field(default_factory=set)
    untold: set[str] = field(default_factory=set)
    queue: list[Item] = field(default_factory=list)
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    events: list[Fields] = field(default_factory=list)
    left_ms: int = 0

    def tell(self, call: Call) -> None:
        self.told.add(call.name)
        self.untold.discard(call.name)
        if call.state == "open":
            self.open.add(call.name)


@dataclass(slots=True)
class Request:
    """What the first call with a request ID gave."""

    at_ms: int
    arguments: Hashable
    value: Any = None
    failure: Failure | None = None


@dataclass(slots=True)
class Snapshot:
    now: int
    open: list[Fields]
    ended: list[Fields]


class Oracle(GroupActs):
    """What a hub should do.

    Attributes:
        next_name: the ID that the invitation opened next has.
        online: the devices that are logged in, in the order of their logins.
        away: the others that are remembered, who left first before who left later.
    """

    def __init__(self, limits: Limits, now_ms: int) -> None:
        self.limits = limits
        self.calls = Calls(
            now_ms,
            ended_keep_ms=_ms(limits.ended_keep_s),
            ended_max=limits.ended_max,
            lifetime_ms=_ms(limits.lifetime_s),
            open_max=limits.open_max,
        )
        self.groups = GroupsModel(
            {str(kind): most for kind, most in (limits.group_members or {}).items()}
        )
        self.online: dict[Place, Device] = {}
        self.away: dict[Place, Device] = {}
        self.requests: dict[str, dict[str, Request]] = {}
        self.next_name = ""

    @property
    def now_ms(self) -> int:
        return self.calls.now_ms

    def tick(self, now_ms: int) -> None:
        """Let what is due end; everything that arrives comes after it."""
        self.calls.advance(now_ms)
        self._tell_facts(None)

    def settle(self) -> None:
        """Hand over what waits."""
        for (user, _), device in self.online.items():
            for called, event, call in device.queue:
                device.calls.append(called)
                if event is None or call is None:
                    continue
                device.events.append(event)
                if event[0] == "opened":
                    device.tell(call)
                    call.told.add(user)
                if not event[15]:  # nobody is pending any more
                    device.open.discard(call.name)
            device.queue.clear()

    # -- telling -----------------------------------------------------------------------------------

    def _tell_facts(self, acting: Place | None) -> None:
        for fact in self.calls.take():
            self._tell(fact, acting)

    def _tell(self, fact: Fact, acting: Place | None) -> None:
        call = fact.call
        audience = {call.inviter, *call.status}
        if call.group:
            members = self.groups.members(call.group)
            audience = audience & members.keys() if call.parties_only else set(members)
        if fact.kind == "timed_out" and call.no_deadline:
            audience = set()
        item = callback(fact), fact.event, call
        for place, device in self.online.items():
            if place == acting and fact.kind == "opened":
                device.tell(call)
            if place[0] in audience and place != acting:
                device.queue.append(item)
            elif fact.ends:
                device.open.discard(call.name)

    # -- invitations -------------------------------------------------------------------------------

    def invite(
        self,
        by: Place,
        invitee: Any,
        data: Any = "",
        timeout: Any = 30,
        online_user_only: Any = False,
        request_id: Any = None,
    ) -> str:
        self._require(by)
        data = parameters.data(data, self.limits.data_bytes_max)
        if isinstance(invitee, str):
            users = [parameters.identifier(invitee, "invitee")]
        else:
            users = parameters.invitees(invitee, "invitee", self.limits.invitees_max)
            if not users:
                raise wrong("invitee")
        parameters.boolean(online_user_only, "online_user_only")
        timeout_ms = parameters.timeout_ms(timeout)

        def command() -> str:
            if by[0] in users:
                raise wrong("invitee")
            return self._open(by, users, data, timeout_ms, online_only=online_user_only)

        arguments = "invite", *users, data, timeout_ms, online_user_only
        name: str = self._once(by, request_id, arguments, command)
        return name

    def invite_in_group(
        self,
        by: Place,
        group_id: Any,
        invitee_list: Any,
        data: Any = "",
        timeout: Any = 30,
        online_user_only: Any = False,
        notify: Any = "members",
        request_id: Any = None,
    ) -> str:
        self._require(by)
        data = parameters.data(data, self.limits.data_bytes_max)
        parameters.identifier(group_id, "group_id")
        users = parameters.invitees(invitee_list, "invitee_list", self.limits.invitees_max)
        parameters.boolean(online_user_only, "online_user_only")
        if notify not in ("members", "parties"):
            raise wrong("notify")
        timeout_ms = parameters.timeout_ms(timeout)

        def command() -> str:
            self.groups.require_member(group_id, by[0])
            for user in users:
                if user == by[0] or user not in self.groups.members(group_id):
                    raise wrong("invitee_list")
            return self._open(
                by, users, data, timeout_ms, group=group_id, online_only=online_user_only,
                parties_only=notify == "parties",
            )  # fmt: skip

        arguments = "group", group_id, *users, data, timeout_ms, online_user_only, notify
        name: str = self._once(by, request_id, arguments, command)
        return name

    def _open(self, by: Place, users: list[str], data: str, timeout_ms: int, **options: Any) -> str:
        try:
            self.calls.invite(
                self.next_name, by[0], users, data, timeout_ms, device=by[1], **options
            )
        except Refusal as refusal:
            raise self._failure(refusal, by) from None
        self._tell_facts(by)
        return self.next_name

    def accept(self, by: Place, invite_id: Any, data: Any = "", request_id: Any = None) -> None:
        self._operate("accepted", by, invite_id, data, request_id)

    def reject(self, by: Place, invite_id: Any, data: Any = "", request_id: Any = None) -> None:
        self._operate("rejected", by, invite_id, data, request_id)

    def cancel(self, by: Place, invite_id: Any, data: Any = "", request_id: Any = None) -> None:
        self._operate("cancelled", by, invite_id, data, request_id)

    def modify_invitation(
        self,
        by: Place,
        invite_id: Any,
        data: Any,
        expected_version: Any = None,
        request_id: Any = None,
    ) -> None:
        self._operate("modified", by, invite_id, data, request_id, expected_version)

    def _operate(
        self, kind: str, by: Place, invite_id: Any, data: Any, request_id: Any, version: Any = None
    ) -> None:
        self._require(by)
        data = parameters.data(data, self.limits.data_bytes_max)
        version = parameters.version(version)
        if not isinstance(invite_id, str):
            raise wrong("invite_id")
        user, device = by

        def command() -> None:
            try:
                if kind == "cancelled":
                    self.calls.cancel(invite_id, user, data, device)
                elif kind == "modified":
                    self.calls.modify(invite_id, user, data, version, device)
                else:
                    self.calls.answer(invite_id, user, kind, data, device)
            except Refusal as refusal:
                raise self._failure(refusal, by) from None
            self._tell_facts(by)

        self._once(by, request_id, (kind, invite_id, data, version), command)

    def cancel_by_server(self, invite_id: Any, data: Any = "") -> None:
        data = parameters.data(data, self.limits.data_bytes_max)
        if not isinstance(invite_id, str):
            raise wrong("invite_id")
        try:
            self.calls.cancel(invite_id, None, data)
        except Refusal:
            raise Failure(8010, {}) from None
        self._tell_facts(None)

    def _failure(self, refusal: Refusal, by: Place) -> Failure:
        code, call = CODES[refusal.result], refusal.call
        if code != 8010:
            return Failure(code)
        if call is None or not call.is_party(by[0]):
            return Failure(code, {})
        return Failure(code, how_it_ended(call, by, names_device=True))

    def add_invited_signaling(
        self,
        by: Place,
        invite_id: Any,
        inviter: Any,
        group_id: Any,
        invitee_list: Any,
        request_id: Any = None,
    ) -> None:
        self._require(by)
        if not all(isinstance(value, str) for value in (invite_id, inviter, group_id)):
            raise wrong("info")

        def command() -> None:
            call = self.calls.get(invite_id)
            if call is None or (call.state != "open" and not call.is_party(by[0])):
                raise Failure(8010, {})
            if call.state == "open" and by[0] not in call.status:
                raise Failure(8011)
            if call.status.get(by[0]) != "pending":
                raise Failure(8010, how_it_ended(call, by, names_device=False))
            if self._knows(by, call):
                raise Failure(8012)
            if (inviter, group_id, invitee_list) != (call.inviter, call.group, [*call.status]):
                raise wrong("info")
            self.online[by].tell(call)
            call.told.add(by[0])

        arguments = "add", invite_id, inviter, group_id, *invitee_list
        self._once(by, request_id, arguments, command)

    def _knows(self, by: Place, call: Call) -> bool:
        """Whether a session was told, or is about to be; an act of the server knows all."""
        device = self.online.get(by)
        return (
            device is None
            or call.name in device.told
            or any(
                other is call and event and event[0] == "opened" for _, event, other in device.queue
            )
        )

    def open_invitations(self, by: Place, group_id: Any) -> list[Fields]:
        self._require(by)
        parameters.identifier(group_id, "group_id")
        self.groups.require_member(group_id, by[0])
        return [call.info() for call in self.calls.open_in(group_id) if not call.parties_only]

    def pending(self, user: str) -> list[Fields]:
        return [call.info() for call in self.calls.pending_of(user)]

    def invitation(self, invite_id: str) -> Fields | None:
        call = self.calls.get(invite_id)
        return None if call is None else call.info()

    # -- requests ----------------------------------------------------------------------------------

    def _require(self, by: Place) -> None:
        if by[1] and by not in self.online:
            raise Failure(6014)

    def _once(
        self, by: Place, request_id: Any, arguments: Hashable, command: Callable[[], Any]
    ) -> Any:
        if request_id is None:
            return command()
        parameters.identifier(request_id, "request_id")
        kept = self.requests.setdefault(by[0], {})
        found = kept.get(request_id)
        if found is not None and found.at_ms + _ms(self.limits.requests_keep_s) > self.now_ms:
            if found.arguments != arguments:
                raise wrong("request_id")
            if found.failure is not None:
                raise Failure(found.failure.code, found.failure.details)
            return found.value
        kept.pop(request_id, None)
        request = Request(self.now_ms, arguments)
        try:
            request.value = command()
        except Failure as failure:
            if failure.code in NOT_KEPT:
                raise
            request.failure = failure
        kept[request_id] = request
        if len(kept) > self.limits.requests_max:
            del kept[next(iter(kept))]
        if request.failure is not None:
            raise request.failure
        return request.value

    # -- logins ------------------------------------------------------------------------------------

    def login(self, user: str, device_id: str, start: Any) -> Snapshot:
        if start not in ("cold", "hot"):
            raise wrong("start")
        place = user, device_id
        replaced = self.online.get(place)
        count = sum(1 for other, _ in self.online if other == user)
        if replaced is None and count >= self.limits.sessions_per_user:
            raise Failure(7008)
        device = replaced or self._remembered(place)
        if replaced is not None:
            del self.online[place]
            replaced.queue.clear()
        self.away.pop(place, None)
        if start == "cold" or device is None:
            device = Device()
        self.online[place] = device
        ended = [self.calls.ended[name] for name in device.open & self.calls.ended.keys()]
        snapshot = Snapshot(
            self.now_ms,
            [call.info() for call in self._find_missed(place, device, start == "cold")],
            [call.info() for call in ended if call.is_party(user)],
        )
        device.open &= self.calls.open.keys()
        return snapshot

    def _find_missed(self, place: Place, device: Device, cold: bool) -> list[Call]:
        """Queue what a login rings again, and return what its snapshot shows."""
        user, shown = place[0], []
        device.untold.clear()
        for call in self.calls.open.values():
            if not call.is_party(user):
                continue
            told = call.name in device.told
            if told or not call.online_only:
                shown.append(call)
            if told:
                continue
            if call.online_only:
                device.untold.add(call.name)
            elif call.status.get(user) != "pending":
                device.tell(call)  # by the snapshot, as it need not ring
            elif not cold or self._rings_cold(call, user):
                users = list(call.status)
                called = "receive_new_invitation", call.name, call.inviter, call.group, users
                device.queue.append(((*called, call.data), call.opened_again(), call))
            elif not call.group:
                device.tell(call)
            else:
                device.untold.add(call.name)
        return shown

    def _rings_cold(self, call: Call, user: str) -> bool:
        if call.group:
            return self.now_ms - call.opened_ms <= _ms(self.limits.cold_group_s)
        return not call.no_deadline or user not in call.told

    def _remembered(self, place: Place) -> Device | None:
        device = self.away.get(place)
        if device is None or device.left_ms + _ms(self.limits.told_keep_s) <= self.now_ms:
            return None
        return device

    def logout(self, by: Place) -> None:
        self._require(by)
        device = self.online.pop(by)
        device.queue.clear()
        device.left_ms = self.now_ms
        self.away[by] = device
        others = [place for place in self.away if place[0] == by[0]]
        if len(others) > self.limits.devices_remembered:
            del self.away[others[0]]

    # -- groups ------------------------------------------------------------------------------------

    def _change(self, change: Change, by: Place | None) -> Any:
        """Do a change of a group: first what it ends of invitations, told to the members before."""
        for user in change.gone:
            self.calls.leave(user, change.group_id)
        if change.dismissed:
            self.calls.dismiss(change.group_id)
        self._tell_facts(None)
        self.groups.apply(change, self.now_ms)
        for name, args, users in change.callbacks:
            item = (name, change.group_id, *args), None, None
            for place, device in self.online.items():
                if place[0] in users and place != by:
                    device.queue.append(item)
        return change.result


def callback(fact: Fact) -> tuple[Any, ...]:
    """What is called for a fact: the name without `on_`, and the parameters (SPEC §4)."""
    call, name = fact.call, fact.call.name
    if fact.kind == "opened":
        users = list(call.status)
        return "receive_new_invitation", name, call.inviter, call.group, users, fact.data
    if fact.kind == "cancelled":
        return "invitation_cancelled", name, call.inviter, fact.data
    if fact.kind == "timed_out":
        return "invitation_timeout", name, list(fact.affected)
    if fact.kind == "modified":
        return "invitation_modified", name, fact.data
    return f"invitee_{fact.kind}", name, fact.affected[0], fact.data


def how_it_ended(call: Call, by: Place, *, names_device: bool) -> dict[str, Any]:
    """The details of an 8010 for a party; `how` is None where any sentence will do."""
    user, device = by
    status = call.status.get(user, "")
    how = None
    answered_on = call.answered_on.get(user)
    if answered_on is not None and names_device:
        how = f"you have {status} it already"
        if answered_on:
            how += " on this device" if device == answered_on else " on another device"
    return {"status": status, "state": call.state, "reason": call.reason, "how": how}


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
