"""What must be so once a life of the hub has come to rest: everything has ended, and was told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulation.heard import words

from pysignal import SignalingEvent

if TYPE_CHECKING:
    from simulation.people import Login
    from simulation.world import World

RESIDENTS = ("amy", "bob")  # who never leave a group, so that who hears of it is plain


def judge_life(world: World) -> None:
    """Compare what ended and what was told with the truth; called while the hub is open.

    Raises:
        AssertionError: something is still open, or somebody was not told.
    """
    if world.journal is not None and world.journal.fails_at is not None:
        return  # nothing need end, nor be told, once the journal has failed
    assert world.hub.stats()["open"] == 0, "invitations are open long after their deadlines"
    for invite_id in sorted(world.followed):
        events = world.truth[invite_id]
        assert events, f"{invite_id}: nothing was told of it"
        assert events[-1].ends, f"{invite_id}: its end was not told"
    for login in world.logins:
        if login.entered_at is not None and not login.is_over:
            _judge_login(world, login)


def _judge_login(world: World, login: Login) -> None:
    """Who has stayed connected was told everything since the login."""
    assert login.session.online, f"{login.place} was ended and not told so"
    due = {
        event.position: event
        for invite_id in sorted(world.followed)
        for event in world.truth[invite_id]
        if event.position > (login.entered_at or 0) and _hears(login, event)
    }
    for heard in login.heard:
        missed = [words(event) for at, event in due.items() if at not in heard.positions]
        assert not missed, f"{login.place} {heard.name} was not told: {missed}"


def _hears(login: Login, event: SignalingEvent) -> bool:
    """Whether a login has to hear an event, for all that can be said without a model of groups."""
    place = login.place
    if event.reason == "lifetime" or (event.actor, event.device) == (place.user, place.device):
        return False
    if place.user == event.inviter or place.user in event.invitees:
        return not event.group_id or place.user in RESIDENTS
    return bool(event.group_id) and place.user in RESIDENTS and not event.parties_only
