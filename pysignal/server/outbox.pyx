"""Outboxes: what a session's client is sent, and what is kept for one that comes back.

A message is made once and shared by all who hear it: its text, with a number of its own, which is
the heart of its cursor. An outbox has two views on what passes through it: what waits to be sent on
the connection of now, and the last messages, which a client that lost its connection may have
missed. The flusher sends what waits, for each connection at most
once a turn of the loop, and for no longer than a millisecond: what comes meanwhile leaves with it,
so that frames grow where there is much to tell.

An outbox is a stream of its session to delivery (`put`): that is all that a hub knows of it.
"""

from collections import deque

from libc.stdint cimport uint64_t

from pysignal.engine.facts cimport FACT_OPENED, Event
from pysignal.receivers cimport Call

import orjson

from pysignal.groups import callbacks
from pysignal.protocol.writing import event_message, joined
from pysignal.system_clock import stopwatch_ns

# Events whose messages are remembered: sessions of one group hear up to 256 in a row, each.
cdef enum: RING = 1024

# A frame has no more messages once it is so large; what waits is sent at once where it is more.
cdef enum: FRAME_BYTES = 262_144

# Ends that are too old to be kept for a client, but that a snapshot of its next login will name.
cdef enum: ENDS_KEPT = 1024

# How long one flush keeps the loop, and how many connections it serves between two looks.
cdef enum:
    FLUSH_NS = 1_000_000
    SENT_PER_LOOK = 8


cdef class Message:
    """What is sent to all who hear an event or a callback of a group.

    Attributes:
        number: stands for it in cursors. It counts the messages of this server as they were first
            heard, which is not the order of each session: who did the first of two things hears
            only the second, and may hear it before others hear either.
        at_ms: engine time when it was made.
        item: the event, or the call.
        text: the notification.
    """

    def __init__(self):
        raise TypeError("a Message is made by Writer.message_of")


cdef class Writer:
    """Writes each message once.

    Args:
        now_ms: tells engine time.
        begin: how each cursor of this server begins.

    Attributes:
        number: of the last message.
    """

    def __init__(self, now_ms, str begin not None):
        self.now_ms = now_ms
        self.begin = begin
        self.ring = [None] * RING

    def cursor(self, number, position):
        """A cursor: up to which message and commit position a client has come."""
        return f"{self.begin}-{number:x}-{position:x}"

    cdef Message message_of(self, Event event):
        cdef Py_ssize_t place = event.position % RING
        cdef Message message = <Message>self.ring[place]
        if message is not None and message.item is event:
            return message
        message = Message.__new__(Message)
        message.item = event
        message.at_ms = self.now_ms()
        message.text = event_message(
            event, f"{self.begin}-{self.number + 1:x}-{event.position:x}", message.at_ms,
        )
        self.number += 1
        message.number = self.number
        self.ring[place] = message
        return message

    cdef Message message_of_call(self, Call call):
        cdef Message message = self.last_call
        if message is not None and message.item is call:
            return message
        message = Message.__new__(Message)
        message.item = call
        message.at_ms = self.now_ms()
        message.text = orjson.dumps({
            "jsonrpc": "2.0",
            "method": "group_event",
            "params": {
                "cursor": self.cursor(self.number + 1, call.position),
                "now": message.at_ms,
                "callback": call.name,
                "parameters": dict(zip(callbacks.PARAMETERS[call.name], call.args)),
            },
        })
        self.number += 1
        message.number = self.number
        self.last_call = message
        return message


cdef class Flusher:
    """Sends what waits in outboxes.

    Args:
        call_soon: the loop's.
    """

    def __init__(self, call_soon):
        self.call_soon = call_soon
        self.waiting = []

    cdef int want(self, Outbox outbox) except -1:
        self.waiting.append(outbox)
        if not self.is_scheduled:
            self.call_soon(self.flush)
            self.is_scheduled = True
        return 0

    def flush(self):
        """Send, as far as a turn goes; called from the loop."""
        cdef Outbox outbox
        cdef Py_ssize_t at = 0, count = len(self.waiting)
        cdef long long until_ns = stopwatch_ns() + FLUSH_NS
        self.is_scheduled = False
        try:
            while at < count:
                outbox = <Outbox>self.waiting[at]
                at += 1
                outbox.send()
                if at % SENT_PER_LOOK == 0 and stopwatch_ns() >= until_ns:
                    break
        finally:
            del self.waiting[:at]
            if self.waiting and not self.is_scheduled:
                self.call_soon(self.flush)
                self.is_scheduled = True


