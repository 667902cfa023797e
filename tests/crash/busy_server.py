"""A server that opens and ends invitations as fast as it can, and says what was acknowledged.

What goes wrong with its journal comes from outside: a system call that is made to fail, a disk that
is full, a power cut. Each line is written before the next operation begins.

python -m crash.busy_server FOLDER [SECONDS]
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Awaitable
from itertools import count

import uvloop

from pysignal import Hub, SignalingError
from pysignal.journal.log import LogJournal

WORKERS = 8
SEGMENT_BYTES = 16_384
SNAPSHOT_BYTES = 65_536


def say(*words: object) -> None:
    """Write a line, and nothing less."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


class Busy:
    """Works on a hub until something is refused, and once more after that."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._numbers = count()

    async def work(self) -> None:
        """Open, end and leave open invitations."""
        while True:
            number = next(self._numbers)
            name = await self.do("open", self._hub.invite_as("amy", "bob", timeout=600))
            if name is None:
                break
            if number % 4 == 1:
                await self.do(f"accepted {name}", self._hub.accept_as("bob", name))
            elif number % 4 == 2:
                await self.do(f"cancelled {name}", self._hub.cancel_as("amy", name))
        await self.do("late", self._hub.invite_as("amy", "bob", timeout=600))

    async def do(self, what: str, call: Awaitable[object]) -> object:
        """Tell what an operation gave: its result, or a code."""
        try:
            result = await call
        except SignalingError as error:
            say("refused", error.code)
            return None
        say(what, *([] if result is None else [result]))
        return result


async def main(folder: str, seconds: float) -> None:
    journal = LogJournal(folder, segment_bytes=SEGMENT_BYTES, snapshot_bytes=SNAPSHOT_BYTES)
    async with Hub(journal=journal) as hub:
        say("up")
        busy = Busy(hub)
        try:
            async with asyncio.timeout(seconds):
                await asyncio.gather(*(busy.work() for _ in range(WORKERS)))
        except TimeoutError:
            say("enough")
    say("closed")


if __name__ == "__main__":
    logging.getLogger("pysignal").addHandler(logging.NullHandler())
    uvloop.run(main(sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 60.0))
