"""A hub with some users on it, and every operation that they could call next."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from ears import Ear
from slow_journal import SlowJournal

from pysignal import Hub, Session, SignalingInfo, VirtualClock


@dataclass
class Stage:
    """A hub with two users who are online, and what they could do next."""

    hub: Hub
    clock: VirtualClock
    journal: SlowJournal | None
    amy: Session
    bob: Session
    ears: list[Ear] = field(default_factory=list)
    ids: dict[str, str] = field(default_factory=dict)


async def set_up(hub: Hub, clock: VirtualClock, journal: SlowJournal | None) -> Stage:
    ears = [Ear() for _ in range(4)]
    amy = await hub.login("amy", listener=ears[0])
    bob = await hub.login("bob", listener=ears[1])
    await hub.login("bob", "2", listener=ears[2])
    await hub.login("cy", listener=ears[3])
    stage = Stage(hub, clock, journal, amy, bob, ears)
    await amy.groups.create_group("Public", "crew", member_list=["bob", "cy"])
    await amy.groups.create_group("Meeting", "open", member_list=["cy"])
    await hub.groups.put("served", ["amy", "bob"])
    for name in ("one", "two"):
        stage.ids[name] = await amy.signaling.invite("bob", name, timeout=1000)
    stage.ids["list"] = await amy.signaling.invite(["bob", "cy"], "list", timeout=1000)
    stage.ids["crew"] = await amy.signaling.invite_in_group("crew", ["bob"], "c", timeout=1000)
    stage.ids["silent"] = await hub.invite_as("amy", "dee", online_user_only=True, timeout=1000)
    await clock.settle()
    return stage


Operation = Callable[[Stage], Awaitable[object]]


def pushed(stage: Stage) -> SignalingInfo:
    return SignalingInfo(stage.ids["silent"], "amy", "", ["dee"])


OPERATIONS: dict[str, Operation] = {
    "invite": lambda s: s.amy.signaling.invite("bob", "new"),
    "invite a list": lambda s: s.amy.signaling.invite(["bob", "cy"], "new"),
    "invite in a group": lambda s: s.amy.signaling.invite_in_group("crew", ["bob"], "new"),
    "accept": lambda s: s.bob.signaling.accept(s.ids["one"], "yes"),
    "accept one of a list": lambda s: s.bob.signaling.accept(s.ids["list"], "yes"),
    "reject": lambda s: s.bob.signaling.reject(s.ids["one"], "no"),
    "cancel": lambda s: s.amy.signaling.cancel(s.ids["list"], "off"),
    "modify": lambda s: s.amy.signaling.modify_invitation(s.ids["one"], "other"),
    "open_invitations": lambda s: s.amy.signaling.open_invitations("crew"),
    "add what a push told": lambda s: s.hub.acting_as("dee").signaling.add_invited_signaling(
        pushed(s)
    ),
    "cancel by the server": lambda s: s.hub.cancel_by_server(s.ids["one"]),
    "invite as": lambda s: s.hub.invite_as("cy", "bob"),
    "pending": lambda s: s.hub.pending("bob"),
    "invitation": lambda s: s.hub.invitation(s.ids["one"]),
    "create a group": lambda s: s.bob.groups.create_group("Work", "new", member_list=["cy"]),
    "join": lambda s: s.bob.groups.join_group("open"),
    "quit": lambda s: s.bob.groups.quit_group("crew"),
    "dismiss": lambda s: s.amy.groups.dismiss_group("crew"),
    "kick": lambda s: s.amy.groups.kick_group_member("crew", ["bob", "cy"]),
    "bring in": lambda s: s.amy.groups.invite_user_to_group("crew", ["dee", "bob"]),
    "set a role": lambda s: s.amy.groups.set_group_member_role("crew", "bob", 300),
    "transfer": lambda s: s.amy.groups.transfer_group_owner("crew", "bob"),
    "set info": lambda s: s.amy.groups.set_group_info("crew", name="Crew"),
    "set a card": lambda s: s.bob.groups.set_group_member_info("crew", "bob", name_card="B"),
    "get info": lambda s: s.amy.groups.get_group_info("crew"),
    "get joined": lambda s: s.amy.groups.get_joined_group_list(),
    "get members": lambda s: s.amy.groups.get_group_member_list("crew"),
    "put": lambda s: s.hub.groups.put("served", ["bob", "cy"], "bob"),
    "add": lambda s: s.hub.groups.add("served", ["cy"]),
    "remove": lambda s: s.hub.groups.remove("crew", ["amy", "bob"]),
    "dismiss by the server": lambda s: s.hub.groups.dismiss("crew"),
    "members": lambda s: s.hub.groups.members("crew"),
    "log in": lambda s: s.hub.session("bob", "3").login(),
    "log in hot": lambda s: s.hub.session("dee").login("hot"),
    "take the place": lambda s: s.hub.session("bob").login(),
    "refused": lambda s: s.amy.signaling.accept(s.ids["one"]),
}
