"""Scenarios: what a file says, checked in full before anything runs.

A scenario is written once and run by SDKs in many languages, so a slip in it must not show as a bug
of whoever runs it: a misspelt key, an ID that nothing has saved, a login of a session that is
online are told with file and step before the first call. What a call is given isn't judged, as
giving wrong things is what many scenarios are about.

The format is described in README.md beside this file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NoReturn, cast

Start = Literal["cold", "hot"]
Callback = dict[str, Any]

# What can be listened to, and the one thing that is when a scenario doesn't say.
LISTEN: Final = ("signaling", "group", "message")
LISTEN_DEFAULT: Final = frozenset({"signaling"})

GROUP_TYPES: Final = ("Work", "Public", "Meeting", "AVChatRoom", "Community")

# The arguments of each operation: those that it must be given, and those that have a default.
OPERATIONS: Final[dict[str, tuple[frozenset[str], frozenset[str]]]] = {
    name: (frozenset(required.split()), frozenset(optional.split()))
    for name, required, optional in (
        ("invite", "invitee", "data timeout online_user_only"),
        ("invite_in_group", "group_id invitee_list", "data timeout online_user_only notify"),
        ("accept", "invite_id", "data"),
        ("reject", "invite_id", "data"),
        ("cancel", "invite_id", "data"),
        ("modify_invitation", "invite_id data", ""),
        ("add_invited_signaling", "invite_id", ""),
        ("quit_group", "group_id", ""),
        ("dismiss_group", "group_id", ""),
        ("kick_group_member", "group_id user", ""),
    )
}
OPENING: Final = frozenset({"invite", "invite_in_group"})

_KINDS: Final = ("do", "advance", "disconnect", "login", "expect")


class Malformed(Exception):
    """A file that is no scenario: which file, which step (from 1, 0 for none), what is wrong."""

    def __init__(self, path: Path, step: int, problem: str) -> None:
        self.path, self.step, self.problem = path, step, problem
        super().__init__(f"{path}: {f'step {step}: ' if step else ''}{problem}")


@dataclass(frozen=True, slots=True)
class Group:
    """A group that exists at time 0; `members` joined in this order, after the owner."""

    group_id: str
    group_type: str
    owner: str
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Do:
    """A call. `save` names what it returns; with `error` it must be refused with that code."""

    op: str
    by: str
    arguments: dict[str, Any]
    save: str | None
    error: int | None


@dataclass(frozen=True, slots=True)
class Advance:
    """Time goes on by so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Disconnect:
    """A session ends, without a way to resume it."""

    session: str


@dataclass(frozen=True, slots=True)
class Login:
    """A session that was disconnected comes back."""

    session: str
    start: Start


@dataclass(frozen=True, slots=True)
class Expect:
    """What each session has heard since the last time; who is not named has heard nothing."""

    heard: dict[str, list[Callback]]


Step = Do | Advance | Disconnect | Login | Expect


@dataclass(frozen=True, slots=True)
class Scenario:
    """One scenario, as its file has it.

    Attributes:
        path: the file.
        name: what it is called.
        about: what it shows, one sentence.
        sessions: `bob` for user bob's device 1, `bob#2` for his device 2; see `user_and_device`.
        groups: those that exist at time 0.
        listen: which callbacks count, some of `LISTEN`.
        steps: in order; the first one is step 1.
        sources: each step as the file has it, for messages.
    """

    path: Path
    name: str
    about: str
    sessions: tuple[str, ...]
    groups: tuple[Group, ...]
    listen: frozenset[str]
    steps: tuple[Step, ...]
    sources: tuple[Mapping[str, Any], ...]


def user_and_device(session: str) -> tuple[str, str]:
    """Split the name of a session: `bob#2` is device 2 of bob, `bob` is his device 1."""
    user, mark, device = session.rpartition("#")
    return (user, device) if mark and user and device else (session, "1")


