"""What the server tells becomes events that delivery hands over, each once.

The same delivery as a hub's stands between the connection and the listeners, with one session as
its receiver. Beside each item stands its cursor, so that the client knows how far its listeners
have come: that is what it tells the server, and from where a session goes on which was too slow.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from msgspec import UNSET, DecodeError
from msgspec.json import decode

from pysignal.clock import stopwatch_ns
from pysignal.courier import log_failure
from pysignal.delivery import Delivery
from pysignal.engine.facts import Event
from pysignal.groups.callbacks import PARAMETERS
from pysignal.protocol.frames import Incoming
from pysignal.protocol.numbers import INVITEES_INLINE_MAX
from pysignal.protocol.reading import event_from
from pysignal.protocol.results import (
    EventFields,
    EventParams,
    GroupEventParams,
    InvitationFields,
)
from pysignal.receivers import Call

if TYPE_CHECKING:
    from pysignal.client.session import RemoteSession

log = logging.getLogger("pysignal")

# What was taken is told to the server after so many messages, if not sooner.
ACK_MESSAGES: Final = 128

# How long one turn of the event loop delivers, ns.
TURN_NS: Final = 1_000_000

# Openings that were heard, so that a repeat is dropped; the oldest are forgotten.
OPEN_HEARD_MAX: Final = 1 << 16
ENDED_HEARD_MAX: Final = 1024

# Long lists of invitees that later events leave out.
LISTS_MAX: Final = 1024


class Intake:
    """What one session is told.

    Args:
        session: hears it.

    Attributes:
        cursor: of the last message that came; None before the first.
        taken: of the last one that the listeners have had.
        delivery: the queue in between.
        untaken: messages that have come and that the server does not know to be taken.
    """

    def __init__(self, session: RemoteSession) -> None:
        self._session = session
        self.delivery = Delivery(log_failure)
        self.delivery.durable = 0
        self.cursor: str | None = None
        self.taken: str | None = None
        self._told: deque[tuple[Event | Call, str]] = deque()  # posted, and not known to be taken
        self._taken_count = 0  # of all that was ever posted
        self._open: OrderedDict[str, None] = OrderedDict()
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._lists: OrderedDict[str, Event] = OrderedDict()
        self._receivers = [session]
        self._is_scheduled = False

    # -- a login -----------------------------------------------------------------------------------

    def begin(self, cold: bool) -> None:
        """Begin anew, as the session logs in; nothing that was queued before is for it.

        Args:
            cold: what was heard before is told again.
        """
        self._session._since = self.delivery.posted
        self._told.clear()
        self._taken_count = self.delivery.posted
        self.cursor = self.taken
        if cold:
            self.forget()

    def forget(self) -> None:
        """Forget what was heard: the server knows, or is to tell it again."""
        self.cursor = self.taken = None
        self._open.clear()
        self._ended.clear()
        self._lists.clear()

    def logged_in(self, cursor: str, recovered: bool, found: Iterable[InvitationFields]) -> None:
        """Note where a login has left the session.

        Args:
            cursor: where it stands.
            recovered: whether it goes on, and what it missed follows.
            found: the open invitations of the snapshot, where there is one.
        """
        if recovered:
            return  # the cursor that it came with holds until something comes
        self._set_cursor(cursor)
        open_ids = set()
        for fields in found:
            open_ids.add(fields.invite_id)
            if len(fields.statuses) > INVITEES_INLINE_MAX:
                self._keep_list(event_from(opening_of(fields)))
        for invite_id in [each for each in self._open if each not in open_ids]:
            self._note_end(invite_id)  # of a group, or ended meanwhile

    def _set_cursor(self, cursor: str) -> None:
        """Note the cursor of something that nobody has to hear."""
        self.cursor = cursor
        if self._told:
            self._told[-1] = (self._told[-1][0], cursor)
        else:
            self.taken = cursor

    # -- messages ----------------------------------------------------------------------------------

    def pass_over(self, message: Incoming) -> None:
        """Go on behind a message that this version does not understand."""
        try:
            found: Any = {} if message.params is UNSET else decode(message.params)
        except DecodeError:
            return
        cursor = found.get("cursor") if isinstance(found, dict) else None
        if isinstance(cursor, str):
            self._set_cursor(cursor)

    def take_event(self, params: EventParams) -> None:
        """Take an event; an opening that was heard before is dropped."""
        invite_id = params.invite_id
        if params.kind == "opened" and (invite_id in self._open or invite_id in self._ended):
            self._set_cursor(params.cursor)
            return
        event = self.made(params, None)
        if params.kind == "opened":
            self._note_opening(invite_id, params.expires_at is not None)
        if params.ends:
            self._lists.pop(invite_id, None)
            if invite_id in self._open:
                self._note_end(invite_id)
        self._post(event, params.cursor)

    def take_group_event(self, params: GroupEventParams) -> None:
        """Take a callback of a group; one that is not known here is passed over."""
        names = PARAMETERS.get(params.callback)
        if names is None or any(name not in params.parameters for name in names):
            log.warning("the server calls %s, which this version cannot", params.callback)
            self._set_cursor(params.cursor)
            return
        args = tuple(params.parameters[name] for name in names)
        self._post(Call(params.callback, args, params.parameters["group_id"]), params.cursor)

    def made(self, fields: EventFields, opening: Event | None) -> Event:
        """Make an event.

        Args:
            fields: as it came.
            opening: of the same invitation, where it is known for its long list of invitees.
        """
        invite_id = fields.invite_id
        event = event_from(fields, opening or self._lists.get(invite_id))
        if fields.kind == "opened" and len(event.invitees) > INVITEES_INLINE_MAX:
            self._keep_list(event)
        return event

    def invited(self, invite_id: str, inviter: str, group_id: str, invitees: Sequence[str]) -> None:
        """Note whom an invitation of this session asks: it hears no opening of it."""
        users = list(dict.fromkeys(invitees))
        if len(users) > INVITEES_INLINE_MAX and invite_id not in self._lists:
            self._keep_list(event_from(opened(invite_id, inviter, group_id, users, users)))

    def told(self, invite_id: str) -> None:
        """Note that the user was told of an invitation by a push: it does not ring any more."""
        self._note_opening(invite_id, True)

    def _keep_list(self, opening: Event) -> None:
        self._lists[opening.invite_id] = opening
        if len(self._lists) > LISTS_MAX:
            self._lists.popitem(last=False)

    def _note_opening(self, invite_id: str, has_deadline: bool) -> None:
        # What has no deadline may end without a word (SPEC §3).
        heard, most = (
            (self._open, OPEN_HEARD_MAX) if has_deadline else (self._ended, ENDED_HEARD_MAX)
        )
        heard[invite_id] = None
        if len(heard) > most:
            heard.popitem(last=False)

    def _note_end(self, invite_id: str) -> None:
        self._open.pop(invite_id, None)
        self._note_opening(invite_id, False)

    # -- delivery ----------------------------------------------------------------------------------

    def _post(self, item: Event | Call, cursor: str) -> None:
        self.cursor = cursor
        self._told.append((item, cursor))
        self.delivery.post(item, self._receivers, None, self._session._gate.answered)
        if self.delivery.is_ready:
            self._schedule()

    def let_go(self, answered: int) -> None:
        """Let events leave whose answers have reached their callers.

        Args:
            answered: so many answers have.
        """
        self.delivery.durable = answered
        if self.delivery.is_ready:
            self._schedule()

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            self._session._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._is_scheduled = False
        try:
            self.delivery.drain(stopwatch_ns() + TURN_NS, stopwatch_ns)
            del self.delivery.told[:]
        finally:
            if self.delivery.is_ready:
                self._schedule()
            elif len(self._told) >= ACK_MESSAGES:
                self._session._tell_taken()

    # -- how far the listeners have come -----------------------------------------------------------

    @property
    def untaken(self) -> int:
        """How many messages wait for `settle`."""
        return len(self._told)

    def settle(self, waiting: Event | Call | None) -> None:
        """Note what has been handed over.

        Args:
            waiting: the first item that waits for the session's courier, or None.
        """
        if not self.delivery.is_ready:  # else a batch may wait
            self._settle(() if waiting is None else (waiting,))

    def miss(self, missed: Sequence[Event | Call]) -> None:
        """Go back to before the first item that was missed; what follows will be told again.

        Args:
            missed: items that were handed over and not heard.
        """
        self._settle(missed)
        for item, _ in self._told:
            if isinstance(item, Event) and item.kind == "opened":
                self._open.pop(item.invite_id, None)
                self._ended.pop(item.invite_id, None)
        self._told.clear()

    def _settle(self, missed: Sequence[Event | Call]) -> None:
        handed_over = self.delivery.posted - len(self.delivery)
        unheard = set(map(id, missed)) & {id(item) for item, _ in self._told}
        # What stands before something that was missed was heard, though it may not be counted yet.
        while self._told and (unheard or self._taken_count < handed_over):
            item, cursor = self._told[0]
            if id(item) in unheard:
                return
            self._told.popleft()
            self._taken_count += 1
            self.taken = cursor


def opening_of(fields: InvitationFields) -> EventFields:
    """Return the opening of an invitation that stands as a snapshot says."""
    return opened(
        fields.invite_id,
        fields.inviter,
        fields.group_id,
        list(fields.statuses),
        [user for user, status in fields.statuses.items() if status == "pending"],
    )


def opened(
    invite_id: str, inviter: str, group_id: str, invitees: list[str], pending: list[str]
) -> EventFields:
    """Return an opening as far as it says who was invited."""
    return EventFields(
        kind="opened",
        reason="",
        invite_id=invite_id,
        group_id=group_id,
        inviter=inviter,
        invitee_list=invitees,
        data="",
        invitation_data="",
        actor=inviter,
        device="",
        seq=1,
        data_version=1,
        position=0,
        time=0,
        expires_at=None,
        ends=False,
        replayed=False,
        online_only=False,
        parties_only=False,
        pending_count=len(pending),
        invitees=invitees,
        pending=pending,
    )
