"""A wire: what either side of a connection needs of it, whatever it is made of.

The socket is one wire; tests have others, that lose and delay what they carry. A wire keeps the
order and the borders of frames, loses nothing but its end when it breaks, and calls its peer from
the event loop, never from within a call of its own.
"""

from __future__ import annotations

from typing import Protocol


class Wire(Protocol):
    """One end of a connection, as its owner sees it."""

    def send(self, frame: bytes) -> None:
        """Send a text frame. Nothing is sent on a wire that was closed or lost.

        Args:
            frame: UTF-8.
        """

    def close(self, code: int, reason: str = "") -> None:
        """Close behind what was sent before. The peer hears `lost` later, once.

        Args:
            code: of the close frame (RFC 6455 §7.4).
            reason: for people, at most 123 bytes.
        """


class PatientWire(Wire, Protocol):
    """A wire whose other side can be made to wait: what a server needs of it."""

    def trust(self) -> None:
        """Take as much as anybody may send: the other side has logged in."""

    def hold(self) -> None:
        """Read nothing more until `go_on`. What was read already may still come."""

    def go_on(self) -> None:
        """Read again."""


class Peer(Protocol):
    """The owner of one end, as the wire sees it."""

    def received(self, text: str) -> None:
        """Take a text frame."""

    def lost(self, code: int) -> None:
        """Hear that the connection has ended; called once, and nothing after it.

        Args:
            code: of the close frame that came; 1006 where none did.
        """

    def paused(self) -> None:
        """Hear that the other side reads too slowly: send no more until `resumed`."""

    def resumed(self) -> None:
        """Hear that there is room again."""
