"""How a hub ends: everybody hears what was committed, is logged out, and nothing is left running.

There may be a hundred thousand sessions, and as many who wait: it all takes turns of the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, TypeVar

from pysignal.errors import HubClosed, SignalingError

if TYPE_CHECKING:
    from pysignal.hub import Hub
    from pysignal.session import Session

_Item = TypeVar("_Item")

# Sessions that are logged out in one turn of the loop, or others that are told.
LOGOUTS_PER_TURN: Final = 32


async def end(hub: Hub) -> None:
    """Deliver what was committed, log every session out, and close the journal."""
    error = HubClosed("the hub was closed")
    hub._clock.detach(hub._is_busy)
    if hub._timer is not None:
        hub._timer.cancel()
    await _in_turns(hub._commands.drop(), lambda waiting: waiting.fail(error.again()))
    if hub._saving is not None:
        await hub._saving.close()
    await _deliver_all(hub)
    while hub._note_told():  # noqa: ASYNC110 - each turn notes some
        await asyncio.sleep(0)
    await _deliver_all(hub)
    await _in_turns(hub._presence.sessions, lambda session: _drop(hub, session, error))
    await _in_turns(hub._followers, lambda watch: watch.fail(error))
    await _deliver_all(hub)  # that is, what devices were told becomes durable
    await asyncio.sleep(0)
    ends: list[asyncio.Task[None]] = []
    await _in_turns(
        list(hub._couriers),
        lambda courier: ends.append(hub._loop.create_task(courier.stop(hub._closers))),
    )
    for end in ends:
        await end
    if hub._journal is not None:
        await hub._journal.close()


def _drop(hub: Hub, session: Session, error: SignalingError) -> None:
    """Log a session out at the end of the hub."""
    if session.online:
        hub._presence.drop(session, hub.now_ms)
        session._ended(error, "on_disconnected")


async def _deliver_all(hub: Hub) -> None:
    """Hand over everything that was committed and is, or becomes, durable."""
    hub._publish()
    if hub._writer is not None:
        await hub._writer.close()
        hub._delivery.durable = hub._writer.durable
    while hub._deliver():  # noqa: ASYNC110 - each turn delivers some
        await asyncio.sleep(0)


async def _in_turns(items: Iterable[_Item], act: Callable[[_Item], object]) -> None:
    """Act on each of what may be very many, and let others have their turns meanwhile."""
    for number, item in enumerate(items, 1):
        act(item)
        if number % LOGOUTS_PER_TURN == 0:
            await asyncio.sleep(0)
