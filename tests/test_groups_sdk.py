"""Groups as sessions use them: rules by type, callbacks, pages, and what becomes of invitations."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from busy import code_of
from ears import Ear, join

from pysignal import GroupListener, GroupType, Hub, Limits, Role, Session, VirtualClock

pytestmark = pytest.mark.anyio

CALLBACKS = [name for name in vars(GroupListener) if name.startswith("on_")]
TYPES = ("Work", "Public", "Meeting", "AVChatRoom", "Community")
WITH_ADMINS = ("Public", "Meeting", "Community")


class GroupEar(GroupListener):
    """Writes down every callback as (name without `on_`, parameters)."""

    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []

    def take(self) -> list[tuple[Any, ...]]:
        heard, self.heard = self.heard, []
        return heard


def _note(name: str) -> Any:
    def method(self: GroupEar, *args: Any) -> None:
        self.heard.append((name.removeprefix("on_"), *args))

    return method


for _name in CALLBACKS:
    setattr(GroupEar, _name, _note(_name))


async def enter(hub: Hub, user: str, device: str = "1") -> tuple[Session, GroupEar]:
    session, _ = await join(hub, user, device)
    ear = GroupEar()
    session.groups.add_group_listener(ear)
    return session, ear


async def fill(hub: Hub, group_type: str, *members: str, group_id: str = "g") -> Session:
    """A group of `amy`'s with further members."""
    amy, _ = await join(hub, "amy")
    await amy.groups.create_group(group_type, group_id)
    if members:
        await hub.groups.add(group_id, members)
    return amy


async def roles(hub: Hub, group_id: str = "g") -> dict[str, int]:
    first, *_ = await hub.groups.members(group_id)
    members, _ = await hub.acting_as(first).groups.get_group_member_list(group_id)
    return {member.user_id: int(member.role) for member in members}


# -- rules by type ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("group_type", "code"),
    [("Work", 8508), ("Public", 10007), ("Meeting", 0), ("AVChatRoom", 0), ("Community", 0)],
)
async def test_who_joins_by_an_own_wish(hub: Hub, group_type: str, code: int) -> None:
    await fill(hub, group_type)
    bob, _ = await join(hub, "bob")
    if code:
        assert await code_of(bob.groups.join_group("g")) == code
        assert await roles(hub) == {"amy": 400}
    else:
        await bob.groups.join_group("g")
        assert await roles(hub) == {"amy": 400, "bob": 200}


@pytest.mark.parametrize(
    ("group_type", "lowest"),
    [("Work", 200), ("Public", 300), ("Meeting", 300), ("AVChatRoom", 500), ("Community", 200)],
)
async def test_who_invites_users_to_a_group(hub: Hub, group_type: str, lowest: int) -> None:
    amy = await fill(hub, group_type, "bob", "cy")
    if group_type in WITH_ADMINS:
        await amy.groups.set_group_member_role("g", "bob", Role.ADMIN)
    ranks = {"cy": 200, "bob": 300 if group_type in WITH_ADMINS else 200, "amy": 400, "zoe": 0}
    for user, rank in ranks.items():
        call = hub.acting_as(user).groups.invite_user_to_group("g", [f"new {user}", "amy"])
        if rank >= lowest:
            assert await call == {f"new {user}": True, "amy": False}
        else:
            assert await code_of(call) == 10007


@pytest.mark.parametrize("group_type", TYPES)
async def test_who_kicks_and_sets_roles(hub: Hub, group_type: str) -> None:
    amy = await fill(hub, group_type, "bob", "cy", "dee")
    bob, cy = hub.acting_as("bob").groups, hub.acting_as("cy").groups
    has_admins = group_type in WITH_ADMINS
    assert await code_of(cy.kick_group_member("g", "dee")) == 10007
    assert await code_of(amy.groups.kick_group_member("g", "amy")) == 10007
    assert await code_of(amy.groups.kick_group_member("g", ["dee", "zoe"])) == 10007
    assert await code_of(cy.set_group_member_role("g", "dee", 300)) == 10007
    if has_admins:
        await amy.groups.set_group_member_role("g", "bob", 300)
        assert await code_of(bob.kick_group_member("g", "amy")) == 10007
        assert await code_of(bob.set_group_member_role("g", "cy", 300)) == 10007
        await bob.kick_group_member("g", "dee")
        assert await roles(hub) == {"amy": 400, "bob": 300, "cy": 200}
        await amy.groups.set_group_member_role("g", "bob", 200)
    else:
        assert await code_of(amy.groups.set_group_member_role("g", "bob", 300)) == 10007
        await amy.groups.kick_group_member("g", ["dee"])
    assert await roles(hub) == {"amy": 400, "bob": 200, "cy": 200}
    wrong_roles: list[Any] = [400, 0, "300", None, 250]
    for role in wrong_roles:
        assert await code_of(amy.groups.set_group_member_role("g", "bob", role)) == 6017


