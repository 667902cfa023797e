"""An event that has crossed the wire says what it said before, for as long as it can be known."""

from __future__ import annotations

from typing import Any

import machine_histories
import msgspec
import pytest
from machine_histories import History
from protocol.happened import a_history, infos, said
from scale import scaled

from pysignal.engine.entropy import Entropy
from pysignal.engine.facts import Event
from pysignal.engine.machine import Machine
from pysignal.engine.views import InvitationInfo
from pysignal.protocol.reading import event_from, info_from, opening_from
from pysignal.protocol.results import EventFields, InvitationFields
from pysignal.protocol.writing import event_fields

NOW_MS = 1_700_000_000_000
INFO_FIELDS = [field.name for field in msgspec.structs.fields(InvitationFields)]


def across(event: Event, opening: Event | None = None) -> Event:
    return event_from(msgspec.json.decode(event_fields(event), type=EventFields), opening)


def info_across(info: InvitationInfo) -> InvitationInfo:
    told = {name: getattr(info, name) for name in INFO_FIELDS}
    return info_from(msgspec.json.decode(msgspec.json.encode(told), type=InvitationFields))


def what(info: InvitationInfo) -> dict[str, Any]:
    """Return all that is told of an invitation."""
    return {
        name: getattr(info, name)
        for name in dir(info)
        if not name.startswith("_") and name != "ended_by"
    }


def assert_a_history_crosses(history: History) -> None:
    openings: dict[str, Event] = {}
    arrived = []
    for event in history.events:
        here = across(event, openings.get(event.invite_id))
        if event.kind == "opened":
            openings[event.invite_id] = here
        arrived.append(here)
    # Looked at once all have come: what one says is not changed by those behind it.
    for event, here in zip(history.events, arrived, strict=True):
        assert said(here) == said(event)
        assert repr(here) == repr(event)


def test_events_say_the_same_behind_the_wire(monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(scaled(20, at_least=5)):
        assert_a_history_crosses(a_history(seed, 200, monkeypatch))


def test_events_of_long_lists_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_histories, "USERS", [f"user {i}" for i in range(80)])
    for seed in range(scaled(10, at_least=3)):
        monkeypatch.setattr(machine_histories, "TEXTS", ["", "data"])
        history = History(seed)
        for _ in range(400):
            history.step()
        history.check()
        assert max(len(event.invitees) for event in history.events) > 60
        assert_a_history_crosses(history)


def test_what_has_crossed_can_cross_again(monkeypatch: pytest.MonkeyPatch) -> None:
    for event in a_history(1, 200, monkeypatch).events:
        assert event_fields(across(event)) == event_fields(event)


def test_invitations_say_the_same_behind_the_wire(monkeypatch: pytest.MonkeyPatch) -> None:
    states = set()
    for seed in range(scaled(10, at_least=5)):
        for info in infos(a_history(seed, 200, monkeypatch)):
            here = info_across(info)
            assert what(here) == what(info)
            assert repr(here) == repr(info)
            assert here.ended_by == 0
            states.add(info.state)
    assert states == {"open", "completed", "cancelled"}


class LongList:
    """An invitation of 40 users, of whom some answer."""

    def __init__(self, group_id: str = "class") -> None:
        self.machine = Machine(key=b"sixteen bytes...", entropy=Entropy(1), now_ms=NOW_MS)
        self.users = [f"user {i}" for i in range(40)]
        self.invite_id = self.machine.open(NOW_MS, "amy", self.users, "data", group_id=group_id)
        (self.opened,) = self.machine.take()

    def accept(self, number: int) -> Event:
        self.machine.accept(NOW_MS, self.invite_id, self.users[number], "yes")
        (event,) = self.machine.take()
        return event

    def modify(self) -> Event:
        self.machine.modify(NOW_MS, self.invite_id, "amy", "new")
        (event,) = self.machine.take()
        return event

    def cancel(self) -> Event:
        self.machine.cancel(NOW_MS, self.invite_id, "amy")
        (event,) = self.machine.take()
        return event

    def info(self) -> InvitationInfo:
        info = self.machine.info(self.invite_id)
        assert info is not None
        return info_across(info)


