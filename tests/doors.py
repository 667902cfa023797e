"""The two ways to a hub: in the same process, and through a server and its clients.

A hub behind a network door is the same hub; only who logs in gets a session of the client, on a
connection in memory to a real server. So whatever a test says of sessions is said of both kinds.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from pysignal import Hub, RemoteSession, SignalingListener, VirtualClock
from pysignal.protocol.wire import Peer, Wire
from pysignal.server.auth import Identity
from pysignal.server.server import Server

DOORS = ("embedded", "network")

# Modules whose tests are run through both doors.
BOTH = frozenset(
    """
    test_audience test_batches test_bounds test_callbacks test_calls test_delivery_order test_drain
    test_ends test_group_callbacks test_groups_sdk test_handles test_hub_life test_knowledge
    test_listeners test_logins test_operations test_parameters test_presence test_races
    test_requests test_server_acts test_state test_strangers test_streams test_winners
    """.split()
)

# Tests in them that are of a session in the same process alone, by why that is.
EMBEDDED_ALONE = {
    name: why
    for why, names in {
        "an operation has taken effect before its first await, or within a number of turns": """
            test_a8_calls_that_wait_their_turn_keep_their_order
            test_a10_the_answers_of_a_list_stay_apart_for_everybody_who_hears
            test_a_call_that_waited_has_its_result_before_its_session_hears_what_follows
            test_a_listener_may_log_out_its_session_and_hears_nothing_more
            test_a_listener_never_runs_inside_the_call_that_caused_the_event
            test_a_login_that_is_given_up_while_it_waits_its_turn_comes_to_nothing
            test_b3_a_login_rings_oldest_first_and_before_what_follows
            test_b4_who_left_before_a_batch_was_handed_over_is_told_of_it
            test_b6_a_listener_that_never_comes_back_delays_nobody
            test_events_from_before_a_logout_are_not_heard_after_logging_in_again
            test_no_listener_runs_inside_the_call_that_caused_the_event
            test_the_same_device_again_replaces_the_older_session
            test_what_has_no_deadline_and_was_not_handed_over_before_the_logout_rings_later
            test_who_goes_between_collecting_and_handing_over_is_told_later
        """,
        "events are the very objects that others hear": """
            test_an_iteration_yields_everything_own_operations_included
        """,
        "it is looked at how often the courier's task begins anew, or how a session is written": """
            test_a_session_ends_with_the_block_that_holds_it
            test_async_listeners_of_a_session_run_one_after_another_in_one_task
        """,
        "a session that has not logged in belongs to the hub's thread": """
            test_a_call_from_another_thread_is_refused_with_a_hint
            test_calls_from_another_thread_are_refused_with_a_hint
        """,
    }.items()
    for name in names.split()
}


class Trusting:
    """Takes the name for the proof."""

    def authenticate(self, user_id: str, token: str, now_ms: int) -> Identity:
        return Identity(user_id, None)


class End:
    """One end of a connection in memory; frames come to the other end at the next turn."""

    def __init__(self, traffic: Traffic) -> None:
        self.peer: Peer | None = None
        self.other: End
        self._traffic = traffic
        self._inbound: deque[Callable[[], None]] = deque()
        self._is_closed = False

    def send(self, frame: bytes) -> None:
        """Send a frame, unless this end was closed."""
        if not self._is_closed:
            self.other._come(lambda: self.other._take(frame.decode()))

    def close(self, code: int, reason: str = "") -> None:
        """Close both ends, behind what was sent."""
        if not self._is_closed:
            self._is_closed = True
            self.other._come(lambda: self.other._end(code))

    def trust(self) -> None:
        """Take whatever comes, as always."""

    def hold(self) -> None:
        """Read no more; what is under way comes all the same."""

    def go_on(self) -> None:
        """Read again."""

    def _come(self, arrival: Callable[[], None]) -> None:
        self._inbound.append(arrival)
        self._traffic.underway += 1
        asyncio.get_running_loop().call_soon(self._arrive)

    def _arrive(self) -> None:
        self._traffic.underway -= 1
        self._inbound.popleft()()

    def _take(self, text: str) -> None:
        if not self._is_closed and self.peer is not None:
            self.peer.received(text)

    def _end(self, code: int) -> None:
        """Be closed by the other end, which hears of it then."""
        was_closed, self._is_closed = self._is_closed, True
        if self.peer is not None:
            self.peer.lost(code)
        if not was_closed:
            self.other._come(lambda: self.other._end(code))


class Traffic:
    """What is on its way.

    Attributes:
        underway: frames and closes that have not arrived.
    """

    def __init__(self) -> None:
        self.underway = 0

    def is_busy(self) -> bool:
        """Whether anything is on its way."""
        return self.underway > 0


class HubBehindDoor:
    """A hub whose sessions come through a server; for all else it is the hub itself.

    Args:
        hub: open.
        server: of the hub.
        traffic: counts what is on its way.
    """

    def __init__(self, hub: Hub, server: Server, traffic: Traffic) -> None:
        self._hub_itself = hub
        self._server = server
        self._traffic = traffic
        self._rng = random.Random(1)
        self.made: list[RemoteSession] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._hub_itself, name)

    async def dial(self, peer: Peer) -> Wire:
        """Connect a client."""
        client, server = End(self._traffic), End(self._traffic)
        client.other, server.other = server, client
        client.peer = peer
        server.peer = self._server.connect(server)
        return client

    def session(self, user_id: str, device_id: str = "1") -> RemoteSession:
        """Make a session that is not logged in yet."""
        session = RemoteSession(
            "ws://memory",
            user_id,
            "token",
            device_id=device_id,
            queue_max=self.limits.queue_max,
            rng=self._rng,
            dial=self.dial,
        )
        self.made.append(session)
        return session

    async def login(
        self,
        user_id: str,
        device_id: str = "1",
        start: Any = "cold",
        listener: SignalingListener | None = None,
    ) -> RemoteSession:
        """Make a session and log it in."""
        session = self.session(user_id, device_id)
        if listener is not None:
            session.add_signaling_listener(listener)
        await session.login(start)
        return session


@asynccontextmanager
async def network_door(hub: Hub, clock: VirtualClock) -> AsyncIterator[Any]:
    """Put a server before a hub, and log every client out at the end."""
    traffic = Traffic()
    clock.attach(traffic.is_busy)
    async with Server(hub, Trusting()) as server:
        door = HubBehindDoor(hub, server, traffic)
        try:
            yield door
        finally:
            for session in door.made:
                await session.__aexit__()
    clock.detach(traffic.is_busy)
