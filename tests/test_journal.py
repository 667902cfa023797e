"""With a journal nothing is answered or told before it is durable, and nothing durable is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from busy import PATIENCE_S, code_of
from ears import Ear, join
from slow_journal import SlowJournal

from pysignal import GroupListener, Hub, Invitation, Session, SignalingListener, VirtualClock
from pysignal.journal import MemoryJournal, NotOwner

pytestmark = pytest.mark.anyio


@pytest.fixture
def journal() -> SlowJournal:
    """The journal of `kept`; it does not wait until it is shut."""
    return SlowJournal()


@pytest.fixture
def small_backlog(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two events that are undelivered make a call wait; asked for before the hub is opened."""
    monkeypatch.setattr("pysignal.commands.BACKLOG_MAX", 2)


@pytest.fixture
async def kept(journal: SlowJournal, clock: VirtualClock) -> AsyncIterator[Hub]:
    """A hub with a journal."""
    async with Hub(clock=clock, journal=journal) as hub:
        yield hub
        journal.release(all_later=True)


def begin(call: Any) -> asyncio.Future[Any]:
    return asyncio.ensure_future(call)


# -- what is held back -----------------------------------------------------------------------------


async def test_answers_and_events_leave_when_their_records_are_durable(
    kept: Hub, journal: SlowJournal, clock: VirtualClock
) -> None:
    amy, _ = await join(kept, "amy")
    _, ear = await join(kept, "bob")
    journal.shut()
    inviting = begin(amy.signaling.invite("bob", "hi"))
    await clock.settle()
    assert not inviting.done()
    assert ear.heard == []
    journal.release()
    invite_id = await asyncio.wait_for(inviting, PATIENCE_S)
    await clock.settle()
    assert ear.take() == [("receive_new_invitation", invite_id, "amy", "", ["bob"], "hi")]


async def test_refusals_queries_and_logins_wait_for_what_they_tell_of(
    kept: Hub, journal: SlowJournal, clock: VirtualClock
) -> None:
    await kept.groups.put("g", ["amy", "bob"])
    amy, _ = await join(kept, "amy")
    bob, _ = await join(kept, "bob")
    invite_id = await amy.signaling.invite("bob", timeout=60)
    journal.shut()
    accepting = begin(bob.signaling.accept(invite_id))
    await clock.settle()
    calls = [
        begin(bob.signaling.accept(invite_id)),
        begin(kept.pending("bob")),
        begin(kept.invitation(invite_id)),
        begin(amy.signaling.open_invitations("g")),
        begin(amy.groups.get_joined_group_list()),
        begin(amy.groups.get_group_info("h")),
        begin(kept.groups.members("g")),
        begin(kept.login("cy")),
    ]
    await clock.settle()
    assert [call.done() for call in (accepting, *calls)] == [False] * 9
    journal.release(all_later=True)
    results = await asyncio.wait_for(
        asyncio.gather(accepting, *calls, return_exceptions=True), PATIENCE_S
    )
    assert [getattr(result, "code", 0) for result in results] == [0, 8010, 0, 0, 0, 0, 10010, 0, 0]


async def test_wrong_parameters_are_refused_at_once(
    kept: Hub, journal: SlowJournal, clock: VirtualClock
) -> None:
    amy, _ = await join(kept, "amy")
    journal.shut()
    inviting = begin(amy.signaling.invite("bob"))
    await clock.settle()
    assert await code_of(amy.signaling.invite("bob", timeout=-1)) == 6017
    journal.release()
    await asyncio.wait_for(inviting, PATIENCE_S)


async def test_a_timeout_is_told_when_it_is_durable(
    kept: Hub, journal: SlowJournal, clock: VirtualClock
) -> None:
    amy, ear = await join(kept, "amy")
    call = await amy.signaling.invite("bob", timeout=1)
    outcome = begin(call.outcome())
    journal.shut()
    await clock.advance(2)
    assert ear.heard == []
    assert not outcome.done()
    journal.release()
    await clock.settle()
    assert ear.take() == [("invitation_timeout", call, ["bob"])]
    assert (await outcome).status == "timed_out"


