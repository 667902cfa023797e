"""Scenes that the checks of the invariants share: shapes, ways to end, and races.

Amy invites Bob, alone or among others. Of a machine every shape can be had, and every way to end;
of a hub there are sessions with ears, and calls that race within one turn of the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from ears import Ear, join
from machine_talk import START_MS

from pysignal import Hub, Session, SignalingError, SignalingListener
from pysignal.engine.machine import Machine
from pysignal.engine.refused import Refused

TIMEOUT_MS = 30_000
DUE_MS = START_MS + TIMEOUT_MS
FINAL = ("accepted", "rejected", "cancelled", "timed_out")

# More than a roster finds by scanning, and several of its pages.
CROWD = ["ann", "bob", "cy", *(f"guest {number}" for number in range(18))]

Shape = Callable[[Machine], str]
Act = Callable[[Machine, str], object]


def _shape(invitees: str | list[str], **options: Any) -> Shape:
    return lambda machine: machine.open(
        machine.now_ms, "amy", invitees, "data", TIMEOUT_MS, **options
    )


SHAPES: dict[str, Shape] = {
    "one": _shape("bob"),
    "one online only": _shape("bob", online_only=True),
    "list": _shape(["bob", "cy"]),
    "group": _shape(["ann", "bob", "cy"], group_id="g"),
    "group of one": _shape(["bob"], group_id="g", parties_only=True),
    "crowd": _shape(CROWD, group_id="g"),
}

# What can end Bob's part. Leaving and dismissing do so in a group only.
ENDS: dict[str, Act] = {
    "accept": lambda m, name: m.accept(m.now_ms, name, "bob", "yes"),
    "reject": lambda m, name: m.reject(m.now_ms, name, "bob", "no"),
    "cancel": lambda m, name: m.cancel(m.now_ms, name, "amy", "never mind"),
    "server": lambda m, name: m.cancel(m.now_ms, name, None),
    "deadline": lambda m, name: m.advance(max(m.now_ms, DUE_MS)),
    "leave": lambda m, name: m.leave(m.now_ms, "bob", "g"),
    "inviter leaves": lambda m, name: m.leave(m.now_ms, "amy", "g"),
    "dismiss": lambda m, name: m.dismiss(m.now_ms, "g"),
}

STATUS_AFTER = {
    "accept": "accepted",
    "reject": "rejected",
    "cancel": "cancelled",
    "server": "cancelled",
    "deadline": "timed_out",
    "leave": "rejected",
    "inviter leaves": "cancelled",
    "dismiss": "cancelled",
}

# Everything else that anybody could try.
OTHERS: dict[str, Act] = {
    "modify": lambda m, name: m.modify(m.now_ms, name, "amy", "new"),
    "mark": lambda m, name: m.mark_told(m.now_ms, name, "bob"),
    "another accepts": lambda m, name: m.accept(m.now_ms, name, "cy"),
    "another rejects": lambda m, name: m.reject(m.now_ms, name, "cy"),
    "the inviter accepts": lambda m, name: m.accept(m.now_ms, name, "amy"),
    "a stranger accepts": lambda m, name: m.accept(m.now_ms, name, "eve"),
    "a stranger cancels": lambda m, name: m.cancel(m.now_ms, name, "eve"),
    "another leaves": lambda m, name: m.leave(m.now_ms, "cy", "g"),
    "time": lambda m, name: m.advance(m.now_ms + 1000),
}


def attempt(act: Act, machine: Machine, name: str) -> str:
    """Do something to an invitation; returns "done", or what it was refused with."""
    try:
        act(machine, name)
    except Refused as refused:
        return refused.result
    return "done"


def happens(way: str, shape: str) -> bool:
    """Whether a way to end exists for a shape."""
    return way not in ("leave", "inviter leaves", "dismiss") or shape.startswith(("gr", "cr"))


# -- hubs ------------------------------------------------------------------------------------------

Call = Callable[[], Coroutine[Any, Any, Any]]


async def turns(count: int) -> None:
    """Let the event loop turn."""
    for _ in range(count):
        await asyncio.sleep(0)


def begin(call: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """Let a call run beside the test."""
    return asyncio.ensure_future(call)


async def result_of(call: Coroutine[Any, Any, Any]) -> Any:
    """Await a call; returns what it gives, or the code of its refusal."""
    try:
        return await call
    except SignalingError as error:
        return error.code


async def race(*calls: Call) -> list[Any]:
    """Begin calls in one turn of the loop, in this order; returns the result of each, or code."""
    return await asyncio.gather(*(begin(result_of(call())) for call in calls))


class Party:
    """Amy, Bob and Cy, with two devices each, in group g.

    Attributes:
        sessions: by user and device, such as "amy 1".
        ears: what each of them has heard.
    """

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.sessions: dict[str, Session] = {}
        self.ears: dict[str, Ear] = {}

    async def gather(self, users: tuple[str, ...] = ("amy", "bob", "cy")) -> Party:
        """Log everybody in."""
        await self.hub.groups.put("g", ["amy", "bob", "cy"])
        for user in users:
            for device in "12":
                place = f"{user} {device}"
                self.sessions[place], self.ears[place] = await join(self.hub, user, device)
        await turns(5)
        return self

    def ends(self, way: str, name: str) -> Coroutine[Any, Any, Any]:
        """Make the call that ends Bob's part in an invitation in one of the ways."""
        bob, amy = self.sessions["bob 1"], self.sessions["amy 1"]
        match way:
            case "accept":
                return bob.signaling.accept(name, "yes")
            case "reject":
                return self.sessions["bob 2"].signaling.reject(name, "no")
            case "cancel":
                return amy.signaling.cancel(name, "never mind")
            case "server":
                return self.hub.cancel_by_server(name)
            case "leave":
                return bob.groups.quit_group("g")
            case "kick":
                return self.hub.groups.remove("g", ["bob"])
            case "inviter leaves":
                return self.hub.groups.remove("g", ["amy"])
            case "dismiss":
                return self.hub.groups.dismiss("g")
        raise AssertionError(way)


