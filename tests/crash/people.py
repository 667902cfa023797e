"""People who use a call server at random, and tell what they asked and what they heard.

Every line leaves before its author goes on: what was asked before it is carried out, what was
answered before anything else is done with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count
from random import Random
from typing import Any

from pysignal import Hub, Session, SignalingError, SignalingEvent, SignalingListener

USERS = [f"u{number}" for number in range(6)]
DEVICES = ["phone", "tablet"]
GROUPS = ["g0", "g1"]
TIMEOUTS_S = [0.02, 0.02, 0.05, 0.1, 0.1, 0.3, 1, 3, 30, 30, 0]
PAUSE_S = 0.004

Tell = Callable[..., None]
Asked = tuple[int, str, str, dict[str, Any]]


class Listener(SignalingListener):
    """Tells what a session hears."""

    def __init__(self, tell: Tell, session: int) -> None:
        self._tell = tell
        self._session = session

    def on_receive_new_invitation(
        self, invite_id: str, inviter: str, group_id: str, invitee_list: list[str], data: str
    ) -> None:
        self._tell("rung", self._session, invite_id, inviter, data)

    def on_signaling_event(self, event: SignalingEvent) -> None:
        if event.replayed:
            return
        fields = "kind seq time expires_at ends reason"
        told = {name: getattr(event, name) for name in fields.split()}
        told["affected"] = list(event.affected)
        self._tell("heard", self._session, event.invite_id, told)


class People:
    """Everybody who uses a hub.

    Args:
        hub: open.
        tell: writes a line.
        rng: decides what they do.
        first: the number of the first thing that is asked.
        again: what is asked again first of all.
    """

    def __init__(self, hub: Hub, tell: Tell, rng: Random, first: int, again: list[Asked]) -> None:
        self._hub = hub
        self._tell = tell
        self._rng = rng
        self._numbers = count(first)
        self._again = again
        self._asked: list[Asked] = []
        self._online: dict[tuple[str, str], tuple[int, Session]] = {}
        self._calls: list[tuple[str, str, list[str]]] = []

    async def live(self) -> None:
        """Act until cancelled."""
        for user in USERS:
            for info in await self._hub.pending(user):
                self._calls.append((info.invite_id, info.inviter, info.invitee_list))
        await asyncio.gather(
            *(self._use(user) for user in USERS),
            *(self._rule(group_id) for group_id in GROUPS),
            *(self._repeat(asked) for asked in self._again),
        )

    async def _pause(self) -> None:
        await asyncio.sleep(self._rng.random() * PAUSE_S)

    # -- asking ------------------------------------------------------------------------------------

    async def _ask(self, op: str, user: str, details: dict[str, Any], number: int) -> Any:
        """Do something as a user, and tell what came of it."""
        self._tell("asked", number, op, user, details)
        return await self._answered(number, self._perform(op, user, details))

    async def _answered(self, number: int, call: Awaitable[Any]) -> Any:
        try:
            result = await call
        except SignalingError as error:
            self._tell("refused", number, error.code)
            return None
        self._tell("done", number, result)
        return result

    async def _repeat(self, asked: Asked) -> None:
        """Ask the same again, as one who has lost the answer."""
        first, op, user, details = asked
        number = next(self._numbers)
        self._tell("asked", number, "again", user, {"first": first})
        await self._answered(number, self._perform(op, user, details))

    async def _perform(self, op: str, user: str, details: dict[str, Any]) -> Any:
        devices = [device for device in DEVICES if (user, device) in self._online]
        by_server = not devices or self._rng.random() < 0.2
        if by_server:
            signaling = self._hub.acting_as(user).signaling
        else:
            signaling = self._online[user, self._rng.choice(devices)][1].signaling
        request_id = details["request_id"]
        if op == "invite":
            options = {"timeout": details["timeout"], "online_user_only": details["online_only"]}
            if not details["group_id"]:
                return await signaling.invite(
                    details["to"], details["data"], request_id=request_id, **options
                )
            return await signaling.invite_in_group(
                *(details["group_id"], details["to"], details["data"]),
                notify=details["notify"], request_id=request_id, **options,
            )  # fmt: skip
        method = getattr(signaling, op)
        return await method(details["invite_id"], details["data"], request_id=request_id)

    def _request_id(self, number: int) -> str | None:
        return f"request {number}" if self._rng.random() < 0.5 else None

    # -- users -------------------------------------------------------------------------------------

    async def _use(self, user: str) -> None:
        rng = self._rng
        while True:
            choice = rng.random()
            if choice < 0.12:
                await self._come(user)
            elif choice < 0.18:
                await self._go(user)
            elif choice < 0.24 and self._asked:
                await self._repeat(rng.choice(self._asked))
            elif choice < 0.3:
                await asyncio.gather(*(self._invite(user) for _ in range(rng.randint(2, 6))))
            elif choice < 0.6:
                await self._invite(user)
            else:
                await self._act(user)
            await self._pause()

    async def _come(self, user: str) -> None:
        rng = self._rng
        number, device = next(self._numbers), rng.choice(DEVICES)
        start = "hot" if rng.random() < 0.75 else "cold"
        session = self._hub.session(user, device)
        session.add_signaling_listener(Listener(self._tell, number))
        self._tell("asked", number, "login", user, {"device": device, "start": start})
        try:
            await session.login("hot" if start == "hot" else "cold")
        except SignalingError as error:
            self._tell("refused", number, error.code)
            return
        self._online[user, device] = number, session
        snapshot = session.snapshot
        names = [[info.invite_id for info in infos] for infos in (snapshot.open, snapshot.ended)]
        self._tell("done", number, names)

    async def _go(self, user: str) -> None:
        there = [device for device in DEVICES if (user, device) in self._online]
        if there:
            login, session = self._online.pop((user, self._rng.choice(there)))
            if session.online:
                await session.logout()
                self._tell("left", login)

    async def _invite(self, user: str) -> None:
        rng, number = self._rng, next(self._numbers)
        others = [other for other in USERS if other != user]
        group_id = rng.choice(GROUPS) if rng.random() < 0.25 else ""
        many = rng.random() < 0.35
        details = {
            "to": rng.sample(others, rng.randint(1, 4)) if many or group_id else rng.choice(others),
            "group_id": group_id,
            "data": f"{number}:" + "x" * (rng.randrange(2000) if rng.random() < 0.1 else 0),
            "timeout": rng.choice(TIMEOUTS_S),
            "online_only": rng.random() < 0.1,
            "notify": "members" if rng.random() < 0.7 else "parties",
            "request_id": self._request_id(number),
        }
        if details["request_id"]:
            self._asked.append((number, "invite", user, details))
        invite_id = await self._ask("invite", user, details, number)
        if invite_id is not None:
            to = details["to"]
            self._calls.append((str(invite_id), user, [to] if isinstance(to, str) else to))

    async def _act(self, user: str) -> None:
        """Answer, cancel or modify something; a few times what is not the user's to do."""
        rng = self._rng
        mine = [call for call in self._calls[-60:] if user in call[2] or user == call[1]]
        if not mine:
            return
        call = rng.choice(mine)
        invite_id, inviter, _ = call
        number = next(self._numbers)
        ops = ["cancel", "modify_invitation"] if user == inviter else ["accept", "reject"]
        op = rng.choice(ops if rng.random() < 0.95 else ["accept", "cancel"])
        details = {
            "invite_id": invite_id,
            "data": f"{number}:",
            "request_id": self._request_id(number),
        }
        if details["request_id"]:
            self._asked.append((number, op, user, details))
        await self._ask(op, user, details, number)
        if op != "modify_invitation" and rng.random() < 0.7 and call in self._calls:
            self._calls.remove(call)

    # -- groups ------------------------------------------------------------------------------------

    async def _rule(self, group_id: str) -> None:
        """Change the members of a group, one change after the other."""
        rng, groups = self._rng, self._hub.groups
        while True:
            number, choice = next(self._numbers), rng.random()
            users = rng.sample(USERS, rng.randint(1, 2))
            everybody = rng.sample(USERS, rng.randint(4, 6))
            op = "put" if choice < 0.3 else "add" if choice < 0.7 else "remove"
            if choice > 0.97:
                op = "dismiss"
            named = everybody if op == "put" else users
            self._tell("asked", number, op, "", {"group_id": group_id, "users": named})
            if op == "dismiss":
                await self._answered(number, groups.dismiss(group_id))
            else:
                await self._answered(number, getattr(groups, op)(group_id, named))
            await asyncio.sleep(rng.random() * 0.02)
