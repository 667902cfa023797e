"""Good requests of every kind, and ways to break a text."""

from __future__ import annotations

import random
from typing import Any

ID = "000c9sj2rn7sg922hdxj4g4q61"
INFO = {"invite_id": ID, "inviter": "amy", "invitee_list": ["bob"], "data": "x", "timeout": 30}

# Parameters of each method; all that there are.
PARAMS: dict[str, dict[str, Any]] = {
    "login": {"user_id": "bob", "token": "t", "client": "c", "device_id": "1", "start": "hot",
              "cursor": "5"},
    "logout": {},
    "sync": {},
    "invite": {"invitee": ["bob", "carl"], "data": "x", "timeout": 1.5, "online_user_only": True,
               "offline_push_info": {"title": "t"}, "request_id": "r"},
    "invite_in_group": {"group_id": "g", "invitee_list": ["bob"], "data": None, "timeout": 0,
                        "online_user_only": False, "notify": "parties"},
    "accept": {"invite_id": ID, "data": "yes"},
    "reject": {"invite_id": ID},
    "cancel": {"invite_id": ID, "data": None, "request_id": None},
    "modify_invitation": {"invite_id": ID, "data": "new", "expected_version": 1},
    "add_invited_signaling": {"info": INFO},
    "open_invitations": {"group_id": "g"},
    "outcome": {"invite_id": ID},
    "follow": {"invite_id": ID, "after": 3},
    "unfollow": {"follow": 7},
    "create_group": {"group_type": "Work", "group_id": None, "name": "n", "member_list": ["bob"]},
    "join_group": {"group_id": "g"},
    "quit_group": {"group_id": "g"},
    "dismiss_group": {"group_id": "g"},
    "kick_group_member": {"group_id": "g", "user": "bob"},
    "invite_user_to_group": {"group_id": "g", "user_list": ["bob"]},
    "set_group_member_role": {"group_id": "g", "user": "bob", "role": 300},
    "transfer_group_owner": {"group_id": "g", "user": "bob"},
    "set_group_info": {"group_id": "g", "name": "n", "introduction": None},
    "set_group_member_info": {"group_id": "g", "user": "bob", "name_card": "B"},
    "get_group_info": {"group_id": "g"},
    "get_joined_group_list": {},
    "get_group_member_list": {"group_id": "g", "role": None, "next_seq": 0, "count": 50},
    "ack": {"cursor": "5"},
}  # fmt: skip

VALUES: list[Any] = [
    None, True, 0, -1, 1.5, 2**53 + 1, 10**40, "", "x", "\ud800", [], ["x", 1], {}, {"a": {}},
    [[[[[[[[[[1]]]]]]]]]],
]  # fmt: skip
PIECES = ['"', "\\", "{", "}", "[", "]", ",", ":", "\\ud800", "\x00", "é", "1e999", "NaN", "\ud800"]


def requests_of_all_kinds() -> list[dict[str, Any]]:
    """Return a good request of each kind, and the notification."""
    return [_whole(method, params, 1) for method, params in PARAMS.items()]


def a_request(source: random.Random) -> Any:
    """Return a request in which a value or two may be others."""
    method = source.choice(list(PARAMS))
    request = _whole(method, dict(PARAMS[method]), source.randrange(9))
    for _ in range(source.choice([0, 0, 1, 2])):
        place = source.choice([request, request["params"]])
        if isinstance(place, dict) and place:
            name = source.choice(list(place))
            if source.random() < 0.3:
                del place[name]
                request.setdefault("params", {})
            else:
                place[name] = source.choice(VALUES)
    return source.choice(VALUES) if source.random() < 0.05 else request


def broken(source: random.Random, text: str) -> str:
    """Return a text of which a piece or two may be gone, others, or there twice."""
    for _ in range(source.choice([0, 0, 1, 2])):
        start = source.randrange(len(text) + 1)
        end = min(len(text), start + source.choice([0, 1, 2, 20]))
        text = text[:start] + source.choice(["", *PIECES, text[start:end] * 2]) + text[end:]
    return text


def _whole(method: str, params: dict[str, Any], number: int) -> dict[str, Any]:
    request = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
    if method == "ack":
        del request["id"]
    return request
