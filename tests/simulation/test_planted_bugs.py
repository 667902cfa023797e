"""Bugs planted in the hub, each of which the simulation must find: its checks can fail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from general_way import take_general_way
from simulation.world import World

import pysignal.hub
from pysignal.courier import Courier
from pysignal.groups.online import GroupsOnline
from pysignal.hub import Hub
from pysignal.journal.writer import Writer
from pysignal.requests import Requests
from pysignal.session import Session
from pysignal.shard import Shard

SEEDS_MAX = 60

Patch = Callable[[Any, str, Any], None]


def after_opening(patch: Patch, open_and_break: Callable[[Any], None]) -> None:
    """Have each hub broken once it is open: what it is made of is compiled."""
    open_hub = Hub.open

    async def open_it(hub: Hub) -> None:
        await open_hub(hub)
        open_and_break(hub)

    patch(Hub, "open", open_it)


def tell_twice(patch: Patch) -> None:
    """Each opening is told once more in the end of the turn."""

    def open_and_break(hub: Any) -> None:
        publish, delivery, told = hub._publish, hub._delivery, set()

        def twice() -> None:
            publish()
            for account in delivery.accounts.values():
                for session in account.online:
                    for event in delivery.undelivered(session):
                        if event.kind == "opened" and (session, event.position) not in told:
                            told.add((session, event.position))
                            delivery.post(event, [session], None, 0)

        hub._publish = twice

    after_opening(patch, open_and_break)


def forget_somebody(patch: Patch) -> None:
    """The last member of a group is not told."""
    sessions = GroupsOnline.sessions
    patch(GroupsOnline, "sessions", lambda self, group_id: sessions(self, group_id)[:-1])


def early(patch: Patch) -> None:
    """Deadlines come 1 ms too soon."""
    tick, due = Shard.tick, Hub._next_due_ms
    patch(Shard, "tick", lambda self, now_ms: tick(self, now_ms + 1))
    patch(Hub, "_next_due_ms", lambda self: (ms := due(self)) and ms - 1)


def late(patch: Patch) -> None:
    """The timer is set 1 ms too late."""
    due = Hub._next_due_ms
    patch(Hub, "_next_due_ms", lambda self: (ms := due(self)) and ms + 1)


def no_timer(patch: Patch) -> None:
    """No timer is set at all."""
    patch(Hub, "_next_due_ms", lambda self: None)


def tell_before_durable(patch: Patch) -> None:
    """Events leave when their records have been handed over."""
    write = Writer.write

    def write_and_tell(self: Any, records: list[bytes]) -> None:
        write(self, records)
        if self._on_durable.__self__.is_open:
            self._on_durable(self.accepted)

    patch(Writer, "write", write_and_tell)


def answer_never(patch: Patch) -> None:
    """Who waits for the journal is forgotten."""

    def arrive(self: Any) -> asyncio.Future[None]:
        return asyncio.get_running_loop().create_future()

    patch(Writer, "arrive", arrive)


def answer_late(patch: Patch) -> None:
    """An answer leaves some turns after the events that follow it."""

    def open_and_break(hub: Any) -> None:
        perform = hub._perform

        async def slow(*args: Any) -> Any:
            result = await perform(*args)
            for _ in range(8):
                await asyncio.sleep(0)
            return result

        hub._perform = slow

    take_general_way(patch)
    after_opening(patch, open_and_break)


def deliver_inside_calls(patch: Patch) -> None:
    """What was committed is delivered at once."""

    def open_and_break(hub: Any) -> None:
        perform = hub._perform

        async def deliver(*args: Any) -> Any:
            result = await perform(*args)
            if not getattr(hub, "_delivering", False) and hub._delivery.is_ready:
                hub._delivering = True
                hub._deliver()
                hub._delivering = False
            return result

        hub._perform = deliver

    after_opening(patch, open_and_break)


def answer_for_others(patch: Patch) -> None:
    """Anybody's accept counts as that of a pending invitee."""
    take_general_way(patch)
    accept = Shard.accept

    def for_others(self: Any, now_ms: int, actor: str, device: int, name: str, data: str) -> Any:
        info = self.machine.info(name)
        pending = [] if info is None else [u for u, s in info.statuses.items() if s == "pending"]
        return accept(self, now_ms, pending[0] if pending else actor, 0, name, data)

    patch(Shard, "accept", for_others)


def forget_requests(patch: Patch) -> None:
    """A retry takes effect again."""

    def keep_for_no_time(now_ms: Any, keep_ms: int, *more: Any) -> Requests:
        return Requests(now_ms, 0, *more)

    patch(pysignal.hub, "Requests", keep_for_no_time)


def call_after_logout(patch: Patch) -> None:
    """What waits for a slow listener is called after the logout too."""
    patch(Courier, "close", lambda self: [])


def call_side_by_side(patch: Patch) -> None:
    """A slow listener is called again before it has returned."""

    async def call(self: Any, method: Any, args: Any, about: Any) -> None:
        task = asyncio.ensure_future(method(*args))
        task.add_done_callback(lambda task: task.cancelled() or task.exception())
        await asyncio.sleep(0)

    patch(Courier, "_call", call)


def end_in_silence(patch: Patch) -> None:
    """A session that is too slow is not told that it was disconnected."""
    ended = Session._ended
    patch(Session, "_ended", lambda self, error, callback="": ended(self, error))


PLANTED = [
    tell_twice, forget_somebody, early, late, no_timer, tell_before_durable, answer_never,
    answer_late, deliver_inside_calls, answer_for_others, forget_requests, call_after_logout,
    call_side_by_side, end_in_silence,
]  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_is_left() -> None:
    """A hub with a bug may leave anything behind."""


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_a_planted_bug_is_found(
    plant: Callable[[Patch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch.setattr)
    for seed in range(SEEDS_MAX):
        try:
            World(seed).run()
        except AssertionError:
            return
    raise AssertionError(f"not found in {SEEDS_MAX} histories")
