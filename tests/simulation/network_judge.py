"""What must be so in a network world: of each frame and answer at once, of all in quiet moments."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import orjson
from simulation.client_acts import EFFECTS, USERS, Called
from simulation.clients import Client, Heard
from simulation.heard import words

from pysignal import SignalingEvent

if TYPE_CHECKING:
    from simulation.network_world import Life, NetworkWorld
    from simulation.wires import End

# Refusals that are worth a retry, and so are not kept for one.
NOT_KEPT = (6012, 7008)
NOT_LOGGED_IN, UNKNOWN = 6014, 6012

# Requests that change something: asked twice, they give the same.
KEPT = {*EFFECTS}


class Watched:
    """Watches every frame of a world.

    Args:
        world: whose network it is.
    """

    def __init__(self, world: NetworkWorld) -> None:
        self.world = world
        self.asked: dict[Any, dict[int, str]] = {}  # number and method, by connection
        self.answered: dict[Any, set[int]] = {}
        network = world.network
        network.sent, network.delivered, network.closed = self.sent, self.delivered, self.closed
        network.broken = world.broken.append

    def client_of(self, end: End) -> Client:
        """Whose connection it is."""
        process = end.link.client.process
        return next(client for client in self.world.clients if client.process is process)

    def closed(self, end: End, code: int) -> None:
        """Note a close."""
        self.world.trace.note(end.process.name, f"closes {end.link} with {code}")

    def sent(self, end: End, frame: bytes) -> None:
        """Look at a frame as it leaves."""
        for message in _messages(frame):
            if not end.is_client:
                self._answer_leaves(end, message)
                continue
            data = (message.get("params") or {}).get("data")
            if data:
                self.client_of(end).numbers.setdefault(data, set()).add(message["id"])

    def _answer_leaves(self, end: End, message: dict[str, Any]) -> None:
        if "method" in message:
            return
        with self.world.noting():
            asked = self.asked.get(end.link, {})
            answered = self.answered.setdefault(end.link, set())
            number = message["id"]
            assert number in asked, f"{end.link}: an answer to nothing: {message}"
            assert number not in answered, f"{end.link}: answered twice: {message}"
            answered.add(number)

    def delivered(self, end: End, text: str) -> None:
        """Look at a frame as it arrives."""
        for message in _messages(text):
            if not end.is_client:
                if "id" in message:
                    asked = self.asked.setdefault(end.link, {})
                    with self.world.noting():
                        assert message["id"] not in asked, f"{end.link} asks twice: {message}"
                    asked[message["id"]] = message["method"]
            elif "method" not in message and message["id"]:
                self._answer_arrives(end, message)

    def _answer_arrives(self, end: End, message: dict[str, Any]) -> None:
        """The answers to one request are one, over all connections."""
        client, number = self.client_of(end), message["id"]
        before = client.answers.setdefault(number, message)
        client.answered_ns.setdefault(number, self.world.loop.now_ns)
        method = self.asked[end.link].get(number)
        code = before.get("error", {}).get("code")
        if method not in KEPT or code in NOT_KEPT or self.world.journal is None:
            return
        with self.world.noting():
            assert message == before, f"{client}: {method} gave {before}, then {message}"

    @staticmethod
    def judge_call(world: NetworkWorld, called: Called) -> None:
        """A call says 6012 where it was sent and not answered, and 6014 where nothing was."""
        client = called.client
        took_ns = world.loop.now_ns - called.began_ns
        assert took_ns <= client.timeout_s * 1e9 + 1, f"{called} took {took_ns / 1e9} s"
        if called.result != "refused":
            return
        numbers = client.numbers.get(called.data, set())
        answers = [client.answers[n] for n in numbers if n in client.answers]
        codes = [answer.get("error", {}).get("code") for answer in answers]
        if called.value == UNKNOWN:
            # What comes in the very moment of the timeout may come behind it.
            now_ns = world.loop.now_ns
            unanswered = [n for n in numbers if client.answered_ns.get(n, now_ns) == now_ns]
            assert unanswered or not numbers, f"{called}: unknown, though {answers} came"
        elif called.value != NOT_LOGGED_IN:
            assert called.value in codes, f"{called}: {called.value}, though {answers} came"


def judge_calls(world: NetworkWorld) -> None:
    """Every call has its answer, and every answer is true.

    Raises:
        AssertionError: one is not.
    """
    waits = [
        called for called in world.calls if called.result is None and not called.client.is_gone
    ]
    assert not waits, f"never resolved: {waits}"
    twice = {key: count for key, count in world.effects.items() if count > 1 and key[2][:1] == "d"}
    # A deadline and a lifetime tell the data of the invitation again.
    twice = {key: count for key, count in twice.items() if key[1] in EFFECTS.values()}
    assert not twice, f"took effect twice: {twice}"
    done: Counter[str] = Counter()
    for (_, kind, data), count in world.effects.items():
        done[f"{kind} {data}"] += count
    for called in world.calls:
        effects = done[f"{EFFECTS[called.method]} {called.data}"]
        if called.result == "answered":
            _judge_acknowledged(world, called, effects)
        elif called.result == "refused" and called.value != UNKNOWN:
            if world.journal is None and world.lives > 1:
                continue  # a new server that knows of nothing refuses what the old one has done
            others = [c for c in world.calls if c.data == called.data and c is not called]
            assert not effects or others, f"{called}: refused {called.value}, and took effect"


def _judge_acknowledged(world: NetworkWorld, called: Called, effects: int) -> None:
    """What was acknowledged has happened, and no crash has undone it."""
    life = world.life
    assert life is not None
    if world.journal is None and called.life != life.number:
        return  # nothing was kept, and nobody said that it would be
    info = life.hub.shard.machine.info(called.invite_id)
    assert info is not None, f"{called} was acknowledged, and is lost"
    user = called.client.user
    if called.method == "accept":
        assert info.statuses[user] == "accepted", f"{called} was acknowledged, and is lost"
    elif called.method == "reject":
        assert info.statuses[user] == "rejected", f"{called} was acknowledged, and is lost"
    elif called.method == "cancel":
        assert info.state == "cancelled", f"{called} was acknowledged, and is lost"
    elif called.method == "modify_invitation":
        assert info.data_version > 1, f"{called} was acknowledged, and is lost"
    if world.journal is None or not world.lives > 1:
        assert effects == 1, f"{called} was acknowledged, and happened {effects} times"


def judge_login(life: Life, session: Any) -> None:
    """What a login says of invitations is how they stand."""
    machine = life.hub.shard.machine
    shown = {info.invite_id: info for info in session.snapshot.open}
    for invite_id, info in shown.items():
        now = machine.info(invite_id)
        assert now is not None, f"{invite_id} is shown, and forgotten"
        assert now.state == "open", f"{invite_id} is shown as open"
        assert (now.statuses, now.data) == (info.statuses, info.data), f"{invite_id} is shown wrong"
    for invite_id in machine.open_ids_of(session.user_id):
        now = machine.info(invite_id)
        assert invite_id in shown or now.online_only, f"{invite_id} is open, and not shown"


def judge_life(world: NetworkWorld, until: int) -> None:
    """Who is connected was told everything, and every request was answered (L2, L3).

    Args:
        world: calm.
        until: up to which commit all has had the time to arrive.

    Raises:
        AssertionError: somebody was not.
    """
    life = world.life
    assert life is not None
    for client in world.clients:
        if client.is_gone or not client.session.online:
            continue
        session = life.server.sessions.get((client.user, client.device))
        if not client.stays and (session is None or session.connection is None):
            continue  # its token has just expired
        assert session is not None, f"{client} is connected, and the server has no session"
        assert session.client == client.client_name, f"{client} is connected, and was replaced"
        assert session.connection is not None, f"{client} is connected, and the server knows none"
        if not client.session.recovered:
            _judge_snapshot(client, session)
        if world.loop.now_ns - client.came_ns > 2e9:
            _judge_told(life, client, life.entered[session], until)
    for link in world.network.links:
        if link.client.is_over or link.server.is_over or link.server.is_closing:
            continue
        asked = world.watched.asked.get(link, {})
        answered = world.watched.answered.get(link, set())
        left = {n: method for n, method in asked.items() if n not in answered}
        left = {n: method for n, method in left.items() if method != "outcome"}
        assert not left, f"{link}: never answered: {left}"
    for connection in life.server.connections:
        session = connection.session
        if session is None or connection._is_closed:
            continue  # it is about to log in, or to end
        kept = life.server.sessions.get((session.user_id, session.device_id))
        assert kept is session, f"a connection has a session that is none: {session}"


def _judge_snapshot(client: Client, session: Any) -> None:
    """The client shows what the server has found."""
    for name in ("open", "ended"):
        found = {i.invite_id: _shown(i) for i in getattr(session.snapshot, name)}
        told = {i.invite_id: _shown(i) for i in getattr(client.session.snapshot, name)}
        assert told == found, f"{client}: its snapshot has {told}, not {found}"


def _shown(info: Any) -> tuple[Any, ...]:
    return info.state, info.statuses, info.data, info.data_version, info.group_id, info.inviter


def _judge_told(life: Life, client: Client, since: int, until: int) -> None:
    world = life.world
    due: dict[tuple[int, int], SignalingEvent] = {}
    for events in life.truth.values():
        for event in events:
            at = world.life_at(event.time), event.position
            if since < event.position <= until and _hears(client, event):
                due[at] = event
    missed = [words(event) for at, event in due.items() if at not in client.heard.positions]
    if client.style != "reader":  # which reads from a moment after its login on
        assert not missed, f"{client} was not told: {missed}"
    observed = life.observers.get(client.user)
    if observed is not None and client.style != "reader":
        _judge_as_observed(client.heard, observed, world.life_at(world.starts_ms[-1]), since, until)


def _judge_as_observed(heard: Heard, observed: Heard, life: int, since: int, until: int) -> None:
    """A session far away hears what one in the server hears, but for what it did itself."""
    for at in observed.positions:
        if at[0] == life and since < at[1] <= until and at not in heard.positions:
            event = observed.events[at]
            by_itself = (event.actor, event.device) == (heard.user, heard.device)
            assert by_itself, f"{heard.who} was not told: {words(event)}"
    for at in heard.positions:
        if at[0] == life and at[1] > observed.since and at not in observed.positions:
            raise AssertionError(f"{heard.who} was told what is not for {heard.user}: {at}")
    ours, theirs = heard.renames[heard.renames_from :], observed.renames
    common = [name for name in ours if name in set(theirs)]
    if common:
        assert common == theirs[theirs.index(common[0]) :][: len(common)], (
            f"{heard.who} has heard of the names {common}, and not of all of {theirs}"
        )


def _hears(client: Client, event: SignalingEvent) -> bool:
    """Whether a client has to hear an event, as far as that is plain without a model of groups."""
    if event.reason == "lifetime":
        return False
    if (event.actor, event.device) == (client.user, client.device):
        return False
    if client.user == event.inviter or client.user in event.invitees:
        return not event.group_id or client.user in USERS
    return bool(event.group_id) and client.user in USERS and not event.parties_only


def judge_end(world: NetworkWorld, life: Life) -> None:
    """Nobody is there: nothing is kept for anybody.

    Raises:
        AssertionError: something is left.
    """
    stats = life.hub.stats()
    assert stats["open"] == 0, "invitations are open long after their deadlines"
    assert not life.server.sessions, f"sessions are left: {life.server.sessions}"
    assert not life.server.connections, f"connections are left: {life.server.connections}"
    assert not world.network.links, f"connections are left: {list(world.network.links)}"
    for client in world.clients:
        if not client.is_gone:
            assert not len(client.session._calls), f"{client} has calls left"


def _messages(frame: bytes | str) -> list[dict[str, Any]]:
    read = orjson.loads(frame)
    return read if isinstance(read, list) else [read]
