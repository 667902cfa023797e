"""Events say what happened at their moment, whenever they are made, and texts are let go of."""

from __future__ import annotations

import gc
import sys

import pytest
from machine_talk import START_MS, make

from pysignal.engine import snapshot
from pysignal.engine.facts import KINDS, REASON_NAMES, Event, Roll
from pysignal.engine.machine import Machine
from pysignal.engine.refused import Refused
from pysignal.engine.views import STATE_NAMES, STATUS_NAMES, InvitationInfo


def test_an_event_says_who_did_what_to_whom() -> None:
    machine = make()
    invite_id = machine.open(
        START_MS, "a", ["b", "c"], "data", 500, group_id="g", online_only=True, device=7
    )
    machine.advance(START_MS + 3)
    machine.accept(START_MS + 3, invite_id, "c", "yes", device=9)
    opened, accepted = machine.take()
    assert (opened.kind, opened.reason, opened.seq, opened.data_version) == ("opened", "", 1, 1)
    assert (opened.invite_id, opened.group_id, opened.inviter) == (invite_id, "g", "a")
    assert (opened.actor, opened.data, opened.invitation_data) == ("a", "data", "data")
    assert (opened.time, opened.expires_at) == (START_MS, START_MS + 500)
    assert opened.invitees == opened.affected == opened.pending == ("b", "c")
    assert (opened.invitee, opened.ends, opened.position) == ("", False, 1)
    assert (opened.online_only, opened.parties_only, opened.no_deadline) == (True, False, False)
    assert (accepted.kind, accepted.actor, accepted.data) == ("accepted", "c", "yes")
    assert (accepted.time, accepted.expires_at) == (START_MS + 3, START_MS + 500)
    assert (accepted.invitee, accepted.affected, accepted.pending) == ("c", ("c",), ("b",))
    assert (accepted.invitees, accepted.inviter) == (("b", "c"), "a")
    assert (accepted.seq, accepted.position, accepted.ends) == (2, 2, False)
    assert repr(accepted) == f"<Event {invite_id} seq 2 accepted by c>"


def test_an_invitation_to_one_needs_no_list() -> None:
    machine = make()
    invite_id = machine.open(START_MS, "a", "b", timeout_ms=0, parties_only=True)
    machine.modify(START_MS, invite_id, "a", "new")
    machine.reject(START_MS, invite_id, "b", "no")
    opened, modified, rejected = machine.take()
    for event in (opened, modified, rejected):
        assert (event.invitees, event.group_id, event.expires_at) == (("b",), "", None)
        assert event.parties_only
        assert event.no_deadline
    assert (modified.invitee, modified.affected, modified.pending) == ("", (), ("b",))
    assert (modified.data, modified.invitation_data) == ("new", "new")
    assert (rejected.invitee, rejected.pending, rejected.ends) == ("b", (), True)
    assert rejected.invitation_data == "new"


def test_lists_of_an_event_are_its_readers_own() -> None:
    machine = make()
    machine.open(START_MS, "a", ["b", "c"])
    (event,) = machine.take()
    event.invitee_list.clear()
    assert event.invitee_list == ["b", "c"]
    for name in ("kind", "data", "ends", "invitees", "position"):
        with pytest.raises(AttributeError):
            setattr(event, name, None)


def test_events_are_of_their_moment_however_late_they_are_made() -> None:
    """Also where all has ended before anybody reads, and where some were read before."""
    for reads in (0, 1, 2, 3):
        machine = make()
        invite_id = machine.open(START_MS, "a", ["b", "c", "d"])
        events = machine.take() if reads > 0 else []
        machine.accept(START_MS, invite_id, "c")
        events += machine.take() if reads > 1 else []
        machine.modify(START_MS, invite_id, "a", "x")
        machine.reject(START_MS, invite_id, "b")
        events += machine.take() if reads > 2 else []
        machine.cancel(START_MS, invite_id, "a")
        events += machine.take()
        assert [event.pending for event in events] == [
            ("b", "c", "d"), ("b", "d"), ("b", "d"), ("d",), (),
        ]  # fmt: skip
        assert [event.affected for event in events] == [
            ("b", "c", "d"), ("c",), (), ("b",), ("d",),
        ]  # fmt: skip


def test_a_list_that_is_used_again_brings_no_names_of_before() -> None:
    """The number of a forgotten list may go to the next one between two calls of take."""
    machine = make(ended_keep_ms=10)
    for i in range(50):
        now_ms = START_MS + 100 * i
        machine.advance(now_ms)
        users = [f"u{i}-{k}" for k in range(1 + i % 3)]
        invite_id = machine.open(now_ms, "a", users, group_id=f"g{i}")
        machine.accept(now_ms, invite_id, users[0])
        if len(users) > 1:
            machine.cancel(now_ms, invite_id, "a")
        for event in machine.take():
            assert event.invitees == tuple(users)
            assert set(event.affected) <= set(users)
            assert set(event.pending) <= set(users)
            assert event.group_id == f"g{i}"
    machine.check()


def test_expiries_are_whole_across_2_to_the_32_ms() -> None:
    for offset in (-2, -1, 0, 1):
        machine = make(now_ms=2**32 + offset)
        machine.open(2**32 + offset, "a", "b", timeout_ms=2)
        machine.advance(2**32 + 5)
        assert [event.expires_at for event in machine.take()] == [2**32 + offset + 2] * 2


def test_events_and_infos_are_made_by_the_engine_only() -> None:
    for kind in (Event, InvitationInfo):
        with pytest.raises(TypeError, match="made by the engine"):
            kind()
    assert Roll(("a",)).invitees == ("a",)


