"""Logins: who is online, what each device was told, and what a login has missed (SPEC §7).

What a device was told is not kept as a set of IDs. Everything opened up to the last commit before
it went offline was told to it, except the few IDs in `untold`: group invitations that a cold login
was too late for, online-only ones that it was away for, and what was still on its way when it left.
The IDs that were open then and told are kept too, so that a hot login can say how they ended.

With a journal all this is recorded at each login and logout. Where the process ended while a device
was online, the device counts as told of all that is durable: that is what was handed to it, but for
the last moment, and a device that is rung twice is worse than one that finds an invitation in the
snapshot of its login.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from pysignal.delivery import Delivery
from pysignal.engine.facts import Event
from pysignal.engine.machine import Machine
from pysignal.engine.refused import Refused
from pysignal.engine.views import InvitationInfo
from pysignal.errors import LimitExceeded
from pysignal.journal.entries import DEVICE, of_builtins
from pysignal.limits import Limits
from pysignal.receivers import Account

if TYPE_CHECKING:
    from pysignal.session import Session

# Devices that are forgotten by each login at most: many more than it adds, in well under 1 ms.
FORGET_PER_LOGIN: Final = 512

_POSITION = attrgetter("position")

# The engine keeps 16 bits of it for each invitee.
DEVICE_NUMBER_MAX: Final = 0xFFFF


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a login finds, beside the callbacks (SPEC §7).

    Attributes:
        now: engine time, ms since the epoch.
        open: every open invitation that the user is party to, oldest first; online-only ones where
            this device was told of them.
        ended: those this device was told of that have ended since, as far as they are remembered.
    """

    now: int
    open: list[InvitationInfo] = field(default_factory=list)
    ended: list[InvitationInfo] = field(default_factory=list)


@dataclass(slots=True)
class Device:
    """What is remembered of one device of a user.

    Attributes:
        number: stands for the device in the engine.
        session: the one that is logged in, or None.
        left_ms: engine time of the last disconnect.
        left_position: commit position up to which it was told of everything but `untold`.
        gone_position: commit position of the last disconnect: it may say that it was told as much.
        untold: open invitations up to that position which the device was not told of.
        known: invitations which it was told of and which had not ended for it then.
        doubtful: the commit positions of openings among `untold` that were on their way to it.
    """

    number: int
    session: Session | None = None
    left_ms: int = 0
    left_position: int = 0
    gone_position: int = 0
    untold: set[str] = field(default_factory=set)
    known: tuple[str, ...] = ()
    doubtful: dict[str, int] = field(default_factory=dict)

    def take_for_told(self, position: int) -> None:
        """Believe the device that it has heard everything up to a commit position."""
        self.left_position = min(self.gone_position, position)
        proven = [name for name, opened in self.doubtful.items() if opened <= position]
        self.untold.difference_update(proven)
        self.known = (*self.known, *proven)
        self.doubtful = {}