@pytest.mark.parametrize("group_type", TYPES)
async def test_an_owner_quits_only_a_work_group_and_leaves_it_to_an_heir(
    hub: Hub, group_type: str
) -> None:
    amy = await fill(hub, group_type, "bob", "cy")
    if group_type != "Work":
        assert await code_of(amy.groups.quit_group("g")) == 10009
        assert "amy" in await hub.groups.members("g")
        return
    await amy.groups.quit_group("g")
    assert await roles(hub) == {"bob": 400, "cy": 200}
    await hub.quit_group_as("bob", "g")
    await hub.quit_group_as("cy", "g")
    assert await code_of(amy.groups.get_group_info("g")) == 10010


@pytest.mark.parametrize("group_type", TYPES)
async def test_only_the_owner_dismisses(hub: Hub, group_type: str) -> None:
    amy = await fill(hub, group_type, "bob")
    assert await code_of(hub.dismiss_group_as("bob", "g")) == 10007
    await amy.groups.dismiss_group("g")
    assert await code_of(amy.groups.dismiss_group("g")) == 10010


@pytest.mark.parametrize("group_type", ["Work", "Public", "Meeting", "Community"])
async def test_an_owner_hands_the_group_over(hub: Hub, group_type: str) -> None:
    amy = await fill(hub, group_type, "bob")
    assert await code_of(hub.acting_as("bob").groups.transfer_group_owner("g", "amy")) == 10007
    for target in ("amy", "zoe"):
        assert await code_of(amy.groups.transfer_group_owner("g", target)) == 10007
    await amy.groups.transfer_group_owner("g", "bob")
    assert await roles(hub) == {"amy": 200, "bob": 400}
    await amy.groups.quit_group("g")


async def test_member_limits_are_kept_and_configurable(clock: VirtualClock) -> None:
    limits = Limits(group_members={GroupType.WORK: 3, GroupType.MEETING: 2})
    async with Hub(clock=clock, limits=limits) as hub:
        amy, _ = await join(hub, "amy")
        create = amy.groups.create_group
        assert await code_of(create("Work", "w", member_list=["a", "b", "c"])) == 7008
        await create("Work", "w", member_list=["a"])
        assert await code_of(amy.groups.invite_user_to_group("w", ["b", "c"])) == 7008
        assert await hub.groups.members("w") == ["amy", "a"], "all or nothing"
        await amy.groups.invite_user_to_group("w", ["b", "a"])
        await create("Meeting", "m")
        await hub.acting_as("a").groups.join_group("m")
        assert await code_of(hub.acting_as("b").groups.join_group("m")) == 7008


# -- errors ----------------------------------------------------------------------------------------