def test_an_info_is_whole() -> None:
    machine = make()
    invite_id = machine.open(START_MS, "a", ["b", "c"], "data", group_id="g", parties_only=True)
    machine.accept(START_MS, invite_id, "c")
    info = machine.info(invite_id)
    assert info is not None
    assert (info.invite_id, info.inviter, info.group_id) == (invite_id, "a", "g")
    assert (info.state, info.reason, info.data) == ("open", "", "data")
    assert list(info.statuses.items()) == [("b", "pending"), ("c", "accepted")]
    assert (info.invitee_list, info.pending) == (["b", "c"], ["b"])
    assert (info.opened_at, info.expires_at, info.ended_at) == (START_MS, START_MS + 30_000, None)
    assert (info.seq, info.data_version, info.position, info.ended_position) == (2, 1, 1, 0)
    assert (info.online_only, info.parties_only, info.no_deadline) == (False, True, False)
    assert info.ended_by == 0
    assert repr(info).startswith(f"<InvitationInfo {invite_id} open")


def test_names_of_numbers_have_no_holes() -> None:
    for names in (KINDS, REASON_NAMES, STATUS_NAMES, STATE_NAMES):
        assert len(set(names)) == len(names)


def test_a_refusal_reads_as_its_result() -> None:
    assert str(Refused("due")) == "due"
    assert Refused("due").info is None


# -- references ------------------------------------------------------------------------------------


class Texts:
    """Texts of which it is known how often they are referred to."""

    def __init__(self) -> None:
        self.texts = {name: f"the text of {name}, {id(self)}" for name in ("data", "new", "said")}
        self.before = self.counts()

    def counts(self) -> list[int]:
        gc.collect()
        return [sys.getrefcount(text) for text in self.texts.values()]

    def __getitem__(self, name: str) -> str:
        return self.texts[name]


def live(machine: Machine, texts: Texts, ending: str) -> None:
    """Lead one invitation and one list through a life that ends in some way."""
    for invitees in ("b", ["b", "c"]):
        invite_id = machine.open(START_MS, "a", invitees, texts["data"], 10)
        machine.modify(START_MS, invite_id, "a", texts["new"])
        machine.modify(START_MS, invite_id, "a", texts["new"])
        if ending == "answers":
            for user in invitees:
                machine.accept(START_MS, invite_id, user, texts["said"])
        elif ending == "cancel":
            machine.cancel(START_MS, invite_id, "a", texts["said"])
    if ending == "timeout":
        machine.advance(START_MS + 10)


@pytest.mark.parametrize("ending", ["answers", "cancel", "timeout"])
def test_texts_are_released_when_the_last_fact_of_them_was_taken(ending: str) -> None:
    texts = Texts()
    machine = make()
    live(machine, texts, ending)
    assert texts.counts() != texts.before
    assert machine.take()
    assert texts.counts() == texts.before
    machine.check()


@pytest.mark.parametrize("ending", ["answers", "cancel", "timeout", "none"])
@pytest.mark.parametrize("taken", [True, False])
def test_texts_are_released_when_the_machine_is_dropped(ending: str, taken: bool) -> None:
    texts = Texts()
    machine = make()
    live(machine, texts, ending)
    if taken:
        machine.take()
    del machine
    assert texts.counts() == texts.before


def test_texts_of_what_was_refused_are_released() -> None:
    texts = Texts()
    machine = make(capacity=1)
    invite_id = machine.open(START_MS, "a", "b")
    for operation in (
        lambda: machine.open(START_MS, "a", "b", texts["data"]),
        lambda: machine.accept(START_MS, invite_id, "c", texts["said"]),
        lambda: machine.accept(START_MS, "0" * 26, "c", texts["said"]),
        lambda: machine.cancel(START_MS, invite_id, "b", texts["said"]),
        lambda: machine.modify(START_MS, invite_id, "b", texts["new"]),
    ):
        with pytest.raises(Refused):
            operation()
    with pytest.raises(ValueError, match="among them"):
        machine.open(START_MS, "a", "a", texts["data"])
    assert texts.counts() == texts.before


def test_copies_own_texts_of_their_own() -> None:
    """A restore that is dropped in the middle lets go of what it had loaded."""
    machine = make(journaled=True, key=b"k" * 16)
    for i in range(20):
        invite_id = machine.open(START_MS, "a", ["b", "c"], f"data {i}", group_id="g")
        if i % 2:
            machine.cancel(START_MS, invite_id, "a", "said")
    piece, _ = snapshot.take_slice(machine, 0, 100)
    records = machine.records()
    del machine
    for broken in (piece, piece[:-3]):
        restore = snapshot.Restore(make(key=b"k" * 16))
        try:
            restore.load(broken)
        except ValueError:
            assert broken != piece
        del restore
    copy = make(key=b"k" * 16)
    for record in records:
        snapshot.apply(copy, record)
    copy.check()
    del copy
    gc.collect()


def test_events_taken_in_pieces_while_more_are_made_come_once_and_in_order() -> None:
    machine = make()
    told: list[tuple[int, str]] = []
    for number in range(400):
        machine.open(START_MS, "a", f"b {number}", f"text {number}")
        if number % 3 == 2:
            told += [(event.position, event.data) for event in machine.take(number * 2 // 3)]
    assert len(told) == 265
    told += [(event.position, event.data) for event in machine.take()]
    assert told == [(number + 1, f"text {number}") for number in range(400)]
