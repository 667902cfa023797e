"""The first act: a video call between two people, told step by step.

Every phone keeps a diary of all that it hears. At the end each diary has to be what the story
gives, entry by entry, with every parameter.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from pysignal import (
    Hub,
    Invitation,
    InvitationEnded,
    Outcome,
    Session,
    SignalingEvent,
    SignalingListener,
)
from pysignal.clock import stopwatch_ns
from pysignal.demo import script
from pysignal.demo.figures import duration
from pysignal.demo.stage import Stage

ROOM: Final = 4711
RING_S: Final = 30
UNANSWERED_RING_S: Final = 2.0
# How long a step waits for what it has to hear, before the checks say what was missing.
PATIENCE_S: Final = 5.0

Entry = tuple[object, ...]


class Phone(SignalingListener):
    """A device with an application on it, which rejects calls by itself while its user talks.

    Attributes:
        session: logged in.
        diary: all that was heard, as (callback, parameters).
        room: the room that the user is in; 0 for none.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.diary: list[Entry] = []
        self.room = 0
        self._news = asyncio.Event()
        session.add_signaling_listener(self)

    @classmethod
    async def on(cls, hub: Hub, user: str, device: str) -> Phone:
        """Log a user's device in."""
        phone = cls(hub.session(user, device))
        await phone.session.login()
        return phone

    async def until_heard(self, count: int) -> None:
        """Wait until the diary has so many entries, within reason."""
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                while len(self.diary) < count:
                    self._news.clear()
                    await self._news.wait()

    def _note(self, *entry: object) -> None:
        self.diary.append(entry)
        self._news.set()

    async def on_receive_new_invitation(
        self, invite_id: str, inviter: str, group_id: str, invitee_list: list[str], data: str
    ) -> None:
        """Ring; or reject, if the user is talking to somebody else."""
        self._note("new", invite_id, inviter, group_id, tuple(invitee_list), data)
        if self.room and '"videoCall"' in data:
            with suppress(InvitationEnded):
                room = script.room_in(data)
                await self.session.signaling.reject(invite_id, script.line_busy(room))

    async def on_invitee_accepted(self, invite_id: str, invitee: str, data: str) -> None:
        """Stop ringing, or enter the room as the caller."""
        self._note("accepted", invite_id, invitee, data)

    async def on_invitee_rejected(self, invite_id: str, invitee: str, data: str) -> None:
        """Stop ringing, or tell the caller."""
        self._note("rejected", invite_id, invitee, data)

    async def on_invitation_cancelled(self, invite_id: str, inviter: str, data: str) -> None:
        """Stop ringing."""
        self._note("cancelled", invite_id, inviter, data)

    async def on_invitation_timeout(self, invite_id: str, invitee_list: list[str]) -> None:
        """Stop ringing, and show a missed call."""
        self._note("timeout", invite_id, tuple(invitee_list))


