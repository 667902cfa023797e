"""What a hub allows: every limit, with its default and unit."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Final

from pysignal.groups.rules import GroupLimits
from pysignal.text import DATA_BYTES_MAX

_LARGEST: Final = 1 << 28
_LIFETIME_MAX_S: Final = 30 * 86_400
_MAY_BE_ZERO: Final = frozenset(
    {
        "cold_group_s",
        "data_bytes_max",
        "devices_remembered",
        "ended_keep_s",
        "ended_max",
        "told_keep_s",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of a hub; a call that crosses one is refused and changes nothing.

    A limit that makes no sense is a ValueError here.

    Attributes:
        sessions_per_user: devices of one user logged in at once (7008).
        queue_max: events waiting in a queue of one session; one more disconnects it.
        data_bytes_max: custom data, bytes of UTF-8 (8001).
        invitees_max: invitees of one invitation (6017).
        open_max: open invitations in all (7008).
        users_max: users named by open or remembered invitations (7008).
        groups_max: groups named by them (7008).
        ended_max: ended invitations remembered, so that a late tap can be explained.
        ended_keep_s: how long one is remembered, seconds.
        lifetime_s: when an invitation with timeout 0 ends, seconds, at most 30 days.
        cold_group_s: how old a group invitation may be for a cold login to announce it, seconds.
        told_keep_s: how long it is remembered what an offline device was told, seconds.
        devices_remembered: of how many devices of a user.
        requests_max: results of request IDs kept for one user.
        requests_keep_s: how long one is kept, seconds.
        group_members: members of a group by its type; None for no limit.
    """

    sessions_per_user: int = 16
    queue_max: int = 1024
    data_bytes_max: int = DATA_BYTES_MAX
    invitees_max: int = 10_000
    open_max: int = 1 << 24
    users_max: int = 1 << 24
    groups_max: int = 1 << 20
    ended_max: int = 100_000
    ended_keep_s: float = 60.0
    lifetime_s: float = 86_400.0
    cold_group_s: float = 30.0
    told_keep_s: float = 86_400.0
    devices_remembered: int = 16
    requests_max: int = 1000
    requests_keep_s: float = 120.0
    group_members: GroupLimits | None = field(default=None)

    def __post_init__(self) -> None:
        for limit in fields(self):
            value = getattr(self, limit.name)
            if limit.name == "group_members":
                continue
            kind = float if limit.name.endswith("_s") else int
            if isinstance(value, bool) or not isinstance(value, (int, kind)):
                raise ValueError(f"{limit.name}: {kind.__name__} is needed, not {value!r}")
            if not 0 <= value <= _LARGEST or (value == 0 and limit.name not in _MAY_BE_ZERO):
                allowed = "0 or more" if limit.name in _MAY_BE_ZERO else "more than 0"
                raise ValueError(f"{limit.name}: {allowed}, at most {_LARGEST}, not {value!r}")
        if self.lifetime_s > _LIFETIME_MAX_S or self.ended_keep_s > _LIFETIME_MAX_S:
            raise ValueError(f"lifetime_s, ended_keep_s: at most {_LIFETIME_MAX_S} s (30 days)")
