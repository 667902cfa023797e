"""What every test stands on: a virtual clock, a hub, and the proof that nothing is left of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from doors import BOTH, DOORS, EMBEDDED_ALONE, network_door

from pysignal import Hub, Limits, VirtualClock
from pysignal.engine.machine import Machine

FAR_MS = 40 * 86_400_000


@pytest.fixture(params=[pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop")])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """The event loop of asynchronous tests."""
    backend: tuple[str, dict[str, bool]] = request.param
    return backend


@pytest.fixture
def clock() -> VirtualClock:
    """A clock that stands still until it is advanced."""
    return VirtualClock()


@pytest.fixture
def limits() -> Limits:
    """The limits of `hub`; overridden where a test crosses one."""
    return Limits()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests of sessions through both doors."""
    module = metafunc.module.__name__.rpartition(".")[2]
    name = metafunc.definition.originalname
    if "door" in metafunc.fixturenames and module in BOTH and name not in EMBEDDED_ALONE:
        metafunc.parametrize("door", DOORS, indirect=True)


@pytest.fixture
def door(request: pytest.FixtureRequest) -> str:
    """The way to `hub`: in the same process, or through the network."""
    return str(getattr(request, "param", "embedded"))


@pytest.fixture
async def hub(clock: VirtualClock, limits: Limits, door: str) -> AsyncIterator[Hub]:
    """A hub on the virtual clock; no task is left when it is closed."""
    async with Hub(clock=clock, limits=limits) as hub:
        if door == "embedded":
            yield hub
        else:
            async with network_door(hub, clock) as behind:
                yield behind
    await asyncio.sleep(0)
    left = {task for task in asyncio.all_tasks() if "TestRunner" not in repr(task)}
    left.discard(asyncio.current_task())  # type: ignore[arg-type]
    assert not left, f"tasks are left: {left}"


@pytest.fixture
def whole_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn of the hub delivers all that there is, on a slow machine too."""
    monkeypatch.setattr("pysignal.hub.TURN_NS", 10**12)


@pytest.fixture(autouse=True)
def nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """After each test: every hub is closed, and its machine runs empty."""
    hubs: list[Hub] = []
    open_hub = Hub.open

    async def open_and_note(hub: Hub) -> None:
        await open_hub(hub)
        hubs.append(hub)

    monkeypatch.setattr(Hub, "open", open_and_note)
    yield
    for hub in hubs:
        assert not hub.is_open, "a hub was not closed"
        assert not hub._delivery.watchers, "handles are left"
        assert_runs_empty(hub.shard.machine)


def assert_runs_empty(machine: Machine) -> None:
    """Let everything end and be forgotten; no slot, timer or user may be left."""
    machine.check()
    _read_facts(machine)
    for _ in range(2):
        machine.advance(machine.now_ms + FAR_MS)
        _read_facts(machine)
    machine.check()
    machine.advance(machine.now_ms + FAR_MS)
    named = machine.stats()
    for _ in range(named["users"] + named["groups"] + 1):
        machine.hold("sweeper")
        machine.unhold("sweeper")
    left = machine.stats()
    for name in ("open", "ended_remembered", "timers", "users", "groups", "facts_waiting"):
        assert left[name] == 0, f"{name}: {left[name]} left"
    assert left["free"] == left["slots"]
    assert left["invitees_pending"] == 0


def _read_facts(machine: Machine) -> None:
    if machine.journaled:
        machine.records()
    machine.take()
