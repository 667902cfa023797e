"""The operations on invitations that need not wait, compiled: the hot path."""

from collections.abc import Sequence
from typing import Any, Self

from typing_extensions import disjoint_base

from pysignal.commands import Commands
from pysignal.invitation import Invitation

TIMEOUT_MAX_S: int

def invite_at_once(
    commands: Commands,
    now_ms: int,
    inviter: object,
    invitee: object,
    data: object,
    timeout: object,
    online_only: object,
) -> str | None: ...
def answer_at_once(
    commands: Commands,
    now_ms: int,
    invitee: object,
    invite_id: object,
    accept: object,
    data: object,
) -> bool: ...

@disjoint_base
class DirectSignaling:
    # A `Receiver` that is an `Actor` too; typing has no name for both.
    _actor: Any
    def __new__(cls, actor: Any) -> Self: ...
    async def invite(
        self,
        invitee: str | Sequence[str],
        data: str | None = "",
        *,
        timeout: float = 30,  # noqa: ASYNC109 - of the invitation, not of the call
        online_user_only: bool = False,
        offline_push_info: object = None,
        request_id: str | None = None,
    ) -> Invitation: ...
    async def accept(
        self, invite_id: str, data: str | None = "", *, request_id: str | None = None
    ) -> None: ...
    async def reject(
        self, invite_id: str, data: str | None = "", *, request_id: str | None = None
    ) -> None: ...
    async def cancel(
        self, invite_id: str, data: str | None = "", *, request_id: str | None = None
    ) -> None: ...
