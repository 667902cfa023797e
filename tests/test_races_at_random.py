"""Random histories in which tasks take turns in a seeded order, and everything waits for something.

Tables and slices are so small that commands queue up, logins come between two slices of an expiry,
and the hub closes in the midst of it. A failure names its seed.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import uvloop
from busy import PATIENCE_S
from scale import scaled
from simulation.loop import SimulationLoop

from pysignal import Hub, SignalingError, SignalingEvent, SignalingListener, VirtualClock
from pysignal.journal import MemoryJournal

USERS = ["amy", "bob", "cy", "dee"]
ACTS = "login login login invite invite group group cancel accept logout quit add".split()


LOOPS: dict[str, Callable[[random.Random], Any]] = {
    "asyncio": lambda _: asyncio.new_event_loop(),
    "uvloop": lambda _: uvloop.new_event_loop(),
    "shuffled": SimulationLoop,
}


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


class Witness(SignalingListener):
    """One device, which only ever logs in hot: what it must not hear is an error at once."""

    def __init__(self, history: History, hub: Hub, user: str, device: str) -> None:
        self.history = history
        self.session = hub.session(user, device)
        self.session.add_signaling_listener(self)
        self.rung: set[str] = set()
        self.ended: set[str] = set()
        self.last = 0

    def on_signaling_event(self, event: SignalingEvent) -> None:
        assert self.session.online
        assert event.invite_id not in self.ended, "heard after the end"
        if event.kind == "opened":
            assert event.invite_id not in self.rung, "rung twice"
            self.rung.add(event.invite_id)
        if event.kind != "opened" or event.position > self.last:
            assert event.position > self.last, "not in the order of the commits"
            self.last = event.position
        if event.ends:
            self.ended.add(event.invite_id)
        name = self.history.rng.choice(["accept", "reject", "logout", "query", "", "", ""])
        if name:
            self.history.begin(self, name, event.invite_id)
        if self.history.rng.random() < 0.05:
            raise asyncio.CancelledError


class History:
    """Users, devices and one group at random, over a journal or none."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.calls: list[asyncio.Task[None]] = []
        self.names: list[str] = ["none"]

    def begin(self, who: Witness, name: str, invite_id: str) -> None:
        self.calls.append(asyncio.ensure_future(self.act(who, name, invite_id)))

    async def act(self, who: Witness, name: str, invite_id: str) -> None:
        await turns(self.rng.choice([0, 0, 1, 3]))
        session, options = who.session, {"timeout": self.rng.choice([0, 1, 30])}
        others = self.rng.sample(USERS, 2)
        with contextlib.suppress(SignalingError):
            match name:
                case "login" if not session.online:
                    await session.login("hot")
                case "logout":
                    await session.logout()
                case "quit":
                    await session.groups.quit_group("g")
                case "add":
                    await session.hub.groups.add("g", USERS)
                case "query":
                    await session.hub.invitation(invite_id)
                case "accept" | "reject" | "cancel":
                    await getattr(session.signaling, name)(invite_id)
                case "invite":
                    call = await session.signaling.invite(others, **options)
                    self.names.append(call)
                    await call.outcome()
                case "group":
                    self.names.append(
                        await session.signaling.invite_in_group("g", others, **options)
                    )

    async def run(self) -> None:
        """Live through it.

        Raises:
            AssertionError: a promise was broken.
            TimeoutError: something waits for ever.
        """
        async with asyncio.timeout(PATIENCE_S):
            await self._run()
        _, waiting = await asyncio.wait(self.calls, timeout=PATIENCE_S)
        assert not waiting, "calls that never end"
        for call in self.calls:
            assert call.cancelled() or call.exception() is None
        await turns(3)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    async def _run(self) -> None:
        rng, clock = self.rng, VirtualClock()
        journal = YieldingJournal(rng) if rng.random() < 0.5 else None
        async with Hub(clock=clock, journal=journal) as hub:
            await hub.groups.put("g", USERS)
            devices = [Witness(self, hub, user, device) for user in USERS for device in "12"]
            for _ in range(40):
                name = rng.choice(ACTS)
                self.begin(rng.choice(devices), name, rng.choice(self.names))
                if rng.random() < 0.1:
                    rng.choice(self.calls).cancel()
                if rng.random() < 0.1:
                    await clock.advance(rng.choice([0.5, 1, 31]))
                await turns(rng.choice([0, 1, 3]))
                hub.shard.machine.check()
            if rng.random() < 0.7:  # else it closes in the midst of it
                await self._settle(hub, clock, devices)

    async def _settle(self, hub: Hub, clock: VirtualClock, devices: list[Witness]) -> None:
        while any(not device.session.online for device in devices):
            await clock.settle()
            for device in devices:
                await self.act(device, "login", "")
        await clock.settle()
        for device in devices:
            if device.session.online:
                for info in await hub.pending(device.session.user_id):
                    assert info.invite_id in device.rung, "never rung"


class YieldingJournal(MemoryJournal):
    """Appends after some turns of the loop."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self.rng = rng

    async def append(self, records: Sequence[bytes], expected_position: int) -> None:
        await turns(self.rng.choice([0, 1, 5]))
        await super().append(records, expected_position)


@pytest.mark.parametrize("order", list(LOOPS))
def test_whatever_the_order_of_the_tasks_everybody_hears_everything_once_and_in_order(
    order: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for seed in range(scaled(400)):
        rng = random.Random(f"{order} {seed}")
        monkeypatch.setattr("pysignal.commands.BACKLOG_MAX", rng.choice([1, 3, 512]))
        monkeypatch.setattr("pysignal.commands.RUN_NS", rng.choice([0, 1_000_000]))
        monkeypatch.setattr("pysignal.hub.TURN_NS", rng.choice([0, 1_000_000]))
        monkeypatch.setattr("pysignal.shard.STEPS_MAX", rng.choice([1, 1024]))
        loop = LOOPS[order](rng)
        try:
            loop.run_until_complete(History(seed).run())
        except BaseException as error:
            raise AssertionError(f"seed {seed}, {order}: {error!r}") from error
        finally:
            loop.close()
        broken = [r for r in caplog.records if r.exc_info and r.exc_info[0] is AssertionError]
        assert not broken, f"seed {seed}, {order}: {broken[0].exc_info}"
