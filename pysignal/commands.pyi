"""Commands: carried out at once where they can be, else in their turn, first come first served."""

import asyncio
from collections.abc import Callable
from logging import Logger
from typing import Any, final

from pysignal.delivery import Delivery
from pysignal.engine.machine import Machine
from pysignal.journal.acknowledgement import Acknowledgement
from pysignal.journal.writer import Writer
from pysignal.publisher import Publisher
from pysignal.system_clock import Clock

log: Logger
BACKLOG_MAX: int
RUN_NS: int
STEPS_MAX: int

@final
class Commands:
    is_open: bool
    is_scheduled: bool
    has_room: bool
    has_failed: bool
    create_future: Callable[[], asyncio.Future[Any]]
    def __init__(
        self,
        clock: Clock,
        ahead_ms: int,
        machine: Machine,
        delivery: Delivery,
        publisher: Publisher,
        turn: Callable[[], None],
        writer: Writer | None,
        data_bytes_max: int,
    ) -> None: ...
    def __len__(self) -> int: ...
    @property
    def is_ready(self) -> bool: ...
    def schedule(self) -> None: ...
    async def perform(self, command: Callable[..., Any], *args: Any) -> Any: ...
    def until_durable(self) -> Acknowledgement | None: ...
    def append(self, now_ms: int, command: Callable[..., Any]) -> None: ...
    def run(self) -> None: ...
    def drop(self) -> list[Waiting]: ...

@final
class Bulk:
    def __init__(self, items: list[Any], act: Callable[[int, Any], Any]) -> None: ...
    def __call__(self, now_ms: int) -> Any: ...

class Waiting:
    now_ms: int
    command: Callable[..., Any]
    args: tuple[Any, ...]
    future: asyncio.Future[Any] | None
    def __init__(
        self,
        now_ms: int,
        command: Callable[..., Any],
        args: tuple[Any, ...],
        future: asyncio.Future[Any] | None,
    ) -> None: ...
    def succeed(self, result: Any) -> None: ...
    def fail(self, error: Exception) -> None: ...
