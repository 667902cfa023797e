"""The same acts, drawn by hypothesis: it looks for rare ones, and tells the shortest that fail.

Each rule is one kind of act. Its choices are bytes, so that hypothesis makes them simpler by making
them smaller.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import uvloop
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from scale import scaled

from oracle.acts import Act, Drawer, draw_world
from oracle.failure import HistoryFailed
from oracle.hub_history import opened
from oracle.source import Bytes, Exhausted, Source

Draw = Callable[[Drawer], Act]
CHOICES = st.binary(min_size=24, max_size=24)  # more than one act has


def _given(act: Act) -> Draw:
    return lambda drawer: act


def happens(draw: Draw) -> Any:
    """Make the rule that an act of one kind happens."""

    def happen(self: HubHistories, choices: bytes) -> None:
        self.do([draw], Bytes(choices))

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
        self.world = draw_world(source)
        self.history = self.runner.run(self.opened.enter_async_context(opened(self.world)))
        drawer = Drawer(source, self.world, self.history.oracle)
        self.do([_given(act) for act in drawer.begin()], source)

    def do(self, draws: Sequence[Draw], source: Source) -> None:
        """Let acts happen in one turn of the loop, and compare."""
        self.is_sound = False
        try:
            self.runner.run(self._do(draws, source))
        except Exception as error:
            raise HistoryFailed("hub", self.world, self.history.acts) from error
        self.is_sound = True

    async def _do(self, draws: Sequence[Draw], source: Source) -> None:
        history = self.history
        drawer = Drawer(source, self.world, history.oracle)
        drawer.requested = [act for act in history.acts if "request_id" in act.args]
        try:
            for draw in draws:
                await history.do(draw(drawer))
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
        self.do([Drawer.next] * 4, Bytes(choices))

    def teardown(self) -> None:
        try:
            if self.is_sound:
                self.runner.run(self.history.compare(whole=True))
        finally:
            self.runner.run(self.opened.aclose())
            self.runner.close()


TestHubHistories = HubHistories.TestCase
TestHubHistories.settings = settings(
    max_examples=scaled(300),
    stateful_step_count=50,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
