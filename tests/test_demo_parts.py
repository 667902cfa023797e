"""Parts of the demo: what is wrong in itself is counted by its kind; a signal stops what runs."""

from __future__ import annotations

import asyncio
import os
import signal
from types import SimpleNamespace
from typing import Any

import pytest

from pysignal import VirtualClock
from pysignal.demo import call, classroom, script
from pysignal.demo.beside import beside
from pysignal.demo.figures import Checks
from pysignal.demo.ledger import Ledger, Phone
from pysignal.demo.script import CALLER, FIRST, Script
from pysignal.demo.stage import Stage
from pysignal.demo.stoppable import Stoppable
from pysignal.exits import Terminated

STRANGER = "an end of somebody else's invitation"


@pytest.fixture
def ledger() -> Ledger:
    """Of two invitations, which phones have learned as "zero" and "one"."""
    engine_time = SimpleNamespace(late_ns=lambda due_ms, at_ns: 0)
    stage: Any = SimpleNamespace(clock=VirtualClock(), engine_time=engine_time)
    ledger = Ledger(stage, Script(2, 1))
    ledger.name(0, "zero")
    ledger.name(1, "one")
    return ledger


def wrong(ledger: Ledger) -> dict[str, int]:
    return dict(ledger.wrong)


def callee(ledger: Ledger, number: int = 0) -> Phone:
    """The phone that number 0 rings, which has rung."""
    ledger.rings[FIRST][number] = 1
    return Phone(ledger, FIRST, ledger.plan.callees[number])


def test_one_id_of_two_invitations_is_counted(ledger: Ledger) -> None:
    ledger.name(0, "zero")
    assert wrong(ledger) == {}
    ledger.name(1, "zero")
    assert wrong(ledger) == {"two invitations with one ID": 1}


def test_an_end_before_the_ring_is_counted(ledger: Ledger) -> None:
    phone = callee(ledger)
    ledger.rings[FIRST][0] = 0
    user = script.callee_name(ledger.plan.callees[0])
    phone.on_invitee_accepted("zero", user, script.video_call(script.room_of(0), user))
    assert wrong(ledger) == {"an end before the ring": 1}


@pytest.mark.parametrize("name", ["unheard of", "one"])
def test_an_end_of_somebody_elses_invitation_is_counted(ledger: Ledger, name: str) -> None:
    phone = callee(ledger)
    phone.on_invitation_cancelled(name, "anybody", "")
    phone.on_invitation_timeout(name, [])
    phone.on_invitee_rejected(name, "anybody", "")
    assert wrong(ledger) == {STRANGER: 3}
    assert not any(ledger.ends[FIRST])


def test_a_cancel_that_is_not_as_it_was_sent_is_counted(ledger: Ledger) -> None:
    phone, user = callee(ledger), script.callee_name(ledger.plan.callees[0])
    inviter, data = script.caller_name(0), script.video_call(script.room_of(0), user)
    phone.on_invitation_cancelled("zero", inviter, data)
    assert wrong(ledger) == {}
    phone.on_invitation_cancelled("zero", user, data)
    phone.on_invitation_cancelled("zero", inviter, data + " ")
    assert wrong(ledger) == {"a cancel that is not as it was sent": 2}


def test_a_timeout_with_another_list_is_counted(ledger: Ledger) -> None:
    phone, user = Phone(ledger, CALLER, 0), script.callee_name(ledger.plan.callees[0])
    phone.on_invitation_timeout("zero", [user])
    assert wrong(ledger) == {}
    phone.on_invitation_timeout("zero", [user, user])
    assert wrong(ledger) == {"a timeout with another list": 1}


def test_a_deadline_that_is_not_the_time_and_the_timeout_is_counted(ledger: Ledger) -> None:
    ledger.timeout_ms[0] = 30
    phone = callee(ledger)
    for expires_at in (1030, 1031):
        event: Any = SimpleNamespace(
            kind="opened", invite_id="zero", time=1000, expires_at=expires_at
        )
        phone.on_signaling_event(event)
    kind = "a deadline that is not the time of the call and the timeout"
    assert wrong(ledger) == {kind: 1}


def test_a_core_that_is_not_consistent_is_told_with_what_is_wrong() -> None:
    def check() -> None:
        raise AssertionError("a list is lost")

    hub: Any = SimpleNamespace(shard=SimpleNamespace(machine=SimpleNamespace(check=check)))
    stage = Stage(hub, VirtualClock(), Any, Any, 0, Checks())  # type: ignore[arg-type]
    stage.check_machine("rush")
    (failure,) = stage.checks.failures
    assert "a list is lost" in str(failure)


def test_what_work_beside_has_failed_with_is_raised_at_the_end() -> None:
    ended = []

    async def fail() -> None:
        raise LookupError("beside")

    async def main() -> None:
        async with beside(fail()):
            await asyncio.sleep(0)
            ended.append("the body")

    with pytest.raises(LookupError, match="beside"):
        asyncio.run(main())
    assert ended == ["the body"]


def test_a_member_of_the_class_notes_what_must_not_happen() -> None:
    room: Any = SimpleNamespace(size=2)
    member = classroom.Member(room)
    member.on_invitee_rejected("one", "bob", "no")
    member.on_invitation_cancelled("one", "amy", "over")
    member.on_invitation_timeout("one", ["bob", "cy"])
    assert member.others == [
        ("rejected", "one", "bob", "no"),
        ("cancelled", "one", "amy", "over"),
        ("timeout", "one", "bob", "cy"),
    ]


@pytest.mark.parametrize(
    ("signum", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)]
)
def test_a_signal_outside_of_a_coroutine_stops_what_runs(
    signum: int, error: type[BaseException]
) -> None:
    # A process that was started in the background may have been told to ignore SIGINT.
    handler = signal.default_int_handler if signum == signal.SIGINT else signal.SIG_DFL
    started_with = signal.signal(signum, handler)
    try:
        with pytest.raises(error), Stoppable():
            os.kill(os.getpid(), signum)
        assert signal.getsignal(signum) is handler
    finally:
        signal.signal(signum, started_with)


def test_a_coroutine_that_cancels_itself_is_no_signal() -> None:
    async def main() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError), Stoppable() as stoppable:
        stoppable.run(main())


def test_a_phone_of_the_call_writes_a_cancel_down() -> None:
    phone = call.Phone.__new__(call.Phone)
    phone.diary, phone._news = [], asyncio.Event()
    asyncio.run(phone.on_invitation_cancelled("one", "amy", "over"))
    assert phone.diary == [("cancelled", "one", "amy", "over")]
