"""The general way of the operations on invitations: what is not ordinary takes it.

An ordinary call is carried out at once by compiled code (`pysignal.direct`), which asks no `Shard`.
A test that changes what a shard does, or compares the two ways, lets every call go the general one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pysignal import Invitation
from pysignal.signaling import Signaling


class GeneralWay(Signaling):
    """The operations on invitations, all of them by the general way."""

    async def invite(  # type: ignore[override]
        self,
        invitee: Any,
        data: Any = "",
        *,
        timeout: Any = 30,  # noqa: ASYNC109
        online_user_only: Any = False,
        offline_push_info: Any = None,
        request_id: Any = None,
    ) -> Invitation:
        return await self._invite(invitee, data, timeout, online_user_only, request_id)

    async def accept(self, invite_id: Any, data: Any = "", *, request_id: Any = None) -> None:
        await self._answer("accept", invite_id, data, request_id)

    async def reject(self, invite_id: Any, data: Any = "", *, request_id: Any = None) -> None:
        await self._answer("reject", invite_id, data, request_id)

    async def cancel(self, invite_id: Any, data: Any = "", *, request_id: Any = None) -> None:
        await self._answer("cancel", invite_id, data, request_id)


def take_general_way(patch: Callable[[type, str, Any], None]) -> None:
    """Let every operation of every session take the general way."""
    for name in ("invite", "accept", "reject", "cancel"):
        patch(Signaling, name, vars(GeneralWay)[name])
