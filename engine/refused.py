"""What the machine raises where the core refuses an operation."""

from __future__ import annotations

from pysignal.engine.views import InvitationInfo


class Refused(Exception):
    """What the core refuses; nothing was changed.

    Attributes:
        result: due (advance first), unknown, ended, answered, not_party, not_modifiable, conflict,
            table_full, restoring.
        info: the invitation, for a party to it, where it is remembered; else None.
        device: number of the device on which the actor had answered it; 0 for none.
    """

    def __init__(self, result: str, info: InvitationInfo | None = None, device: int = 0) -> None:
        super().__init__(result)
        self.result = result
        self.info = info
        self.device = device
