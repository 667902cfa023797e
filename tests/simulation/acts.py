"""What people of a simulation do: calls of every kind, at random, some of them again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from pysignal import Hub, Invitation, SignalingError, SignalingEvent
from pysignal.errors import Remedy

if TYPE_CHECKING:
    from simulation.people import Place

STRANGERS = ["cy", "dee"]  # who come to groups and leave them
ACTS = (
    "come come come come invite invite invite group group accept reject cancel modify "
    "go retry ask outcome follow change server"
).split()


class Acts:
    """The part of a world that acts; see `World` for what it stands on."""

    rng: random.Random
    hub: Hub
    truth: dict[str, list[SignalingEvent]]
    openings: set[str]
    consents: set[tuple[str, str]]
    results: dict[str, str]
    begin: Callable[..., None]
    follow: Callable[[str], None]
    _last_request: tuple[str, Callable[[], Coroutine[Any, Any, Any]]] | None = None
    _requests = 0

    def act(self, place: Place) -> None:
        """Begin something drawn at random."""
        name = self.rng.choice(ACTS)
        invite_id = self.rng.choice(sorted(self.truth)[-12:]) if self.truth else "none"
        match name:
            case "come":
                start = self.rng.choice(["hot", "cold"])
                self.begin(f"{place} comes {start}", place.come(start))
            case "go":
                self.begin(f"{place} goes", place.go())
            case "retry":
                self._retry()
            case "change":
                self.begin("server changes g", self._change_group())
            case "server":
                self.begin("server cancels", self.hub.cancel_by_server(invite_id, "enough"))
            case _:
                self._call(place, name, invite_id)

    def react(self, place: Place, event: SignalingEvent) -> None:
        """Do something about an event now and then."""
        name = self.rng.choice(["accept", "reject", "ask", "outcome", "go", *[""] * 9])
        if name == "go":
            self.begin(f"{place} goes", place.go())
        elif name:
            self._call(place, name, event.invite_id)

    def _actor(self, place: Place) -> Any:
        """The session of a place, or the server in the name of its user."""
        if place.session is not None and self.rng.random() < 0.8:
            return place.session
        return self.hub.acting_as(place.user)

    def _call(self, place: Place, name: str, invite_id: str) -> None:
        if not self.hub.is_open:
            return
        actor = self._actor(place)
        label = f"{actor.user_id}/{getattr(actor, 'device_id', 'server')} {name} {invite_id}"
        match name:
            case "ask":
                self.begin(label, self._ask(place.user, invite_id))
            case "outcome":
                self.begin(label, self._outcome(actor, invite_id))
            case "follow":
                self.begin(label, self._read(actor, invite_id))
            case _:
                act = self._operation(actor, name, invite_id)
                self.begin(label, self._once(label, actor, act))

    def _operation(self, actor: Any, name: str, invite_id: str) -> Callable[..., Any]:
        """One operation with its arguments; a request ID is still to come."""
        rng, signaling = self.rng, actor.signaling
        data = str(rng.randrange(1000))
        if name in ("invite", "group"):
            options = {
                "timeout": rng.choice([0, 0.001, 1, 1, 7.5, 30]),
                "online_user_only": rng.random() < 0.2,
            }
            others = [user for user in ("amy", "bob", "cy", "dee") if user != actor.user_id]
            users = rng.sample(others, rng.randint(1, 3))
            if name == "invite":
                return lambda **more: signaling.invite(users, data, **options, **more)
            notify = rng.choice(["members", "parties"])
            return lambda **more: signaling.invite_in_group(
                "g", users, data, notify=notify, **options, **more
            )
        if name == "accept":
            self.consents.add((actor.user_id, invite_id))
        operation = getattr(signaling, "modify_invitation" if name == "modify" else name)
        return lambda **more: operation(invite_id, data, **more)

    async def _once(self, label: str, actor: Any, act: Callable[..., Any]) -> Any:
        """Call an operation, perhaps with a request ID, to be called again later."""
        if self.rng.random() < 0.5:
            return self._opened(await act())
        self._requests += 1
        request_id = f"request {self._requests}"

        async def again() -> Any:
            try:
                result = await act(request_id=request_id)
            except SignalingError as error:
                if error.remedy is not Remedy.RETRY and error.code not in (6013, 6014):
                    self._compare(request_id, f"refused {error.code}")
                raise
            self._compare(request_id, f"answered {result}")
            return self._opened(result)

        self._last_request = label, again
        return await again()

    def _compare(self, request_id: str, result: str) -> None:
        before = self.results.setdefault(request_id, result)
        assert before == result, f"{request_id} gave {before}, then {result}"

    def _opened(self, result: Any) -> Any:
        if result is not None:
            self.openings.add(str(result))
            self.follow(str(result))
        return result

    def _retry(self) -> None:
        if self._last_request is not None:
            label, again = self._last_request
            self.begin(f"{label}, again", again())

    async def _ask(self, user: str, invite_id: str) -> str:
        info = await self.hub.invitation(invite_id)
        pending = [info.invite_id for info in await self.hub.pending(user)]
        return f"{info and info.statuses} {pending}"

    async def _outcome(self, actor: Any, invite_id: str) -> str:
        outcome = await Invitation(invite_id, actor).outcome()
        return f"{outcome.state} {outcome.reason} {outcome.statuses}"

    async def _read(self, actor: Any, invite_id: str) -> str:
        kinds = []
        async for event in Invitation(invite_id, actor):
            kinds.append(event.kind)
            await asyncio.sleep(self.rng.choice([0, 0.2]))
        return str(kinds)

    async def _change_group(self) -> None:
        users = self.rng.sample(STRANGERS, self.rng.randint(1, 2))
        change = self.hub.groups.add if self.rng.random() < 0.5 else self.hub.groups.remove
        await change("g", users)
