"""Invite IDs: made and spelled as text, and read back.

An ID is made for every invitation, so its random bits must not cost a system call each. Reading one
back gives the slot of its record; a server with uuids looks the text up in a dict instead.

`uuid4` is measured as people quote it, as an object, and as the text that an ID is sent as.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

import operands
import uuid_utils
from measure import Measure, Size, cpu_ns

from pysignal.engine.entropy import Entropy
from pysignal.engine.ids import IdSpace

OPERATIONS = 100_000


def test_make(measure: Measure, size: Size) -> None:
    """As many IDs as are open, kept as text; rivals make theirs in the same loop."""
    space, entropy = IdSpace(secrets.token_bytes(16)), Entropy()
    slots = range(size)
    turns = range(max(measure.operations(OPERATIONS) // size, 1))
    made: list[str] = []

    def run() -> None:
        make, draw = space.make, entropy.draw
        for _ in turns:
            made[:] = [make(slot, 1, draw()) for slot in slots]

    def verify() -> None:
        assert len(set(made)) == size
        read = [space.read(text) for text in made]
        assert [place and place[:2] for place in read] == [(slot, 1) for slot in slots]

    def rival(make: Callable[[], Any]) -> Callable[[], float]:
        def run_rival() -> None:
            for _ in turns:
                for _ in slots:
                    make()  # not kept: a million of them would be the collector's time

        return lambda: cpu_ns(run_rival, size * len(turns))

    row = measure(
        "ID made, as text",
        size,
        size * len(turns),
        run,
        verify=verify,
        rivals={
            "uuid4": rival(uuid.uuid4),
            "str(uuid4)": rival(lambda: str(uuid.uuid4())),
            "uuid_utils.uuid4": rival(uuid_utils.uuid4),
            "uuid_utils.uuid7": rival(uuid_utils.uuid7),
            "token_hex": rival(partial(secrets.token_hex, 16)),
        },
        slow=True,
    )
    measure.figure(f"id_make_ns_{size.name}", row)


def test_read(measure: Measure, size: Size) -> None:
    """Each text is a string of its own, as it comes from a network."""
    space, entropy = IdSpace(secrets.token_bytes(16)), Entropy()
    made = [space.make(slot, 1, entropy.draw()) for slot in range(size)]
    uuids = [str(uuid.uuid4()) for _ in range(size)]
    table = {text: slot for slot, text in enumerate(uuids)}
    picked = operands.order(size, measure.operations(OPERATIONS, 1000))
    arriving: list[str] = []
    read_back: list[Any] = []

    def prepare() -> None:
        arriving[:] = [fresh(made[k]) for k in picked]

    def run() -> None:
        read = space.read
        read_back[:] = [read(text)[0] for text in arriving]  # type: ignore[index]

    def verify() -> None:
        assert read_back == list(picked)

    def lookup() -> float:
        strange = [fresh(uuids[k]) for k in picked]
        return cpu_ns(lambda: [table[text] for text in strange], len(picked))

    def parse(read: Callable[[str], Any]) -> float:
        strange = [fresh(uuids[k]) for k in picked]
        return cpu_ns(lambda: [read(text) for text in strange], len(picked))

    row = measure(
        "ID read back",
        size,
        len(picked),
        run,
        prepare=prepare,
        verify=verify,
        rivals={
            "dict of uuids": lookup,
            "uuid.UUID": lambda: parse(uuid.UUID),
            "uuid_utils.UUID": lambda: parse(uuid_utils.UUID),
        },
        slow=True,
    )
    measure.figure(f"id_read_ns_{size.name}", row)


def fresh(text: str) -> str:
    """Return an equal string that nobody has hashed yet."""
    return text.encode().decode()