async def test_callbacks_of_a_group_wait_as_events_do(
    kept: Hub, journal: SlowJournal, clock: VirtualClock
) -> None:
    order: list[str] = []

    class Groups(GroupListener):
        def on_group_dismissed(self, group_id: str, op_user: str) -> None:
            order.append("dismissed")

    class Signaling(SignalingListener):
        def on_invitation_cancelled(self, invite_id: str, inviter: str, data: str) -> None:
            order.append("cancelled")

    await kept.groups.put("g", ["amy", "bob"])
    bob = await kept.login("bob", listener=Signaling())
    bob.groups.add_group_listener(Groups())
    await kept.invite_in_group_as("amy", "g", ["bob"])
    await clock.settle()
    journal.shut()
    dismissing = begin(kept.groups.dismiss("g"))
    await clock.settle()
    assert (order, dismissing.done()) == ([], False)
    journal.release(all_later=True)
    await asyncio.wait_for(dismissing, PATIENCE_S)
    await clock.settle()
    assert order == ["cancelled", "dismissed"]


async def test_callbacks_begin_after_login_has_returned(
    kept: Hub, journal: SlowJournal, clock: VirtualClock
) -> None:
    amy, _ = await join(kept, "amy")
    ringing = await amy.signaling.invite("bob", timeout=60)
    await clock.settle()
    journal.shut()
    putting = begin(kept.groups.put("empty", []))  # a record that nobody hears of
    ear = Ear()
    login = begin(kept.login("bob", listener=ear))
    await clock.settle()
    assert not login.done()
    assert ear.heard == [], "the login has not returned yet"
    journal.release(all_later=True)
    await asyncio.wait_for(asyncio.gather(putting, login), PATIENCE_S)
    await clock.settle()
    assert [call[1] for call in ear.take()] == [ringing]


async def test_a_caller_has_its_result_before_it_hears_later_events(
    kept: Hub, journal: SlowJournal, clock: VirtualClock
) -> None:
    order: list[str] = []

    class Listening(SignalingListener):
        def on_invitee_accepted(self, invite_id: str, invitee: str, data: str) -> None:
            order.append("heard")

    amy = await kept.login("amy", listener=Listening())
    invite_id = await amy.signaling.invite("bob", timeout=60)
    await clock.settle()
    journal.shut()

    async def modify() -> None:
        await amy.signaling.modify_invitation(invite_id, "new")
        order.append("returned")

    async def release() -> None:
        journal.release(all_later=True)

    calls = [begin(kept.pending("zoe")), begin(modify()), begin(kept.accept_as("bob", invite_id))]
    await clock.settle()
    # The append ends in the same turn of the loop in which somebody else's call begins.
    calls += [begin(release()), begin(kept.invite_as("cy", "dee"))]
    await asyncio.wait_for(asyncio.gather(*calls), PATIENCE_S)
    await clock.settle()
    assert order == ["returned", "heard"]


# -- appends ---------------------------------------------------------------------------------------


async def test_one_append_is_under_way_and_what_arrives_meanwhile_forms_the_next(
    kept: Hub, journal: SlowJournal, clock: VirtualClock
) -> None:
    amy, _ = await join(kept, "amy")
    await clock.settle()
    journal.appends.clear()
    journal.shut()
    first = begin(amy.signaling.invite("bob"))
    await clock.settle()
    rest = [begin(amy.signaling.invite("bob")) for _ in range(20)]
    await clock.settle()
    assert journal.appends == [1]
    journal.release()
    await clock.settle()
    assert first.done()
    assert not any(call.done() for call in rest)
    assert journal.appends == [1, 20]
    journal.release()
    await asyncio.wait_for(asyncio.gather(*rest), PATIENCE_S)