def find(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield the scenario files among `paths`; those in and below a folder by name.

    Raises:
        FileNotFoundError: a path that does not exist, or a folder without a scenario.
    """
    for path in paths:
        if not path.is_dir():
            if not path.exists():
                raise FileNotFoundError(f"{path}: no such file or folder")
            yield path
            continue
        files = sorted(path.rglob("*.json"))
        if not files:
            raise FileNotFoundError(f"{path}: the folder holds no scenario, that is no *.json")
        yield from files


def load(path: Path) -> Scenario:
    """Read and check one file.

    Raises:
        Malformed: it is no scenario.
    """
    try:
        raw = json.loads(
            path.read_bytes(), object_pairs_hook=_unique, parse_constant=_refuse_constant
        )
    except (OSError, ValueError, RecursionError) as error:
        raise Malformed(path, 0, f"cannot be read as JSON: {error}") from None
    return _Reader(path).scenario(raw)


class _Reader:
    """Takes one file's content apart. `_step` is where it is, for the error."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._step = 0
        self._online: dict[str, bool] = {}
        self._saved: set[str] = set()

    def scenario(self, raw: object) -> Scenario:
        """Check all of a file."""
        top = self._mapping(raw, "a scenario")
        self._keys(top, {"name", "sessions", "steps"}, {"about", "groups", "listen"})
        name = self._text(top["name"], "name")
        sessions = self._sessions(top["sessions"])
        self._online = dict.fromkeys(sessions, True)
        groups = tuple(
            self._group(group_id, group)
            for group_id, group in self._mapping(top.get("groups", {}), "groups").items()
        )
        listen = self._texts(top.get("listen", list(LISTEN_DEFAULT)), "listen")
        for kind in listen:
            if kind not in LISTEN:
                self._fail(f"listen: {kind!r} is none of {', '.join(LISTEN)}")
        steps = []
        for source in self._list(top["steps"], "steps"):
            self._step += 1
            steps.append(self._one_step(self._mapping(source, "a step")))
        return Scenario(
            self._path,
            name,
            self._text(top.get("about", " "), "about").strip(),
            sessions,
            groups,
            frozenset(listen),
            tuple(steps),
            tuple(top["steps"]),
        )

    def _sessions(self, raw: object) -> tuple[str, ...]:
        sessions = self._texts(raw, "sessions")
        if not sessions:
            self._fail("sessions: name at least one")
        if len({user_and_device(session) for session in sessions}) < len(sessions):
            self._fail("sessions: the same device of a user is named twice")
        return sessions

    def _group(self, group_id: str, raw: object) -> Group:
        where = f"group {group_id!r}"
        group = self._mapping(raw, where)
        self._keys(group, {"type", "owner", "members"}, set(), where)
        if group["type"] not in GROUP_TYPES:
            self._fail(f"{where}: type {group['type']!r} is none of {', '.join(GROUP_TYPES)}")
        owner = self._text(group["owner"], f"{where}: owner")
        members = self._texts(group["members"], f"{where}: members")
        if owner in members or len(set(members)) < len(members):
            self._fail(f"{where}: members names each user once, and leaves the owner out")
        return Group(group_id, group["type"], owner, members)

    # -- steps -------------------------------------------------------------------------------------

    def _one_step(self, raw: dict[str, Any]) -> Step:
        kinds = [kind for kind in _KINDS if kind in raw]
        if len(kinds) != 1:
            self._fail(f"a step has exactly one of the keys {', '.join(_KINDS)}: {_brief(raw)}")
        match kinds[0]:
            case "do":
                return self._do(raw)
            case "advance":
                return self._advance(raw)
            case "disconnect":
                self._keys(raw, {"disconnect"}, set())
                session = self._session(raw["disconnect"], "disconnect")
                if not self._online[session]:
                    self._fail(f"disconnect: session {session!r} is not logged in")
                self._online[session] = False
                return Disconnect(session)
            case "login":
                return self._login(raw)
            case _:
                return self._expect(raw)

    def _do(self, raw: dict[str, Any]) -> Do:
        op = raw["do"]
        if not isinstance(op, str) or op not in OPERATIONS:
            self._fail(f"do: {_brief(op)} is none of {', '.join(OPERATIONS)}")
        required, optional = OPERATIONS[op]
        further = {"error", "save"} if op in OPENING else {"error"}
        self._keys(raw, {"do", "by", *required}, optional | further, op)
        by = self._session(raw["by"], "by")
        error = raw.get("error")
        if "error" in raw and (not isinstance(error, int) or isinstance(error, bool)):
            self._fail(f"error: a code, that is a whole number, not {_brief(error)}")
        arguments = {key: raw[key] for key in raw if key in required or key in optional}
        self._check_saved(arguments)
        save = None
        if "save" in raw:
            if error is not None:
                self._fail("save and error: a call that is refused returns nothing to save")
            save = self._text(raw["save"], "save")
            self._saved.add(save)
        return Do(op, by, arguments, save, error)

    def _advance(self, raw: dict[str, Any]) -> Advance:
        self._keys(raw, {"advance"}, set())
        seconds = raw["advance"]
        if (
            isinstance(seconds, bool)
            or not isinstance(seconds, int | float)
            or not 0 <= seconds < math.inf
        ):
            self._fail(f"advance: seconds, a finite number of 0 or more, not {_brief(seconds)}")
        return Advance(seconds)

    def _login(self, raw: dict[str, Any]) -> Login:
        self._keys(raw, {"login"}, {"start"})
        session = self._session(raw["login"], "login")
        start = raw.get("start", "cold")
        if start not in ("cold", "hot"):
            self._fail(f'start: "cold" or "hot", not {_brief(start)}')
        if self._online[session]:
            self._fail(f"login: session {session!r} is logged in; a login follows a disconnect")
        self._online[session] = True
        return Login(session, cast("Start", start))

    def _expect(self, raw: dict[str, Any]) -> Expect:
        self._keys(raw, {"expect"}, set())
        heard = {}
        for name, callbacks in self._mapping(raw["expect"], "expect").items():
            session = self._session(name, "expect")
            heard[session] = [
                self._callback(callback, session)
                for callback in self._list(callbacks, f"expect: {session}")
            ]
        return Expect(heard)

    def _callback(self, raw: object, session: str) -> Callback:
        callback = self._mapping(raw, f"expect: a callback of {session}")
        self._text(callback.get("on"), f"expect: {session}: on")
        self._check_saved(callback)
        return callback

    def _check_saved(self, parameters: Mapping[str, Any]) -> None:
        """Refuse an invite ID that stands for a name which no step before has saved."""
        name = parameters.get("invite_id")
        if isinstance(name, str) and name.startswith("$") and name[1:] not in self._saved:
            self._fail(f"invite_id: no step before this one saves {_brief(name)}")

    # -- pieces ------------------------------------------------------------------------------------

    def _keys(
        self, raw: Mapping[str, Any], required: set[str], optional: Iterable[str], where: str = ""
    ) -> None:
        place = f"{where}: " if where else ""
        for key in required:
            if key not in raw:
                self._fail(f"{place}the key {key!r} is missing")
        for key in raw:
            if key not in required and key not in optional:
                known = ", ".join(sorted({*required, *optional}))
                self._fail(f"{place}unknown key {key!r}; known are {known}")

    def _session(self, raw: object, where: str) -> str:
        name = self._text(raw, where)
        if name not in self._online:
            self._fail(f"{where}: {_brief(name)} is none of the scenario's sessions")
        return name

    def _mapping(self, raw: object, where: str) -> dict[str, Any]:
        if not isinstance(raw, dict):
            self._fail(f"{where}: an object, not {_brief(raw)}")
        return raw

    def _list(self, raw: object, where: str) -> list[Any]:
        if not isinstance(raw, list):
            self._fail(f"{where}: an array, not {_brief(raw)}")
        return raw

    def _text(self, raw: object, where: str) -> str:
        if not isinstance(raw, str) or not raw:
            self._fail(f"{where}: a string that is not empty, not {_brief(raw)}")
        return raw

    def _texts(self, raw: object, where: str) -> tuple[str, ...]:
        return tuple(self._text(item, where) for item in self._list(raw, where))

    def _fail(self, problem: str) -> NoReturn:
        raise Malformed(self._path, self._step, problem)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of JSON, in which Python would let a second key of the same name win."""
    made = dict(pairs)
    if len(made) < len(pairs):
        twice = next(key for key, _ in pairs if [other for other, _ in pairs].count(key) > 1)
        raise ValueError(f"the key {twice!r} stands twice in one object")
    return made


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON")


def _brief(value: object) -> str:
    shown = json.dumps(value)
    return shown if len(shown) <= 80 else shown[:80] + "…"
