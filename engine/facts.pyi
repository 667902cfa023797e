"""Events: what everybody hears of a fact, as Python objects."""

from typing import final

__pyx_capi__: dict[str, object]

KINDS: tuple[str, ...]
REASON_NAMES: tuple[str, ...]

@final
class Roll:
    invitees: tuple[str, ...] | None
    def __new__(cls, invitees: tuple[str, ...] | None) -> Roll: ...

@final
class Event:
    position: int
    time: int
    seq: int
    data_version: int
    ends: bool
    replayed: bool
    online_only: bool
    parties_only: bool
    no_deadline: bool
    invite_id: str
    group_id: str
    inviter: str
    invitation_data: str
    device: str
    def __init__(self, *args: object, **kwargs: object) -> None: ...  # refuses: take() makes them
    @property
    def kind(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def data(self) -> str: ...
    @property
    def actor(self) -> str: ...
    @property
    def expires_at(self) -> int | None: ...
    @property
    def invitee_list(self) -> list[str]: ...
    @property
    def invitees(self) -> tuple[str, ...]: ...
    @property
    def affected(self) -> tuple[str, ...]: ...
    @property
    def invitee(self) -> str: ...
    @property
    def pending(self) -> tuple[str, ...]: ...
