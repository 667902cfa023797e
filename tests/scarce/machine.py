"""Every operation of the machine, with the n-th of its allocations failing, for every n.

What has raised MemoryError has changed nothing: the same hash, the same facts, every link in order.
It is then done again with one more allocation succeeding, until none fails. Where an operation got
through although one had failed, it is done anew from the start, so that no n is left out. In the
end it must have come to what it comes to where nothing ever fails, and nothing may be left of it.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from conftest import assert_runs_empty
from memory import ENGINE, PYTHON, Memory

from pysignal.engine import snapshot
from pysignal.engine.entropy import Entropy
from pysignal.engine.machine import Machine
from pysignal.engine.refused import Refused

NOW_MS = 1_000_000
LATER_MS = NOW_MS + 100
MANY = [f"user-{i}" for i in range(40)]

# Facts that wait when the queue has no room for one more.
FACTS_ROOM = 128

Operation = Callable[[], Any]


def make() -> Machine:
    return Machine(key=b"k" * 16, entropy=Entropy(1), now_ms=NOW_MS, journaled=True, ended_max=5)


class Stage(NamedTuple):
    """A machine on which every operation has something to do.

    Attributes:
        machine: the next fact that it commits needs more room than there is.
        ids: invitations by what they are.
        records: of all facts so far.
    """

    machine: Machine
    ids: dict[str, str]
    records: list[bytes]


def furnish(data: str) -> Stage:
    machine, records = make(), list[bytes]()
    # Names that wait to be let go, with numbers too large for Python to have them ready.
    opened: list[str] = []
    for i in range(600):
        if i < 300:
            opened.append(machine.open(NOW_MS, f"x{i}", f"y{i}", data))
        else:
            machine.cancel(NOW_MS, opened[i - 300], None, data)
        if i % 30 == 29:
            records += machine.records()
            machine.take()
    ids = {
        "one": machine.open(NOW_MS, "anna", "ben", data, 50),
        "list": machine.open(NOW_MS, "anna", [*MANY, "carl"], data, 60),
        "group": machine.open(NOW_MS, "anna", MANY, data, 70, group_id="class"),
        "pair": machine.open(NOW_MS, "carl", ["anna", "dora"], data, 0, group_id="class"),
        "doomed": machine.open(NOW_MS, "dora", MANY[:9], data, group_id="room"),
        "ended": machine.open(NOW_MS, "dora", "anna", data),
        "online": machine.open(NOW_MS, "dora", "anna", data, online_only=True),
    }
    for _ in range(16):
        ids["notice"] = machine.open(NOW_MS, "emil", "anna", data, 0)
    machine.accept(NOW_MS, ids["ended"], "anna", data, device=7)
    machine.accept(NOW_MS, ids["pair"], "dora", data)
    for user in ("anna", "anna", "ben"):
        machine.hold(user)
    while machine.waiting < FACTS_ROOM:
        machine.modify(NOW_MS, ids["notice"], "emil", data)
        records += machine.records()
    return Stage(machine, ids, records)


def operations(stage: Stage, data: str) -> dict[str, Operation]:
    """Everything that can be asked of a machine, by name."""
    machine, ids, _ = stage

    def refused() -> str:
        try:
            machine.reject(NOW_MS, ids["ended"], "anna", data)
        except Refused as error:
            return error.result
        raise AssertionError("an answer after the end was taken")

    return {
        "open": lambda: machine.open(NOW_MS, "new", "newer", data),
        "open a list": lambda: machine.open(NOW_MS, "new", [*MANY, "new-1", "new-2"], data),
        "open in a group": lambda: machine.open(NOW_MS, "new", MANY, data, group_id="new"),
        "open for nobody": lambda: machine.open(NOW_MS, "new", [], data, group_id="class"),
        "open one notice too many": lambda: machine.open(NOW_MS, "emil", "anna", data, 0),
        "accept": lambda: machine.accept(NOW_MS, ids["one"], "ben", data),
        "accept of a list": lambda: machine.accept(NOW_MS, ids["list"], "user-7", data),
        "accept of the last": lambda: machine.accept(NOW_MS, ids["pair"], "anna", data),
        "reject": lambda: machine.reject(NOW_MS, ids["group"], "user-7", data),
        "refused": refused,
        "cancel": lambda: machine.cancel(NOW_MS, ids["group"], "anna", data),
        "cancel by the server": lambda: machine.cancel(NOW_MS, ids["one"], None, data),
        "modify": lambda: machine.modify(NOW_MS, ids["list"], "anna", data),
        "mark_told": lambda: machine.mark_told(NOW_MS, ids["notice"], "anna"),
        "leave": lambda: until_done(lambda: machine.leave(NOW_MS, "anna", "class", 1)),
        "dismiss": lambda: until_done(lambda: machine.dismiss(NOW_MS, "room", 1)),
        "advance": lambda: until_done(lambda: machine.advance(LATER_MS, 30)),
        "hold": lambda: machine.hold("new"),
        "hold again": lambda: machine.hold("anna"),
        "unhold": lambda: machine.unhold("anna"),
        "unhold the last": lambda: machine.unhold("ben"),
        "records": lambda: machine.records(),
        "take": lambda: len(machine.take()),
        "is_told": lambda: machine.is_told(ids["notice"], "anna"),
        "info": lambda: machine.info(ids["list"]),
        "info of the end": lambda: machine.info(ids["ended"]),
        "pending_of": lambda: machine.pending_of("anna"),
        "opened_by": lambda: machine.opened_by("anna"),
        "open_ids_of": lambda: machine.open_ids_of("anna"),
        "open_in": lambda: machine.open_in("class"),
        "open_lists": machine.open_lists,
        "times": lambda: (machine.now_ms, machine.next_ms, machine.forget_ms, machine.position),
        "stats": machine.stats,
        "check": machine.check,
        "state_hash": machine.state_hash,
        "take_slice": lambda: slices(machine),
    }


def until_done(step: Callable[[], bool]) -> None:
    """Do something in slices; a slice that was done stays so, and is not part of what fails."""
    while step():
        pass


def slices(machine: Machine) -> list[bytes]:
    out: list[bytes] = []
    at: int | None = 0
    while at is not None:
        piece, at = snapshot.take_slice(machine, at, 30)
        out.append(piece)
    return out


def shape(machine: Machine) -> tuple[Any, ...]:
    """What must be the same before and after something that has failed."""
    machine.check()
    return machine.state_hash(), machine.now_ms, counted(machine)


def outcome(stage: Stage) -> list[Any]:
    """Everything that can be seen of a machine but the random part of IDs."""
    machine = stage.machine
    machine.check()
    stage.records.extend(machine.records())
    events = machine.take()
    machine.check()
    seen: list[Any] = [
        (
            event.position, event.kind, event.reason, event.seq, event.inviter, event.group_id,
            event.actor, event.affected, event.pending, event.data, event.invitation_data,
        )
        for event in events
    ]  # fmt: skip
    for user in ("anna", "ben", "carl", "dora", "emil", "new", "newer", *MANY):
        seen += [
            (info.position, info.seq, info.data, info.statuses, info.expires_at)
            for info in machine.pending_of(user) + machine.opened_by(user)
        ]
    seen += [counted(machine), [log_out(machine, user) for user in ("anna", "ben", "new")]]
    for i in range(300):  # whoever was let go comes back
        machine.open(machine.now_ms, f"x{i}", f"y{i}", "")
    machine.check()
    return seen


def counted(machine: Machine) -> dict[str, int]:
    """Return the counts, but not of room that was made and of names that wait to be let go."""
    counts = machine.stats()
    for name in ("memory_bytes", "slots", "free", "users", "groups"):
        del counts[name]
    return counts


def log_out(machine: Machine, user: str) -> int:
    """Take back every login of a user, and return how many there were."""
    count = 0
    while True:
        try:
            machine.unhold(user)
        except KeyError:
            return count
        count += 1


class Scarcity:
    """Lets the allocations of operations fail, one after another.

    Attributes:
        met: how many operations have raised MemoryError.
        got_through: how many did not, although an allocation failed.
    """

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.met = 0
        self.got_through = 0

    def insist(self, kind: int, in_a_row: int, begin: Callable[[], tuple[Operation, ...]]) -> Any:
        """Do something with the n-th allocation failing, for every n; return what it gave.

        Args:
            kind: as in `Memory.attempt`.
            in_a_row: likewise.
            begin: makes a new (operation, what must be the same after it has failed).
        """
        operation, same = begin()
        before = same()
        count = 0
        while True:
            try:
                result, failed = self.memory.attempt(kind, count, in_a_row, operation)
            except MemoryError:
                self.met += 1
                assert same() == before, f"allocation {count} failed, and something was changed"
            else:
                if not failed:
                    return result
                self.got_through += 1
                operation, same = begin()
                before = same()
            count += 1

    def play(self, kind: int, in_a_row: int, name: str) -> None:
        """Do one operation on a machine that is whole whatever fails."""
        data = "".join(["what ", name])
        stages: list[Stage] = []

        def begin() -> tuple[Operation, Operation]:
            stages[:] = [furnish(data)]
            machine = stages[0].machine
            return operations(stages[0], data)[name], lambda: shape(machine)

        begin()[0]()
        wanted = outcome(stages[0])
        self.insist(kind, in_a_row, begin)
        assert outcome(stages[0]) == wanted, f"{name}: it came to something else"
        assert_runs_empty(stages[0].machine)
        stages.clear()
        del begin, wanted
        gc.collect()
        assert sys.getrefcount(data) == 2, f"{name}: references to the data are left"

    def apply(self, kind: int, in_a_row: int) -> None:
        """Apply the records of a machine to another."""
        stage = furnish("data")
        stage.records.extend(stage.machine.records())
        copy = make()
        for record in stage.records[:-FACTS_ROOM]:
            snapshot.apply(copy, record)
        for record in stage.records[-FACTS_ROOM:]:
            apply = partial(snapshot.apply, copy, record)
            self.insist(kind, in_a_row, always(apply, partial(shape, copy)))
        assert copy.state_hash() == stage.machine.state_hash()
        assert_runs_empty(copy)

    def restore(self, kind: int, in_a_row: int) -> None:
        """Restore a machine from slices, between which it has gone on, and records."""
        data = "".join(["what is", " kept"])
        stage = furnish(data)
        machine, ids, _ = stage
        machine.records()
        first, at = snapshot.take_slice(machine, 0, 12)
        machine.accept(NOW_MS, ids["one"], "ben", data)
        machine.open(NOW_MS, "new", [*MANY, "newer"], data, group_id="class")
        machine.modify(NOW_MS, ids["list"], "anna", data)
        second, at = snapshot.take_slice(machine, at, 1 << 20)
        assert at is None
        machine.cancel(NOW_MS, ids["group"], "anna", data)
        machine.open(NOW_MS, "newer", "newest", data)
        records = machine.records()
        steps = [
            *(partial(load, piece) for piece in (first, second)),
            *(partial(apply, record) for record in records),
            partial(snapshot.Restore.finish),
        ]
        for number, step in enumerate(steps):
            count, failed = 0, 1
            while failed:
                restore = snapshot.Restore(make())
                for earlier in steps[:number]:
                    earlier(restore)
                try:
                    _, failed = self.memory.attempt(kind, count, in_a_row, partial(step, restore))
                    count += 1
                except MemoryError:
                    self.met += 1
                    count += 1
                    if step.func is not load:
                        step(restore)
                    elif is_refused(step, restore):
                        continue
                for later in steps[number + 1 :]:
                    later(restore)
                assert restore.machine.state_hash() == machine.state_hash()
                assert_runs_empty(restore.machine)
        del stage, machine, steps, step, earlier, later, restore
        gc.collect()
        assert sys.getrefcount(data) == 2, "references to the data are left"

    def grow(self, kind: int, in_a_row: int) -> None:
        """Open invitations where each table needs another chunk, and a longer list of chunks."""
        chunk = 1 << 15  # invitations in 2 MiB; of timers and users it takes four times as many
        machine = Machine(key=b"k" * 16, entropy=Entropy(1), now_ms=NOW_MS, ended_max=5)

        def same() -> Any:
            machine.check()
            return counted(machine)

        def fill(up_to: int, open_one: Callable[[int], str]) -> None:
            for i in range(up_to - 3):
                open_one(i)
            machine.take()
            for i in range(up_to - 3, up_to + 3):
                self.insist(kind, in_a_row, always(partial(open_one, i), same))

        fill(chunk, lambda i: machine.open(NOW_MS, "anna", MANY[:8], group_id=f"group-{i}"))
        fill(chunk * 3, lambda i: machine.open(NOW_MS, f"x{i}", "anna"))
        # Each fill goes three beyond.
        fill(chunk * 4 - 6, lambda i: machine.open(NOW_MS, f"y{i}", "anna"))
        assert_runs_empty(machine)


def always(*operation: Operation) -> Callable[[], tuple[Operation, ...]]:
    """Return a `begin` of `Scarcity.insist` that gives the same each time."""
    return lambda: operation


def load(piece: bytes, restore: snapshot.Restore) -> None:
    restore.load(piece)


def is_refused(step: Callable[[snapshot.Restore], Any], restore: snapshot.Restore) -> bool:
    """Load a slice again; whether the restore says that it went in in part and is of no use."""
    try:
        step(restore)
    except ValueError as error:
        return "failed before" in str(error)
    return False


def apply(record: bytes, restore: snapshot.Restore) -> None:
    restore.apply(record)


def main() -> None:
    """Do everything with both kinds of allocation; print how often each was out of memory."""
    memory = Memory()
    scarcity = Scarcity(memory)
    names = list(operations(furnish(""), ""))
    for kind in (ENGINE, PYTHON):
        scarcity.insist(kind, 1, always(make, lambda: None))
    gc.collect()
    for kind in (ENGINE, PYTHON):
        blocks, met = memory.live(ENGINE), scarcity.met
        for in_a_row in (1, 8):
            for name in names:
                scarcity.play(kind, in_a_row, name)
            scarcity.apply(kind, in_a_row)
            scarcity.restore(kind, in_a_row)
            scarcity.grow(kind, in_a_row)
        gc.collect()
        assert memory.live(ENGINE) == blocks, "the engine has not freed all that it allocated"
        print(scarcity.met - met)


if __name__ == "__main__":
    main()
