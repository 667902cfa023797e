"""Receivers: sessions as delivery knows them, and how their listeners are called."""

from collections.abc import Callable
from typing import Any, final

from typing_extensions import disjoint_base

from pysignal.engine.facts import Event

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
        on_events: Callable[..., Any] | None,
        is_queued: bool,
    ) -> None: ...

@disjoint_base
class Receiver:
    user_id: str
    device_id: str
    device_number: int
    online: bool
    signaling: Any
    _commands: Any
    _watches: dict[Any, None]
    _since: int
    def __init__(self, user_id: str, device_id: str) -> None: ...
    @property
    def _subscriptions(self) -> list[Subscription]: ...
    @_subscriptions.setter
    def _subscriptions(self, subscriptions: list[Subscription]) -> None: ...
    @property
    def _streams(self) -> list[Any]: ...
    @_streams.setter
    def _streams(self, streams: list[Any]) -> None: ...
    def _put(
        self,
        method: Callable[..., Any],
        args: tuple[Any, ...],
        subscription: Subscription,
        about: Event | tuple[Event, ...] | Call | str,
    ) -> bool: ...
    def _set_device_number(self, number: int) -> None: ...
    def _listener_failed(
        self, method: Callable[..., Any], about: Event | tuple[Event, ...] | Call | str
    ) -> None: ...
    def _returned(
        self,
        result: object,
        method: Callable[..., Any],
        subscription: Subscription,
        about: Event | tuple[Event, ...] | Call | str,
    ) -> None: ...
    def _overflow(self, about: Event | tuple[Event, ...] | Call | str) -> None: ...
    def _take_batches(self) -> list[Event]: ...

@final
class Account:
    user_id: str
    devices: dict[str, Any]
    def __init__(self, user_id: str) -> None: ...
    @property
    def online(self) -> list[Any]: ...
    @online.setter
    def online(self, sessions: list[Any]) -> None: ...

@final
class Call:
    name: str
    args: tuple[Any, ...]
    group_id: str
    position: int
    def __init__(self, name: str, args: tuple[Any, ...], group_id: str) -> None: ...
