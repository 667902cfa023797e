"""Delivery: the queue between what was committed and who hears it."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, final

from typing_extensions import disjoint_base

from pysignal.engine.facts import Event
from pysignal.engine.views import InvitationInfo

@final
class Subscription:
    listener: Any
    active: bool
    is_queued: bool
    def __init__(
        self,
        listener: object,
        methods: list[Callable[..., Any] | None],
        on_event: Callable[..., Any] | None,
        is_queued: bool,
    ) -> None: ...

@disjoint_base
class Receiver:
    user_id: str
    device_id: str
    device_number: int
    online: bool
    _subscriptions: list[Subscription]
    _streams: list[Any]
    _courier: Any
    _since: int
    def __init__(self, user_id: str, device_id: str) -> None: ...
    def _set_device_number(self, number: int) -> None: ...
    def _listener_failed(self, method: Callable[..., Any], about: Event | Call | str) -> None: ...
    def _returned(
        self,
        result: object,
        method: Callable[..., Any],
        subscription: Subscription,
        about: Event | Call | str,
    ) -> None: ...
    def _overflow(self, about: Event | Call | str) -> None: ...

@final
class Account:
    user_id: str
    online: list[Any]
    devices: dict[str, Any]
    def __init__(self, user_id: str) -> None: ...

@final
class Call:
    name: str
    args: tuple[Any, ...]
    group_id: str
    def __init__(self, name: str, args: tuple[Any, ...], group_id: str) -> None: ...

@final
class Entry:
    item: Any
    receivers: list[Any]
    acting: Receiver | None
    rests_on: int
    def __init__(self, *args: Any, **kwargs: Any) -> None: ...

@final
class Delivery:
    accounts: dict[str, Account]
    watchers: dict[str, list[Any]]
    durable: int
    fed: int
    posted: int
    told: list[tuple[str, str]]
    def __init__(self, failed: Callable[[Callable[..., Any], str], None]) -> None: ...
    def __len__(self) -> int: ...
    @property
    def is_ready(self) -> bool: ...
    def post(
        self,
        item: Event | Call | InvitationInfo,
        receivers: Sequence[Receiver],
        acting: Receiver | None,
        rests_on: int,
    ) -> None: ...
    def post_event(self, event: Event, audience: list[Any] | None, rests_on: int) -> None: ...
    def sessions_of(self, users: Iterable[str], first: str | None = None) -> list[Any]: ...
    def undelivered(self, receiver: Receiver) -> list[Event | InvitationInfo]: ...
    def recall(self, invite_id: str) -> list[Event]: ...
    def take_all(self) -> tuple[list[Event | Call], list[list[Any]]]: ...
    def drain(self, until_ns: int, now_ns: Callable[[], int]) -> bool: ...
