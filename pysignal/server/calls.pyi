"""Calls: requests on their way."""

from collections.abc import Callable
from typing import final

from pysignal.server.outbox import Outbox
from pysignal.server.session import ServedSession

@final
class Caller:
    def __init__(
        self, session: ServedSession, outbox: Outbox, post: Callable[[bytes], None], prefix: str
    ) -> None: ...
    def take(self, request: object) -> bool: ...

@final
class Later:
    def __call__(self, acknowledgement: object) -> None: ...

@final
class Call:
    def go_on(self, awaited: object) -> None: ...
