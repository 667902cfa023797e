"""A message of each kind, as examples for people who write a client in another language."""

from __future__ import annotations

from typing import Any, Final

_ID: Final = "000c9sj2rn7sg922hdxj4g4q61"
_NOW: Final = 1_700_000_000_000
_CURSOR: Final = "ac74167d469704d1-1-1"

_OPENED: Final[dict[str, Any]] = {
    "kind": "opened",
    "reason": "",
    "invite_id": _ID,
    "group_id": "",
    "inviter": "amy",
    "data": "let's talk",
    "invitation_data": "let's talk",
    "actor": "amy",
    "device": "1",
    "seq": 1,
    "data_version": 1,
    "position": 1,
    "time": _NOW,
    "expires_at": _NOW + 30_000,
    "ends": False,
    "replayed": False,
    "online_only": False,
    "parties_only": False,
    "pending_count": 1,
    "invitee_list": ["bob"],
    "invitees": ["bob"],
    "pending": ["bob"],
}
_ACCEPTED: Final[dict[str, Any]] = _OPENED | {
    "kind": "accepted",
    "data": "yes",
    "actor": "bob",
    "seq": 2,
    "position": 2,
    "time": _NOW + 4_000,
    "ends": True,
    "pending_count": 0,
    "pending": [],
}
_INVITATION: Final[dict[str, Any]] = {
    "invite_id": _ID,
    "group_id": "",
    "inviter": "amy",
    "data": "let's talk",
    "state": "open",
    "reason": "",
    "statuses": {"bob": "pending"},
    "opened_at": _NOW,
    "expires_at": _NOW + 30_000,
    "ended_at": None,
    "seq": 1,
    "data_version": 1,
    "position": 1,
    "ended_position": 0,
    "online_only": False,
    "parties_only": False,
    "no_deadline": False,
}
_GROUP: Final[dict[str, Any]] = {
    "group_id": "class-7",
    "group_type": "Meeting",
    "owner": "amy",
    "name": "Class 7",
    "introduction": "",
    "notification": "",
    "face_url": "",
    "member_count": 2,
    "created_ms": _NOW,
}

# Parameters of each method that a client calls.
PARAMS: Final[dict[str, dict[str, Any]]] = {
    "login": {"user_id": "bob", "token": "eyJhbGciOiJIUzI1NiJ9.…", "client": "f3a96c1e"},
    "logout": {},
    "sync": {},
    "invite": {"invitee": "bob", "data": "let's talk", "timeout": 30},
    "invite_in_group": {"group_id": "class-7", "invitee_list": ["bob", "eve"], "data": "hands up"},
    "accept": {"invite_id": _ID, "data": "yes"},
    "reject": {"invite_id": _ID, "data": "busy"},
    "cancel": {"invite_id": _ID},
    "modify_invitation": {"invite_id": _ID, "data": "in room 5", "expected_version": 1},
    "add_invited_signaling": {
        "info": {"invite_id": _ID, "inviter": "amy", "invitee_list": ["bob"]}
    },
    "open_invitations": {"group_id": "class-7"},
    "outcome": {"invite_id": _ID},
    "follow": {"invite_id": _ID, "after": 0},
    "unfollow": {"follow": 7},
    "create_group": {"group_type": "Meeting", "group_id": "class-7", "name": "Class 7"},
    "join_group": {"group_id": "class-7"},
    "quit_group": {"group_id": "class-7"},
    "dismiss_group": {"group_id": "class-7"},
    "kick_group_member": {"group_id": "class-7", "user": ["bob"]},
    "invite_user_to_group": {"group_id": "class-7", "user_list": ["bob", "eve"]},
    "set_group_member_role": {"group_id": "class-7", "user": "bob", "role": 300},
    "transfer_group_owner": {"group_id": "class-7", "user": "bob"},
    "set_group_info": {"group_id": "class-7", "name": "Class 7b"},
    "set_group_member_info": {"group_id": "class-7", "user": "bob", "name_card": "Bob B."},
    "get_group_info": {"group_id": "class-7"},
    "get_joined_group_list": {},
    "get_group_member_list": {"group_id": "class-7", "count": 50},
    "ack": {"cursor": _CURSOR},
}

# Results that are not null.
RESULTS: Final[dict[str, Any]] = {
    "login": {
        "recovered": False,
        "cursor": _CURSOR,
        "now": _NOW,
        "resume_window": 60.0,
        "ping": 25.0,
        "snapshot": {"now": _NOW, "open": [_INVITATION], "ended": []},
    },
    "sync": {"now": _NOW},
    "invite": {"invite_id": _ID},
    "invite_in_group": {"invite_id": _ID},
    "open_invitations": [_INVITATION | {"group_id": "class-7"}],
    "outcome": {
        "invite_id": _ID,
        "state": "completed",
        "reason": "",
        "statuses": {"bob": "accepted"},
        "event": _ACCEPTED,
    },
    "create_group": {"group_id": "class-7"},
    "invite_user_to_group": {"bob": True, "eve": False},
    "get_group_info": _GROUP,
    "get_joined_group_list": [_GROUP],
    "get_group_member_list": {
        "members": [{"user_id": "bob", "role": 200, "name_card": "Bob B.", "joined_ms": _NOW}],
        "next_seq": 0,
    },
}

ERROR: Final[dict[str, Any]] = {
    "code": 8010,
    "message": "the invitation has ended: accepted on another device",
    "data": {
        "name": "invitation_ended",
        "remedy": "final",
        "details": {"status": "accepted", "state": "completed", "reason": ""},
    },
}
_ENDED: Final[dict[str, Any]] = {
    "code": 6208,
    "message": "another login of this device took the session's place",
    "data": {"name": "kicked_off", "remedy": "final", "details": {}},
}

# What the server tells by itself.
TOLD: Final[dict[str, dict[str, Any]]] = {
    "event": _OPENED | {"cursor": _CURSOR, "now": _NOW + 2},
    "group_event": {
        "cursor": _CURSOR,
        "now": _NOW + 2,
        "callback": "on_member_enter",
        "parameters": {"group_id": "class-7", "member_list": ["bob"]},
    },
    "followed": {"follow": 7, "event": _ACCEPTED},
    "follow_ended": {"follow": 7, "error": None},
    "session_ended": {"error": _ENDED},
}
