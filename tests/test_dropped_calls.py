"""Calls that come to nothing: made without an actor, dropped before they ran, out of memory."""

from __future__ import annotations

import gc
import warnings
from typing import Any

import pytest

from pysignal import Hub, Limits, SignalingListener, VirtualClock
from pysignal.errors import LimitExceeded
from pysignal.requests import Requests
from pysignal.signaling import Signaling

pytestmark = pytest.mark.anyio


def test_operations_have_an_actor() -> None:
    with pytest.raises(TypeError):
        Signaling.__new__(Signaling)
    with pytest.raises(TypeError):
        Signaling(None)


async def test_a_call_that_a_listener_gave_back_is_dropped_without_a_warning(
    clock: VirtualClock,
) -> None:
    """A session that is overrun drops what waits for its courier, compiled coroutines too."""

    class Eager(SignalingListener):
        session: Any

        def on_receive_new_invitation(
            self, invite_id: str, inviter: str, group_id: str, invitee_list: list[str], data: str
        ) -> Any:
            return self.session.signaling.accept(invite_id)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        async with Hub(clock=clock, limits=Limits(queue_max=2)) as hub:
            eager = Eager()
            eager.session = await hub.login("bob", listener=eager)
            for _ in range(6):
                await hub.invite_as("amy", "bob")
            await clock.settle()
            assert not eager.session.online
        gc.collect()


def test_a_request_has_its_place_before_it_is_carried_out() -> None:
    """So that no result can be lost, and a retry carry it out again."""
    requests = Requests(lambda: 1, 1000, 2)
    seen: list[int] = []

    def command(now_ms: int) -> str:
        seen.append(len(requests))
        return "done"

    perform = requests.once("amy", "r", ("invite",), command)
    assert (perform(1), perform(1)) == ("done", "done")
    assert seen == [1]

    def refuse(now_ms: int) -> str:
        seen.append(len(requests))
        raise LimitExceeded("full")

    def fail(now_ms: int) -> str:
        raise MemoryError

    for act, error in ((refuse, LimitExceeded), (fail, MemoryError)):
        for _ in range(2):
            with pytest.raises(error):
                requests.once("bob", "r", ("invite",), act)(1)
    assert len(requests) == 1, "what changed nothing may be tried again"
    assert seen == [1, 2, 2]


def test_a_request_that_is_lost_while_it_is_carried_out_is_noticed() -> None:
    """No command lets another begin, nor time go on; one that did would corrupt the lists."""
    now_ms = 1

    def carry_out_another(_: int) -> None:
        nonlocal now_ms
        now_ms += by_ms
        requests.once("bob", "s", ("invite",), lambda _: None)(1)
        raise LimitExceeded("full")

    for by_ms, lost in ((1000, "forgotten before its end"), (0, "another one")):
        requests = Requests(lambda: now_ms, 1000, 2, journaled=not by_ms)
        with pytest.raises(AssertionError, match=lost):
            requests.once("amy", "r", ("invite",), carry_out_another)(1)


@pytest.mark.parametrize("members", [10, 100])
async def test_a_batch_is_heard_by_others_when_one_ends_the_program(
    clock: VirtualClock, members: int
) -> None:
    class Counts(SignalingListener):
        count = 0

        def on_signaling_events(self, events: list[Any]) -> None:
            self.count += len(events)

    class Ends(SignalingListener):
        def on_signaling_events(self, events: list[Any]) -> None:
            bob.remove_signaling_listener(self)
            raise SystemExit

    async with Hub(clock=clock) as hub:
        users = [f"u{number}" for number in range(members)]
        await hub.groups.put("g", ["amy", "bob", *users])
        for user in users:
            await hub.login(user)
        bob = await hub.login("bob")
        counts = Counts()
        for listener in (Ends(), counts):
            bob.add_signaling_listener(listener)
        await clock.settle()
        await hub.invite_in_group_as("amy", "g", ["bob"])
        with pytest.raises(SystemExit):
            hub._turn()
        for _ in range(3):
            await hub.invite_in_group_as("amy", "g", ["bob"])
            await clock.settle()
        assert counts.count == 4