# The ways to end of a party, and who does not hear it, as it was their own call. Who leaves hears
# what comes of it, on all devices.
PARTY_ENDS = {
    "accept": ("accepted", "bob 1"),
    "reject": ("rejected", "bob 2"),
    "cancel": ("cancelled", "amy 1"),
    "server": ("cancelled", ""),
    "leave": ("rejected", ""),
    "kick": ("rejected", ""),
    "inviter leaves": ("cancelled", ""),
    "dismiss": ("cancelled", ""),
}


class SlowEar(SignalingListener):
    """Hears in its session's task: the openings with a plain method, the rest with slow ones."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str, str]] = []

    def on_receive_new_invitation(
        self, invite_id: str, inviter: str, group_id: str, invitee_list: list[str], data: str
    ) -> None:
        self.heard.append(("opened", invite_id, data))

    async def on_invitee_accepted(self, invite_id: str, invitee: str, data: str) -> None:
        await self._hear("accepted", invite_id, invitee)

    async def on_invitee_rejected(self, invite_id: str, invitee: str, data: str) -> None:
        await self._hear("rejected", invite_id, invitee)

    async def on_invitation_cancelled(self, invite_id: str, inviter: str, data: str) -> None:
        await self._hear("cancelled", invite_id, inviter)

    async def on_invitation_timeout(self, invite_id: str, invitee_list: list[str]) -> None:
        await self._hear("timed_out", invite_id, " ".join(invitee_list))

    async def on_invitation_modified(self, invite_id: str, data: str) -> None:
        await self._hear("modified", invite_id, data)

    async def _hear(self, *what: str) -> None:
        await turns(2)
        self.heard.append(what)  # type: ignore[arg-type]