cdef class Outbox:
    """What one session's client is sent, and what is kept for when it comes back.

    Args:
        writer: of the server.
        flusher: of the server.
        overflowed: called without arguments when more waits for the connection than is allowed.
        count_max: messages kept; also those that may wait.
        bytes_max: bytes that may wait.
        keep_ms: how old a message may be that is kept.

    Attributes:
        lost: number of the last message that is not kept any more, or was taken by the client.
        position: commit position up to which the client has taken everything, as far as it has
            said.
        is_short: whether an opening is not kept any more that the client has not taken, as far as
            it has said.
    """

    def __init__(
        self, Writer writer not None, Flusher flusher not None, overflowed, Py_ssize_t kept_max,
        Py_ssize_t count_max, Py_ssize_t bytes_max, long long keep_ms,
    ):
        self.writer = writer
        self.flusher = flusher
        self.overflowed = overflowed
        self.kept_max = kept_max
        self.count_max = count_max
        self.bytes_max = bytes_max
        self.nothing_waits()
        self.keep_ms = keep_ms
        self.lost = writer.number

    # -- what is heard -----------------------------------------------------------------------------

    def put(self, Event event not None):
        """Take an event; delivery calls it as it calls the streams of a session."""
        self.take(self.writer.message_of(event))
        return True

    def put_call(self, Call call not None):
        """Take a callback of a group."""
        self.take(self.writer.message_of_call(call))

    def end(self, error=None):
        """Nothing: the session says how it has ended."""

    cdef int take(self, Message message) except -1:
        cdef Message oldest
        if self.history is None:
            self.history = deque()
        self.history.append(message)
        oldest = <Message>self.history[0]
        if len(self.history) > self.kept_max or oldest.at_ms < message.at_ms - self.keep_ms:
            self.forget(message.at_ms - self.keep_ms)
        if self.wire is not None:
            self.add(message.text)
        return 0

    cdef int forget(self, long long until_ms) except -1:
        """Let go of messages that are too many or too old."""
        cdef Message oldest
        while self.history:
            oldest = <Message>self.history[0]
            if len(self.history) <= self.kept_max and oldest.at_ms >= until_ms:
                return 0
            self.lost = oldest.number
            if isinstance(oldest.item, Event) and (<Event>oldest.item).code == FACT_OPENED:
                self.is_short = True
            if isinstance(oldest.item, Event) and (<Event>oldest.item).ends:
                if self.dropped_ends is None:
                    self.dropped_ends = deque(maxlen=ENDS_KEPT)
                self.dropped_ends.append(oldest.item)
            self.history.popleft()
        return 0

    # -- what is sent ------------------------------------------------------------------------------

    def post(self, bytes text not None):
        """Send an answer, or what else is for the connection of now alone."""
        if self.wire is not None:
            self.add(text)

    cdef int add(self, bytes text) except -1:
        if self.unsent is None:
            self.unsent = []
        self.unsent.append(text)
        self.unsent_bytes += len(text)
        if not self.is_paused:
            if len(self.unsent) == 1:
                self.flusher.want(self)
            if self.unsent_bytes > FRAME_BYTES:
                self.send()
        elif len(self.unsent) > self.count_most or self.unsent_bytes > self.bytes_most:
            self.overflowed()
        return 0

    cdef int send(self) except -1:
        """Send what waits, in frames that everybody takes, until the client has enough."""
        cdef list unsent, frame
        cdef Py_ssize_t count, size
        while self.unsent is not None and self.wire is not None and not self.is_paused:
            unsent = self.unsent
            count = size = 0
            while count < len(unsent) and size <= FRAME_BYTES:
                size += len(<bytes>unsent[count])
                count += 1
            if count == len(unsent):
                frame = unsent
                self.nothing_waits()
            else:
                frame = unsent[:count]
                del unsent[:count]
                self.unsent_bytes -= size
            self.wire.send(joined(frame))
        return 0

    cdef int nothing_waits(self) except -1:
        self.unsent = None
        self.unsent_bytes = 0
        self.count_most = self.count_max
        self.bytes_most = self.bytes_max
        return 0

    def flush(self):
        """Send what waits now, where a close is to follow."""
        self.send()

    def pause(self):
        """Send nothing more for now: the client reads too slowly."""
        self.is_paused = True

    def resume(self):
        """Go on sending."""
        self.is_paused = False
        if self.unsent is not None:
            self.flusher.want(self)

    # -- connections -------------------------------------------------------------------------------

    def attach(self, wire not None):
        """Send on a connection from now on."""
        self.wire = wire
        self.is_paused = False

    def detach(self):
        """Send on no connection; what waited for it is kept, as far as it is kept at all."""
        self.wire = None
        self.nothing_waits()
        self.is_paused = False

    def acknowledge(self, uint64_t number, uint64_t position):
        """Forget what a client has taken, up to a message and its commit position."""
        if not self.reaches(number):
            return
        while self.lost != number:
            self.lost = (<Message>self.history.popleft()).number
        self.position = position
        self.dropped_ends = None
        self.is_short = False

    def reaches(self, uint64_t number):
        """Whether everything after a message is kept."""
        self.forget(self.writer.now_ms() - self.keep_ms)
        if number == self.lost:
            return True
        for message in self.history or ():
            if (<Message>message).number == number:
                return True
        return False

    def send_again(self):
        """Send what is kept once more; what a client has taken was acknowledged before.

        It may be much, and comes beside what may wait.
        """
        for message in self.history or ():
            self.count_most += 1
            self.bytes_most += len((<Message>message).text)
            self.add((<Message>message).text)

    def untaken(self):
        """The events that no client has acknowledged, in order, as far as they are known."""
        cdef list out = list(self.dropped_ends or ())
        for message in self.history or ():
            if isinstance((<Message>message).item, Event):
                out.append((<Message>message).item)
        return out