async def test_errors_come_in_order_login_parameters_group_the_rest(hub: Hub) -> None:
    await fill(hub, "Public", "bob")
    cy, _ = await join(hub, "cy")
    for group_id, code in (("", 6017), ("no such", 10010), ("g", 10007)):
        for call in (
            cy.groups.quit_group(group_id),
            cy.groups.dismiss_group(group_id),
            cy.groups.kick_group_member(group_id, "bob"),
            cy.groups.invite_user_to_group(group_id, ["dee"]),
            cy.groups.set_group_member_role(group_id, "bob", 300),
            cy.groups.transfer_group_owner(group_id, "bob"),
            cy.groups.set_group_info(group_id, name="x"),
            cy.groups.set_group_member_info(group_id, "bob", name_card="x"),
            cy.groups.get_group_member_list(group_id),
            cy.groups.join_group(group_id),
        ):
            assert await code_of(call) == code
    for wrong in (
        cy.groups.kick_group_member("no such", []),
        cy.groups.kick_group_member("no such", ["bob", 7]),  # type: ignore[list-item]
        cy.groups.invite_user_to_group("no such", [""]),
        cy.groups.set_group_info("no such"),
        cy.groups.set_group_info("no such", name="x" * 101),
        cy.groups.set_group_member_info("no such", "bob", name_card="x" * 51),
        cy.groups.get_group_member_list("no such", count=0),
        cy.groups.get_group_member_list("no such", count=101),
        cy.groups.get_group_member_list("no such", next_seq=-1),
        cy.groups.get_group_member_list("no such", count=True),
        cy.groups.get_group_member_list("no such", role=17),
        cy.groups.create_group("Party", "p"),
        cy.groups.create_group("Server", "p"),
        cy.groups.create_group("Work", "p", "x" * 101),
        cy.groups.create_group("Work", "p", member_list="bob"),
        cy.groups.create_group("Work", "p", member_list=7),  # type: ignore[arg-type]
        cy.groups.create_group("Work", ""),
        cy.groups.create_group("Work", 7),  # type: ignore[arg-type]
        hub.groups.put("p", "bob"),
        hub.groups.put("", ["bob"]),
    ):
        assert await code_of(wrong) == 6017
    await cy.logout()
    for call in (
        cy.groups.join_group(""),
        cy.groups.create_group("Party"),
        cy.groups.get_joined_group_list(),
        cy.groups.kick_group_member("", []),
    ):
        assert await code_of(call) == 6014


async def test_a_taken_group_id_is_refused_and_a_free_one_is_made_up(hub: Hub) -> None:
    amy = await fill(hub, "Work")
    bob, _ = await join(hub, "bob")
    assert await code_of(bob.groups.create_group("Public", "g")) == 10021
    assert await code_of(hub.groups.put("g", ["bob"])) == 10021
    made = await bob.groups.create_group("Public")
    assert made != await bob.groups.create_group("Public")
    assert (await bob.groups.get_group_info(made)).owner == "bob"
    await amy.groups.dismiss_group("g")
    await bob.groups.create_group("Public", "g")


# -- reading ---------------------------------------------------------------------------------------


async def test_info_and_joined_groups_tell_what_is(hub: Hub, clock: VirtualClock) -> None:
    amy = await fill(hub, "Public", "bob")
    await amy.groups.set_group_info("g", name="n", introduction="i", notification="o", face_url="f")
    await amy.groups.set_group_info("g", notification="")
    info = await hub.acting_as("zoe").groups.get_group_info("g")
    assert (info.group_type, info.owner, info.member_count) == ("Public", "amy", 2)
    assert (info.name, info.introduction, info.notification, info.face_url) == ("n", "i", "", "f")
    assert info.created_ms == clock.now_ms()
    await hub.groups.put("s", ["bob"])
    bob = hub.acting_as("bob").groups
    assert [group.group_id for group in await bob.get_joined_group_list()] == ["g", "s"]
    await bob.quit_group("g")
    await hub.groups.add("g", ["bob"])
    assert [group.group_id for group in await bob.get_joined_group_list()] == ["s", "g"]
    assert await hub.acting_as("zoe").groups.get_joined_group_list() == []


async def test_members_are_read_in_pages_and_by_role(hub: Hub) -> None:
    amy = await fill(hub, "Public", *(f"user {number}" for number in range(120)))
    for number in (3, 77, 119):
        await amy.groups.set_group_member_role("g", f"user {number}", 300)
    seen: list[str] = []
    sizes: list[int] = []
    after = 0
    while True:
        page, after = await amy.groups.get_group_member_list("g", next_seq=after)
        seen += [member.user_id for member in page]
        sizes.append(len(page))
        if not after:
            break
    assert seen == ["amy", *(f"user {number}" for number in range(120))]
    assert sizes == [50, 50, 21]
    admins, after = await amy.groups.get_group_member_list("g", role=Role.ADMIN, count=2)
    assert [member.user_id for member in admins] == ["user 3", "user 77"]
    admins, after = await amy.groups.get_group_member_list("g", role=300, next_seq=after, count=2)
    assert ([member.user_id for member in admins], after) == (["user 119"], 0)


async def test_nobody_is_skipped_when_a_member_leaves_between_two_pages(hub: Hub) -> None:
    amy = await fill(hub, "Public", "bob", "cy", "dee", "eve")
    page, after = await amy.groups.get_group_member_list("g", count=2)
    assert [member.user_id for member in page] == ["amy", "bob"]
    await hub.quit_group_as("bob", "g")
    rest, after = await amy.groups.get_group_member_list("g", next_seq=after)
    assert ([member.user_id for member in rest], after) == (["cy", "dee", "eve"], 0)


