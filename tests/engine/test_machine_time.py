"""When the machine ends an invitation by itself, and how long it remembers it (SPEC 3, 6)."""

from __future__ import annotations

import pytest
from machine_talk import DAY_MS, START_MS, kinds, make, refused, statuses

from pysignal.engine.machine import TIMEOUT_MS_MAX

# -- time ------------------------------------------------------------------------------------------


def test_an_answer_after_the_deadline_is_too_late_even_if_the_timer_has_not_run() -> None:
    machine = make()
    invite_id = machine.open(START_MS, "a", "b", timeout_ms=1)
    machine.take()
    refused(machine, "due", machine.accept, START_MS + 1, invite_id, "b")
    assert machine.now_ms == START_MS
    assert not machine.advance(START_MS + 1)
    refused(machine, "ended", machine.accept, START_MS + 1, invite_id, "b")
    assert kinds(machine) == [("timed_out", "", ("b",))]


def test_what_is_due_comes_before_any_later_operation() -> None:
    machine = make()
    machine.open(START_MS, "a", "b", timeout_ms=10, group_id="")
    machine.open(START_MS, "a", ["b"], timeout_ms=20_000, group_id="g")
    late_ms = START_MS + 15
    for operation in (
        lambda: machine.open(late_ms, "x", "y"),
        lambda: machine.leave(late_ms, "b", "g"),
        lambda: machine.dismiss(late_ms, "g"),
    ):
        refused(machine, "due", operation)
    machine.advance(late_ms)
    machine.open(late_ms, "x", "y")


def test_a_timeout_is_never_early_and_takes_only_who_is_pending() -> None:
    machine = make()
    invite_id = machine.open(START_MS, "a", ["b", "c", "d"], "data", 500)
    machine.advance(START_MS + 499)
    machine.accept(START_MS + 499, invite_id, "c")
    assert [event.kind for event in machine.take()] == ["opened", "accepted"]
    machine.advance(START_MS + 500)
    (event,) = machine.take()
    assert event.time == START_MS + 500 == event.expires_at
    assert event.invitee_list == ["b", "d"]
    assert (event.data, event.invitation_data, event.actor) == ("", "data", "")
    assert statuses(machine, invite_id) == {"b": "timed_out", "c": "accepted", "d": "timed_out"}


def test_deadlines_come_in_order_over_any_span() -> None:
    machine = make(now_ms=2**32 - 50_000)
    spans = [1, 255, 256, 257, 65_535, 65_536, 2**24 - 1, 2**24, 2**24 + 1, DAY_MS, 30 * DAY_MS]
    for span in reversed(spans):
        machine.open(machine.now_ms, "a", "b", timeout_ms=span)
    machine.take()
    machine.advance(2**32 - 50_000 + 31 * DAY_MS)
    machine.check()
    assert [event.time - (2**32 - 50_000) for event in machine.take()] == spans


@pytest.mark.parametrize("budget", [1, 2, 7])
def test_time_moves_in_slices_and_says_when_more_is_due(budget: int) -> None:
    machine = make()
    for i in range(20):
        machine.open(START_MS, "a", ["b", "c"], timeout_ms=10 + i)
    machine.take()
    slices = 0
    while machine.advance(START_MS + 1_000, budget):
        machine.check()
        slices += 1
        if machine.stats()["open"]:
            refused(machine, "due", machine.open, START_MS + 1_000, "x", "y")
    assert slices >= 60 // (budget + 2)
    assert [event.time for event in machine.take()] == [START_MS + 10 + i for i in range(20)]
    assert machine.now_ms == START_MS + 1_000


def test_time_that_steps_back_changes_nothing() -> None:
    machine = make()
    machine.advance(START_MS + 100)
    invite_id = machine.open(START_MS, "a", "b", timeout_ms=50)
    info = machine.info(invite_id)
    assert info is not None
    assert (info.opened_at, info.expires_at) == (START_MS + 100, START_MS + 150)
    machine.advance(START_MS)
    assert machine.now_ms == START_MS + 100


