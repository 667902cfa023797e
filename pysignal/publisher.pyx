"""Publishing: what was committed gets its audience, as of the commit, and its place in the journal.

Everything is published before anybody's being online or a member changes, so that each event is
heard by who was there when it happened: who has just left a group hears of it, who comes later does
not.
"""

from pysignal.delivery cimport Delivery
from pysignal.engine.facts cimport FACT_ACCEPTED, FACT_REJECTED, Event, facts_waiting
from pysignal.engine.machine cimport Machine
from pysignal.journal.results cimport entries_of
from pysignal.receivers cimport Account, Receiver
from pysignal.requests cimport Requests

from pysignal.groups.callbacks import Told, calls
from pysignal.groups.online import GroupsOnline
from pysignal.groups.records import leavers
from pysignal.journal import entries
from pysignal.receivers import Call

# Lists whose parties' sessions are kept; beyond that they are forgotten and found again.
cdef enum: PARTIES_MAX = 1024

# How many events ahead accounts are looked up, so that they need not be waited for.
cdef enum: AHEAD = 4

cdef list NOTHING = []


cdef class Publisher:
    """Takes what was committed to the journal and to the queue of deliveries.

    Args:
        machine: whose facts are taken.
        groups: who is a member.
        delivery: the queue.
        presence: who is online.
        requests: whose results are to be recorded.
        writer: the journal's, or None.

    Attributes:
        _parties: the sessions of a list's parties, by invitation; forgotten when anybody comes or
            goes.
    """

    def __init__(
        self,
        Machine machine not None,
        groups,
        Delivery delivery not None,
        presence,
        Requests requests not None,
        writer,
    ):
        self.machine = machine
        self.groups = groups
        self.delivery = delivery
        self.presence = presence
        self.requests = requests
        self.writer = writer
        self.online = GroupsOnline()
        self._parties = {}
        # What was taken from the machine and not passed on yet. Memory may run out at each step;
        # the next call goes on from there, so that nothing is left out or told twice.
        self.records = NOTHING
        self.taken = NOTHING

    @property
    def rests_on(self):
        """How many records of the journal all that was published rests on."""
        return 0 if self.writer is None else self.writer.accepted

    @property
    def is_behind(self):
        """Whether something was committed that was not passed on yet."""
        return self.has_more()

    cdef bint has_more(self) except -1:
        return self.has_facts() or (
            self.writer is not None and len(self.requests.unrecorded) > 0
        )

    cdef bint has_facts(self):
        return facts_waiting(&self.machine.core.facts) > 0 or self.at < len(self.taken)

    def publish(self):
        """Find the audience of everything committed since the last time, as of now."""
        cdef Event event
        while self.has_facts():
            if self.writer is not None:
                self.write()
            if self.at == len(self.taken):
                self.at, self.taken = 0, NOTHING
                self.taken = self.machine.take()
            rests_on = self.rests_on
            while self.at < len(self.taken):
                event = <Event>self.taken[self.at]
                if self.at + AHEAD < len(self.taken):
                    self.delivery.foresee(<Event>self.taken[self.at + AHEAD])
                if event.roll is None:
                    self.delivery.post_to_parties(event, rests_on)
                else:
                    self.note_list(event)
                    self.delivery.post_event(event, self.audience(event), rests_on)
                self.at += 1
            self.at, self.taken = 0, NOTHING
        if self.writer is not None and len(self.requests.unrecorded) > 0:
            self.write_requests()

    cdef int write(self) except -1:
        if not self.records:
            self.records = self.machine.records()
        self.writer.write(self.records)
        self.records = NOTHING
        return 0

    cdef int write_requests(self) except -1:
        """Record what requests gave, behind what they did: both are in the same append."""
        self.writer.write(entries_of(self.requests.unrecorded))
        self.requests.recorded()
        return 0

    def publish_group(self, record, bint anybody_stays, str actor not None, device):
        """Queue the callbacks of a group change that was just applied.

        Args:
            record: the change.
            anybody_stays: whether there was a member before it who has not left by it.
            actor: who did it; `""` for the server.
            device: number of the acting device, 0 for none.
        """
        cdef Account account = <Account>self.delivery.accounts.get(actor) if device else None
        cdef Receiver acting = None
        if self.writer is not None:
            self.writer.write([entries.of_group(record)])
        if account is not None:
            for session in account.online:
                if (<Receiver>session).device_number == device:
                    acting = <Receiver>session
                    break
        made = calls(record, anybody_stays)
        for call, sessions in zip(made, self.change(record, made), strict=True):
            item = Call(call.name, tuple(call.parameters.values()), record.group_id)
            self.delivery.post(item, sessions, acting, self.rests_on)

    cdef list change(self, record, made):
        """Bring who is online in a group up to date; returns who hears each call."""
        online, group_id = self.online, record.group_id
        cdef dict heard = {}
        cdef list hearers = []
        cdef set wanted = {call.told for call in made}
        if Told.BEFORE in wanted:
            heard[Told.BEFORE] = online.sessions(group_id)
        online.leave(group_id, self.delivery.sessions_of(leavers(record)))
        if Told.STAYERS in wanted:
            heard[Told.STAYERS] = online.sessions(group_id)
        online.enter(group_id, self.delivery.sessions_of(record.entrants))
        if Told.AFTER in wanted:
            heard[Told.AFTER] = online.sessions(group_id)
        if Told.ACTOR in wanted:
            heard[Told.ACTOR] = self.delivery.sessions_of((record.actor,))
        if record.dismissed:
            online.dismiss(group_id)
        self._parties.clear()
        for call in made:
            hearers.append(heard[call.told])
        return hearers

    def came(self, session):
        """Note that a session has come online."""
        self._parties.clear()
        for group_id in self.groups.joined(session.user_id):
            self.online.enter(group_id, [session])

    def went(self, session):
        """Note that a session has gone offline."""
        self._parties.clear()
        for group_id in self.groups.joined(session.user_id):
            self.online.leave(group_id, [session])

    cdef list audience(self, Event event):
        """The sessions that hear an event of a list or a group."""
        cdef list sessions
        if event.group_id and not event.parties_only:
            return self.online.sessions(event.group_id)
        sessions = self._parties.get(event.invite_id)
        if sessions is None:
            sessions = self.delivery.sessions_of(event.invitees, event.inviter)
            if event.group_id:
                sessions = self.online.among(event.group_id, sessions)
            if len(self._parties) >= PARTIES_MAX:
                self._parties.clear()
            self._parties[event.invite_id] = sessions
        if event.ends:
            self._parties.pop(event.invite_id, None)
        return sessions

    cdef int note_list(self, Event event) except -1:
        if event.ends:
            self.presence.note_end(event.invitees, event.invite_id)
        elif event.code == FACT_ACCEPTED or event.code == FACT_REJECTED:
            self.presence.note_answer(event.invitee, event.invite_id)
        return 0
