"""A network in memory: connections that are slow, break at any point, or die in silence.

What it keeps is what TCP keeps: within a connection, each way, frames arrive in order, each once;
between connections there is no order. All else is drawn: how long a frame travels, where a
connection breaks and how much of what was under way is lost with it, who learns of that and when,
who reads too slowly. An end that is never told has to find out by itself.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from simulation.loop import SimulationLoop
from simulation.processes import Process

if TYPE_CHECKING:
    from pysignal.protocol.wire import Peer

ABNORMAL = 1006

# Frames that wait for a slow reader before the sender is told to pause.
ROOM = 1

# How long either side waits for the other's close, and a server for a sign of life, seconds.
PATIENCE_S = 5.0
DEAD_S = 60.0

# What travels: a frame, a close with its code, or the notice that nothing comes any more.
FRAME, CLOSE, LOST = "frame", "close", "lost"


class End:
    """One end of a connection: the `Wire` of its owner.

    Attributes:
        peer: the owner; None until it has it.
        is_closing: whether its owner has closed it.
        is_over: whether its owner was told that it has ended.
    """

    def __init__(self, link: Link, process: Process, is_client: bool) -> None:
        self.link = link
        self.process = process
        self.is_client = is_client
        self.peer: Peer | None = None
        self.is_closing = self.is_over = False
        self.is_paused = False
        self.incoming: Lane
        self.outgoing: Lane

    def send(self, frame: bytes) -> None:
        """Send a text frame."""
        if self.process.is_dead:
            return
        if self.is_closing or self.is_over:
            self.link.network.broken(f"{self.link} sends behind its end: {frame!r}")
        self.link.network.sent(self, frame)
        self.outgoing.put(FRAME, frame.decode())

    def trust(self) -> None:
        """Take whatever comes, as always."""

    def close(self, code: int, reason: str = "") -> None:
        """Close behind what was sent."""
        if self.process.is_dead or self.is_closing or self.is_over:
            return
        self.is_closing = True
        self.link.network.closed(self, code)
        self.outgoing.put(CLOSE, code)
        self.process.call_later(PATIENCE_S, self.end, ABNORMAL)

    def hold(self) -> None:
        """Read nothing more until `go_on`."""
        self.incoming.is_held = True

    def go_on(self) -> None:
        """Read again."""
        self.incoming.is_held = False
        self.incoming.release()

    def end(self, code: int) -> None:
        """Tell the owner that it is over, once."""
        if self.is_over:
            return
        self.is_over = True
        self.outgoing.is_cut = True
        if self.link.is_over:
            self.link.network.forget(self.link)
        if self.peer is not None:
            self.peer.lost(code)

    def take(self, what: str, value: Any) -> None:
        """Take what has arrived."""
        if self.is_over:
            return
        if what == LOST:
            self.end(ABNORMAL)
        elif what == CLOSE:
            if not self.is_closing:
                self.outgoing.put(CLOSE, value)
            self.end(value)
        elif not self.is_closing and self.peer is not None:
            self.link.network.delivered(self, value)
            self.peer.received(value)

    def pause(self, is_paused: bool) -> None:
        """Hear that the other side reads too slowly, or no longer does."""
        if self.peer is None or self.is_over or self.is_paused == is_paused:
            return
        self.is_paused = is_paused
        if is_paused:
            self.peer.paused()
        else:
            self.peer.resumed()


class Lane:
    """One way of a connection.

    Args:
        sender: at whose end it begins.
        receiver: at whose end it arrives.
        delay_s: draws how long something travels, seconds.
    """

    def __init__(self, sender: End, receiver: End, delay_s: Callable[[], float]) -> None:
        self.queue: deque[tuple[str, Any]] = deque()
        self.is_cut = self.is_stalled = self.is_held = False
        self._held = 0
        self._sender = sender
        self._receiver = receiver
        self._delay_s = delay_s
        self._last_ns = 0

    def put(self, what: str, value: Any) -> None:
        """Let something travel."""
        if self.is_cut:
            return
        self._travel(what, value, self._delay_s())
        if self.is_stalled and len(self.queue) > ROOM:
            self._sender.process.call_soon(self._tell, True)

    def _travel(self, what: str, value: Any, delay_s: float) -> None:
        process = self._receiver.process
        self._last_ns = max(self._last_ns, process.now_ns + round(delay_s * 1e9))
        self.queue.append((what, value))
        process.call_at_ns(self._last_ns, self._arrive)

    def _arrive(self) -> None:
        """Hand over what is at the head: the order never depends on that of callbacks."""
        if self.is_stalled or self.is_held:
            self._held += 1
        elif self.queue:
            self._receiver.take(*self.queue.popleft())

    def stall(self) -> None:
        """Hold everything back from now on."""
        self.is_stalled = True

    def go_on(self) -> None:
        """Let what was held back arrive."""
        if not self.is_stalled:
            return
        self.is_stalled = False
        self.release()
        if not self._sender.is_over:
            self._sender.process.call_soon(self._tell, False)

    def release(self) -> None:
        """Hand over what has arrived meanwhile, unless it is held back for another reason."""
        if not self.is_stalled and not self.is_held:
            held, self._held = self._held, 0
            for _ in range(held):
                self._receiver.process.call_soon(self._arrive)

    def _tell(self, is_paused: bool) -> None:
        if is_paused == self.is_stalled:
            self._sender.pause(is_paused)

    def cut(self, keep: int, learn_s: float | None) -> None:
        """Lose all that is under way but the first, and whatever follows.

        Args:
            keep: how much of it still arrives.
            learn_s: how long after that the receiver learns of it, seconds; None for never.
        """
        if self.is_cut:
            return
        self.is_cut = True
        while len(self.queue) > keep:
            self.queue.pop()
        if learn_s is not None:
            self._travel(LOST, None, learn_s)


class Link:
    """One connection, from the client's dialling to its end."""

    def __init__(self, network: Network, number: int, client: Process, server: Process) -> None:
        self.network = network
        self.number = number
        self.client = End(self, client, True)
        self.server = End(self, server, False)
        rng = network.rng
        out, back = network.draw_delay(), network.draw_delay()
        self.client.outgoing = self.server.incoming = Lane(self.client, self.server, out)
        self.server.outgoing = self.client.incoming = Lane(self.server, self.client, back)
        self.way_s = rng.choice([0, 0.001, 0.05])

    def __repr__(self) -> str:
        return f"connection {self.number} of {self.client.process.name}"

    @property
    def is_over(self) -> bool:
        """Whether both sides know that it has ended."""
        return all(end.is_over or end.process.is_dead for end in (self.client, self.server))

    def stall(self) -> None:
        """Let one side read nothing for a while."""
        self.network.rng.choice([self.client, self.client, self.server]).incoming.stall()

    def go_on(self) -> None:
        """Let both sides read again."""
        self.client.incoming.go_on()
        self.server.incoming.go_on()

    def cut(self, *, in_silence: bool = False) -> None:
        """Break; in silence only one of the two sides learns of it soon, if any."""
        rng = self.network.rng
        self.go_on()
        client_s: float | None = rng.choice([0, 0, 0.01, 1])
        server_s = rng.choice([0, 0, 0.01, 1, 5])
        if in_silence:
            self.network.had_silence = True
            if rng.random() < 0.5:
                client_s = None  # it has to find out by itself
            else:
                server_s = DEAD_S
        self.client.incoming.cut(rng.randint(0, len(self.client.incoming.queue)), client_s)
        self.server.incoming.cut(rng.randint(0, len(self.server.incoming.queue)), server_s)