def test_a_timeout_has_a_longest() -> None:
    machine = make()
    machine.open(START_MS, "a", "b", timeout_ms=TIMEOUT_MS_MAX)
    with pytest.raises(ValueError, match="30 days"):
        machine.open(START_MS, "a", "b", timeout_ms=TIMEOUT_MS_MAX + 1)
    with pytest.raises(OverflowError):
        machine.open(START_MS, "a", "b", timeout_ms=-1)


def test_next_ms_is_a_time_to_wake_up_at() -> None:
    machine = make()
    assert machine.next_ms is None
    machine.open(START_MS, "a", "b", timeout_ms=70_000)
    woken = 0
    while machine.next_ms is not None:
        assert machine.next_ms > machine.now_ms
        machine.advance(machine.next_ms)
        woken += 1
    assert machine.now_ms == START_MS + 70_000
    assert woken <= 4  # comes down a ring at most three times


# -- without a deadline ----------------------------------------------------------------------------


def test_without_a_timeout_the_lifetime_ends_it_unheard_but_by_its_handles() -> None:
    machine = make(lifetime_ms=DAY_MS)
    invite_id = machine.open(START_MS, "a", "b", "hangup", 0)
    (event,) = machine.take()
    assert event.expires_at is None
    assert event.no_deadline
    info = machine.info(invite_id)
    assert info is not None
    assert info.expires_at is None
    machine.advance(START_MS + DAY_MS - 1)
    assert machine.take() == []
    machine.advance(START_MS + DAY_MS)
    (event,) = machine.take()
    assert (event.kind, event.reason, event.expires_at) == ("timed_out", "lifetime", None)
    assert statuses(machine, invite_id) == {"b": "timed_out"}
    error = refused(machine, "ended", machine.accept, START_MS + DAY_MS, invite_id, "b")
    assert error.info is not None
    assert (error.info.state, error.info.reason) == ("completed", "lifetime")


@pytest.mark.parametrize(("mine", "theirs"), [(0, 0), (40, 0), (0, 40)])
def test_a_17th_without_a_timeout_between_two_users_ends_the_oldest(mine: int, theirs: int) -> None:
    """Whichever of the two users has more other invitations."""
    machine = make()
    ids = [machine.open(START_MS, "a", "b", timeout_ms=0) for _ in range(16)]
    for i in range(mine):
        machine.open(START_MS, "a", f"x{i}", timeout_ms=0)
    for i in range(theirs):
        machine.open(START_MS, f"x{i}", "b", timeout_ms=0)
    machine.open(START_MS, "b", "a", timeout_ms=0)  # the other way is another pair
    machine.open(START_MS, "a", "b", timeout_ms=1_000)  # this one has a deadline
    machine.open(START_MS, "a", ["b", "c"], timeout_ms=0)  # this one is not one-to-one
    machine.open(START_MS, "a", ["b"], timeout_ms=0, group_id="g")
    assert all(kind == "opened" for kind, _, _ in kinds(machine))
    ids.append(machine.open(START_MS, "a", "b", timeout_ms=0))
    assert kinds(machine) == [("timed_out", "lifetime", ("b",)), ("opened", "", ("b",))]
    assert [statuses(machine, name)["b"] for name in ids] == ["timed_out"] + ["pending"] * 16
    ids.append(machine.open(START_MS, "a", ["b"], timeout_ms=0))  # a list of one is one-to-one
    assert kinds(machine)[0] == ("timed_out", "lifetime", ("b",))


def test_the_17th_needs_no_room_in_a_full_table() -> None:
    machine = make(capacity=16)
    for _ in range(20):
        machine.open(START_MS, "a", "b", timeout_ms=0)
    machine.check()
    assert machine.stats()["open"] == 16


# -- what is remembered ----------------------------------------------------------------------------


