"""Every operation that is carried out at once, with the n-th allocation failing, for every n.

Whatever fails, an operation has happened wholly, and is heard of, or not at all; then it is done
when it is called again. Who called it learns that there was no memory, also where that was short
for the answer alone; with a request ID the next call is told what it has done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from ears import Ear, join
from memory import ENGINE, PYTHON, Memory

from pysignal import Hub, LimitExceeded, VirtualClock

STATUSES = ("pending", "accepted", "rejected", "cancelled")

Calls = dict[str, Callable[[], Coroutine[Any, Any, Any]]]


class Stage:
    """A hub with Amy and Bob, and an invitation between them."""

    async def set_up(self) -> Calls:
        self.clock = VirtualClock()
        self.hub = Hub(clock=self.clock, seed=1)
        await self.hub.open()
        amy, self.amy_ear = await join(self.hub, "amy")
        bob, self.bob_ear = await join(self.hub, "bob")
        name = str(await amy.signaling.invite("bob", "data"))
        await self.clock.settle()
        self.amy_ear.take()
        self.bob_ear.take()
        return {
            "invite": lambda: amy.signaling.invite("bob", "more", timeout=5),
            "invite somebody new": lambda: amy.signaling.invite("carol", "möre"),
            "invite as a server": lambda: self.hub.acting_as("zoe").signaling.invite("bob"),
            "accept": lambda: bob.signaling.accept(name, "yes"),
            "reject": lambda: bob.signaling.reject(name, "no"),
            "cancel": lambda: amy.signaling.cancel(name, "never mind"),
            "request to invite": lambda: amy.signaling.invite("bob", "möre", request_id="r"),
            "request to accept": lambda: bob.signaling.accept(name, "yes", request_id="r"),
            "request to cancel": lambda: amy.signaling.cancel(name, "no", request_id="c"),
        }

    def counts(self) -> list[int]:
        stats = self.hub.stats()
        return [stats["invitations"], *(stats[f"invitees_{status}"] for status in STATUSES)]

    async def heard(self) -> list[Any]:
        """What both have heard, without the IDs."""
        await self.clock.settle()
        ears: tuple[Ear, ...] = (self.amy_ear, self.bob_ear)
        return [[(call[0], *call[2:]) for call in ear.take()] for ear in ears]


def run(call: Coroutine[Any, Any, Any]) -> str:
    """Run a coroutine that does not suspend."""
    try:
        call.send(None)
    except StopIteration:
        return "done"
    raise AssertionError("it has suspended")


async def play_one(memory: Memory, name: str, kind: int, count: int) -> tuple[int, list[Any]]:
    """Let allocation `count` fail; returns (how many failed, what came of it in the end)."""
    stage = Stage()
    calls = await stage.set_up()
    before = stage.counts()
    call = calls[name]()
    try:
        result, failed = memory.attempt(kind, count, 1, lambda: run(call))
    except (MemoryError, LimitExceeded):
        result, failed = "refused", 1
    machine = stage.hub.shard.machine
    machine.check()
    after = stage.counts()
    heard = await stage.heard()
    if after == before:
        assert result == "refused", "it has said that it was done"
        assert heard == [[], []], "nobody hears of what was not done"
        assert stage.hub.stats()["requests_remembered"] == 0
        run(calls[name]())
        after = stage.counts()
        heard = await stage.heard()
    if name.startswith("request"):
        for _ in range(2):
            assert stage.hub.stats()["requests_remembered"] == 1
            run(calls[name]())
        assert stage.counts() == after, "a retry has done it again"
        assert await stage.heard() == [[], []]
    await stage.hub.close()
    return failed, [after, heard]


async def play(memory: Memory) -> None:
    """Print how many allocations failed."""
    total = 0
    stage = Stage()
    names = list(await stage.set_up())
    await stage.hub.close()
    for name in names:
        for kind in (ENGINE, PYTHON):
            _, wanted = await play_one(memory, name, kind, 1 << 30)
            count, failed = 0, 1
            while failed:
                failed, found = await play_one(memory, name, kind, count)
                assert found == wanted, (name, kind, count, found, wanted)
                count += 1
            total += count - 1
    print(total)


if __name__ == "__main__":
    asyncio.run(play(Memory()))