async def test_a_cancelled_await_neither_loses_nor_repeats(
    kept: Hub, journal: SlowJournal, clock: VirtualClock
) -> None:
    amy, _ = await join(kept, "amy")
    _, ear = await join(kept, "bob")
    await clock.settle()
    journal.shut()
    calls = [
        begin(amy.signaling.invite("bob", "plain")),
        begin(amy.signaling.invite("bob", "named", request_id="r")),
        begin(amy.signaling.invite("bob", "other")),
    ]
    await clock.settle()
    calls[0].cancel()
    calls[1].cancel()
    await clock.settle()
    again = begin(amy.signaling.invite("bob", "named", request_id="r"))
    await clock.settle()
    assert not again.done()
    journal.release(all_later=True)
    invite_id = await asyncio.wait_for(again, PATIENCE_S)
    await clock.settle()
    heard = {call[5]: call[1] for call in ear.heard}
    assert len(ear.take()) == 3
    assert heard["named"] == invite_id
    assert (await calls[2]) == heard["other"]


async def test_closing_waits_for_what_is_on_its_way(
    journal: SlowJournal, clock: VirtualClock
) -> None:
    hub = Hub(clock=clock, journal=journal)
    await hub.open()
    amy, _ = await join(hub, "amy")
    _, ear = await join(hub, "bob")
    await clock.settle()
    journal.shut()
    inviting = begin(amy.signaling.invite("bob"))
    await clock.settle()
    closing = begin(hub.close())
    await clock.settle()
    assert not closing.done()
    journal.release(all_later=True)
    await asyncio.wait_for(closing, PATIENCE_S)
    assert [call[1] for call in ear.heard] == [await inviting]


# -- failure ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [OSError("disk"), NotOwner("gone"), asyncio.CancelledError()])
async def test_a_failed_append_stops_every_answer_and_event(
    kept: Hub,
    journal: SlowJournal,
    clock: VirtualClock,
    caplog: pytest.LogCaptureFixture,
    error: BaseException,
) -> None:
    amy, amy_ear = await join(kept, "amy")
    bob, ear = await join(kept, "bob")
    invite_id = await amy.signaling.invite("bob", timeout=60)
    soon = await amy.signaling.invite("zoe", timeout=1)
    await clock.settle()
    ear.take()
    journal.shut()
    journal.error = error
    calls = [
        begin(bob.signaling.accept(invite_id)),
        begin(amy.signaling.invite("bob")),
        begin(amy.signaling.cancel("no such")),
        begin(kept.pending("bob")),
        begin(kept.login("cy")),
    ]
    await clock.settle()
    before = len(journal.appends)
    journal.release()
    assert [await code_of(call) for call in calls] == [6012] * 5
    journal.error = None
    journal.release(all_later=True)
    for call in (
        amy.signaling.invite("bob"),
        amy.signaling.accept(soon),
        amy.groups.get_joined_group_list(),
        kept.pending("bob"),
        kept.login("dee"),
        kept.groups.put("g", ["amy"]),
    ):
        assert await code_of(call) == 6012
    await clock.advance(5)
    assert (ear.heard, amy_ear.heard) == ([], [])
    assert len(journal.appends) == before, "a failed append is never tried again"
    await amy.logout()
    await clock.settle()
    assert caplog.records


@pytest.mark.usefixtures("small_backlog")
async def test_a_failed_append_fails_what_waits_its_turn(
    kept: Hub, journal: SlowJournal, clock: VirtualClock
) -> None:
    journal.shut()
    journal.error = OSError("disk")
    calls = [begin(kept.invite_as("amy", f"user {number}")) for number in range(6)]
    await clock.settle()
    assert kept.stats()["commands_waiting"] == 4, "they wait for the events of the first"
    journal.release()
    assert [await code_of(asyncio.wait_for(call, PATIENCE_S)) for call in calls] == [6012] * 6
    assert kept.stats()["commands_waiting"] == 0
    assert kept.stats()["open"] == 2