def test_an_ended_invitation_is_explained_until_its_time_is_over() -> None:
    machine = make(ended_keep_ms=60_000)
    invite_id = machine.open(START_MS, "a", ["b", "c"], "data")
    machine.accept(START_MS + 1, invite_id, "b")
    machine.cancel(START_MS + 2, invite_id, "a", device=5)
    machine.take()
    machine.advance(START_MS + 2 + 59_999)
    error = refused(machine, "ended", machine.accept, machine.now_ms, invite_id, "c")
    info = error.info
    assert info is not None
    assert (info.state, info.reason, info.ended_by, info.data) == ("cancelled", "", 5, "")
    assert (info.opened_at, info.ended_at, info.expires_at) == (START_MS, START_MS + 2, None)
    assert (info.position, info.ended_position) == (1, 3)
    assert refused(machine, "ended", machine.accept, machine.now_ms, invite_id, "x").info is None
    machine.advance(START_MS + 2 + 60_000)
    refused(machine, "unknown", machine.accept, machine.now_ms, invite_id, "c")
    assert machine.info(invite_id) is None


@pytest.mark.parametrize("taken", [True, False])
def test_later_ends_push_out_the_oldest_whether_or_not_anybody_reads(taken: bool) -> None:
    machine = make(ended_max=3)
    ids = []
    for _ in range(5):
        ids.append(machine.open(START_MS, "a", "b"))
        machine.cancel(START_MS, ids[-1], "a")
        if taken:
            machine.take()
    known = [machine.info(invite_id) is not None for invite_id in ids]
    assert known == [False, False, True, True, True]
    machine.take()
    assert [machine.info(invite_id) is not None for invite_id in ids] == known
    machine.check()
    assert machine.stats()["ended_remembered"] == 3


@pytest.mark.parametrize("limits", [{"ended_max": 0}, {"ended_keep_ms": 0}])
def test_where_nothing_is_kept_an_end_is_forgotten_at_once(limits: dict[str, int]) -> None:
    machine = make(**limits)
    invite_id = machine.open(START_MS, "a", ["b"], group_id="g")
    machine.accept(START_MS, invite_id, "b")
    refused(machine, "unknown", machine.accept, START_MS, invite_id, "b")
    assert [event.kind for event in machine.take()] == ["opened", "accepted"]
    machine.advance(START_MS + 1)
    machine.check()
    assert machine.stats()["ended_remembered"] == 0
    assert machine.stats()["users"] == 0


@pytest.mark.parametrize("days", [1, 24, 25, 49, 50, 60, 1_000])
def test_a_long_silence_makes_nothing_young_again(days: int) -> None:
    """Whatever time passes at once: an end of before is old, one of now is new."""
    machine = make(ended_keep_ms=10_000)
    old = machine.open(START_MS, "a", "b")
    machine.cancel(START_MS, old, "a")
    machine.take()
    later_ms = START_MS + days * DAY_MS + 5_000
    young = machine.open(later_ms, "a", "b")
    machine.cancel(later_ms, young, "a")
    assert machine.info(old) is None
    info = machine.info(young)
    assert info is not None
    assert (info.opened_at, info.ended_at) == (later_ms, later_ms)
    machine.check()


def test_times_are_whole_after_the_longest_life_and_the_longest_memory() -> None:
    machine = make(ended_keep_ms=400 * DAY_MS)
    invite_id = machine.open(START_MS, "a", "b", timeout_ms=30 * DAY_MS)
    machine.advance(START_MS + 30 * DAY_MS)
    machine.advance(START_MS + 300 * DAY_MS)
    opened, ended = machine.take()
    assert opened.expires_at == ended.expires_at == START_MS + 30 * DAY_MS
    info = machine.info(invite_id)
    assert info is not None
    assert (info.opened_at, info.ended_at) == (START_MS, START_MS + 30 * DAY_MS)


def test_when_all_has_ended_nothing_is_left() -> None:
    machine = make(ended_keep_ms=1_000)
    for i in range(200):
        machine.open(START_MS, f"u{i}", [f"v{i}", f"w{i}"], "data", 10, group_id=f"g{i}")
        machine.open(START_MS, f"u{i}", f"v{i}", "data", 10)
    machine.advance(START_MS + 10)
    machine.take()
    machine.advance(START_MS + 1_010)
    for _ in range(200):
        machine.hold("x")
        machine.unhold("x")
    machine.check()
    stats = machine.stats()
    assert [stats[name] for name in ("open", "ended_remembered", "timers", "users", "groups")] == [
        0, 0, 0, 0, 0,
    ]  # fmt: skip
    assert stats["free"] == stats["slots"]
