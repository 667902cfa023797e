"""A hundred million invitations through one process: its memory stays what it was (E4).

    make soak                                   # 10**8 through a machine, 10**6 through a hub
    make soak ARGS="--machine 1000000 --hub 20000"

Invitations are accepted, rejected, cancelled, modified, left alone until they expire; to one user,
to a list, in a group; between users who come back and users who were never there before. Resident
memory is read at a hundred points. From a tenth of the way on it may grow by GROWTH_MAX_KIB.

The slots are few, so that the generations in IDs, 20 bits, go round many times on the way: the
first IDs must stay as dead as they were.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import resource
import time
from collections.abc import Iterator
from pathlib import Path

from pysignal import Hub, Limits, VirtualClock
from pysignal.engine.entropy import Entropy
from pysignal.engine.machine import Machine

GROWTH_MAX_KIB = 1024
POINTS = 100
ROUND = 32  # invitations opened before any is answered
ENDED_MAX = 16
GENERATIONS = 1 << 20
TIMEOUT_MS = 50


def resident_kib() -> int:
    """Return the memory that the process occupies now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 1024


class Curve:
    """Resident memory on the way to a count.

    Args:
        name: what the count is of.
        count: how many there will be.
    """

    def __init__(self, name: str, count: int) -> None:
        self.name = name
        self.count = count
        self.points: list[tuple[int, int]] = []
        self._began = time.perf_counter()

    def due(self, done: int) -> bool:
        """Whether it is time to look again."""
        return done * POINTS >= self.count * (len(self.points) + 1)

    def look(self, done: int, *details: str) -> None:
        """Read the memory; print every tenth line."""
        gc.collect()
        self.points.append((done, resident_kib()))
        if len(self.points) % (POINTS // 10) == 0:
            rate = done / (time.perf_counter() - self._began)
            print(
                f"{done:>13,} {self.name}  {self.points[-1][1]:>8,} KiB  {rate:>9,.0f}/s",
                *details,
                sep="  ",
                flush=True,
            )

    def require_flat(self) -> None:
        """Compare what comes after the first tenth with the end of it."""
        settled = self.points[POINTS // 10 - 1][1]
        growth = max(kib for _, kib in self.points[POINTS // 10 :]) - settled
        print(
            f"{self.count:,} {self.name}: {settled:,} KiB after a tenth of them, "
            f"then {growth:+,} KiB at most\n"
        )
        assert growth <= GROWTH_MAX_KIB, f"{growth} KiB more than after a tenth of the way"


def play_round(machine: Machine, now_ms: int, number: int) -> list[str]:
    """Open ROUND invitations and end them, each eighth round by their deadlines."""
    if number % 4 == 3:  # users who were never there before
        users = [f"user-{number}-{i}" for i in range(ROUND)]
    else:
        users = [f"user-{i}" for i in range(ROUND)]
    data = f"call {number}"
    act = number % 8
    if act == 7:
        friends = users[:3]
        ids = [
            machine.open(now_ms, "host", friends, data, TIMEOUT_MS, group_id=f"room-{number}")
            for _ in users
        ]
    else:
        ids = [machine.open(now_ms, "host", user, data, TIMEOUT_MS) for user in users]
    if act in (0, 1, 2):
        for invite_id, user in zip(ids, users, strict=True):
            machine.accept(now_ms, invite_id, user)
    elif act == 3:
        for invite_id, user in zip(ids, users, strict=True):
            machine.modify(now_ms, invite_id, "host", data)
            machine.reject(now_ms, invite_id, user, data)
    elif act in (4, 5):
        for invite_id in ids:
            machine.cancel(now_ms, invite_id, "host", data)
    machine.take()
    return ids


def soak_machine(count: int) -> None:
    """Send `count` invitations through one machine."""
    now_ms = 1_700_000_000_000
    machine = Machine(entropy=Entropy(1), now_ms=now_ms, ended_max=ENDED_MAX)
    curve = Curve("invitations through a machine", count)
    first: list[str] = []
    done = number = 0
    while done < count:
        ids = play_round(machine, now_ms, number)
        if number < 64:
            first += ids
        done += ROUND
        number += 1
        now_ms += TIMEOUT_MS
        machine.advance(now_ms)
        machine.take()
        if curve.due(done):
            machine.check()
            stats = machine.stats()
            assert number < 128 or all(machine.info(invite_id) is None for invite_id in first)
            curve.look(done, f"{stats['slots']} slots", f"{stats['users']} users")
    stats = machine.stats()
    assert stats["open"] == 0
    assert stats["invitations"] == done
    print(f"generations went round {done // stats['slots'] // GENERATIONS} times in each slot")
    curve.require_flat()


def invitations(count: int) -> Iterator[range]:
    for start in range(0, count, ROUND):
        yield range(start, start + ROUND)


async def soak_hub(count: int) -> None:
    """Send `count` invitations through one hub, with sessions that come and go."""
    clock = VirtualClock()
    curve = Curve("invitations through a hub", count)
    async with Hub(clock=clock, limits=Limits(told_keep_s=60)) as hub:
        host = await hub.login("host")
        for numbers in invitations(count):
            guest_name = f"guest-{numbers.start // ROUND}"
            guest = await hub.login(guest_name)
            for number in numbers:
                request = f"request-{number}"
                invitation = await host.signaling.invite(
                    guest_name, f"call {number}", timeout=1, request_id=request
                )
                if number % 4 == 0:
                    await guest.signaling.accept(invitation)
                elif number % 4 == 1:
                    await guest.signaling.reject(invitation, "busy")
                elif number % 4 == 2:
                    await invitation.cancel()
            await guest.logout()
            await clock.advance(2)
            done = numbers.stop
            if curve.due(done):
                stats = hub.stats()
                curve.look(done, f"{stats['requests_remembered']} request IDs remembered")
        await clock.advance(600)
    curve.require_flat()


def main() -> None:
    """Run both, with the counts that the command line gives."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--machine", type=int, default=10**8, help="invitations (%(default)s)")
    parser.add_argument("--hub", type=int, default=10**6, help="invitations (%(default)s)")
    counts = parser.parse_args()
    soak_machine(counts.machine)
    asyncio.run(soak_hub(counts.hub))


if __name__ == "__main__":
    main()
