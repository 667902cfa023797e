"""Invitations as Python objects, whole, for queries and login snapshots."""

from typing import final

__pyx_capi__: dict[str, object]

STATUS_NAMES: tuple[str, ...]
STATE_NAMES: tuple[str, ...]

@final
class InvitationInfo:
    invite_id: str
    group_id: str
    inviter: str
    data: str
    state: str
    reason: str
    statuses: dict[str, str]
    expires_at: int | None
    ended_at: int | None
    opened_at: int
    seq: int
    data_version: int
    position: int
    ended_position: int
    online_only: bool
    parties_only: bool
    no_deadline: bool
    ended_by: int
    def __init__(self, *args: object, **kwargs: object) -> None: ...  # refuses: info() makes them
    @property
    def invitee_list(self) -> list[str]: ...
    @property
    def pending(self) -> list[str]: ...
