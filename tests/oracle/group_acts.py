"""The operations on groups, under the names and with the arguments of the real ones (SPEC §8)."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from oracle import parameters
from oracle.groups import Change, GroupsModel
from oracle.parameters import wrong

Place = tuple[str, str]
TEXTS = ("name", "introduction", "notification", "face_url")


class GroupActs:
    """The part of the model that changes groups: parameters first, then what `GroupsModel` says."""

    groups: GroupsModel

    def _require(self, by: Place) -> None:
        raise NotImplementedError

    def _once(
        self, by: Place, request_id: Any, arguments: Hashable, command: Callable[[], Any]
    ) -> Any:
        raise NotImplementedError

    def _change(self, change: Change, by: Place | None) -> Any:
        raise NotImplementedError

    def _do(self, by: Place, request_id: Any, call: Callable[..., Change], *args: Any) -> Any:
        named = (call.__name__, *(tuple(arg) if isinstance(arg, list) else arg for arg in args))
        return self._once(by, request_id, named, lambda: self._change(call(by[0], *args), by))

    # -- sessions ----------------------------------------------------------------------------------

    def create_group(
        self,
        by: Place,
        group_type: Any,
        group_id: Any,
        name: Any = "",
        member_list: Any = (),
        request_id: Any = None,
    ) -> str:
        self._require(by)
        parameters.identifier(group_id, "group_id")
        users = parameters.users(member_list, "member_list")
        args = group_type, group_id, name, users
        made: str = self._do(by, request_id, self.groups.create, *args)
        return made

    def join_group(self, by: Place, group_id: Any, request_id: Any = None) -> None:
        self._simple(by, request_id, self.groups.join, group_id)

    def quit_group(self, by: Place, group_id: Any, request_id: Any = None) -> None:
        self._simple(by, request_id, self.groups.quit, group_id)

    def dismiss_group(self, by: Place, group_id: Any, request_id: Any = None) -> None:
        self._simple(by, request_id, self.groups.dismiss, group_id)

    def kick_group_member(
        self, by: Place, group_id: Any, user: Any, request_id: Any = None
    ) -> None:
        self._require(by)
        self._simple(by, request_id, self.groups.kick, group_id, _at_least_one(user, "user"))

    def invite_user_to_group(
        self, by: Place, group_id: Any, user_list: Any, request_id: Any = None
    ) -> dict[str, bool]:
        self._require(by)
        users = _at_least_one(user_list, "user_list")
        added: dict[str, bool] = self._simple(by, request_id, self.groups.bring_in, group_id, users)
        return added

    def set_group_member_role(
        self, by: Place, group_id: Any, user: Any, role: Any, request_id: Any = None
    ) -> None:
        self._require(by)
        parameters.identifier(group_id, "group_id")
        parameters.identifier(user, "user")
        self._simple(by, request_id, self.groups.set_role, group_id, user, role)

    def transfer_group_owner(
        self, by: Place, group_id: Any, user: Any, request_id: Any = None
    ) -> None:
        self._require(by)
        parameters.identifier(group_id, "group_id")
        parameters.identifier(user, "user")
        self._simple(by, request_id, self.groups.hand_over, group_id, user)

    def set_group_info(
        self, by: Place, group_id: Any, request_id: Any = None, **texts: Any
    ) -> None:
        self._require(by)
        parameters.identifier(group_id, "group_id")
        named = "texts", group_id, *sorted(texts.items())
        self._once(
            by, request_id, named,
            lambda: self._change(self.groups.set_texts(by[0], group_id, texts), by),
        )  # fmt: skip

    def set_group_member_info(
        self, by: Place, group_id: Any, user: Any, name_card: Any, request_id: Any = None
    ) -> None:
        self._require(by)
        parameters.identifier(group_id, "group_id")
        parameters.identifier(user, "user")
        self._simple(by, request_id, self.groups.set_card, group_id, user, name_card)

    def _simple(
        self,
        by: Place,
        request_id: Any,
        call: Callable[..., Change],
        group_id: Any,
        *args: Any,
    ) -> Any:
        self._require(by)
        parameters.identifier(group_id, "group_id")
        return self._do(by, request_id, call, group_id, *args)

    def get_group_info(self, by: Place, group_id: Any) -> tuple[Any, ...]:
        self._require(by)
        parameters.identifier(group_id, "group_id")
        self.groups.existing(group_id)
        return self._info(group_id)

    def get_joined_group_list(self, by: Place) -> list[tuple[Any, ...]]:
        self._require(by)
        return [self._info(group_id) for group_id in self.groups.joined.get(by[0], ())]

    def get_group_member_list(self, by: Place, group_id: Any) -> list[tuple[Any, ...]]:
        self._require(by)
        parameters.identifier(group_id, "group_id")
        self.groups.require_member(group_id, by[0])
        return [
            (user, member.role, member.card, member.joined_ms)
            for user, member in self.groups.members(group_id).items()
        ]

    def _info(self, group_id: str) -> tuple[Any, ...]:
        group = self.groups.existing(group_id)
        texts = (group.texts[name] for name in TEXTS)
        return (
            group_id, group.kind, group.owner, *texts, len(group.members), group.created_ms,
        )  # fmt: skip

    # -- the embedding server ----------------------------------------------------------------------

    def put(self, group_id: Any, members: Any, owner: Any = "") -> None:
        parameters.identifier(group_id, "group_id")
        users = parameters.users(members, "members")
        if owner != "":
            parameters.identifier(owner, "owner")
        self._change(self.groups.put(group_id, users, owner), None)

    def add(self, group_id: Any, users: Any) -> None:
        parameters.identifier(group_id, "group_id")
        self._change(self.groups.add(group_id, parameters.users(users, "users")), None)

    def remove(self, group_id: Any, users: Any) -> None:
        parameters.identifier(group_id, "group_id")
        self._change(self.groups.remove(group_id, parameters.users(users, "users")), None)

    def dismiss(self, group_id: Any) -> None:
        parameters.identifier(group_id, "group_id")
        self._change(self.groups.dismiss(None, group_id), None)


def _at_least_one(value: Any, parameter: str) -> list[str]:
    users = parameters.users((value,) if isinstance(value, str) else value, parameter)
    if not users:
        raise wrong(parameter)
    return users
