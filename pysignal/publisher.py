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
from pysignal.groups.callbacks import callbacks
from pysignal.groups.decisions import Groups
from pysignal.groups.records import GroupRecord
from pysignal.journal import entries
from pysignal.journal.writer import Writer
from pysignal.presence import Presence
from pysignal.session import Session

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
        # The online sessions of a group's members; forgotten when one of either changes.
        self._audiences: dict[str, list[Session]] = {}
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
                if event.group_id or len(event.invitees) > 1:
                    self._note_list(event)
                self._delivery.post_event(event, self._audience(event), rests_on)
                self._event = next(self._events, None)

    def _write(self, writer: Writer) -> None:
        if not self._records:
            self._records = self._machine.records()
        writer.write([entries.of_machine(record) for record in self._records])
        self._records = _NOTHING

    def publish_group(
        self, record: GroupRecord, before: tuple[str, ...], actor: str, device: int
    ) -> None:
        """Queue the callbacks of a group change that was just applied.

        Args:
            record: the change.
            before: the members before it.
            actor: who did it; `""` for the server.
            device: number of the acting device, 0 for none.
        """
        self._audiences.pop(record.group_id, None)
        if self._writer is not None:
            self._writer.write([entries.of_groups(record)])
        acting = None
        account = self._delivery.accounts.get(actor) if device else None
        if account is not None:
            acting = next((s for s in account.online if s.device_number == device), None)
        for name, parameters, audience in callbacks(record, before):
            call = Call(name, tuple(parameters.values()), record.group_id)
            sessions = self._delivery.sessions_of(audience)
            self._delivery.post(call, sessions, acting, self.rests_on)

    def forget_audiences(self, user: str) -> None:
        """Note that a user's sessions have changed."""
        for group_id in self._groups.joined(user):
            self._audiences.pop(group_id, None)

    def _audience(self, event: Event) -> list[Session] | None:
        """The sessions that hear an event of a group; None where the parties alone do."""
        group_id = event.group_id
        if not group_id:
            return None
        if event.parties_only:
            parties = [event.inviter, *event.invitees]
            members = [user for user in parties if self._groups.is_member(group_id, user)]
            return self._delivery.sessions_of(members)
        audience = self._audiences.get(group_id)
        if audience is None:
            audience = self._delivery.sessions_of(self._groups.members(group_id))
            self._audiences[group_id] = audience
        return audience

    def _note_list(self, event: Event) -> None:
        if event.ends:
            self._presence.note_end(event.invitees, event.invite_id)
        elif event.kind in ("accepted", "rejected"):
            self._presence.note_answer(event.invitee, event.invite_id)