async def test_a_request_id_makes_a_retry_the_same_call(hub: Hub, clock: VirtualClock) -> None:
    amy, ear = await enter(hub, "amy", "1")
    other, other_ear = await enter(hub, "amy", "2")
    made = await amy.groups.create_group("Work", request_id="r1")
    assert await other.groups.create_group("Work", request_id="r1") == made
    assert await code_of(amy.groups.create_group("Public", request_id="r1")) == 6017
    added = await amy.groups.invite_user_to_group(made, ["bob"], request_id="r2")
    assert await amy.groups.invite_user_to_group(made, ["bob"], request_id="r2") == added
    assert added == {"bob": True}
    await amy.groups.kick_group_member(made, "bob", request_id="r3")
    await amy.groups.kick_group_member(made, "bob", request_id="r3")
    await clock.settle()
    assert [call[0] for call in other_ear.take()] == [
        "group_created",
        "member_invited",
        "member_kicked",
    ]
    assert ear.heard == []


# -- callbacks -------------------------------------------------------------------------------------


async def test_every_member_hears_and_the_acting_session_does_not(
    hub: Hub, clock: VirtualClock
) -> None:
    ears: dict[str, GroupEar] = {}
    sessions: dict[str, Session] = {}
    for name in ("amy 1", "amy 2", "bob 1", "bob 2", "cy 1", "zoe 1"):
        sessions[name], ears[name] = await enter(hub, *name.split())

    async def heard() -> dict[str, list[tuple[Any, ...]]]:
        await clock.settle()
        return {name: calls for name, ear in ears.items() if (calls := ear.take())}

    def each(names: Iterable[str], call: tuple[Any, ...]) -> dict[str, list[tuple[Any, ...]]]:
        return {name: [call] for name in names}

    amy, bob, cy = (sessions[name].groups for name in ("amy 1", "bob 1", "cy 1"))
    await amy.create_group("Meeting", "g", member_list=["bob"])
    invited = ("member_invited", "g", "amy", ["bob"])
    assert await heard() == {
        "amy 2": [("group_created", "g"), invited],
        "bob 1": [invited],
        "bob 2": [invited],
    }
    await cy.join_group("g")
    entered = ("member_enter", "g", ["cy"])
    others = ("amy 1", "amy 2", "bob 1", "bob 2")
    assert await heard() == each(others, entered)
    rest = ("amy 2", "bob 1", "bob 2", "cy 1")
    await amy.set_group_member_role("g", "bob", 300)
    assert await heard() == each(rest, ("grant_administrator", "g", "amy", ["bob"]))
    await amy.set_group_member_role("g", "bob", 300)
    assert await heard() == {}, "nothing has changed"
    await amy.set_group_member_role("g", "bob", 200)
    assert await heard() == each(rest, ("revoke_administrator", "g", "amy", ["bob"]))
    await amy.set_group_info("g", name="n")
    assert await heard() == each(rest, ("group_info_changed", "g", {"name": "n"}))
    await amy.set_group_member_info("g", "cy", name_card="C")
    changed = ("member_info_changed", "g", {"cy": {"name_card": "C"}})
    assert await heard() == each(rest, changed)
    await bob.quit_group("g")
    left = ("member_leave", "g", "bob")
    assert await heard() == {
        "amy 1": [left],
        "amy 2": [left],
        "cy 1": [left],
        "bob 2": [("quit_from_group", "g")],
    }
    await amy.kick_group_member("g", "cy")
    kicked = ("member_kicked", "g", "amy", ["cy"])
    assert await heard() == {"amy 2": [kicked], "cy 1": [kicked]}
    await hub.groups.add("g", ["bob"])
    by_server = ("member_invited", "g", "", ["bob"])
    assert await heard() == each(others, by_server)
    await amy.dismiss_group("g")
    dismissed = ("group_dismissed", "g", "amy")
    assert await heard() == each(("amy 2", "bob 1", "bob 2"), dismissed)


