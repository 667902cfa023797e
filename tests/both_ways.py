"""Acts that are played twice: by what is carried out at once, and by the general way alone.

Each is played on two hubs that are alike to the last random bit: by a session's `Signaling`, which
tries `pysignal.direct` first, and by the general way. Results, errors, callbacks and the state of
the machine must be the same.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

from ears import Ear, join
from general_way import GeneralWay

from pysignal import Hub, Limits, Session, VirtualClock
from pysignal.journal import MemoryJournal
from pysignal.signaling import Signaling

BYTES_MAX = 101
ID = re.compile(r"\b[0-9a-z]{26}\b")
DAYS_30 = 2_592_000


class Text(str):
    """A subclass of str."""

    __slots__ = ()


class Odd(str):
    """A subclass of str that says wrong things about itself."""

    __slots__ = ()

    def __len__(self) -> int:
        return 3

    def __str__(self) -> str:
        return "cy"

    def __eq__(self, other: object) -> bool:
        return False

    def __hash__(self) -> int:
        return 7

    def encode(self, *_: Any) -> bytes:
        return b"cy"


class Whole(int):
    """A subclass of int."""


class Part(float):
    """A subclass of float."""


class Room:
    """A hub with Amy and Bob in it, and how they call."""

    def __init__(self, hub: Hub, clock: VirtualClock, way: type[Signaling]) -> None:
        self.hub = hub
        self.clock = clock
        self.way = way
        self.sessions: dict[str, Session] = {}
        self.ears: list[Ear] = []

    async def enter(self) -> None:
        for user in ("amy", "bob"):
            self.sessions[user], ear = await join(self.hub, user)
            self.ears.append(ear)

    def signaling(self, user: str) -> Signaling:
        return self.way(self.sessions[user])

    async def result(
        self, call: Callable[..., Awaitable[Any]], *args: Any, **options: Any
    ) -> tuple[Any, ...]:
        """What a call gives, or how it is refused, and whether it came back in the same turn."""
        begun: list[int] = []
        asyncio.get_running_loop().call_soon(begun.append, 1)
        try:
            result = await call(*args, **options)
        except Exception as error:
            details = getattr(error, "details", None)
            return type(error).__name__, str(error), repr(details), not begun
        return type(result).__name__, str.__str__(result) if result else result, not begun

    def picture(self) -> tuple[Any, ...]:
        """All that a call could change, and all that was heard."""
        stats = self.hub.stats()
        del stats["memory_bytes"], stats["users"]  # idle ones are forgotten by and by
        heard = [(ear.heard, [repr(event) for event in ear.events]) for ear in self.ears]
        return self.hub.shard.machine.state_hash(), stats, heard


Act = Callable[[Room], Awaitable[Any]]


async def play(act: Act, way: type[Signaling], **options: Any) -> tuple[Any, ...]:
    """Play an act on a hub of its own."""
    clock = VirtualClock()
    limits = Limits(data_bytes_max=BYTES_MAX, **options.pop("limits", {}))
    async with Hub(clock=clock, limits=limits, seed=7, **options) as hub:
        room = Room(hub, clock, way)
        await room.enter()
        result = await act(room)
        await clock.settle()
        picture = room.picture()
        await clock.advance(DAYS_30)
        return result, picture, room.picture()


def without_ids(result: Any, *pictures: tuple[Any, ...]) -> str:
    """The same with each ID replaced by its place in the order in which they came."""
    places: dict[str, int] = {}
    text = repr((result, [picture[1:] for picture in pictures]))
    return ID.sub(lambda found: f"#{places.setdefault(found[0], len(places))}", text)


async def same(act: Act, *, same_ids: bool = True, **options: Any) -> Any:
    """See that both ways give the same; returns what the act gave.

    Where an opening is tried twice, as the quick way was refused, other random bits are drawn.
    """
    quick = await play(act, Signaling, **options)
    if "journal" in options:
        options["journal"] = MemoryJournal()
    general = await play(act, GeneralWay, **options)
    if same_ids:
        for ours, theirs in zip(quick, general, strict=True):
            assert ours == theirs
    else:
        assert without_ids(*quick) == without_ids(*general)
    return quick[0]