class Presence:
    """The accounts of a hub: users who are logged in, or whose devices are remembered.

    Args:
        machine: the invitations.
        delivery: its table of accounts is kept here.
        limits: of the hub.
        record: called with the journal's entry of each device that has come or gone; None where
            there is no journal.

    Attributes:
        online_count: sessions that are logged in.
    """

    def __init__(
        self,
        machine: Machine,
        delivery: Delivery,
        limits: Limits,
        record: Callable[[bytes], None] | None = None,
    ) -> None:
        self._machine = machine
        self._delivery = delivery
        self._record = record
        self._accounts: dict[str, Account] = delivery.accounts
        self._limits = limits
        self.online_count = 0
        # Open invitations in which a user has answered already, by user: still party to them.
        self._answered: dict[str, dict[str, None]] = {}
        # Devices that are away, by user and device ID, the longest first.
        self._away: OrderedDict[tuple[str, str], Device] = OrderedDict()

    @property
    def sessions(self) -> Iterator[Session]:
        """All sessions that are logged in; some may have gone by the time they are named."""
        for account in list(self._accounts.values()):
            yield from account.online

    def note_answer(self, user: str, invite_id: str) -> None:
        """Remember that a user has answered an invitation which is still open."""
        self._answered.setdefault(user, {})[invite_id] = None

    def note_answers(self, infos: list[InvitationInfo]) -> None:
        """Remember the answers to open invitations that a journal has brought back."""
        for info in infos:
            for user, status in info.statuses.items():
                if status != "pending":
                    self.note_answer(user, info.invite_id)

    def note_end(self, invitees: tuple[str, ...], invite_id: str) -> None:
        """Forget the answers to an invitation that has ended."""
        if not self._answered:
            return
        for user in invitees:
            answered = self._answered.get(user)
            if answered is not None:
                answered.pop(invite_id, None)
                if not answered:
                    del self._answered[user]

    # -- login -------------------------------------------------------------------------------------

    def enter(
        self,
        session: Session,
        now_ms: int,
        cold: bool,
        told: int | None,
        party_to: list[InvitationInfo],
        rests_on: Callable[[], int],
    ) -> Session | None:
        """Bring a session online; returns the older session of the same device that it replaces.

        Everything committed before has found its audience already.

        Args:
            session: offline until now.
            now_ms: the time of the login.
            cold: a new process, which is told again.
            told: commit position up to which the device says that it has heard everything; None
                where it says nothing, and what was handed to it counts as heard.
            party_to: every open invitation that its user is party to.
            rests_on: tells how many records of the journal all that was committed rests on.
        """
        user = session.user_id
        self._forget(now_ms)
        account = self._accounts.get(user)
        device = None if account is None else account.devices.get(session.device_id)
        if device is not None and self._is_forgotten(device, now_ms):
            self._forget_device(user, session.device_id)
            account, device = self._accounts.get(user), None
        replaced = None if device is None else device.session
        if (
            account is not None
            and replaced is None
            and len(account.online) >= self._limits.sessions_per_user
        ):
            raise LimitExceeded(
                f"{user!r} has {len(account.online)} sessions already, at most "
                f"{self._limits.sessions_per_user} are allowed: log one out first"
            )
        if replaced is not None:
            self._take_offline(replaced, now_ms)
        if account is None:
            account = self._accounts[user] = Account(user)
        if device is not None and told is not None:
            device.take_for_told(told)
        remembered = None if cold else device
        if device is None:
            device = Device(_device_number(session.device_id, account))
            account.devices[session.device_id] = device
        replays, snapshot, untold = self._catch_up(session, remembered, cold, party_to)
        self._away.pop((user, session.device_id), None)
        device.session = session
        device.untold = untold
        session._set_device_number(device.number)
        session.snapshot = snapshot
        # Those that are to be rung come in the order of their opening.
        session._told = replays[0].position - 1 if replays else self._machine.position
        session._since = self._delivery.posted
        session.online = True
        account.online = [*account.online, session]
        self.online_count += 1
        self._note(user, session.device_id, device)
        hearers = [session]
        # On the entry of the device too: else a crash could have it rung again.
        durable_first = rests_on()
        for info in replays:
            self._delivery.post(info, hearers, None, durable_first)
        return replaced

    def _catch_up(
        self,
        session: Session,
        remembered: Device | None,
        cold: bool,
        party_to: list[InvitationInfo],
    ) -> tuple[list[InvitationInfo], Snapshot, set[str]]:
        """Work out what a login rings again, what its snapshot shows, and what stays untold."""
        now_ms = self._machine.now_ms
        young_ms = now_ms - round(self._limits.cold_group_s * 1000)
        user = session.user_id
        replays: list[InvitationInfo] = []
        untold: set[str] = set()
        shown: list[InvitationInfo] = []
        for info in sorted(party_to, key=_POSITION):
            name = info.invite_id
            told = (
                remembered is not None
                and info.position <= remembered.left_position
                and name not in remembered.untold
            )
            if told or not info.online_only:
                shown.append(info)
            if told:
                continue
            if info.online_only:
                untold.add(name)
            elif info.statuses.get(user) != "pending":
                continue
            elif not cold:
                replays.append(info)
            elif info.group_id:
                if info.opened_at >= young_ms:
                    replays.append(info)
                else:
                    untold.add(name)
            elif not (info.no_deadline and self._machine.is_told(name, user)):
                replays.append(info)
        ended = [] if remembered is None else self._ended(remembered)
        return replays, Snapshot(now_ms, shown, ended), untold

    def party_to(self, user: str) -> list[str]:
        """The IDs of every open invitation that a user is party to, in no order."""
        return [*self._machine.open_ids_of(user), *self._answered.get(user, ())]

    def _ended(self, remembered: Device) -> list[InvitationInfo]:
        infos = [self._machine.info(name) for name in remembered.known]
        return [info for info in infos if info is not None and info.state != "open"]

    def mark_told(self, invite_id: str, user: str) -> None:
        """Note in the machine that a user was told of an invitation without a deadline."""
        try:
            self._machine.mark_told(self._machine.now_ms, invite_id, user)
        except Refused:
            return  # it has ended meanwhile: nobody will ask

    # -- logout ------------------------------------------------------------------------------------

    def leave(self, session: Session, now_ms: int, missed: Sequence[Event] = ()) -> None:
        """Take a session offline and remember what it was told.

        Args:
            session: online until now.
            now_ms: the time of the logout, which no commit may have had.
            missed: events that were handed to it and found no room.
        """
        self._take_offline(session, now_ms, missed)
        user, device_id = session.user_id, session.device_id
        devices = self._accounts[user].devices
        # To the end: of those that are away, the one that left first comes first.
        self._away[user, device_id] = devices[device_id] = devices.pop(device_id)
        self._note(user, device_id, devices[device_id])
        away = [name for name, other in devices.items() if other.session is None]
        if len(away) > self._limits.devices_remembered:
            self._forget_device(user, away[0])

    def _take_offline(self, session: Session, now_ms: int, missed: Sequence[Event] = ()) -> None:
        """Note what a session was told; its device, which may be back at once, is not away yet."""
        user = session.user_id
        account = self._accounts[user]
        device: Device = account.devices[session.device_id]
        untold = device.untold
        lost: list[Event | InvitationInfo] = [
            *session._close_courier(),
            *missed,
            *self._delivery.undelivered(session),
        ]
        untold.update(item.invite_id for item in lost if _is_opening(item))
        known = self.party_to(user)
        known += [
            item.invite_id
            for item in lost
            if isinstance(item, Event) and item.ends and _is_party(user, item)
        ]
        device.known = tuple(name for name in dict.fromkeys(known) if name not in untold)
        untold.intersection_update(known)
        device.doubtful = session._doubtful()
        device.left_ms = now_ms
        device.left_position = device.gone_position = self._machine.position
        heard = session._heard_up_to()
        if heard is not None:
            device.left_position = min(device.left_position, heard)
        device.session = None
        session.online = False
        self.online_count -= 1
        account.online = [other for other in account.online if other is not session]

    def drop(self, session: Session, now_ms: int) -> None:
        """Take a session offline at the end of the hub: nothing outlives it without a journal."""
        if self._record is not None:
            self.leave(session, now_ms)
            return
        account = self._accounts[session.user_id]
        session._close_courier()
        session.online = False
        self.online_count -= 1
        account.online = [other for other in account.online if other is not session]

    def is_told(self, session: Session, invite_id: str) -> bool:
        """Whether a session that is online knows an open invitation of its user."""
        device: Device = self._accounts[session.user_id].devices[session.device_id]
        return invite_id not in device.untold

    def tell(self, session: Session, invite_id: str) -> None:
        """Count an invitation as told to a session."""
        device: Device = self._accounts[session.user_id].devices[session.device_id]
        device.untold.discard(invite_id)
        self._note(session.user_id, session.device_id, device)

    # -- what a journal keeps ----------------------------------------------------------------------

    def _note(self, user: str, device_id: str, device: Device) -> None:
        if self._record is not None:
            self._record(_entry(user, device_id, device))

    def users(self) -> list[str]:
        """Return the users of whom a device is remembered, or online."""
        return list(self._accounts)

    def entries_of(self, user: str) -> list[bytes]:
        """Return the journal's entries of a user's devices."""
        account = self._accounts.get(user)
        devices = {} if account is None else account.devices
        return [_entry(user, device_id, device) for device_id, device in devices.items()]

    def bring_back(self, kept: dict[str, Any], now_ms: int) -> None:
        """Remember a device that a journal has kept; the longest away comes first.

        Args:
            kept: the values of its last entry.
            now_ms: engine time; who was online until the process ended counts as gone just now.
        """
        user, device_id = kept["user"], kept["device"]
        device = Device(
            kept["number"],
            None,
            kept["left_ms"],
            kept["left_position"],
            kept["gone_position"],
            set(kept["untold"]),
            tuple(kept["known"]),
        )
        if kept["online"]:
            open_now = self.party_to(user)
            device.left_ms = now_ms
            device.left_position = device.gone_position = self._machine.position
            device.known = tuple(name for name in open_now if name not in device.untold)
            device.untold.intersection_update(open_now)
        if self._is_forgotten(device, now_ms):
            return
        account = self._accounts.get(user)
        if account is None:
            account = self._accounts[user] = Account(user)
        account.devices[device_id] = self._away[user, device_id] = device
        if kept["online"]:
            # So that after the next crash it does not count as told of what comes now.
            self._note(user, device_id, device)
        if len(account.devices) > self._limits.devices_remembered:
            self._forget_device(user, next(iter(account.devices)))

    def _forget(self, now_ms: int) -> None:
        """Forget some devices that have been away for too long, and users without a device."""
        for _ in range(FORGET_PER_LOGIN):
            name, device = next(iter(self._away.items()), (("", ""), None))
            if device is None or not self._is_forgotten(device, now_ms):
                return
            self._forget_device(*name)

    def _is_forgotten(self, device: Device, now_ms: int) -> bool:
        keep_ms = round(self._limits.told_keep_s * 1000)
        return device.session is None and device.left_ms + keep_ms <= now_ms

    def _forget_device(self, user: str, device_id: str) -> None:
        del self._away[user, device_id]
        account = self._accounts[user]
        del account.devices[device_id]
        if not account.devices:
            self._delivery.forget(account)


def _is_opening(item: Event | InvitationInfo) -> bool:
    """Whether what waits for a session is an opening, or one that its login rings again."""
    return isinstance(item, InvitationInfo) or item.kind == "opened"


def _is_party(user: str, event: Event) -> bool:
    return user == event.inviter or user in event.invitees


def _entry(user: str, device_id: str, device: Device) -> bytes:
    """Return the journal's entry of a device."""
    return of_builtins(
        DEVICE,
        {
            "user": user,
            "device": device_id,
            "number": device.number,
            "online": device.session is not None,
            "left_ms": device.left_ms,
            "left_position": device.left_position,
            "gone_position": device.gone_position,
            "untold": list(device.untold),
            "known": device.known,
        },
    )


def _device_number(device_id: str, account: Account) -> int:
    """A number for a new device: the same after a restart, and no other device's of the user."""
    taken = {device.number for device in account.devices.values()}
    number = zlib.crc32(device_id.encode())
    while True:
        number = number % DEVICE_NUMBER_MAX + 1
        if number not in taken:
            return number