class VideoCall:
    """The story: a call, a busy line, nobody at home, and a hang-up.

    Args:
        stage: where it is played.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._expected: dict[str, tuple[Phone, list[Entry]]] = {}
        self._hang_up: Invitation | None = None

    async def play(self) -> None:
        """Play the story and check every diary."""
        stage = self._stage
        stage.view.act("1. A video call between two people")
        amy = await self._phone("amy", "phone")
        bob = await self._phone("bob", "phone")
        tablet = await self._phone("bob", "tablet")
        carol = await self._phone("carol", "phone")
        dave = await self._phone("dave", "phone")
        await self._call(amy, bob, tablet)
        answered_ns = stopwatch_ns()
        await self._busy(carol, bob, tablet)
        await self._nobody_answers(carol, dave)
        await self._bob_leaves(amy, bob, tablet, answered_ns)
        await stage.until_idle(PATIENCE_S)
        for name, (phone, expected) in self._expected.items():
            stage.checks.equal(f"call: {name} heard what the story gives", phone.diary, expected)
        stage.opened += 4
        # The notice of a hang-up, which nobody answers, times out at the end of its lifetime.
        stage.statuses.update(accepted=1, rejected=1, timed_out=2)

    async def _phone(self, user: str, device: str) -> Phone:
        phone = await Phone.on(self._stage.hub, user, device)
        self._expected[f"{user}'s {device}"] = (phone, [])
        return phone

    async def _all_hear(self, *entries: tuple[Phone, Entry]) -> None:
        """Expect entries in diaries, and wait for them."""
        for phone, entry in entries:
            for other, expected in self._expected.values():
                if other is phone:
                    expected.append(entry)
                    await phone.until_heard(len(expected))

    async def _call(self, amy: Phone, bob: Phone, tablet: Phone) -> None:
        view = self._stage.view
        data = script.video_call(ROOM, "bob")
        view.step(f"amy enters room {ROOM} and calls bob, who has {RING_S} s to answer")
        invitation = await amy.session.signaling.invite("bob", data, timeout=RING_S)
        amy.room = ROOM
        view.step(f"the invitation is {invitation}")
        ring = ("new", invitation, "amy", "", ("bob",), data)
        await self._all_hear((bob, ring), (tablet, ring))
        view.step("bob's phone and bob's tablet ring")
        await bob.session.signaling.accept(invitation, data)
        bob.room = ROOM
        view.step("bob accepts on his phone and enters the room")
        accepted = ("accepted", invitation, "bob", data)
        await self._all_hear((tablet, accepted), (amy, accepted))
        view.step("amy hears that bob accepted; his tablet hears it too, and stops ringing")
        outcome = await self._outcome(invitation)
        self._stage.checks.equal("call: the call was accepted", _statuses(outcome), ["accepted"])

    async def _busy(self, carol: Phone, bob: Phone, tablet: Phone) -> None:
        view = self._stage.view
        room = ROOM + 1
        data, busy = script.video_call(room, "bob"), script.line_busy(room)
        invitation = await carol.session.signaling.invite("bob", data, timeout=RING_S)
        view.step("while they talk, carol calls bob")
        ring = ("new", invitation, "carol", "", ("bob",), data)
        rejected = ("rejected", invitation, "bob", busy)
        await self._all_hear((bob, ring), (tablet, ring), (tablet, rejected), (carol, rejected))
        view.step("bob's phone rejects by itself with line_busy, and carol hears it")
        outcome = await self._outcome(invitation)
        self._stage.checks.equal("call: the line was busy", _statuses(outcome), ["rejected"])

    async def _nobody_answers(self, carol: Phone, dave: Phone) -> None:
        stage = self._stage
        data = script.video_call(ROOM + 2, "dave")
        stage.view.step(f"carol calls dave, who has {UNANSWERED_RING_S:g} s and does not answer")
        invitation = await carol.session.signaling.invite("dave", data, timeout=UNANSWERED_RING_S)
        outcome = await self._outcome(invitation)
        heard_ns, heard_ms = stopwatch_ns(), stage.clock.now_ms()
        timeout = ("timeout", invitation, ("dave",))
        await self._all_hear(
            (dave, ("new", invitation, "carol", "", ("dave",), data)),
            (dave, timeout),
            (carol, timeout),
        )
        event = None if outcome is None else outcome.event
        stage.checks.equal("call: nobody answered", _statuses(outcome), ["timed_out"])
        stage.checks.that(
            "call: the timeout is not early",
            event is not None and heard_ms >= _deadline_ms(event),
            f"heard at {heard_ms}: {event!r}",
        )
        late_ns = 0 if event is None else stage.engine_time.late_ns(_deadline_ms(event), heard_ns)
        stage.view.step(f"both hear of the timeout, {duration(late_ns)} after the deadline")

    async def _bob_leaves(self, amy: Phone, bob: Phone, tablet: Phone, answered_ns: int) -> None:
        view = self._stage.view
        bob.room = 0
        view.step("bob leaves the room")
        talked_s = round((stopwatch_ns() - answered_ns) / 1e9)
        data = script.hang_up(ROOM, talked_s)
        self._hang_up = await amy.session.signaling.invite("bob", data, timeout=0)
        amy.room = 0
        hang_up = ("new", self._hang_up, "amy", "", ("bob",), data)
        await self._all_hear((bob, hang_up), (tablet, hang_up))
        view.step(f"amy is left behind and tells bob: hung up after {talked_s} s of talking")

    async def end(self) -> None:
        """Wait until the notice of the hang-up has reached the end of its lifetime."""
        checks = self._stage.checks
        outcome = None if self._hang_up is None else await self._outcome(self._hang_up)
        reason = None if outcome is None else outcome.reason
        checks.equal("call: the hang-up notice ends with its lifetime", reason, "lifetime")
        await self._stage.until_idle(PATIENCE_S)
        for name, (phone, expected) in self._expected.items():
            heard = phone.diary[len(expected) :]
            checks.equal(f"call: {name} hears nothing of that", heard, [])

    async def _outcome(self, invitation: Invitation) -> Outcome | None:
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                return await invitation.outcome()
        return None


def _statuses(outcome: Outcome | None) -> list[str]:
    return [] if outcome is None else list(outcome.statuses.values())


def _deadline_ms(event: SignalingEvent) -> int:
    return event.expires_at or 0
