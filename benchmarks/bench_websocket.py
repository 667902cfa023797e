"""The server on the network: what it costs to serve, beside a relay of python-socketio.

A life cycle is two requests, two answers and two events: A invites, B hears of it and accepts, A
hears that. All figures are of the CPU time of the server's process, whatever the load costs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from measure import KIB, PER_SECOND, ROUNDS, ROUNDS_SLOW, Measure, Row
from network import Network, Stage

PAIRS = 100
CYCLES = {1: 40_000, 8: 100_000}
SOCKETIO_CYCLES = 8_000
WARM = 4  # a run before the first that counts has this part of it

CONNECTIONS = 5_000
ANSWERS = 500
WAVE = 100

SETTLED = 500  # connections before those that are counted
IDLE = 4_000
IDLE_S = 0.5

RIVAL = "python-socketio"


class Cycles:
    """A server on which life cycles are run, again and again.

    Args:
        stage: the server.
        pairs: of users, each user with a connection.
        depth: life cycles in flight between each pair.
        count: of one run.
    """

    def __init__(self, stage: Stage, pairs: int, depth: int, count: int) -> None:
        self._stage = stage
        self._command = f"cycles {pairs} {depth}"
        self._count = count
        self.per_cpu_s: list[float] = []
        self.per_s: list[float] = []
        stage.run(f"connect {2 * pairs}")
        stage.run(f"{self._command} {max(count // WARM, 1)}")

    def run(self) -> None:
        """Run them once."""
        cost = self._stage.run(f"{self._command} {self._count}")
        assert cost.told["cycles"] == self._count
        self.per_cpu_s.append(self._count / cost.cpu_s)
        self.per_s.append(self._count / cost.seconds)


def in_turn(measure: Measure, rounds: int, *runs: Callable[[], None]) -> None:
    """Run each in turn, round after round."""

    def all_rounds() -> None:
        for _ in range(1 if measure.quick else rounds):
            for run in runs:
                run()

    measure.run(all_rounds)


@pytest.mark.parametrize("depth", [1, 8])
def test_life_cycles(measure: Measure, network: Network, depth: int) -> None:
    """Count whole life cycles in a second of the server's CPU, so many at once for each pair."""
    pairs = measure.operations(PAIRS, 10)
    with network.ours(2 * PAIRS) as server, network.socketio(2 * PAIRS) as relay:
        ours = Cycles(server, pairs, depth, measure.operations(CYCLES[depth]))
        theirs = Cycles(relay, pairs, depth, measure.operations(SOCKETIO_CYCLES))
        in_turn(measure, ROUNDS, theirs.run, ours.run)
    what = f"life cycles, network, {depth} a pair"
    row = Row(what, 2 * pairs, PER_SECOND, ours.per_cpu_s, {RIVAL: theirs.per_cpu_s})
    measure.add(row)
    measure.figure(f"ws_cycles_per_cpu_s_depth{depth}", row)
    measure.figure(f"ws_vs_socketio_depth{depth}", row, faster_than=RIVAL)
    what = f"the same, a second that passes, {depth} a pair"
    measure.add(Row(what, 2 * pairs, PER_SECOND, ours.per_s, {RIVAL: theirs.per_s}))


def test_durable_life_cycles(measure: Measure, network: Network, folder: Path) -> None:
    """Compare life cycles with the log and without a journal, all threads' CPU counted."""
    pairs, depth = measure.operations(PAIRS, 10), 8
    count = measure.operations(CYCLES[depth])
    with (
        network.ours(2 * PAIRS, folder / "journal") as durable,
        network.ours(2 * PAIRS) as server,
    ):
        ours = Cycles(durable, pairs, depth, count)
        memory = Cycles(server, pairs, depth, count)
        in_turn(measure, ROUNDS, memory.run, ours.run)
    what = f"durable life cycles, network, {depth} a pair"
    rivals = {"no journal": memory.per_cpu_s}
    row = measure.add(Row(what, 2 * pairs, PER_SECOND, ours.per_cpu_s, rivals))
    measure.figure("ws_durable_vs_memory_depth8", row, faster_than="no journal")
    what = "the same, durable, a second that passes"
    measure.add(Row(what, 2 * pairs, PER_SECOND, ours.per_s, {"no journal": memory.per_s}))


def test_fan_out(measure: Measure, network: Network) -> None:
    """Count the events that are told in a second of CPU, each answer to a whole class."""
    connections = measure.operations(CONNECTIONS)
    answers = measure.operations(ANSWERS, 10)
    wave = min(WAVE, answers // 2)
    found: list[float] = []
    with network.ours(connections) as server:
        server.run("connect 1")
        server.run(f"class {connections}")
        server.run(f"connect {connections - 1}")

        def run() -> None:
            server.run(f"ring {answers}")
            cost = server.run(f"answer {answers} {wave}")
            assert cost.told["events"] == answers * (connections - 1)
            found.append(cost.told["events"] / cost.cpu_s)

        run()
        found.clear()
        in_turn(measure, ROUNDS_SLOW, run)
    row = measure.add(Row("answers told to a class, network", connections, PER_SECOND, found))
    measure.figure("ws_fanout_events_per_cpu_s", row)


def test_memory(measure: Measure, network: Network) -> None:
    """Tell by how much the server grows for each connection that is logged in and idle."""
    settled, idle = measure.operations(SETTLED, 20), measure.operations(IDLE)
    ours: list[float] = []
    theirs: list[float] = []

    def grown(stage: Stage) -> float:
        with stage:
            stage.run(f"connect {settled}")
            time.sleep(IDLE_S)
            before = stage.server.resident_bytes
            stage.run(f"connect {idle}")
            time.sleep(IDLE_S)
            return (stage.server.resident_bytes - before) / idle / 1024

    in_turn(
        measure,
        ROUNDS_SLOW,
        lambda: theirs.append(grown(network.socketio(settled + idle))),
        lambda: ours.append(grown(network.ours(settled + idle))),
    )
    row = measure.add(Row("memory of an idle connection", idle, KIB, ours, {RIVAL: theirs}))
    measure.figure("ws_kib_per_connection", row)