class Network:
    """All connections of a world.

    Args:
        loop: of the world.
        rng: draws what happens to them.

    Attributes:
        links: those that are open.
        fails: how likely a dial comes to nothing.
        had_silence: whether a connection has died in silence.
        sent, delivered, closed: called with an end and a frame (or a code) as it leaves or arrives.
        broken: called with a promise that was broken, in words.
    """

    def __init__(self, loop: SimulationLoop, rng: random.Random) -> None:
        self.rng = rng
        self.loop = loop
        self.links: dict[Link, None] = {}
        self.fails = 0.0
        self.had_silence = False
        self.sent: Callable[[End, bytes], None] = lambda end, frame: None
        self.delivered: Callable[[End, str], None] = lambda end, text: None
        self.closed: Callable[[End, int], None] = lambda end, code: None
        self.broken: Callable[[str], None]
        self._numbers = 0
        self._server: Process | None = None
        self._connect: Callable[[End], Peer]

    def listen(self, server: Process, connect: Callable[[End], Peer]) -> None:
        """Let connections in to a server."""
        self._server, self._connect = server, connect

    def refuse(self) -> None:
        """Let nobody in any more."""
        self._server = None

    def draw_delay(self) -> Callable[[], float]:
        """Draw how one way of a connection delays what travels."""
        rng = self.rng
        base_s = rng.choice([0, 0, 0.001, 0.02, 0.2])
        more_s = rng.choice([0, 0, base_s, 0.3])
        if not more_s:
            return lambda: base_s
        return lambda: base_s + rng.random() * more_s

    async def dial(self, process: Process, peer: Peer) -> End:
        """Make a connection from a process to the server.

        Raises:
            OSError: there is no way, or nobody there.
        """
        rng = self.rng
        await asyncio.sleep(rng.choice([0, 0.001, 0.05, 0.4]))
        server = self._server
        fate = rng.random()
        if server is None or server.is_dead or fate < self.fails:
            if fate < self.fails / 4:
                await asyncio.sleep(60)  # nobody answers at all
            raise ConnectionRefusedError("nobody listens")
        self._numbers += 1
        link = Link(self, self._numbers, process, server)
        self.links[link] = None
        connect = self._connect

        def enter() -> None:
            if not link.server.incoming.is_cut:
                link.server.peer = connect(link.server)

        server.call_soon(enter)
        try:
            await asyncio.sleep(link.way_s)
            if link.server.incoming.is_cut:
                raise ConnectionResetError("the connection broke as it was made")
        except BaseException:
            link.cut()
            self.forget(link)
            raise
        link.client.peer = peer
        return link.client

    def forget(self, link: Link) -> None:
        """Let go of a connection that has ended."""
        self.links.pop(link, None)

    def crash(self, process: Process) -> None:
        """Break all connections of a process that was killed; the other side may learn of it."""
        for link in list(self.links):
            if process in (link.client.process, link.server.process):
                link.cut(in_silence=self.rng.random() < 0.2)
                self.forget(link)

    def calm(self) -> None:
        """Let everything travel from now on."""
        self.fails = 0.0
        for link in list(self.links):
            link.go_on()
