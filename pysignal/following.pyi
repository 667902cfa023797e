"""Following an invitation: who awaits its outcome, or iterates over its events."""

import asyncio
from collections.abc import Iterator
from typing import Any, final

from typing_extensions import disjoint_base

from pysignal.delivery import Delivery
from pysignal.engine.facts import Event
from pysignal.engine.machine import Machine
from pysignal.engine.views import InvitationInfo
from pysignal.errors import SignalingError

@final
class Outcome:
    invite_id: str
    state: str
    reason: str
    event: Event | None
    def __init__(
        self,
        invite_id: str,
        state: str,
        reason: str,
        statuses: dict[str, str],
        event: Event | None = None,
    ) -> None: ...
    def __eq__(self, value: object, /) -> bool: ...
    __hash__: None  # type: ignore[assignment]
    def parts(self) -> tuple[Any, ...]: ...
    @property
    def statuses(self) -> dict[str, str]: ...
    @property
    def status(self) -> str: ...
    @property
    def accepted(self) -> list[str]: ...
    @property
    def data(self) -> str: ...

@disjoint_base
class Watch:
    # A `Receiver` that is an `Actor` too; typing has no name for both.
    actor: Any
    invite_id: str
    def __init__(self, actor: Any, invite_id: str) -> None: ...
    def feed(self, event: Event) -> None: ...
    def fail(self, error: SignalingError) -> None: ...
    def give_up(self) -> None: ...
    def stop(self) -> None: ...

@final
class OutcomeWatch(Watch):
    ending: asyncio.Future[Outcome]
    statuses: dict[str, str] | None

@final
class Followers:
    def __init__(self, delivery: Delivery, machine: Machine) -> None: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Watch]: ...
    def enter(self, watch: Watch) -> tuple[InvitationInfo, bool]: ...
    def leave(self, watch: Watch) -> None: ...

def follow_at_once(actor: Any, invite_id: str) -> OutcomeWatch | None: ...
