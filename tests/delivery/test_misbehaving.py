"""Listeners that misbehave: they raise, log out, log in again, close, cancel, call back (B6).

Whatever a listener does, all others hear what they would have heard without it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from delivery.stage import OPERATIONS, set_up
from ears import ConnectionEar, Ear, join
from machine_talk import START_MS, make

from pysignal import (
    ConnectionListener,
    GroupListener,
    Hub,
    Limits,
    Session,
    SignalingListener,
    VirtualClock,
)
from pysignal.delivery import Delivery
from pysignal.engine.facts import Event
from pysignal.receivers import Call, Receiver

pytestmark = pytest.mark.anyio

BASES = (SignalingListener, GroupListener, ConnectionListener)

Deed = Callable[[str], None]


class Oddity(BaseException):
    """No `Exception`, as some frameworks' own are none."""


def named(base: type) -> list[str]:
    return [name for name in vars(base) if name.startswith("on_")]


def listener(base: type, do: Deed, how: str) -> Any:
    """A listener that does a deed in every callback: plain, async, or in what it gives back."""

    def plain(name: str) -> Any:
        return lambda self, *_: do(name)

    def asynchronous(name: str) -> Any:
        async def method(self: Any, *_: Any) -> None:
            do(name)

        return method

    def returning(name: str) -> Any:
        async def later() -> None:
            do(name)

        return lambda self, *_: later()

    make = {"plain": plain, "async": asynchronous, "returned": returning}[how]
    return type("Misbehaving", (base,), {name: make(name) for name in named(base)})()


def add(session: Session, other: Any) -> None:
    if isinstance(other, SignalingListener):
        session.add_signaling_listener(other)
    elif isinstance(other, GroupListener):
        session.add_group_listener(other)
    else:
        session.add_connection_listener(other)


