"""Following an invitation: who awaits its outcome, or iterates over its events.

A follower is entered with the hub as a `Watch`, which delivery feeds before any listener: so a
listener may await it, and a slow listener delays nobody who does.
"""

cimport cython

from pysignal.commands cimport Commands
from pysignal.delivery cimport Delivery
from pysignal.engine.direct cimport is_open_to_one
from pysignal.engine.facts cimport FACT_CANCELLED, FACT_MODIFIED, FACT_OPENED, Event
from pysignal.engine.machine cimport Machine
from pysignal.receivers cimport Receiver

from pysignal.errors import InvitationEnded, LimitExceeded, NotPermitted


# It refers to texts, an event and a dict of texts: nothing to collect.
@cython.no_gc
cdef class Outcome:
    """How an invitation ended.

    Attributes:
        invite_id: the invitation.
        state: `"completed"`, or `"cancelled"` by the inviter, the server or a group change.
        reason: why, where no party did it, as in `Event.reason`.
        statuses: where each invitee stands (accepted, rejected, cancelled, timed_out), in the order
            of invitation.
        event: the last event; None when the end was asked for long afterwards.
    """

    def __init__(
        self,
        str invite_id not None,
        str state not None,
        str reason not None,
        dict statuses not None,
        Event event=None,
    ):
        self.invite_id = invite_id
        self.state = state
        self.reason = reason
        self.known = statuses
        self.event = event

    def __eq__(self, other):
        if not isinstance(other, Outcome):
            return NotImplemented
        return self.parts() == other.parts()

    __hash__ = None

    def __repr__(self):
        return (
            f"Outcome(invite_id={self.invite_id!r}, state={self.state!r}, "
            f"reason={self.reason!r}, statuses={self.statuses!r}, event={self.event!r})"
        )

    def parts(self):
        """All of it, to be compared."""
        return self.invite_id, self.state, self.reason, self.statuses, self.event

    @property
    def statuses(self):
        """Where each invitee stands; see the class."""
        if self.known is None:
            self.known = {self.event.invitee_one: self.event.kind}
        return self.known

    @property
    def status(self):
        """The status of the one invitee, or the one that all share; `""` where they differ."""
        if self.known is None:
            return self.event.kind
        cdef set different = set(self.statuses.values())
        return different.pop() if len(different) == 1 else ""

    @property
    def accepted(self):
        """Who accepted, in the order of invitation."""
        return [user for user, status in self.statuses.items() if status == "accepted"]

    @property
    def data(self):
        """The data of the last answer or of the cancel; `""` when it is not known any more."""
        return "" if self.event is None else self.event.data


cdef class Watch:
    """One follower of an invitation, entered with the hub; delivery feeds it.

    Attributes:
        actor: who follows.
        invite_id: what is followed.
    """

    def __init__(self, Receiver actor not None, str invite_id not None):
        self.actor = actor
        self.invite_id = invite_id

    def feed(self, Event event):
        """Hear an event."""
        raise NotImplementedError

    def fail(self, error):
        """Stop following, with an error for whoever waits."""
        raise NotImplementedError

    def give_up(self):
        """Stop following, as there was no memory to hear an event: who waits asks again."""
        self.fail(LimitExceeded("memory ran out while the invitation was followed: ask again"))

    def stop(self):
        """Stop following."""
        if self.followers is not None:
            self.followers.leave(self)


cdef class OutcomeWatch(Watch):
    """Somebody who awaits the outcome; each has a future of their own.

    Attributes:
        ending: the future, which becomes an `Outcome`.
        statuses: where each invitee stands, where there are several.
    """

    def feed(self, Event event):
        """Hear an event."""
        cdef Outcome outcome
        if event.code == FACT_OPENED or event.code == FACT_MODIFIED:
            return
        if self.statuses is not None:
            for user in event.affected:
                self.statuses[user] = event.kind
        if event.ends and not self.ending.done():
            outcome = Outcome.__new__(Outcome)
            outcome.invite_id = self.invite_id
            outcome.state = "cancelled" if event.code == FACT_CANCELLED else "completed"
            outcome.reason = event.reason
            outcome.known = self.statuses
            outcome.event = event
            self.ending.set_result(outcome)

    def fail(self, error):
        """Stop following, with an error for whoever waits."""
        if not self.ending.done():
            self.ending.set_exception(error.again())


cdef class Followers:
    """Who follows which invitation.

    Args:
        delivery: feeds them.
        machine: the invitations.
    """

    def __init__(self, Delivery delivery not None, Machine machine not None):
        self.delivery = delivery
        self.machine = machine

    def __len__(self):
        return self.count

    def __iter__(self):
        """All of them; some may have left by the time they are named."""
        for watches in list(self.delivery.watchers.values()):
            yield from tuple(watches)

    def enter(self, Watch watch not None):
        """Enter a follower of an invitation.

        Returns:
            (the invitation as it stands, whether its last event was handed over: then the follower
            was not entered, as nothing will follow).

        Raises:
            InvitationEnded: nobody remembers it.
            NotPermitted: the follower does not hear of it.
        """
        info = self.machine.info(watch.invite_id)
        is_over = info is None or 0 < info.ended_position <= self.delivery.fed
        may_follow = info is not None and watch.actor._may_follow(info)
        # To who may not, an end that is remembered is none: they learn open or not, and no more.
        if info is None or (is_over and not may_follow):
            raise InvitationEnded("the invitation is not remembered any more: ask sooner")
        if not may_follow:
            raise NotPermitted("only who hears of an invitation may follow it")
        if not is_over:
            self.add(watch)
        return info, is_over

    cdef int add(self, Watch watch) except -1:
        """Enter a follower of an invitation whose last event was not handed over yet."""
        cdef list watches = self.delivery.watchers.get(watch.invite_id)
        watch.actor._watches[watch] = None
        watch.followers = self
        self.count += 1
        try:
            if watches is None:
                self.delivery.watchers[watch.invite_id] = [watch]
            else:
                watches.append(watch)
        except MemoryError:
            self.leave(watch)
            raise
        return 0

    def leave(self, Watch watch not None):
        """Take a follower out; one that is out already is no error."""
        if watch.followers is None:
            return
        watch.followers = None
        del watch.actor._watches[watch]
        self.count -= 1
        cdef list watches = self.delivery.watchers.get(watch.invite_id)
        if watches is not None and watch in watches:
            watches.remove(watch)
            if not watches:
                del self.delivery.watchers[watch.invite_id]


def follow_at_once(Receiver actor not None, str invite_id not None):
    """Await the outcome of the actor's own open invitation to one user, where nothing need wait.

    Returns:
        The follower, whose `ending` is to be awaited; None where it has to be asked for.
    """
    cdef OutcomeWatch watch
    if not is_known_at_once(actor, invite_id):
        return None
    watch = OutcomeWatch(actor, invite_id)
    watch.ending = actor._commands.create_future()
    (<Followers>actor.hub._followers).add(watch)
    return watch


cdef bint is_known_at_once(Receiver actor, str invite_id) except -1:
    """Whether it is the actor's own open invitation to one user, and nothing need wait."""
    cdef Commands commands = <Commands>actor._commands
    if commands is None or not commands.takes(actor) or not commands.is_free():
        return False
    if commands.is_journaled():     # a journal that has failed tells no outcome any more
        return False
    return is_open_to_one(
        commands.machine, commands.now_ms(), invite_id, actor.user_id, &actor.number
    )
