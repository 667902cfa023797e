"""Listeners that write down what they hear."""

from __future__ import annotations

from typing import Any

from pysignal import ConnectionListener, Hub, Session, SignalingEvent, SignalingListener
from pysignal.session import Start


class Ear(SignalingListener):
    """Writes down callbacks as (name without `on_`, parameters) and events beside them."""

    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []
        self.events: list[SignalingEvent] = []

    def on_receive_new_invitation(
        self, invite_id: str, inviter: str, group_id: str, invitee_list: list[str], data: str
    ) -> None:
        self.heard.append(
            ("receive_new_invitation", invite_id, inviter, group_id, invitee_list, data)
        )

    def on_invitee_accepted(self, invite_id: str, invitee: str, data: str) -> None:
        self.heard.append(("invitee_accepted", invite_id, invitee, data))

    def on_invitee_rejected(self, invite_id: str, invitee: str, data: str) -> None:
        self.heard.append(("invitee_rejected", invite_id, invitee, data))

    def on_invitation_cancelled(self, invite_id: str, inviter: str, data: str) -> None:
        self.heard.append(("invitation_cancelled", invite_id, inviter, data))

    def on_invitation_timeout(self, invite_id: str, invitee_list: list[str]) -> None:
        self.heard.append(("invitation_timeout", invite_id, invitee_list))

    def on_invitation_modified(self, invite_id: str, data: str) -> None:
        self.heard.append(("invitation_modified", invite_id, data))

    def on_signaling_event(self, event: SignalingEvent) -> None:
        self.events.append(event)

    def take(self) -> list[tuple[Any, ...]]:
        """Return what was heard since the last time."""
        heard, self.heard = self.heard, []
        return heard

    def kinds(self) -> list[str]:
        """Return the kinds of the events heard since the last time."""
        events, self.events = self.events, []
        return [event.kind for event in events]


class ConnectionEar(ConnectionListener):
    """Writes down (name, code)."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, int]] = []

    def on_disconnected(self, error: Any) -> None:
        self.heard.append(("disconnected", error.code))

    def on_kicked_offline(self, error: Any) -> None:
        self.heard.append(("kicked_offline", error.code))


async def join(
    hub: Hub, user: str, device: str = "1", start: Start = "cold"
) -> tuple[Session, Ear]:
    """Log a user in, with an ear."""
    ear = Ear()
    return await hub.login(user, device, start=start, listener=ear), ear
