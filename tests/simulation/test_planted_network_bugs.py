"""Bugs planted in server and client, each of which the simulated network must find."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import Mock

import pytest
from simulation.network_world import NetworkWorld

from pysignal.client.calls import Calls
from pysignal.client.connection import Connection as ClientConnection
from pysignal.client.gate import Gate
from pysignal.client.intake import Intake
from pysignal.client.session import RemoteSession
from pysignal.journal.writer import Writer
from pysignal.presence import Snapshot
from pysignal.server.connection import Connection
from pysignal.server.server import Server
from pysignal.server.session import Cursors, ServedSession

pytestmark = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")

SEEDS_MAX = 200

Patch = Callable[[Any, str, Any], None]


def drop_history_in_silence(patch: Patch) -> None:
    """Whoever comes back goes on, though some of what it missed is not kept any more."""
    admit = Server.admit

    async def admit_all(self: Any, params: Any, user_id: str) -> Any:
        old = self.sessions.get((user_id, params.device_id))
        number, _ = self.cursors.read(params.cursor)
        is_same = old is not None and old.client == params.client and old.online
        comes_back = is_same and number is not None and params.start == "hot"
        if comes_back and not old.outbox.reaches(number):
            return old, True
        return await admit(self, params, user_id)

    patch(Server, "admit", admit_all)


def skip_one(patch: Patch) -> None:
    """Who comes back is sent what follows the message after its last."""
    read = Cursors.read

    def further(self: Any, cursor: str | None) -> Any:
        number, position = read(self, cursor)
        return None if number is None else number + 1, position

    patch(Cursors, "read", further)


def repeat_one(patch: Patch) -> None:
    """Who comes back is sent its last message again; acknowledgements count for nothing."""
    read = Cursors.read

    def before(self: Any, cursor: str | None) -> Any:
        number, position = read(self, cursor)
        return max(number - 1, 0) if number else number, position

    patch(Cursors, "read", before)
    patch(Connection, "_acknowledge", lambda *_: None)


def forget_what_was_missed(patch: Patch) -> None:
    """What came while the client was away, or its login waited, is not sent."""
    answer_login = Connection._answer_login

    def answer_alone(self: Any, number: int, session: Any, cursor: str | None) -> None:
        outbox = Mock(wraps=session.outbox, lost=session.outbox.lost)
        outbox.send_again = Mock()
        session = Mock(wraps=session, outbox=outbox, snapshot=session.snapshot, hub=session.hub)
        session._told = 0
        answer_login(self, number, session, cursor)

    patch(Connection, "_answer_login", answer_alone)


def answer_twice(patch: Patch) -> None:
    """What a task has worked out is answered twice."""
    post = Connection._post

    def twice(self: Any, text: bytes) -> None:
        post(self, text)
        post(self, text)

    patch(Connection, "_post", twice)


def answer_never(patch: Patch) -> None:
    """What a task has worked out is not answered, where the client has come back before."""
    post = Connection._post

    def some(self: Any, text: bytes) -> None:
        if self.session is None or not hasattr(self.session, "is_back"):
            post(self, text)

    attach = ServedSession.attach

    def again(self: Any, connection: Any) -> None:
        if hasattr(self, "was_here"):
            self.is_back = True
        self.was_here = True
        attach(self, connection)

    patch(Connection, "_post", some)
    patch(ServedSession, "attach", again)


def kick_in_silence(patch: Patch) -> None:
    """Who is replaced is not told, and stays connected."""
    patch(Connection, "end", lambda self, error, code: None)


def keep_for_ever(patch: Patch) -> None:
    """A session whose client has gone is never given up."""
    patch(ServedSession, "keep_for_a_while", lambda self: None)


def stay_paused(patch: Patch) -> None:
    """Who has read too slowly is never sent anything again."""
    patch(Connection, "resumed", lambda self: None)


def send_to_the_lost(patch: Patch) -> None:
    """A session does not let go of a connection that has ended."""
    patch(ServedSession, "detach", lambda self, connection: None)


def answer_before_durable(patch: Patch) -> None:
    """What waits for the journal is answered at once."""

    def arrive(self: Any) -> asyncio.Future[None]:
        future = asyncio.get_running_loop().create_future()
        future.set_result(None)
        return future

    patch(Writer, "arrive", arrive)


def log_in_the_dead(patch: Patch) -> None:
    """A session that was replaced while its login waited is attached all the same."""
    patch(ServedSession, "require_online", lambda self: None)


def one_name_for_all(patch: Patch) -> None:
    """Every client has the same name, so that numbers of one are taken for another's."""
    params = RemoteSession._login_params
    patch(
        RemoteSession,
        "_login_params",
        lambda self, token: params(self, token) | {"client": "client"},
    )


