"""Publishing: what was committed gets its audience, as of the commit, and its place in the journal.

Everything is published before anybody's being online or a member changes, so that each event is
heard by who was there when it happened: who has just left a group hears of it, who comes later does
not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from pysignal.delivery import Call, Delivery
from pysignal.engine.facts import Event
from pysignal.engine.machine import Machine
from pysignal.groups.callbacks import GroupCall, Told, calls
from pysignal.groups.decisions import Groups
from pysignal.groups.records import GroupRecord, leavers
from pysignal.journal import entries
from pysignal.journal.writer import Writer
from pysignal.presence import Presence
from pysignal.session import Session

# Lists whose parties' sessions are kept; beyond that they are forgotten and found again.
PARTIES_MAX: Final = 1024

_NOTHING: Final[list[Any]] = []


class Publisher:
    """Takes what was committed to the journal and to the queue of deliveries.

    Args:
        machine: whose facts are taken.
        groups: who is a member.
        delivery: the queue.
        presence: who is online.
        writer: the journal's, or None.
    """

    def __init__(
        self,
        machine: Machine,
        groups: Groups,
        delivery: Delivery,
        presence: Presence,
        writer: Writer | None,
    ) -> None:
        self._machine = machine
        self._groups = groups
        self._delivery = delivery
        self._presence = presence
        self._writer = writer
        self._online = GroupsOnline()
        # The sessions of a list's parties, by invitation; forgotten when anybody comes or goes.
        self._parties: dict[str, list[Session]] = {}
        # What was taken from the machine and not passed on yet. Memory may run out at each step;
        # the next call goes on from there, so that nothing is left out or told twice.
        self._records: list[bytes] = []
        self._taken: list[Event] = []
        self._events: Iterator[Event] = iter(())
        self._event: Event | None = None

    @property
    def rests_on(self) -> int:
        """How many records of the journal all that was published rests on."""
        return 0 if self._writer is None else self._writer.accepted

    @property
    def is_behind(self) -> bool:
        """Whether something was committed that was not passed on yet."""
        return self._machine.waiting > 0 or self._event is not None or bool(self._taken)

    def publish(self) -> None:
        """Find the audience of everything committed since the last time, as of now."""
        machine = self._machine
        while self.is_behind:
            if self._writer is not None:
                self._write(self._writer)
            if self._event is None:
                self._taken = self._taken or machine.take()
                self._events = iter(self._taken)
                self._event, self._taken = next(self._events, None), _NOTHING
            rests_on = self.rests_on
            while self._event is not None:
                event = self._event
                if not event.group_id and len(event.invitees) == 1:
                    self._delivery.post_event(event, None, rests_on)
                else:
                    self._note_list(event)
                    self._delivery.post_event(event, self._audience(event), rests_on)
                self._event = next(self._events, None)

    def _write(self, writer: Writer) -> None:
        if not self._records:
            self._records = self._machine.records()
        writer.write([entries.of_machine(record) for record in self._records])
        self._records = _NOTHING

    def publish_group(
        self, record: GroupRecord, anybody_stays: bool, actor: str, device: int
    ) -> None:
        """Queue the callbacks of a group change that was just applied.

        Args:
            record: the change.
            anybody_stays: whether there was a member before it who has not left by it.
            actor: who did it; `""` for the server.
            device: number of the acting device, 0 for none.
        """
        if self._writer is not None:
            self._writer.write([entries.of_groups(record)])
        acting = None
        account = self._delivery.accounts.get(actor) if device else None
        if account is not None:
            acting = next((s for s in account.online if s.device_number == device), None)
        made = calls(record, anybody_stays)
        for call, sessions in zip(made, self._change(record, made), strict=True):
            item = Call(call.name, tuple(call.parameters.values()), record.group_id)
            self._delivery.post(item, sessions, acting, self.rests_on)

    def _change(self, record: GroupRecord, made: list[GroupCall]) -> list[list[Session]]:
        """Bring who is online in a group up to date; returns who hears each call."""
        online, group_id = self._online, record.group_id
        wanted = {call.told for call in made}
        heard = {}
        if Told.BEFORE in wanted:
            heard[Told.BEFORE] = online.sessions(group_id)
        online.leave(group_id, self._delivery.sessions_of(leavers(record)))
        if Told.STAYERS in wanted:
            heard[Told.STAYERS] = online.sessions(group_id)
        online.enter(group_id, self._delivery.sessions_of(record.entrants))
        if Told.AFTER in wanted:
            heard[Told.AFTER] = online.sessions(group_id)
        if Told.ACTOR in wanted:
            heard[Told.ACTOR] = self._delivery.sessions_of((record.actor,))
        if record.dismissed:
            online.dismiss(group_id)
        self._parties.clear()
        return [heard[call.told] for call in made]

    def came(self, session: Session) -> None:
        """Note that a session has come online."""
        self._parties.clear()
        for group_id in self._groups.joined(session.user_id):
            self._online.enter(group_id, [session])

    def went(self, session: Session) -> None:
        """Note that a session has gone offline."""
        self._parties.clear()
        for group_id in self._groups.joined(session.user_id):
            self._online.leave(group_id, [session])

    def _audience(self, event: Event) -> list[Session]:
        """The sessions that hear an event of a list or a group."""
        if event.group_id and not event.parties_only:
            return self._online.sessions(event.group_id)
        sessions = self._parties.get(event.invite_id)
        if sessions is None:
            sessions = self._delivery.sessions_of(event.invitees, event.inviter)
            if event.group_id:
                sessions = self._online.among(event.group_id, sessions)
            if len(self._parties) >= PARTIES_MAX:
                self._parties.clear()
            self._parties[event.invite_id] = sessions
        if event.ends:
            self._parties.pop(event.invite_id, None)
        return sessions

    def _note_list(self, event: Event) -> None:
        if event.ends:
            self._presence.note_end(event.invitees, event.invite_id)
        elif event.kind in ("accepted", "rejected"):
            self._presence.note_answer(event.invitee, event.invite_id)


class GroupsOnline:
    """The sessions that are online of each group's members.

    They are kept up with every login, logout and change of a group: a group may have very many
    members of whom few are online. A list that was given out never changes.
    """

    def __init__(self) -> None:
        self._sessions: dict[str, dict[Session, None]] = {}  # of groups that anybody is online of
        self._lists: dict[str, list[Session]] = {}  # the same, as given out since it changed

    def sessions(self, group_id: str) -> list[Session]:
        """Return the sessions of a group."""
        sessions = self._lists.get(group_id)
        if sessions is None:
            sessions = list(self._sessions.get(group_id, ()))
            if sessions:
                self._lists[group_id] = sessions
        return sessions

    def among(self, group_id: str, sessions: list[Session]) -> list[Session]:
        """Return those of some sessions that are a group's."""
        online = self._sessions.get(group_id, {})
        return [session for session in sessions if session in online]

    def enter(self, group_id: str, sessions: list[Session]) -> None:
        """Add sessions of members."""
        online = self._sessions.get(group_id)
        if online is not None:
            online.update(dict.fromkeys(sessions))
            self._lists.pop(group_id, None)
        elif sessions:
            self._sessions[group_id] = dict.fromkeys(sessions)

    def leave(self, group_id: str, sessions: list[Session]) -> None:
        """Take sessions out; who is not in is left out."""
        online = self._sessions.get(group_id)
        if online is None:
            return
        for session in sessions:
            online.pop(session, None)
        self._lists.pop(group_id, None)
        if not online:
            del self._sessions[group_id]

    def dismiss(self, group_id: str) -> None:
        """Forget a group."""
        self._sessions.pop(group_id, None)
        self._lists.pop(group_id, None)
