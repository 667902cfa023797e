"""Bugs that can be planted into a server, to see that killing it finds them.

A log that forgets to sync is none of them: a process that is killed leaves what it wrote to the
system, which writes it out later. That takes a power cut (`journal.simulated_disk`,
scripts/power_cut.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

from pysignal.journal import entries
from pysignal.journal.log import LogJournal
from pysignal.journal.writer import Writer
from pysignal.presence import Presence
from pysignal.recovery import Recovery


def answer_before_the_commit() -> None:
    def arrive(writer: Writer) -> asyncio.Future[None]:
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    Writer.arrive = arrive  # type: ignore[method-assign]


def tell_before_the_commit() -> None:
    write = Writer.write

    def write_and_tell(writer: Writer, records: list[bytes]) -> None:
        write(writer, records)
        writer._loop.call_soon(writer._on_durable, writer.accepted)

    Writer.write = write_and_tell  # type: ignore[method-assign]


def lose_a_record() -> None:
    replay = LogJournal.replay

    def replay_all_but_one(journal: LogJournal) -> Iterator[bytes]:
        records = list(replay(journal))
        return iter(records[:-1])

    LogJournal.replay = replay_all_but_one  # type: ignore[method-assign]


def forget_devices() -> None:
    Presence.bring_back = _do_nothing  # type: ignore[method-assign]


def forget_requests() -> None:
    take = Recovery._take

    def take_others(recovery: Recovery, kind: bytes, entry: bytes) -> None:
        if kind != entries.REQUEST:
            take(recovery, kind, entry)

    Recovery._take = take_others  # type: ignore[method-assign]


def _do_nothing(*_: Any) -> None:
    pass


BUGS: dict[str, Callable[[], None]] = {
    bug.__name__: bug
    for bug in (
        answer_before_the_commit,
        tell_before_the_commit,
        lose_a_record,
        forget_devices,
        forget_requests,
    )
}