async def test_a_restart_after_a_failure_has_what_was_durable(
    journal: SlowJournal, clock: VirtualClock
) -> None:
    async with Hub(clock=clock, journal=journal) as hub:
        amy, _ = await join(hub, "amy")
        durable = await amy.signaling.invite("bob", "durable", timeout=60)
        journal.error = OSError("disk")
        assert await code_of(amy.signaling.invite("bob", "lost", timeout=60)) == 6012
        assert await code_of(amy.signaling.cancel(durable)) == 6012
    journal.error = None
    async with Hub(clock=clock, journal=journal) as hub:
        assert [info.invite_id for info in await hub.pending("bob")] == [durable]


async def test_a_hub_that_is_not_the_owner_any_more_is_refused(clock: VirtualClock) -> None:
    journal = MemoryJournal()
    async with Hub(clock=clock, journal=journal) as old:
        amy, _ = await join(old, "amy")
        invite_id = await amy.signaling.invite("bob", timeout=60)
        async with Hub(clock=clock, journal=journal) as new:
            await new.accept_as("bob", invite_id)
            length = len(journal.replay())
            assert await code_of(amy.signaling.cancel(invite_id)) == 6012
            assert await code_of(amy.signaling.cancel(invite_id)) == 6012
            assert len(journal.replay()) == length
            info = await new.invitation(invite_id)
            assert info is not None
            assert info.statuses == {"bob": "accepted"}


async def later_login(hub: Hub, user: str) -> tuple[Session, list[str]]:
    """A cold login, and what it rings."""
    session, ear = await join(hub, user)
    for _ in range(5):
        await asyncio.sleep(0)
    return session, [call[1] for call in ear.take()]


async def test_an_invitation_that_ended_before_a_restart_has_an_outcome(
    clock: VirtualClock,
) -> None:
    journal = MemoryJournal()
    async with Hub(clock=clock, journal=journal) as hub:
        invite_id = await hub.invite_as("amy", "bob", timeout=60)
        await hub.accept_as("bob", invite_id)
    async with Hub(clock=clock, journal=journal) as hub:
        amy, _ = await later_login(hub, "amy")
        outcome = await asyncio.wait_for(Invitation(invite_id, amy).outcome(), 0.1)
        assert outcome.status == "accepted"


async def test_an_entry_of_an_unknown_kind_refuses_the_opening(clock: VirtualClock) -> None:
    journal = MemoryJournal()
    async with Hub(clock=clock, journal=journal):
        pass
    await journal.append([b"?of a newer version"], len(journal.replay()))
    hub = Hub(clock=clock, journal=journal)
    with pytest.raises(ValueError, match="unknown kind b'\\?'"):
        await hub.open()
    assert not hub.is_open


async def test_a_full_journal_takes_what_ends_something_and_no_more(clock: VirtualClock) -> None:
    class Small(MemoryJournal):
        kept_free = 0
        is_full = False

        def keep_free(self, size: int) -> None:
            self.kept_free = size

    journal = Small()
    async with Hub(clock=clock, journal=journal) as hub:
        await hub.groups.put("crew", ["amy", "bob", "cat"])
        names = [await hub.invite_as("amy", user, timeout=600) for user in ("bob", "cat", "dan")]
    async with Hub(clock=clock, journal=journal) as hub:
        assert journal.kept_free > 0, "from the first moment"
        journal.is_full = True
        amy = hub.acting_as("amy")
        for call in (
            amy.signaling.modify_invitation(names[0], "new"),
            amy.signaling.invite("bob"),
            amy.signaling.invite_in_group("crew", ["bob"]),
            amy.groups.create_group("Work"),
            hub.groups.put("crew", ["amy", "dan"]),
            hub.groups.add("crew", ["dan"]),
        ):
            assert await code_of(call) == 7008
        assert await hub.groups.members("crew") == ["amy", "bob", "cat"]
        bob, _ = await join(hub, "bob")
        await bob.signaling.accept(names[0])
        await amy.signaling.cancel(names[1])
        await bob.groups.quit_group("crew")
        await hub.groups.remove("crew", ["cat"])
        await hub.groups.dismiss("crew")
        await clock.advance(600)
        assert hub.stats()["open"] == 0
        journal.is_full = False
        await amy.signaling.invite("bob")
