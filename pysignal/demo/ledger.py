"""What the phones of the rush write down: bytes by number of the invitation.

Nothing is kept per callback but a count in its place and a sample of its time, so that a million
invitations fit beside the hub that carries them. What is plainly wrong at the moment it is heard
(a stranger's invitation, a changed payload, a timeout before its deadline) is counted by its kind.
"""

from __future__ import annotations

from array import array
from collections import Counter

from pysignal import SignalingEvent, SignalingListener
from pysignal.clock import stopwatch_ns
from pysignal.demo import script
from pysignal.demo.figures import Samples
from pysignal.demo.script import ACCEPTED, CALLER, CANCELLED, REJECTED, TIMED_OUT, Script
from pysignal.demo.stage import Stage


class Ledger:
    """Everything that was heard and done in the rush.

    Args:
        stage: where the rush is played.
        plan: what everybody does.

    Attributes:
        names: by invitation, its invite ID.
        numbers: the other way round.
        rings: by phone and invitation, how often the opening was heard.
        ends: by phone and invitation, how often an end was heard.
        kinds: by phone and invitation, which end was heard last.
        done: by invitation, how many calls that end it have succeeded.
        refused: by invitation, how many were refused as too late.
        acted_ns: by invitation, when the last call on it began, by the stopwatch.
        timeout_ms: by invitation, the timeout that was asked for.
        expires_ms: by invitation, the deadline that was told.
        wrong: what is wrong in itself, counted by its kind.
    """

    def __init__(self, stage: Stage, plan: Script) -> None:
        size = plan.size
        self.plan = plan
        self.clock = stage.clock
        self.engine_time = stage.engine_time
        self.names = [""] * size
        self.numbers: dict[str, int] = {}
        self.rings = [bytearray(size) for _ in script.PHONES]
        self.ends = [bytearray(size) for _ in script.PHONES]
        self.kinds = [bytearray(size) for _ in script.PHONES]
        self.done = bytearray(size)
        self.refused = bytearray(size)
        self.acted_ns = array("q", bytes(8 * size))
        self.timeout_ms = array("q", bytes(8 * size))
        self.expires_ms = array("q", bytes(8 * size))
        self.wrong: Counter[str] = Counter()
        self.callbacks = 0
        self.events = 0
        self.opened = 0
        self.last_ns = 0
        self.opening_calls = Samples("call: invite", "call time")
        self.answering_calls = Samples("call: accept, reject, cancel", "call time")
        self.opening_delays = Samples("delivery: invitation", "delivery in the rush")
        self.answering_delays = Samples("delivery: answer", "delivery in the rush")
        self.lateness = Samples("timer lateness", "timer lateness")

    def name(self, number: int, invite_id: str) -> None:
        """Note the ID of an invitation, as its caller or its callee has learned it."""
        if not self.names[number]:
            self.names[number] = invite_id
        if self.numbers.setdefault(invite_id, number) != number:
            self.wrong["two invitations with one ID"] += 1


class Phone(SignalingListener):
    """One device in the rush.

    Args:
        ledger: where it writes.
        phone: CALLER, FIRST or SECOND.
        user: the number of its user, among the callers or the callees.
    """

    def __init__(self, ledger: Ledger, phone: int, user: int) -> None:
        self._ledger = ledger
        self._phone = phone
        self._user = user

    def on_receive_new_invitation(
        self, invite_id: str, inviter: str, group_id: str, invitee_list: list[str], data: str
    ) -> None:
        """Ring."""
        ledger = self._ledger
        ledger.last_ns = now_ns = stopwatch_ns()
        number = script.number_of(data)
        callee = script.callee_name(self._user)
        ledger.callbacks += 1
        ledger.opening_delays.add(now_ns - ledger.acted_ns[number])
        ledger.name(number, invite_id)
        ledger.rings[self._phone][number] += 1
        if (
            ledger.plan.callees[number] != self._user
            or self._phone == CALLER
            or inviter != script.caller_name(ledger.plan.caller(number))
            or group_id
            or invitee_list != [callee]
            or data != script.video_call(script.room_of(number), callee)
        ):
            ledger.wrong["a ring that is not as it was sent"] += 1

    def on_invitee_accepted(self, invite_id: str, invitee: str, data: str) -> None:
        """Stop ringing, or enter the room."""
        self._answered(invite_id, invitee, data, ACCEPTED)

    def on_invitee_rejected(self, invite_id: str, invitee: str, data: str) -> None:
        """Stop ringing, or tell the caller."""
        self._answered(invite_id, invitee, data, REJECTED)

    def on_invitation_cancelled(self, invite_id: str, inviter: str, data: str) -> None:
        """Stop ringing."""
        number = self._end(invite_id, CANCELLED)
        if number >= 0:
            ledger = self._ledger
            ledger.answering_delays.add(ledger.last_ns - ledger.acted_ns[number])
            callee = script.callee_name(ledger.plan.callees[number])
            if (
                inviter != script.caller_name(ledger.plan.caller(number))
                or data != script.video_call(script.room_of(number), callee)
            ):  # fmt: skip
                ledger.wrong["a cancel that is not as it was sent"] += 1

    def on_invitation_timeout(self, invite_id: str, invitee_list: list[str]) -> None:
        """Stop ringing, and show a missed call."""
        number = self._end(invite_id, TIMED_OUT)
        if number >= 0:
            ledger = self._ledger
            due_ms = ledger.expires_ms[number]
            if ledger.clock.now_ms() < due_ms:
                ledger.wrong["a timeout before its deadline"] += 1
            ledger.lateness.add(ledger.engine_time.late_ns(due_ms, ledger.last_ns))
            if invitee_list != [script.callee_name(ledger.plan.callees[number])]:
                ledger.wrong["a timeout with another list"] += 1

    def on_signaling_event(self, event: SignalingEvent) -> None:
        """Hear the same once more, with the deadline."""
        ledger = self._ledger
        ledger.events += 1
        if event.kind == "opened":
            number = ledger.numbers[event.invite_id]
            ledger.expires_ms[number] = event.expires_at or 0
            if event.time + ledger.timeout_ms[number] != event.expires_at:
                ledger.wrong["a deadline that is not the time of the call and the timeout"] += 1

    def _answered(self, invite_id: str, invitee: str, data: str, kind: int) -> None:
        number = self._end(invite_id, kind)
        if number >= 0:
            ledger = self._ledger
            ledger.answering_delays.add(ledger.last_ns - ledger.acted_ns[number])
            callee = script.callee_name(ledger.plan.callees[number])
            if invitee != callee or data != script.video_call(script.room_of(number), callee):
                ledger.wrong["an answer that is not as it was sent"] += 1

    def _end(self, invite_id: str, kind: int) -> int:
        """Count an end; returns the number of the invitation, -1 for one of somebody else."""
        ledger = self._ledger
        ledger.last_ns = stopwatch_ns()
        ledger.callbacks += 1
        number = ledger.numbers.get(invite_id, -1)
        phone = self._phone
        plan = ledger.plan
        if number < 0 or self._user != (
            plan.caller(number) if phone == CALLER else plan.callees[number]
        ):
            ledger.wrong["an end of somebody else's invitation"] += 1
            return -1
        if phone != CALLER and not ledger.rings[phone][number]:
            ledger.wrong["an end before the ring"] += 1
        ledger.ends[phone][number] += 1
        ledger.kinds[phone][number] = kind
        return number
