"""Calls that are refused, and the proof that they changed nothing."""

from __future__ import annotations

from collections.abc import Awaitable

import pytest

from pysignal import Hub, SignalingError
from pysignal.errors import BY_CODE

COUNTED = ("open", "timers", "sessions", "groups_existing", "watches")


def picture(hub: Hub) -> tuple[object, ...]:
    """Everything that an operation could change, as of now."""
    hub.shard.tick(hub.now_ms)
    hub._publish()
    machine, stats = hub.shard.machine, hub.stats()
    state = machine.state_hash(), machine.position, hub.shard.groups.state_hash()
    return *state, {name: stats[name] for name in COUNTED}


async def refusal(hub: Hub, call: Awaitable[object], code: int) -> SignalingError:
    """Await a call that must be refused with `code` and change nothing; returns the error."""
    before = picture(hub)
    with pytest.raises(SignalingError) as caught:
        await call
    assert caught.value.code == code, caught.value
    assert type(caught.value) is BY_CODE[code]
    assert picture(hub) == before
    return caught.value
