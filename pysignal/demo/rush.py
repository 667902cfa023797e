"""The third act: a call server's rush. Thousands of calls ring at once, and each goes its own way.

First all invitations are opened in a row, those that time out last: their deadlines lie behind the
opening, by how long the others have taken. Then, over a few seconds, everybody does what the script
says at the moment that it says. A race is two tasks that answer in the same turn of the event loop.
At the end, what the phones wrote down is compared with the script, byte by byte.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterable
from typing import Final

from pysignal import InvitationEnded, Session, SignalingError
from pysignal.clock import stopwatch_ns
from pysignal.demo import script
from pysignal.demo.beside import beside
from pysignal.demo.figures import Rate, duration, resident_bytes
from pysignal.demo.ledger import Ledger, Phone
from pysignal.demo.script import CALLER, CANCEL, FIRST, RACE, REJECT, SECOND, TIMEOUT, Script
from pysignal.demo.stage import Stage

# Calls in a row before the event loop turns.
_CALLS_PER_TURN: Final = 64
# Between the last opening and the first deadline, at least.
HEADWAY_MS: Final = 1000
# The answering time, seconds: at least, and more where there are many.
ANSWERING_S: Final = 5.0
_ANSWERING_S_EACH: Final = 60e-6
# How long an invitation rings that somebody means to answer, seconds.
_RING_S: Final = 60.0
_RING_S_EACH: Final = 500e-6
# How long the rush may take to come to rest after the last deadline, seconds.
PATIENCE_S: Final = 30.0
_LOOK_S: Final = 0.05
_ERRORS_TOLD: Final = 3


class Rush:
    """The story: many calls at the same moment, each answered as the script says.

    Args:
        stage: where it is played.
        size: invitations, 1 or more.
    """

    def __init__(self, stage: Stage, size: int) -> None:
        self._stage = stage
        self._plan = Script(size, stage.seed)
        self._ledger = Ledger(stage, self._plan)
        self._sessions: list[list[Session]] = [[], [], []]
        self._base_ms = 0
        self._answering_s = max(ANSWERING_S, size * _ANSWERING_S_EACH)
        self._ring_s = _RING_S + size * _RING_S_EACH
        self._failures: list[str] = []
        self._peak = 0
        self._before: dict[str, int] = {}

    async def play(self) -> None:
        """Play the rush, and check every outcome."""
        stage, plan, ledger = self._stage, self._plan, self._ledger
        stage.view.act(f"3. A call server's rush: {plan.size:,} invitations at the same moment")
        await self._log_in()
        self._before = stage.hub.stats()
        gc.collect()
        resident = resident_bytes()
        await self._open()
        self._weigh(resident)
        stage.check_machine("rush, all open")
        stage.view.step(
            f"over {self._answering_s:g} s, each is answered, cancelled or timed out at the moment "
            "that the script gives"
        )
        async with (
            stage.view.progress("answering", plan.size, self._answering_counts),
            beside(self._watch_open()),
        ):
            await self._answer()
            await self._come_to_rest()
        stage.opened += plan.size
        stage.statuses.update(plan.statuses())
        stage.figures.samples += [
            ledger.opening_calls,
            ledger.answering_calls,
            ledger.opening_delays,
            ledger.answering_delays,
            ledger.lateness,
        ]
        self._check_counts()
        self._check_phones()

    # -- opening -----------------------------------------------------------------------------------

    async def _log_in(self) -> None:
        hub, plan = self._stage.hub, self._plan
        for user in range(plan.users):
            for phone in (CALLER, FIRST, SECOND)[: 1 + plan.devices[user]]:
                name = (script.callee_name if phone else script.caller_name)(user)
                listener = Phone(self._ledger, phone, user)
                session = await hub.login(name, f"device-{phone}", listener=listener)
                self._sessions[phone].append(session)
            if plan.devices[user] == 1:
                self._sessions[SECOND].append(self._sessions[FIRST][-1])
            if user % _CALLS_PER_TURN == 0:
                await asyncio.sleep(0)
        devices = plan.users + sum(plan.devices)
        self._stage.view.step(f"{2 * plan.users:,} users are online, on {devices:,} devices")

    async def _open(self) -> None:
        """Open all invitations, and wait until every phone has rung."""
        stage, plan, ledger = self._stage, self._plan, self._ledger
        answered = [number for number, fate in enumerate(plan.fates) if fate != TIMEOUT]
        unanswered = [number for number, fate in enumerate(plan.fates) if fate == TIMEOUT]
        stage.view.step("all are opened in a row, as fast as one event loop can")
        began_ns = stopwatch_ns()
        async with stage.view.progress(
            "opening", plan.size, lambda: {"opened": ledger.opened, "rings": ledger.callbacks}
        ):
            await self._open_each(answered)
            # The rest has as long again, before the answering time begins.
            headway_ms = HEADWAY_MS + (stopwatch_ns() - began_ns) // 1_000_000
            self._base_ms = stage.clock.now_ms() + headway_ms
            await self._open_each(unanswered)
            opened_ns = stopwatch_ns()
            await stage.until_idle(PATIENCE_S)
        took_ns = opened_ns - began_ns
        self._peak = stage.hub.stats()["open"]
        stage.view.step(f"{duration(took_ns)} after the first, {self._peak:,} are open at once")
        stage.figures.rates += (
            Rate("rush: invitations opened", ledger.opened, took_ns),
            Rate("rush: their deliveries", ledger.callbacks, ledger.last_ns - began_ns),
        )

    async def _open_each(self, numbers: Iterable[int]) -> None:
        plan = self._plan
        for done, number in enumerate(numbers):
            timeout_ms = round(self._ring_s * 1000)
            if plan.fates[number] == TIMEOUT:
                after_ms = round(plan.moments[number] * self._answering_s * 1000)
                timeout_ms = max(self._base_ms + after_ms - self._stage.clock.now_ms(), 1)
            await self._open_one(number, timeout_ms)
            if done % _CALLS_PER_TURN == 0:
                await asyncio.sleep(0)

    async def _open_one(self, number: int, timeout_ms: int) -> None:
        plan, ledger = self._plan, self._ledger
        callee = script.callee_name(plan.callees[number])
        data = script.video_call(script.room_of(number), callee)
        signaling = self._sessions[CALLER][plan.caller(number)].signaling
        ledger.timeout_ms[number] = timeout_ms
        ledger.acted_ns[number] = began_ns = stopwatch_ns()
        try:
            invitation = await signaling.invite(callee, data, timeout=timeout_ms / 1000)
        except SignalingError as error:
            self._failures.append(f"invite {number}: {error}")
            return
        ledger.opening_calls.add(stopwatch_ns() - began_ns)
        ledger.name(number, str(invitation))
        ledger.opened += 1

    def _weigh(self, resident: int) -> None:
        """Note the memory that the open invitations take."""
        stage, size = self._stage, self._plan.size
        memory = stage.hub.stats()["memory_bytes"]
        grown = max(resident_bytes() - resident, 0)
        told = stage.figures.memory
        told["invitations open at the same moment"] = f"{self._peak:,}"
        told["core, for each open invitation"] = f"{memory / max(self._peak, 1):,.0f} bytes"
        told["process growth for each, with the demo's own books"] = f"{grown / size:,.0f} bytes"
        told["process in all"] = f"{resident_bytes() / 1e6:,.0f} MB"

    # -- answering ---------------------------------------------------------------------------------

    def _answering_counts(self) -> dict[str, int]:
        stats = self._stage.hub.stats()
        ended = {
            name: stats[f"invitees_{name}"] - self._before[f"invitees_{name}"]
            for name in ("accepted", "rejected", "cancelled", "timed_out")
        }
        timed_out = ended["timed_out"]
        in_all = sum(ended.values())
        return {
            "ended": in_all,
            "answered or cancelled": in_all - timed_out,
            "timed out": timed_out,
        }

    async def _watch_open(self) -> None:
        """Note from time to time how many invitations are open."""
        figures, clock = self._stage.figures, self._stage.clock
        while True:
            seconds = (clock.now_ms() - self._base_ms) / 1000
            figures.open_over_time.append((seconds, self._stage.hub.stats()["open"]))
            await asyncio.sleep(_LOOK_S)

    async def _answer(self) -> None:
        """Do what the script says, each at its moment."""
        plan = self._plan
        order = plan.order()
        wait_s = (self._base_ms - self._stage.clock.now_ms()) / 1000
        await asyncio.sleep(max(wait_s, 0))
        began_ns = stopwatch_ns()
        racing: list[asyncio.Task[None]] = []
        loop = asyncio.get_running_loop()
        for done, number in enumerate(order):
            due_ns = began_ns + round(plan.moments[number] * self._answering_s * 1e9)
            early_ns = due_ns - stopwatch_ns()
            if early_ns > 0:
                await asyncio.sleep(early_ns / 1e9)
            if plan.fates[number] == RACE:
                first, second = self._racers(number)
                racing += (
                    loop.create_task(self._act(number, first)),
                    loop.create_task(self._act(number, second)),
                )
            else:
                await self._act(number, plan.answering[number])
            if done % _CALLS_PER_TURN == 0:
                await asyncio.gather(*racing)
                racing.clear()
                await asyncio.sleep(0)
        await asyncio.gather(*racing)

    def _racers(self, number: int) -> tuple[int, int]:
        first = self._plan.answering[number]
        return first, FIRST + SECOND - first

    async def _act(self, number: int, phone: int) -> None:
        """Answer as the callee's device, or cancel as the caller."""
        plan, ledger = self._plan, self._ledger
        fate = plan.fates[number]
        invite_id = ledger.names[number]
        callee = plan.callees[number]
        data = script.video_call(script.room_of(number), script.callee_name(callee))
        began_ns = stopwatch_ns()
        if phone == plan.answering[number]:
            ledger.acted_ns[number] = began_ns
        try:
            if fate == CANCEL:
                caller = self._sessions[CALLER][plan.caller(number)]
                await caller.signaling.cancel(invite_id, data)
            elif fate == REJECT:
                await self._sessions[phone][callee].signaling.reject(invite_id, data)
            else:
                await self._sessions[phone][callee].signaling.accept(invite_id, data)
        except InvitationEnded as error:
            ledger.refused[number] += 1
            won = error.details.get("status") == "accepted" and error.code == 8010
            if phone == plan.answering[number] or not won:
                self._failures.append(f"device {phone} answers {number}: {error}")
        except SignalingError as error:
            self._failures.append(f"device {phone} answers {number}: {error}")
        else:
            ledger.answering_calls.add(stopwatch_ns() - began_ns)
            ledger.done[number] += 1

    async def _come_to_rest(self) -> None:
        """Wait until the last deadline has passed and everything is delivered, within reason."""
        stage = self._stage
        until_ms = self._base_ms + round((self._answering_s + PATIENCE_S) * 1000)
        while stage.hub.stats()["open"]:
            await asyncio.sleep(_LOOK_S)
            if stage.clock.now_ms() > until_ms:
                break
        await stage.until_idle(PATIENCE_S)

    # -- checking ----------------------------------------------------------------------------------

    def _check_counts(self) -> None:
        stage, plan, checks = self._stage, self._plan, self._stage.checks
        before, after = self._before, stage.hub.stats()
        checks.equal("rush: all were open at the same moment", self._peak, plan.size)
        created = after["invitations"] - before["invitations"]
        expected = plan.statuses()
        found = {name: after[f"invitees_{name}"] - before[f"invitees_{name}"] for name in expected}
        checks.equal("rush: created", created, plan.size)
        checks.equal("rush: created is the sum over the statuses", sum(found.values()), created)
        for name, count in expected.items():
            checks.equal(f"rush: {name.replace('_', ' ')} as the script gives", found[name], count)

    def _check_phones(self) -> None:
        checks, plan, ledger = self._stage.checks, self._plan, self._ledger
        failures = self._failures[:_ERRORS_TOLD]
        checks.that(
            "rush: no call failed but those that lost a race",
            not failures,
            f"{len(self._failures)} failed: {'; '.join(failures)}",
        )
        for phone, name in enumerate(script.PHONES):
            ends = plan.ends(phone)
            once = bytearray(map(bool, ends))
            rings = plan.rings(phone)
            checks.same(f"rush: {name} heard each opening once", ledger.rings[phone], rings)
            checks.same(f"rush: {name} heard each end once", ledger.ends[phone], once)
            kinds = ledger.kinds[phone]
            checks.same(f"rush: {name} heard the end of the script", kinds, ends, script.ENDS)
        acted = bytearray(fate != TIMEOUT for fate in plan.fates)
        checks.same("rush: exactly one answer or cancel counts", ledger.done, acted)
        checks.same("rush: each loser of a race is refused", ledger.refused, plan.refusals())
        checks.equal("rush: each callback has its event", ledger.events, ledger.callbacks)
        for kind in (
            "a timeout before its deadline",
            "a deadline that is not the time of the call and the timeout",
            "a ring that is not as it was sent",
            "an answer that is not as it was sent",
            "a cancel that is not as it was sent",
            "a timeout with another list",
            "an end before the ring",
            "an end of somebody else's invitation",
            "two invitations with one ID",
        ):
            checks.equal(f"rush: never {kind}", ledger.wrong[kind], 0)
