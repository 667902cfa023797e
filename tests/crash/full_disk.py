"""A hub whose disk is full, and has room again: what is refused meanwhile, and what goes on.

`python -m crash.full_disk FOLDER` plays it in a small file system; a file beside the journal takes
the room, and is removed.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import uvloop

from pysignal import Hub, SignalingError
from pysignal.journal.log import LogJournal

SEGMENT_BYTES = 16_384
SNAPSHOT_BYTES = 65_536
BALLAST_BYTES = 512 << 10
PATIENCE_S = 20.0

# So many end by their deadline, after so long.
SOON = 50
SOON_S = 1.5

NewJournal = Callable[[], LogJournal]


async def code_of(call: Coroutine[Any, Any, Any]) -> int:
    """The code by which a call is refused; 0 where it is not."""
    try:
        await call
    except SignalingError as error:
        return error.code
    return 0


async def play(new_journal: NewJournal, make_room: Callable[[], None]) -> str:
    """Fill a disk, end what is open, make room, and go on; returns what was seen.

    Raises:
        AssertionError: something was refused that goes on, or taken that has no room.
    """
    async with Hub(journal=new_journal()) as hub:
        names = []
        while (code := await code_of(open_one(hub, names))) == 0:
            assert len(names) < 100_000, "the disk does not get full"
        assert code == 7008, code
        for number, name in enumerate(names[SOON:]):
            end = hub.cancel_as("amy", name) if number % 2 else hub.accept_as("bob", name)
            assert await code_of(end) == 0, f"{number} of {len(names)} could not end"
        async with asyncio.timeout(PATIENCE_S):
            while hub.stats()["open"]:  # noqa: ASYNC110 - the deadlines are not told of
                await asyncio.sleep(0.05)
        for name in names[:SOON]:
            info = await hub.invitation(name)
            assert info is not None
            assert info.statuses == {"bob": "timed_out"}
        make_room()
        async with asyncio.timeout(PATIENCE_S):
            while await code_of(open_one(hub, names)):  # noqa: ASYNC110 - the hub looks each second
                await asyncio.sleep(0.05)
        await hub.accept_as("bob", names[-1])
    async with Hub(journal=new_journal()) as hub:
        hub.shard.machine.check()
        for name in names:
            info = await hub.invitation(name)
            assert info is not None
            assert info.state != "open"
    return f"{len(names)} invitations"


async def open_one(hub: Hub, names: list[str]) -> None:
    """Open an invitation; the first ones fall due by themselves."""
    timeout_s = SOON_S if len(names) < SOON else 600
    names.append(await hub.invite_as("amy", "bob", "x" * 40, timeout=timeout_s))


def main(folder: Path) -> None:
    logging.getLogger("pysignal").addHandler(logging.NullHandler())
    ballast = folder / "ballast"
    ballast.write_bytes(bytes(BALLAST_BYTES))

    def new_journal() -> LogJournal:
        return LogJournal(
            folder / "calls", segment_bytes=SEGMENT_BYTES, snapshot_bytes=SNAPSHOT_BYTES
        )

    print(uvloop.run(play(new_journal, ballast.unlink)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