def test_who_was_invited_is_not_known_without_the_opening() -> None:
    one = LongList()
    here = across(one.accept(3))
    with pytest.raises(LookupError, match=r"who was invited .* ask signaling.open_invitations"):
        _ = here.invitees
    with pytest.raises(LookupError, match=r"who is pending .*open_invitations\('class'\)"):
        _ = here.pending
    assert (here.invitee, here.affected, here.data) == ("user 3", ("user 3",), "yes")
    with pytest.raises(LookupError):
        event_fields(here)
    alone = across(LongList(group_id="").accept(3))
    with pytest.raises(LookupError, match="log in again and look at its snapshot"):
        _ = alone.invitees


def test_nobody_is_pending_after_the_end_with_or_without_the_opening() -> None:
    one = LongList()
    here = across(one.cancel())
    assert here.ends
    assert here.pending == ()
    assert list(here.affected) == one.users


def test_an_opening_of_another_invitation_tells_nothing() -> None:
    one = LongList()
    other = one.machine.open(NOW_MS, "amy", [f"other {i}" for i in range(40)])
    (opened,) = one.machine.take()
    assert opened.invite_id == other
    with pytest.raises(LookupError):
        _ = across(one.accept(3), across(opened)).invitees


def test_an_event_that_comes_twice_counts_once() -> None:
    one = LongList()
    opening = across(one.opened)
    events = [one.accept(5), one.modify(), one.accept(2), one.modify()]
    first = [across(event, opening) for event in events]
    again = [across(event, opening) for event in events]
    for event, here, twice in zip(events, first, again, strict=True):
        assert said(here) == said(twice) == said(event)


def test_who_is_pending_is_not_known_behind_a_gap() -> None:
    one = LongList()
    opening = across(one.opened)
    assert across(one.accept(5), opening).pending == tuple(
        user for user in one.users if user != "user 5"
    )
    one.accept(6)  # which does not come
    for event in (one.accept(7), one.modify()):
        here = across(event, opening)
        assert list(here.invitees) == one.users
        with pytest.raises(LookupError, match="who is pending"):
            _ = here.pending
    later = across(one.accept(8), opening_from(one.info()))
    assert said(later)["invitees"] == tuple(one.users)


def test_a_snapshot_stands_for_the_opening() -> None:
    one = LongList()
    before = [one.accept(9), one.accept(3), one.accept(6)]
    opening = opening_from(one.info())
    assert opening.replayed
    assert set(one.users) - set(opening.pending) == {"user 3", "user 6", "user 9"}
    for event in [one.modify(), one.accept(1), one.accept(0), one.cancel()]:
        assert said(across(event, opening)) == said(event)
    # In which order those had ended a snapshot does not say.
    for event in before[:2]:
        with pytest.raises(LookupError, match="who is pending"):
            _ = across(event, opening).pending


@pytest.mark.parametrize(
    "fields",
    [{"seq": -1}, {"seq": 2**32}, {"position": -1}, {"position": 2**64}, {"time": 2**63},
     {"expires_at": 10**40}, {"reason": "of tomorrow"}, {"data_version": -1}],
)  # fmt: skip
def test_what_no_event_can_say_is_an_error(fields: dict[str, Any]) -> None:
    one = LongList()
    told = msgspec.json.decode(event_fields(one.opened), type=EventFields)
    with pytest.raises(ValueError, match="no event of protocol version 1"):
        event_from(msgspec.structs.replace(told, **fields))


def test_an_opening_without_its_list_is_an_error() -> None:
    told = msgspec.json.decode(event_fields(LongList().opened), type=EventFields)
    for name in ("invitees", "pending"):
        with pytest.raises(ValueError, match="does not say whom"):
            event_from(msgspec.structs.replace(told, **{name: msgspec.UNSET}))