async def test_nobody_changes_what_another_listener_hears(hub: Hub, clock: VirtualClock) -> None:
    class Spoiler(GroupListener):
        def on_member_invited(self, group_id: str, op_user: str, member_list: list[str]) -> None:
            member_list.clear()

    bob, _ = await join(hub, "bob")
    bob.groups.add_group_listener(Spoiler())
    ear = GroupEar()
    bob.groups.add_group_listener(ear)
    await hub.groups.put("g", ["bob", "cy"])
    await clock.settle()
    assert ear.take() == [("member_invited", "g", "", ["bob", "cy"])]


async def test_membership_outlives_a_disconnect(hub: Hub, clock: VirtualClock) -> None:
    for group_type in TYPES:
        amy = await fill(hub, group_type, "bob", group_id=group_type)
    bob, _ = await enter(hub, "bob")
    await bob.logout()
    await amy.groups.set_group_info("Community", name="x")
    bob, ear = await enter(hub, "bob")
    joined = await bob.groups.get_joined_group_list()
    assert [group.group_id for group in joined] == list(TYPES)
    await clock.settle()
    assert ear.heard == [], "login announces nothing of groups"


# -- invitations in a group that changes -----------------------------------------------------------


class BothEar(Ear, GroupEar):
    """Hears invitations and groups, in one list."""

    def __init__(self) -> None:
        Ear.__init__(self)
        self.heard = []


@pytest.mark.parametrize("how", ["quit", "kick", "remove", "put"])
async def test_signaling_events_of_a_change_come_before_its_group_callback(
    hub: Hub, clock: VirtualClock, how: str
) -> None:
    await hub.groups.put("g", ["amy", "bob", "cy"], "amy")
    ears = {}
    for user in ("amy", "bob", "cy"):
        session, ears[user] = await hub.login(user, listener=(ear := BothEar())), ear
        session.groups.add_group_listener(ear)
    asked = await hub.invite_in_group_as("amy", "g", ["cy", "bob"], timeout=60)
    own = await hub.invite_in_group_as("bob", "g", ["cy"], timeout=60)
    await clock.settle()
    for ear in ears.values():
        ear.take()
    match how:
        case "quit":
            await hub.quit_group_as("bob", "g")
        case "kick":
            await hub.kick_group_member_as("amy", "g", "bob")
        case "remove":
            await hub.groups.remove("g", ["bob"])
        case "put":
            await hub.groups.put("g", ["amy", "cy"], "amy")
    await hub.accept_as("cy", asked)
    await clock.settle()
    events = [
        ("invitee_rejected", asked, "bob", ""),
        ("invitation_cancelled", own, "bob", ""),
    ]
    gone = {
        "quit": ("member_leave", "g", "bob"),
        "kick": ("member_kicked", "g", "amy", ["bob"]),
    }.get(how, ("member_kicked", "g", "", ["bob"]))
    accepted = ("invitee_accepted", asked, "cy", "")
    last = ("quit_from_group", "g") if how == "quit" else gone
    assert ears["amy"].take() == ears["cy"].take() == [*events, gone, accepted]
    assert ears["bob"].take() == [*events, last], "nothing of the group after that"
    assert [event.reason for event in ears["amy"].events][-3:] == ["left_group", "left_group", ""]


async def test_a_dismissal_cancels_what_is_open_before_it_is_told(
    hub: Hub, clock: VirtualClock
) -> None:
    await hub.groups.put("g", ["amy", "bob", "cy"], "amy")
    session, ear = await hub.login("bob", listener=(ear := BothEar())), ear
    session.groups.add_group_listener(ear)
    amy, _ = await join(hub, "amy")
    invite_ids = [
        await hub.invite_in_group_as("cy", "g", ["amy"], timeout=60),
        await amy.signaling.invite_in_group("g", ["bob", "cy"], timeout=0),
    ]
    quiet = await amy.signaling.invite_in_group("g", ["cy"], notify="parties")
    await clock.settle()
    ear.take()
    ear.events.clear()
    await amy.groups.dismiss_group("g")
    await clock.settle()
    assert ear.take() == [
        ("invitation_cancelled", invite_ids[0], "cy", ""),
        ("invitation_cancelled", invite_ids[1], "amy", ""),
        ("group_dismissed", "g", "amy"),
    ]
    assert {event.reason for event in ear.events} == {"group_dismissed"}
    assert await code_of(hub.accept_as("cy", quiet)) == 8010
    assert await code_of(amy.signaling.open_invitations("g")) == 10010
