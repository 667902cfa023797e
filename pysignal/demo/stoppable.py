"""Signals that end the demo: what has begun is cleaned up, then the demo is over."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any, Self, TypeVar

import uvloop

from pysignal.exits import Terminated

T = TypeVar("T")


class Stoppable:
    """Lets SIGINT and SIGTERM stop the body: a coroutine is cancelled, so that it can clean up.

    What runs outside of a coroutine is stopped where it is. A signal that is ignored, or that has
    a handler of somebody else's, stays as it is.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._came: type[BaseException] | None = None
        self._cancel: Callable[[], None] | None = None

    def __enter__(self) -> Self:
        for signum in (signal.SIGINT, signal.SIGTERM):
            before = signal.getsignal(signum)
            if before in (signal.default_int_handler, signal.SIG_DFL):
                self._before[signum] = before
                signal.signal(signum, self._stop)
        return self

    def __exit__(self, *_: object) -> None:
        for signum, before in self._before.items():
            signal.signal(signum, before)

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in an event loop of its own, and return its result.

        Raises:
            KeyboardInterrupt: SIGINT has come.
            Terminated: SIGTERM has come.
        """
        try:
            result = uvloop.run(self._watched(main))
        except asyncio.CancelledError:
            if self._came is None:
                raise
        finally:
            self._cancel = None
        # A signal that came too late to cancel anything counts as well.
        if self._came is not None:
            raise self._came
        return result

    async def _watched(self, main: Coroutine[Any, Any, T]) -> T:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()

        def cancel() -> None:
            if task is not None and not loop.is_closed():
                loop.call_soon_threadsafe(task.cancel)

        self._cancel = cancel
        return await main

    def _stop(self, signum: int, _: FrameType | None) -> None:
        self._came = KeyboardInterrupt if signum == signal.SIGINT else Terminated
        if self._cancel is None:
            raise self._came
        self._cancel()
