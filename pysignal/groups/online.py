"""Which sessions are online of each group's members."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pysignal.session import Session


class GroupsOnline:
    """The sessions that are online of each group's members.

    They are kept up with every login, logout and change of a group: a group may have very many
    members of whom few are online. A list that was given out never changes.
    """

    def __init__(self) -> None:
        self._sessions: dict[str, dict[Session, None]] = {}  # of groups that anybody is online of
        self._lists: dict[str, list[Session]] = {}  # the same, as given out since it changed

    def sessions(self, group_id: str) -> list[Session]:
        """Return the sessions of a group."""
        sessions = self._lists.get(group_id)
        if sessions is None:
            sessions = list(self._sessions.get(group_id, ()))
            if sessions:
                self._lists[group_id] = sessions
        return sessions

    def among(self, group_id: str, sessions: list[Session]) -> list[Session]:
        """Return those of some sessions that are a group's."""
        online = self._sessions.get(group_id, {})
        return [session for session in sessions if session in online]

    def enter(self, group_id: str, sessions: list[Session]) -> None:
        """Add sessions of members."""
        online = self._sessions.get(group_id)
        if online is not None:
            online.update(dict.fromkeys(sessions))
            self._lists.pop(group_id, None)
        elif sessions:
            self._sessions[group_id] = dict.fromkeys(sessions)

    def leave(self, group_id: str, sessions: list[Session]) -> None:
        """Take sessions out; who is not in is left out."""
        online = self._sessions.get(group_id)
        if online is None:
            return
        for session in sessions:
            online.pop(session, None)
        self._lists.pop(group_id, None)
        if not online:
            del self._sessions[group_id]

    def dismiss(self, group_id: str) -> None:
        """Forget a group."""
        self._sessions.pop(group_id, None)
        self._lists.pop(group_id, None)
