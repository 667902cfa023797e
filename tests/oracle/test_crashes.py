"""Histories that crash are as the model says, and bugs planted into recovery are found by them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import pytest
import uvloop
from scale import scaled

from oracle import bulk, hub_history
from oracle.crashing import CrashingRun
from oracle.failure import HistoryFailed
from oracle.source import Seeded
from pysignal.journal.writer import Writer
from pysignal.presence import Presence
from pysignal.requests import Requests
from pysignal.saving import Saving

SEED: Final = 2_000_000
HISTORIES: Final = 1_000  # most bugs are found in the first ten

Plant = Callable[[pytest.MonkeyPatch], None]


def test_random_histories_that_crash_are_as_the_model_says() -> None:
    bulk.run(scaled(1_500), SEED, "crashes")


# -- what they meet --------------------------------------------------------------------------------


def test_crashes_come_in_the_middle_of_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash of a hub that has nothing to do would prove little."""
    met: Counter[str] = Counter()
    crash, take_up = CrashingRun._crash, CrashingRun._take_up

    async def watched_crash(self: CrashingRun, **how: Any) -> None:
        hub: Any = self.hub
        met["an operation under way"] += any(not begun.task.done() for begun in self._begun)
        met["an append under way"] += hub._writer._append is not None
        met["a snapshot being taken"] += hub._saving._task is not None
        met["something undelivered"] += len(hub._delivery) > 0
        met["a listener with calls queued"] += len(hub._couriers) > 0
        met[self._world.journal] += 1
        self_durable[:] = [hub._writer.durable]
        await crash(self, **how)

    def watched_take_up(
        self: CrashingRun, now_ms: int, position: int, mark: Any, closed_ms: int | None
    ) -> None:
        met["something not acknowledged that is back"] += position > self_durable[0]
        met["something lost"] += mark is not self._marks[-1]
        met["a snapshot to begin from"] += self._journal.base > 0
        take_up(self, now_ms, position, mark, closed_ms)

    self_durable = [0]
    monkeypatch.setattr(CrashingRun, "_crash", watched_crash)
    monkeypatch.setattr(CrashingRun, "_take_up", watched_take_up)
    for seed in range(120):
        bulk.run_one("crashes", Seeded(seed))
    assert len(met) == 12
    assert min(met.values()) >= 5, met


# -- planted bugs ----------------------------------------------------------------------------------


def results_are_not_recorded(patch: pytest.MonkeyPatch) -> None:
    def without_journal(now_ms: Any, keep_ms: int, count_max: int, journaled: bool) -> Requests:
        return Requests(now_ms, keep_ms, count_max)

    patch.setattr("pysignal.hub.Requests", without_journal)


def devices_are_not_recorded_when_they_are_back(patch: pytest.MonkeyPatch) -> None:
    _without_records(patch, "bring_back")


def devices_are_not_recorded_when_they_leave(patch: pytest.MonkeyPatch) -> None:
    _without_records(patch, "leave")


def _without_records(patch: pytest.MonkeyPatch, name: str) -> None:
    method = getattr(Presence, name)

    def unrecorded(self: Presence, *args: Any) -> None:
        record, self._record = self._record, None
        try:
            method(self, *args)
        finally:
            self._record = record

    patch.setattr(Presence, name, unrecorded)


def a_snapshot_takes_next_position_late(patch: pytest.MonkeyPatch) -> None:
    pieces: Any = Saving._pieces

    async def late(
        self: Saving, head: dict[str, int], group_ids: list[str]
    ) -> AsyncIterator[bytes]:
        for _ in range(3):
            await asyncio.sleep(0)
        head["next_position"] = self._groups.next_position
        async for piece in pieces(self, head, group_ids):
            yield piece

    patch.setattr(Saving, "_pieces", late)


def a_snapshot_tells_of_what_is_not_durable(patch: pytest.MonkeyPatch) -> None:
    async def hasty(
        self: Saving, head: dict[str, int], group_ids: list[str]
    ) -> AsyncIterator[bytes]:
        for piece in self._all(head, group_ids):
            yield piece

    patch.setattr(Saving, "_pieces", hasty)


def answers_come_before_what_they_rest_on_is_durable(patch: pytest.MonkeyPatch) -> None:
    def arrive(self: Writer) -> asyncio.Future[None]:
        done = self._loop.create_future()
        done.set_result(None)
        return done

    patch.setattr(Writer, "arrive", arrive)


def a_login_rings_before_it_is_durable(patch: pytest.MonkeyPatch) -> None:
    enter: Any = Presence.enter

    def early(self: Presence, *args: Any) -> Any:
        return enter(self, *args[:-1], lambda: 0)

    patch.setattr(Presence, "enter", early)


@pytest.mark.parametrize(
    "plant",
    [
        results_are_not_recorded,
        devices_are_not_recorded_when_they_are_back,
        devices_are_not_recorded_when_they_leave,
        a_snapshot_takes_next_position_late,
        a_snapshot_tells_of_what_is_not_durable,
        answers_come_before_what_they_rest_on_is_durable,
        a_login_rings_before_it_is_durable,
    ],
)
def test_a_planted_bug_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run_all() -> None:
        for seed in range(HISTORIES):
            await hub_history.run_history(Seeded(seed), crashing=True)

    plant(monkeypatch)
    with pytest.raises(HistoryFailed):
        uvloop.run(run_all())
