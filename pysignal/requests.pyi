"""Request IDs: a retry returns the first result and rings nobody twice (SPEC §2)."""

from collections.abc import Callable, Iterable
from typing import Any, final

from pysignal.errors import SignalingError

__pyx_capi__: dict[str, object]

@final
class Request:
    @property
    def user(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def at_ms(self) -> int: ...
    @property
    def arguments(self) -> int: ...
    @property
    def result(self) -> Any: ...
    @property
    def error(self) -> SignalingError | None: ...
    @property
    def is_kept(self) -> bool: ...

@final
class OfUser: ...

@final
class Requests:
    def __init__(
        self,
        now_ms: Callable[[], int],
        keep_ms: int,
        count_max: int,
        journaled: bool = False,
    ) -> None: ...
    def __len__(self) -> int: ...
    def once(
        self, user: str, request_id: object, arguments: Iterable[Any], command: Callable[..., Any]
    ) -> Once: ...
    def users(self) -> list[str]: ...
    def of_user(self, user: str) -> list[Request]: ...
    def bring_back(self, request: Request) -> None: ...
    def settle(self) -> None: ...

@final
class Once:
    def __init__(
        self,
        requests: Requests,
        user: str,
        name: str,
        arguments: Iterable[Any],
        command: Callable[..., Any],
    ) -> None: ...
    def __call__(self, now_ms: int, *args: Any) -> Any: ...
