"""Publishing: what was committed gets its audience, and its place in the journal."""

from typing import final

from pysignal.delivery import Delivery
from pysignal.engine.machine import Machine
from pysignal.groups.decisions import Groups
from pysignal.groups.records import GroupRecord
from pysignal.journal.writer import Writer
from pysignal.presence import Presence
from pysignal.requests import Requests
from pysignal.session import Session

@final
class Publisher:
    _parties: dict[str, list[Session]]
    def __init__(
        self,
        machine: Machine,
        groups: Groups,
        delivery: Delivery,
        presence: Presence,
        requests: Requests,
        writer: Writer | None,
    ) -> None: ...
    @property
    def rests_on(self) -> int: ...
    @property
    def is_behind(self) -> bool: ...
    def publish(self) -> None: ...
    def publish_group(
        self, record: GroupRecord, anybody_stays: bool, actor: str, device: int
    ) -> None: ...
    def came(self, session: Session) -> None: ...
    def went(self, session: Session) -> None: ...
