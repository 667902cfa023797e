"""Random histories of a whole hub, against the obvious model of SPEC §2 to §4 and §7.

The model keeps plain dicts and lists, and works out for every step which code the caller gets and
what each session hears. It is told the IDs, nothing else. A failure names its seed.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import pytest
from ears import Ear

from pysignal import Hub, Limits, Session, SignalingError, VirtualClock

pytestmark = pytest.mark.anyio

USERS = ["amy", "bob", "carol", "dave"]
DEVICES = ["1", "2"]
GROUPS = ["g", "h"]
LIFETIME_MS = 40_000
COLD_GROUP_MS = 30_000
WITHOUT_DEADLINE_MAX = 16

Place = tuple[str, str]  # user, device


@dataclass
class Call:
    """One invitation of the model."""

    name: str
    inviter: str
    group: str
    status: dict[str, str]
    data: str
    opened_ms: int
    due_ms: int
    silent: bool  # without a deadline
    online_only: bool
    parties_only: bool
    told: set[str] = field(default_factory=set)  # users of whom any session was told

    @property
    def pending(self) -> list[str]:
        return [user for user, status in self.status.items() if status == "pending"]


class Model:
    """What the hub should do."""

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms
        self.calls: dict[str, Call] = {}  # open ones, in the order of opening
        self.members: dict[str, list[str]] = {}
        self.online: list[Place] = []
        self.told: dict[Place, set[str]] = {}
        self.heard: dict[Place, list[tuple[Any, ...]]] = {}

    # -- telling -----------------------------------------------------------------------------------

    def tell(self, call: Call, heard: tuple[Any, ...], acting: Place | None) -> None:
        audience = {call.inviter, *call.status}
        if call.group:
            members = set(self.members[call.group])
            audience = audience & members if call.parties_only else members
        for place in self.online:
            if place[0] in audience and place != acting:
                self.hear(place, call, heard)

    def hear(self, place: Place, call: Call, heard: tuple[Any, ...]) -> None:
        self.heard.setdefault(place, []).append(heard)
        if heard[0] == "receive_new_invitation":
            self.told[place].add(call.name)
            call.told.add(place[0])

    def opening(self, call: Call) -> tuple[Any, ...]:
        users = list(call.status)
        return "receive_new_invitation", call.name, call.inviter, call.group, users, call.data

    def close(self, call: Call) -> None:
        if not call.pending:
            del self.calls[call.name]

    def end_pending(self, call: Call, status: str) -> None:
        for user in call.pending:
            call.status[user] = status
        self.close(call)

    # -- operations --------------------------------------------------------------------------------

    def opened(self, call: Call, acting: Place | None) -> None:
        if call.silent and not call.group and len(call.status) == 1:
            alike = [
                other
                for other in self.calls.values()
                if other.silent and not other.group and other.inviter == call.inviter
                and list(other.status) == list(call.status)
            ]  # fmt: skip
            if len(alike) >= WITHOUT_DEADLINE_MAX:
                self.end_pending(alike[0], "timed_out")
        self.calls[call.name] = call
        if acting is not None:
            self.told[acting].add(call.name)
        self.tell(call, self.opening(call), acting)
        self.close(call)

    def refusal(self, kind: str, name: str, user: str) -> int:
        call = self.calls.get(name)
        if call is None:
            return 8010
        if kind in ("accept", "reject"):
            if user not in call.status:
                return 8011
            return 0 if call.status[user] == "pending" else 8010
        if call.inviter != user:
            return 8011
        return 7014 if kind == "modify" and call.online_only else 0

    def operate(self, kind: str, name: str, user: str, data: str, acting: Place | None) -> None:
        call = self.calls[name]
        if kind == "modify":
            call.data = data
            self.tell(call, ("invitation_modified", name, data), acting)
        elif kind == "cancel":
            self.tell(call, ("invitation_cancelled", name, user, data), acting)
            self.end_pending(call, "cancelled")
        else:
            call.status[user] = f"{kind}ed"
            self.tell(call, (f"invitee_{kind}ed", name, user, data), acting)
            self.close(call)

    def advance(self, to_ms: int) -> None:
        for call in sorted(self.calls.values(), key=lambda call: call.due_ms):
            if call.due_ms <= to_ms:
                if not call.silent:
                    self.tell(call, ("invitation_timeout", call.name, call.pending), None)
                self.end_pending(call, "timed_out")
        self.now_ms = to_ms

    # -- groups and logins -------------------------------------------------------------------------

    def remove(self, group: str, users: list[str]) -> None:
        for user in users:
            for call in list(self.calls.values()):
                if call.group != group:
                    continue
                if call.inviter == user:
                    self.operate("cancel", call.name, user, "", None)
                elif call.status.get(user) == "pending":
                    self.operate("reject", call.name, user, "", None)
        self.members[group] = [user for user in self.members[group] if user not in users]

    def dismiss(self, group: str) -> None:
        for call in list(self.calls.values()):
            if call.group == group:
                self.operate("cancel", call.name, call.inviter, "", None)
        del self.members[group]

    def login(self, place: Place, cold: bool) -> list[str]:
        """Returns the IDs that the snapshot shows."""
        user = place[0]
        if cold:
            self.told[place] = set()
        told = self.told.setdefault(place, set())
        self.online.append(place)
        shown = []
        for call in self.calls.values():
            if user != call.inviter and user not in call.status:
                continue
            if not call.online_only or call.name in told:
                shown.append(call.name)
            if call.status.get(user) != "pending" or call.online_only or call.name in told:
                continue
            if cold and call.silent and not call.group and user in call.told:
                told.add(call.name)
            elif not cold or not call.group or self.now_ms - call.opened_ms <= COLD_GROUP_MS:
                self.hear(place, call, self.opening(call))
        return shown


class Run:
    """One history: does each step to the hub and to the model, and compares."""

    def __init__(self, hub: Hub, clock: VirtualClock, seed: int) -> None:
        self.hub = hub
        self.clock = clock
        self.chance = random.Random(seed)
        self.model = Model(clock.now_ms())
        self.sessions: dict[Place, Session] = {}
        self.ears: dict[Place, Ear] = {}
        self.names: list[str] = ["no-such-id"]

    async def code(self, call: Any) -> tuple[int, Any]:
        try:
            return 0, await call
        except SignalingError as error:
            return error.code, None

    def actor(self, user: str) -> tuple[Any, Place | None]:
        """A session of the user, or the server for them."""
        places = [place for place in self.model.online if place[0] == user]
        if places and self.chance.random() < 0.8:
            place = self.chance.choice(places)
            return self.sessions[place].signaling, place
        return self.hub.acting_as(user).signaling, None

    async def invite(self) -> None:
        chance, model = self.chance, self.model
        user = chance.choice(USERS)
        signaling, acting = self.actor(user)
        group = chance.choice(["", "", *model.members])
        if group and user not in model.members[group]:
            return
        others = [name for name in (model.members[group] if group else USERS) if name != user]
        users = chance.sample(others, chance.randint(0 if group else 1, len(others)))
        # No two deadlines fall into the same millisecond: either order would be right.
        due = {call.due_ms for call in model.calls.values()}
        ms = next(
            ms for ms in iter(lambda: chance.choice([chance.randint(1, 50_000), 0]), None)
            if model.now_ms + (ms or LIFETIME_MS) not in due
        )  # fmt: skip
        options = {"timeout": ms / 1000, "online_user_only": chance.random() < 0.25}
        data, parties = str(chance.random()), bool(group) and chance.random() < 0.4
        if group:
            notify = "parties" if parties else "members"
            name = await signaling.invite_in_group(group, users, data, notify=notify, **options)
        else:
            name = await signaling.invite(users[0] if len(users) == 1 else users, data, **options)
        call = Call(
            name, user, group, dict.fromkeys(users, "pending"), data, model.now_ms,
            model.now_ms + (ms or LIFETIME_MS), ms == 0, options["online_user_only"], parties,
        )  # fmt: skip
        model.opened(call, acting)
        self.names.append(name)

    async def operate(self) -> None:
        kind = self.chance.choice(["accept", "accept", "reject", "cancel", "modify"])
        name = self.chance.choice(self.names[-12:])
        user = self.chance.choice(USERS)
        signaling, acting = self.actor(user)
        data = str(self.chance.random())
        operation = getattr(signaling, "modify_invitation" if kind == "modify" else kind)
        expected = self.model.refusal(kind, name, user)
        assert (await self.code(operation(name, data)))[0] == expected, (kind, name, user)
        if not expected:
            self.model.operate(kind, name, user, data, acting)

    async def change_group(self) -> None:
        groups, model, chance = self.hub.groups, self.model, self.chance
        group = chance.choice(GROUPS)
        users = chance.sample(USERS, chance.randint(1, 2))
        if group not in model.members:
            await groups.put(group, USERS)
            model.members[group] = list(USERS)
        elif chance.random() < 0.1:
            await groups.dismiss(group)
            model.dismiss(group)
        elif chance.random() < 0.5:
            await groups.add(group, users)
            model.members[group] += [user for user in users if user not in model.members[group]]
        else:
            await groups.remove(group, users)
            model.remove(group, [user for user in users if user in model.members[group]])

    async def come_or_go(self) -> None:
        await self.clock.settle()  # what is under way at a logout is another test's business
        place = self.chance.choice(USERS), self.chance.choice(DEVICES)
        if place in self.model.online and self.chance.random() < 0.7:
            await self.sessions[place].logout()
            self.model.online.remove(place)
            return
        if place in self.model.online:
            self.model.online.remove(place)
        cold = self.chance.random() < 0.4
        self.ears.setdefault(place, Ear())
        self.sessions[place] = session = await self.hub.login(
            *place, start="cold" if cold else "hot", listener=self.ears[place]
        )
        assert [info.invite_id for info in session.snapshot.open] == self.model.login(place, cold)

    async def step(self) -> None:
        steps = [self.invite, self.operate, self.change_group, self.come_or_go]
        await self.chance.choices(steps, [30, 45, 6, 12])[0]()
        if self.chance.random() < 0.5:
            await self.clock.settle()
        if self.chance.random() < 0.3:
            ms = self.chance.choice([0, 1, 900, self.chance.randint(0, 20_000)])
            await self.clock.advance(ms / 1000)
            self.model.advance(self.model.now_ms + ms)

    async def compare(self) -> None:
        await self.clock.settle()
        for place, ear in self.ears.items():
            assert ear.take() == self.model.heard.pop(place, []), place
        for name in self.names[-20:]:
            found = await self.hub.invitation(name)
            call = self.model.calls.get(name)
            assert (found is not None and found.state == "open") == (call is not None), name
            if found is not None and call is not None:
                assert (found.statuses, found.data) == (call.status, call.data)
        for user in USERS:
            pending = [call.name for call in self.model.calls.values() if user in call.pending]
            assert [info.invite_id for info in await self.hub.pending(user)] == pending


@pytest.mark.parametrize("seed", range(24))
@pytest.mark.parametrize("limits", [Limits(lifetime_s=LIFETIME_MS / 1000)], ids=["short life"])
async def test_a_random_history_is_as_the_model_says(
    hub: Hub, clock: VirtualClock, limits: Limits, seed: int
) -> None:
    run = Run(hub, clock, seed)
    for number in range(400):
        await run.step()
        if number % 4 == 3:
            await run.compare()
            hub.shard.machine.check()
