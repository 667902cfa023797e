"""Streams: a bounded queue of events with one reader, as an async iterator."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Self

from pysignal.engine.facts import Event
from pysignal.errors import SignalingError


class EventQueue:
    """Events that wait for their reader, up to a bound.

    Args:
        capacity: events waiting at most.
        past: events to begin with.
    """

    def __init__(self, capacity: int, past: Iterable[Event] = ()) -> None:
        self._capacity = capacity
        self._waiting = deque(past)
        self._reader: asyncio.Future[None] | None = None
        self._ended = False
        self._error: SignalingError | None = None

    def put(self, event: Event) -> bool:
        """Queue an event; False when there is no room."""
        if len(self._waiting) >= self._capacity:
            return False
        self._waiting.append(event)
        self._wake()
        return True

    def end(self, error: SignalingError | None = None) -> None:
        """Let the reader end after what is queued, with an error if there is one."""
        self._ended = True
        self._error = error
        self._wake()

    def clear(self) -> None:
        """Drop what is queued."""
        self._waiting.clear()

    async def take(self) -> Event:
        """Return the next event; after the last, raise StopAsyncIteration or the error."""
        while not self._waiting:
            if self._error is not None:
                raise self._error.again()
            if self._ended:
                raise StopAsyncIteration
            if self._reader is not None:
                raise RuntimeError("this stream is read by another task: make one for each reader")
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        return self._waiting.popleft()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)


class EventStream:
    """An async iterator over events, for one reader.

    It stops listening when it is closed, or dropped: after a `break`, nothing is left behind.
    """

    def __init__(self, queue: EventQueue, stop: Callable[[], None]) -> None:
        self._queue = queue
        self._stop = stop

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        return await self._queue.take()

    async def aclose(self) -> None:
        """Stop listening, and drop what is queued."""
        self._queue.clear()
        self._queue.end()
        self._stop()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __del__(self) -> None:
        self._stop()
