"""The server of one round: it comes back, shows what it has found, and lets people act on it."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Any

import uvloop

from crash import bugs
from crash.people import GROUPS, USERS, People
from pysignal import Clock, Hub, Limits
from pysignal.clock import Timer
from pysignal.journal.log import LogJournal

# How often it is looked whether something should have ended by itself, and how late it may be. The
# hub's own timer stands before the one that looks, so a slow machine changes nothing.
LOOK_S = 0.03
LATE_MS = 100

Tell = Callable[..., None]


@dataclass
class Plan:
    """What a round is to do.

    Attributes:
        folder: of the journal.
        seed: of what people do.
        first: the number of the first thing that they ask.
        calls: IDs of invitations to look for, beside those that are found open.
        again: what was asked with a request ID, to be asked again: (number, operation, user,
            details).
        shift_ms: by how much the wall clock is wrong.
        segment_bytes, snapshot_bytes: of the journal.
        keep_s: how long what has ended is remembered.
        run_s: how long people act; after that the hub is closed.
        bug: the name of a planted one, "" for none.
    """

    folder: str
    seed: str
    first: int
    calls: list[str]
    again: list[tuple[int, str, str, dict[str, Any]]]
    shift_ms: int
    segment_bytes: int
    snapshot_bytes: int
    keep_s: float
    run_s: float
    bug: str


class SteppedClock(Clock):
    """The system's clock after its wall clock was set."""

    def __init__(self, shift_ms: int) -> None:
        super().__init__()
        self._shift_ms = shift_ms

    def now_ms(self) -> int:
        return super().now_ms() + self._shift_ms

    def call_at(self, when_ms: int, call: Callable[[], None]) -> Timer:
        return super().call_at(when_ms - self._shift_ms, call)


class ToldJournal(LogJournal):
    """A log that tells when a snapshot begins and when it is in its place."""

    tell: Tell

    async def save(self, position: int, pieces: AsyncIterator[bytes]) -> None:
        self.tell("saving")
        await super().save(position, pieces)
        self.tell("saved")


class Complaints(logging.Handler):
    """Tells what is logged."""

    def __init__(self, tell: Tell) -> None:
        super().__init__(logging.WARNING)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        self._tell("logged", record.levelname, self.format(record))


def run(plan: Plan, tell: Tell) -> None:
    """Be a server until killed, or for the time of the plan."""
    logging.getLogger("pysignal").addHandler(Complaints(tell))
    if plan.bug:
        bugs.BUGS[plan.bug]()
    uvloop.run(serve(plan, tell))


async def serve(plan: Plan, tell: Tell) -> None:
    journal = ToldJournal(
        plan.folder, segment_bytes=plan.segment_bytes, snapshot_bytes=plan.snapshot_bytes
    )
    journal.tell = tell
    limits = Limits(ended_keep_s=plan.keep_s, requests_keep_s=10_000_000, requests_max=100_000)
    hub = Hub(journal=journal, clock=SteppedClock(plan.shift_ms), limits=limits)
    tell("began")
    await hub.open()
    tell("up", hub.now_ms, journal.base > 0)
    try:
        await show(hub, plan, tell)
        people = People(hub, tell, Random(plan.seed), plan.first, plan.again)
        looking = asyncio.ensure_future(look(hub, tell))
        with suppress(TimeoutError):
            await asyncio.wait_for(people.live(), plan.run_s)
        looking.cancel()
    except Exception:
        tell("failed", traceback.format_exc())
        raise
    finally:
        await hub.close()
    tell("closed")


async def show(hub: Hub, plan: Plan, tell: Tell) -> None:
    """Tell all that has come back."""
    machine = hub.shard.machine
    machine.check()
    for group_id in GROUPS:
        tell("members", group_id, await hub.groups.members(group_id))
    found = {name for user in USERS for name in hub._presence.party_to(user)}
    for invite_id in sorted(found.union(plan.calls)):
        info = await hub.invitation(invite_id)
        if info is None:
            tell("gone", invite_id, hub.now_ms)
            continue
        fields = "state reason statuses expires_at ended_at opened_at data_version data group_id"
        shown = {name: getattr(info, name) for name in fields.split()}
        tell("found", invite_id, info.inviter, info.online_only, shown)
    tell("shown", hub.now_ms, machine.stats()["invitations"])


async def look(hub: Hub, tell: Tell) -> None:
    """Complain of what should have ended by itself."""
    while True:
        await asyncio.sleep(LOOK_S)
        next_ms, now_ms = hub.shard.machine.next_ms, hub.now_ms
        if next_ms is not None and next_ms < now_ms - LATE_MS:
            tell("late", now_ms - next_ms)
