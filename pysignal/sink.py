"""A sink: where a hub puts its events, in place of the sessions' listeners.

A server that sends events over a network encodes each once, for all its receivers.
"""

from __future__ import annotations

from typing import Protocol

from pysignal.engine.facts import Event
from pysignal.receivers import Call
from pysignal.session import Session


class Sink(Protocol):
    """Where events go, in place of the sessions' listeners: `Hub(sink=…)`."""

    def deliver(self, events: list[Event | Call], receivers: list[list[Session]]) -> None:
        """Take the events of one turn, in commit order.

        Args:
            events: each made once, read-only; a `Call` for a callback of a group.
            receivers: for each event, the sessions that hear it.
        """