class GroupEar(GroupListener):
    """Writes down the names of what it hears."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("on_"):
            return lambda *_: self.heard.append(name)
        return super().__getattribute__(name)


Heard = dict[str, list[Any]]


async def tell_everything(do: Deed | None, how: str) -> Heard:
    """Let every callback be called once at least; returns what the good listeners heard."""
    clock = VirtualClock()
    heard: Heard = {}
    sessions = {}
    async with Hub(clock=clock, seed=7) as hub:
        for user, device in (("amy", "1"), ("amy", "2"), ("bob", "1"), ("bob", "2"), ("cy", "1")):
            session = sessions[user, device] = hub.session(user, device)
            good: list[Any] = [Ear(), GroupEar(), ConnectionEar()]
            for base, ear in zip(BASES, good, strict=True):
                if do is not None:  # one that is called before the good one, and one after it
                    add(session, listener(base, do, how))
                add(session, ear)
                if do is not None:
                    add(session, listener(base, do, how))
                heard[f"{user} {device} {base.__name__}"] = ear.heard
            await session.login()
        amy, bob, cy = sessions["amy", "1"], sessions["bob", "1"], sessions["cy", "1"]
        await tell_of_groups(amy, bob, cy)
        await clock.settle()
        one = await amy.signaling.invite(["bob", "cy"], "one")
        await amy.signaling.modify_invitation(one, "other")
        await bob.signaling.accept(one)
        await cy.signaling.reject(one)
        await amy.signaling.cancel(await amy.signaling.invite("bob"))
        await amy.signaling.invite("bob", timeout=1)
        await clock.advance(1)
        await hub.login("bob", "2")
        await clock.settle()
    return heard


async def tell_of_groups(amy: Session, bob: Session, cy: Session) -> None:
    await amy.groups.create_group("Public", "crew", member_list=["bob"])
    await amy.groups.invite_user_to_group("crew", ["cy"])
    await amy.groups.set_group_info("crew", name="Crew")
    await amy.groups.set_group_member_info("crew", "amy", name_card="A")
    await amy.groups.set_group_member_role("crew", "bob", 300)
    await amy.groups.set_group_member_role("crew", "bob", 200)
    await amy.groups.kick_group_member("crew", "cy")
    await bob.groups.quit_group("crew")
    await amy.groups.dismiss_group("crew")
    await amy.groups.create_group("Meeting", "open")
    await bob.groups.join_group("open")


# What only a session hears whose hub is far away.
OF_CLIENTS = {"on_connecting", "on_connected", "on_token_expired"}


@pytest.mark.parametrize("how", ["plain", "async", "returned"])
@pytest.mark.parametrize(
    "error",
    [ValueError, asyncio.CancelledError, GeneratorExit, Oddity, StopIteration, RecursionError],
)
def test_what_any_callback_raises_is_logged_and_keeps_nothing_from_anybody(
    error: type[BaseException], how: str, caplog: pytest.LogCaptureFixture
) -> None:
    raised: set[str] = set()

    def do(name: str) -> None:
        raised.add(name)
        raise error("on purpose")

    calm = asyncio.run(tell_everything(None, how))
    assert all(any(calm[key] for key in calm if base.__name__ in key) for base in BASES)
    assert asyncio.run(tell_everything(do, how)) == calm
    assert raised == {name for base in BASES for name in named(base)} - OF_CLIENTS
    assert caplog.records
    assert {record.name for record in caplog.records} == {"pysignal"}


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("how", ["plain", "async"])
@pytest.mark.parametrize(
    "where",
    [
        "on_receive_new_invitation",
        "on_signaling_event",
        "on_signaling_events",
        "on_member_invited",
    ],
)
def test_what_ends_the_program_leaves_the_loop_and_who_goes_on_with_it_loses_nobody(
    error: type[BaseException], how: str, where: str
) -> None:
    def do(name: str) -> None:
        if name == where:
            raise error

    class Batches(SignalingListener):
        count = 0

        def on_signaling_events(self, events: list[Event]) -> None:
            self.count += len(events)

    loop = asyncio.SelectorEventLoop()
    clock = VirtualClock()
    batches = [Batches(), Batches()]

    async def begin() -> tuple[Hub, list[Ear]]:
        hub = Hub(clock=clock)
        await hub.open()
        await hub.groups.put("crew", ["bob"])
        await clock.settle()
        ears = [(await join(hub, "bob", "0"))[1]]
        bad = await hub.login("bob", "1")
        for more in (batches[0], listener(SignalingListener, do, how), batches[1]):
            bad.add_signaling_listener(more)
        bad.groups.add_group_listener(listener(GroupListener, do, how))
        ears.append((await join(hub, "bob", "2"))[1])
        return hub, ears

    hub, ears = loop.run_until_complete(begin())

    async def ring() -> None:
        await hub.groups.add("crew", ["cy"])
        await hub.invite_as("amy", "bob")
        await clock.settle()

    with pytest.raises(error):
        loop.run_until_complete(ring())
    for task in asyncio.all_tasks(loop):  # `ring`, which was interrupted
        loop.run_until_complete(asyncio.wait({task}))
    loop.run_until_complete(clock.settle())
    assert [len(ear.heard) for ear in ears] == [1, 1]
    # Only a listener behind the one that raised may have missed the event itself.
    missed = how == "plain" and where in ("on_receive_new_invitation", "on_signaling_event")
    assert [each.count for each in batches] == [1, 0 if missed else 1]
    loop.run_until_complete(hub.close())
    loop.close()


@pytest.mark.parametrize("waits", [False, True])
async def test_a_listener_that_cancels_its_own_task_more_than_once_leaves_nothing_of_it(
    hub: Hub, clock: VirtualClock, waits: bool
) -> None:
    heard: list[tuple[str, int]] = []

    class Vandal(SignalingListener):
        async def on_receive_new_invitation(self, invite_id: str, *_: Any) -> None:
            task = asyncio.current_task()
            assert task is not None
            heard.append((invite_id, task.cancelling()))
            for _ in range(3):
                task.cancel()
            if waits:
                await asyncio.sleep(0)

    await hub.login("bob", listener=Vandal())
    ids = [await hub.invite_as("amy", "bob") for _ in range(3)]
    await clock.settle()
    assert heard == [(invite_id, 0) for invite_id in ids]


@pytest.mark.parametrize("count", [1, 3])
async def test_listeners_that_hang_at_the_news_of_the_end_too_are_stopped(
    clock: VirtualClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    count: int,
) -> None:
    async def some_turns(*_: object, **__: object) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    monkeypatch.setattr(asyncio, "wait", some_turns)  # so that no time is measured
    begun: list[str] = []

    class Hanging(SignalingListener):
        async def on_receive_new_invitation(self, *_: Any) -> None:
            begun.append("call")
            await asyncio.Event().wait()

    class HangingAtTheEnd(ConnectionListener):
        async def on_disconnected(self, error: Exception) -> None:
            begun.append("news")
            await asyncio.Event().wait()

    async with Hub(clock=clock) as hub:
        bob = await hub.login("bob", listener=Hanging())
        for _ in range(count):
            bob.add_connection_listener(HangingAtTheEnd())
        await hub.invite_as("amy", "bob")
        await clock.settle()
    assert begun == ["call", "news"]
    logged = [record for record in caplog.records if record.name == "pysignal"]
    assert len(logged) == 1, "of the call, which was not the last"
    assert [task for task in asyncio.all_tasks() if "Courier" in repr(task)] == []


@pytest.mark.parametrize("limits", [Limits(queue_max=2)])
@pytest.mark.parametrize("make", [asyncio.Future, lambda: asyncio.Event().wait()])
async def test_what_plain_methods_give_back_waits_within_the_same_limit(
    hub: Hub, clock: VirtualClock, limits: Limits, make: Any
) -> None:
    class Returning(SignalingListener):
        def on_receive_new_invitation(self, *_: Any) -> Any:
            return make()

    bad = await hub.login("bob", "1", listener=Returning())
    connection = ConnectionEar()
    bad.add_connection_listener(connection)
    _, ear = await join(hub, "bob", "2")
    for _ in range(4):
        assert bad.online, "one is awaited and two wait"
        await hub.invite_as("amy", "bob")
        await clock.settle()
    assert (bad.online, connection.heard) == (False, [("disconnected", 7008)])
    assert len(ear.heard) == 4


async def test_what_raises_beneath_the_listeners_is_told_and_keeps_nothing_from_others() -> None:
    """Neither sessions nor handles raise; delivery holds whatever they do."""
    failures: list[tuple[object, str]] = []
    heard: list[str] = []

    class Bad(Receiver):
        def _call_back(self, call: Call) -> None:
            raise ValueError(call.name)

        def feed(self, event: Event) -> None:
            raise ValueError(event.kind)

    class Good(Bad):
        def _call_back(self, call: Call) -> None:
            heard.append(call.name)

        def feed(self, event: Event) -> None:
            heard.append(event.kind)

    bad, good = Bad("bob", "1"), Good("bob", "2")
    bad.online = good.online = True
    delivery = Delivery(lambda method, about: failures.append((method, about)))
    machine = make()
    invitation = machine.open(START_MS, "amy", "bob")
    delivery.watchers[invitation] = [good, bad, good]
    delivery.post_event(machine.take()[0], [], 0)
    delivery.post(Call("on_group_dismissed", (), "crew"), [bad, good], None, 0)
    assert not delivery.drain(1, lambda: 0)
    assert heard == ["opened", "opened", "on_group_dismissed"]
    assert failures == [(bad.feed, invitation), (bad._call_back, "crew")]


# -- calling back ----------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["awaited", "a task"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_can_be_called_from_a_callback(name: str, way: str) -> None:
    async def run(from_callback: bool) -> tuple[Any, ...]:
        clock = VirtualClock()
        async with Hub(clock=clock, seed=7) as hub:
            stage = await set_up(hub, clock, None)
            begun: list[bool] = []
            results: list[object] = []
            tasks: list[asyncio.Task[None]] = []

            async def call() -> None:
                if begun:
                    return
                begun.append(True)
                [result] = await asyncio.gather(OPERATIONS[name](stage), return_exceptions=True)
                results.append(repr(result))

            class Awaiting(SignalingListener):
                async def on_invitation_modified(self, invite_id: str, data: str) -> None:
                    await call()

            class Starting(SignalingListener):
                def on_invitation_modified(self, invite_id: str, data: str) -> None:
                    tasks.append(asyncio.ensure_future(call()))

            if from_callback:
                stage.bob.add_signaling_listener(Awaiting() if way == "awaited" else Starting())
            await stage.amy.signaling.modify_invitation(stage.ids["two"], "begin")
            await clock.settle()
            if not from_callback:
                await call()
                await clock.settle()
            machine, groups = hub.shard.machine, hub.shard.groups
            heard = [ear.heard for ear in stage.ears]
            return results, machine.state_hash(), groups.state_hash(), heard

    result = asyncio.run(run(from_callback=False))
    assert len(result[0]) == 1
    assert asyncio.run(run(from_callback=True)) == result


async def test_a_callback_that_logs_out_another_session_keeps_the_event_from_it(
    hub: Hub, clock: VirtualClock
) -> None:
    second, later = await join(hub, "bob", "3")

    class Ending(SignalingListener):
        def on_receive_new_invitation(self, *_: Any) -> None:
            # A logout does not suspend; it is over before the event comes to that session.
            with pytest.raises(StopIteration):
                second.logout().send(None)

    await second.logout()
    await hub.login("bob", "1", listener=Ending())
    await second.login()  # it stands behind the other in the order of delivery
    _, other = await join(hub, "bob", "4")
    invitation = await hub.invite_as("amy", "bob")
    await clock.settle()
    assert later.heard == []
    assert [heard[1] for heard in other.heard] == [invitation]
    # It was not told, so that the same device hears of it once it is back.
    await second.login("hot")
    await clock.settle()
    assert [heard[1] for heard in later.heard] == [invitation]


@pytest.mark.parametrize("start", ["hot", "cold"])
async def test_a_callback_that_logs_its_device_in_again_loses_nothing_and_hears_nothing_twice(
    hub: Hub, clock: VirtualClock, start: Any
) -> None:
    rung: list[tuple[str, str]] = []

    class Restless(SignalingListener):
        def __init__(self, name: str) -> None:
            self.name = name

        async def on_receive_new_invitation(self, invite_id: str, *_: Any) -> None:
            rung.append((self.name, invite_id))
            if self.name == "first":
                await hub.login("bob", start=start, listener=Restless("second"))

    await hub.login("bob", listener=Restless("first"))
    ids = [await hub.invite_as("amy", "bob", str(number)) for number in range(4)]
    await clock.settle()
    # The first call was made; a new process is told of all, the same one of what is left.
    again = ids if start == "cold" else ids[1:]
    assert rung == [("first", ids[0]), *(("second", name) for name in again)]


def test_a_callback_that_cancels_every_task_there_is_stops_no_delivery() -> None:
    """The task in which another session's listeners are called among them."""
    heard: list[str] = []

    class Slow(SignalingListener):
        async def on_receive_new_invitation(self, invite_id: str, *_: Any) -> None:
            await asyncio.sleep(0)
            heard.append(invite_id)

    async def run() -> None:
        me = asyncio.current_task()

        class Vandal(SignalingListener):
            async def on_receive_new_invitation(self, invite_id: str, *_: Any) -> None:
                if invite_id == first:
                    for task in asyncio.all_tasks() - {me}:
                        task.cancel()

        clock = VirtualClock()
        async with Hub(clock=clock) as hub:
            session = await hub.login("bob", "1", listener=Vandal())
            await hub.login("bob", "2", listener=Slow())
            first = await hub.invite_as("amy", "bob")
            ids = [first, *[await hub.invite_as("amy", "bob") for _ in range(4)]]
            waiting = asyncio.ensure_future(first.outcome())
            await clock.settle()
            assert waiting.cancelled()
            # The other session's task had not begun, so that no call of it was under way.
            assert heard == ids
            await session.logout()

    asyncio.run(run())


@pytest.mark.parametrize("base", BASES, ids=lambda base: base.__name__)
@pytest.mark.parametrize("how", ["plain", "async", "returned"])
def test_any_callback_may_close_the_hub(base: type, how: str) -> None:
    async def run() -> None:
        clock = VirtualClock()
        closing: list[Awaitable[None]] = []
        hub = Hub(clock=clock, seed=7)
        await hub.open()

        def do(name: str) -> None:
            closing.append(asyncio.ensure_future(hub.close()))

        bob = hub.session("bob")
        add(bob, listener(base, do, how))
        ear = Ear()
        bob.add_signaling_listener(ear)
        await bob.login()
        await hub.groups.put("crew", ["bob"])
        invitation = await hub.invite_as("amy", "bob")
        if base is ConnectionListener:
            await hub.login("bob")
        await clock.settle()
        await hub.close()
        await asyncio.gather(*closing)
        if base is not ConnectionListener:
            assert [heard[1] for heard in ear.heard] == [invitation]
        assert closing

    asyncio.run(run())