def renumber(patch: Patch) -> None:
    """What is sent again has a new number."""
    connected = Calls.connected

    def with_new_numbers(self: Any, line: Any) -> None:
        calls, self._pending = list(self._pending.values()), {}
        for call in calls:
            if call.is_sent and call.takes_place:
                old, call.number = call.number, call.number + 100_000
                call.message = call.message.replace(b'"id":%d,' % old, b'"id":%d,' % call.number, 1)
            self._pending[call.number] = call
        connected(self, line)

    patch(Calls, "connected", with_new_numbers)


def say_that_nothing_was_sent(patch: Patch) -> None:
    """What was sent and not answered counts as never sent when its session ends."""
    fail_all = Calls.fail_all

    def as_unsent(self: Any, error: Any, **more: Any) -> None:
        for call in self._pending.values():
            call.is_sent = False
        fail_all(self, error, **more)

    patch(Calls, "fail_all", as_unsent)


def event_before_answer(patch: Patch) -> None:
    """Events do not wait for the callers whose answers came before them."""
    answer = Gate.answer

    def let_go(self: Any) -> int:
        number = answer(self)
        self._moved(number)
        return number

    patch(Gate, "answer", let_go)


def ring_twice(patch: Patch) -> None:
    """The client does not know which openings it has heard."""
    take = Intake.take_event

    def forgetful(self: Any, params: Any) -> None:
        self._open.clear()
        self._ended.clear()
        take(self, params)

    patch(Intake, "take_event", forgetful)


def never_notice_silence(patch: Patch) -> None:
    """A client waits for ever for a connection that has died without a word."""
    patch(ClientConnection, "_look", lambda self: None)


def show_nothing(patch: Patch) -> None:
    """The snapshot of a login that has not recovered is lost."""
    logged_in = RemoteSession._logged_in

    def without(self: Any, connection: Any, result: Any) -> None:
        logged_in(self, connection, result)
        self.snapshot = Snapshot(0)

    patch(RemoteSession, "_logged_in", without)


def leave_a_timer(patch: Patch) -> None:
    """A connection that has ended goes on looking for signs of life."""
    look = ClientConnection._look

    def look_again(self: Any) -> None:
        look(self)
        self._silence = self._loop.call_later(20, self._look)

    def finish(self: Any, code: int) -> None:
        if not self.over.done():
            self.over.set_result(code)

    patch(ClientConnection, "_look", look_again)
    patch(ClientConnection, "_finish", finish)


PLANTED = [
    drop_history_in_silence, skip_one, repeat_one, forget_what_was_missed, answer_twice,
    answer_never, kick_in_silence, keep_for_ever, stay_paused, send_to_the_lost,
    answer_before_durable, log_in_the_dead, one_name_for_all, renumber, say_that_nothing_was_sent,
    event_before_answer, ring_twice, never_notice_silence, show_nothing, leave_a_timer,
]  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """A hub that crashed was never closed; each world sees to the one that was."""
    yield
    gc.collect()  # while nobody is warned of what killed processes have not awaited


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_a_planted_bug_is_found(
    plant: Callable[[Patch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch.setattr)
    monkeypatch.setattr("simulation.loop.STEPS_PER_MOMENT_MAX", 20_000)
    for seed in range(SEEDS_MAX):
        try:
            NetworkWorld(seed).run()
        except AssertionError:
            gc.collect()
            return
    raise AssertionError(f"not found in {SEEDS_MAX} histories")
