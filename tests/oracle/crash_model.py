"""What the model knows after a crash: as much as was durable, and nobody is online.

A state of the model is kept for each moment from which the real one may go on, and the right one is
taken when it is known how much has come back.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence

from oracle.model import Device, Oracle, Place


def saved(oracle: Oracle) -> bytes:
    """All that a model knows."""
    return pickle.dumps(oracle, pickle.HIGHEST_PROTOCOL)


def restore(oracle: Oracle, state: bytes) -> None:
    """Let a model know what was saved, and nothing else; its parts stay the same objects."""
    other: Oracle = pickle.loads(state)
    vars(oracle.calls).update(vars(other.calls))
    vars(oracle.groups).update(vars(other.groups))
    kept = {"calls": oracle.calls, "groups": oracle.groups}
    vars(oracle).update(vars(other) | kept)


def leave_all(oracle: Oracle, now_ms: int, remembered: Mapping[str, Sequence[str]]) -> None:
    """End all sessions by a crash, or by an orderly end.

    A device that was online counts as told of all that its user is party to, except what its login
    left out; of two that were online, either may be forgotten first.

    Args:
        oracle: with what is durable.
        now_ms: engine time after the crash, or at an orderly end.
        remembered: the devices that the hub remembers of each user, the first to be forgotten
            first.
    """
    for place, device in _in_order(oracle.online, remembered):
        user = place[0]
        party = {call.name for call in oracle.calls.open.values() if call.is_party(user)}
        device.untold &= party
        device.open = party - device.untold
        device.told |= device.open
        device.left_ms = now_ms
        device.queue.clear()
        device.calls.clear()
        device.events.clear()
        oracle.away[place] = device
    oracle.online.clear()
    for user in {user for user, _ in oracle.away}:
        places = [place for place in oracle.away if place[0] == user]
        most = oracle.limits.devices_remembered
        for place in places[: max(len(places) - most, 0)]:
            del oracle.away[place]


def _in_order(
    online: Mapping[Place, Device], remembered: Mapping[str, Sequence[str]]
) -> list[tuple[Place, Device]]:
    def place_in_order(item: tuple[Place, Device]) -> int:
        user, device_id = item[0]
        names = remembered.get(user, ())
        return names.index(device_id) if device_id in names else -1

    return sorted(online.items(), key=place_in_order)
