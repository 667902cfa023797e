"""The same acts, drawn by hypothesis: it looks for rare ones, and tells the shortest that fail.

Each rule is one kind of act, or a crash. Its choices are bytes, so that hypothesis makes them
simpler by making them smaller.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import uvloop
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from scale import scaled

from oracle.acts import Act, Drawer, World, draw_world
from oracle.crash_acts import crash
from oracle.failure import HistoryFailed
from oracle.hub_history import opened
from oracle.lives import JOURNALS
from oracle.source import Bytes, Exhausted, Source, pick

Draw = Callable[[Drawer], Act]
DrawAll = Callable[[Drawer], Iterable[Act]]
CHOICES = st.binary(min_size=24, max_size=24)  # more than one act has


def _each(draws: Sequence[Draw]) -> DrawAll:
    """Draw one after the other, each when the one before it has happened."""

    def draw_all(drawer: Drawer) -> Iterator[Act]:
        for draw in draws:
            yield draw(drawer)

    return draw_all


def happens(draw: Draw) -> Any:
    """Make the rule that an act of one kind happens."""

    def happen(self: HubHistories, choices: bytes) -> None:
        self.do(_each([draw]), Bytes(choices))

    happen.__name__ = draw.__name__
    return rule(choices=CHOICES)(happen)


class HubHistories(RuleBasedStateMachine):
    """A hub beside its model: several users, sessions, groups, and time."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self.opened = AsyncExitStack()
        self.is_sound = False

    @initialize(choices=st.binary(min_size=48, max_size=48))
    def begin(self, choices: bytes) -> None:
        source = Bytes(choices)
        self.world = self.draw_world(source)
        self.history = self.runner.run(self.opened.enter_async_context(opened(self.world)))
        drawer = Drawer(source, self.world, self.history.oracle)
        begun = drawer.begin()
        self.do(lambda _: begun, source)

    def draw_world(self, source: Source) -> World:
        """Draw what the history takes place in."""
        return draw_world(source)

    def do(self, draw_all: DrawAll, source: Source) -> None:
        """Let acts happen in one turn of the loop, and compare."""
        self.is_sound = False
        try:
            self.runner.run(self._do(draw_all, source))
        except Exception as error:
            raise HistoryFailed("hub", self.world, self.history.acts) from error
        self.is_sound = True

    async def _do(self, draw_all: DrawAll, source: Source) -> None:
        history = self.history
        drawer = Drawer(source, self.world, history.oracle)
        drawer.requested = [act for act in history.acts if "request_id" in act.args]
        try:
            for act in draw_all(drawer):
                await history.do(act)
        except Exhausted:
            pass
        await history.compare(whole=False)

    invite = happens(Drawer.invite)
    invite_in_group = happens(Drawer.invite_in_group)
    accept = happens(Drawer.accept)
    reject = happens(Drawer.reject)
    cancel = happens(Drawer.cancel)
    modify_invitation = happens(Drawer.modify_invitation)
    cancel_by_server = happens(Drawer.cancel_by_server)
    add_invited_signaling = happens(Drawer.add_invited_signaling)
    open_invitations = happens(Drawer.open_invitations)
    again = happens(Drawer.again)
    login = happens(Drawer.login)
    login_once_more = happens(Drawer.login)
    logout = happens(Drawer.logout)
    offline = happens(Drawer.offline)
    wait = happens(Drawer.wait)
    jump = happens(Drawer.jump)
    change_group = happens(Drawer.change_group)
    change_by_server = happens(Drawer.change_by_server)
    ask_group = happens(Drawer.ask_group)

    @rule(choices=st.binary(min_size=96, max_size=96))
    def at_once(self, choices: bytes) -> None:
        self.do(_each([Drawer.next] * 4), Bytes(choices))

    def teardown(self) -> None:
        try:
            if self.is_sound:
                self.runner.run(self.history.compare(whole=True))
        finally:
            self.runner.run(self.opened.aclose())
            self.runner.close()


class CrashingHistories(HubHistories):
    """The same of a hub with a journal, which is left behind and begun anew."""

    def draw_world(self, source: Source) -> World:
        return replace(super().draw_world(source), journal=pick(source, [*JOURNALS]))

    @rule(choices=st.binary(min_size=160, max_size=160))
    def crash(self, choices: bytes) -> None:
        self.do(crash, Bytes(choices))

    @rule(choices=st.binary(min_size=160, max_size=160))
    def crash_once_more(self, choices: bytes) -> None:
        self.do(crash, Bytes(choices))


def _settings(examples: int) -> settings:
    return settings(
        max_examples=scaled(examples),
        stateful_step_count=50,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


TestHubHistories = HubHistories.TestCase
TestHubHistories.settings = _settings(300)
TestCrashingHistories = CrashingHistories.TestCase
TestCrashingHistories.settings = _settings(100)
