"""What `import pysignal` gives is written down: a name that comes or goes is a decision."""

from __future__ import annotations

import inspect

import pysignal

# The codes of the API that people know.
CODES = {
    6012, 6013, 6014, 6017, 6206, 6208, 7008, 7014, 8001, 8006, 8010, 8011, 8012, 8508, 10007,
    10009, 10010, 10017, 10021, 10023, 20003, 20007, 70003, 70009, 70013, 70014,
}  # fmt: skip

HUB = {
    "accept_as",
    "answer_many",
    "acting_as",
    "cancel_as",
    "cancel_by_server",
    "close",
    "dismiss_group_as",
    "invitation",
    "invite_as",
    "invite_in_group_as",
    "invite_many",
    "is_open",
    "kick_group_member_as",
    "login",
    "modify_invitation_as",
    "now_ms",
    "open",
    "open_invitations_as",
    "pending",
    "quit_group_as",
    "reject_as",
    "session",
    "stats",
}
SESSION = {
    "add_connection_listener",
    "add_group_listener",
    "add_signaling_listener",
    "device_id",
    "device_number",
    "events",
    "login",
    "logout",
    "online",
    "remove_connection_listener",
    "remove_group_listener",
    "remove_signaling_listener",
    "signaling",
    "user_id",
}
SIGNALING = {
    "accept",
    "add_invited_signaling",
    "add_signaling_listener",
    "cancel",
    "invite",
    "invite_in_group",
    "modify_invitation",
    "open_invitations",
    "reject",
    "remove_signaling_listener",
}
GROUPS = {
    "add_group_listener", "create_group", "dismiss_group", "get_group_info",
    "get_group_member_list", "get_joined_group_list", "invite_user_to_group", "join_group",
    "kick_group_member", "quit_group", "remove_group_listener", "set_group_info",
    "set_group_member_info", "set_group_member_role", "transfer_group_owner",
}  # fmt: skip


def test_every_public_name_is_there_and_has_a_docstring() -> None:
    assert sorted(pysignal.__all__) == pysignal.__all__
    for name in pysignal.__all__:
        assert inspect.getdoc(getattr(pysignal, name)), name


def test_the_operations_are_those_of_the_specification() -> None:
    from pysignal.groups.operations import GroupOperations
    from pysignal.signaling import Signaling

    assert {name for name in dir(Signaling) if not name.startswith("_")} == SIGNALING
    assert {name for name in vars(GroupOperations) if not name.startswith("_")} == GROUPS
    assert {name for name in dir(pysignal.Session) if not name.startswith("_")} == SESSION
    assert {name for name in dir(pysignal.Hub) if not name.startswith("_")} == HUB


def test_every_error_has_a_code_of_its_own_and_a_remedy() -> None:
    from pysignal.errors import BY_CODE

    errors = [
        value
        for value in vars(pysignal).values()
        if inspect.isclass(value)
        and issubclass(value, pysignal.SignalingError)
        and value not in (pysignal.SignalingError, pysignal.TokenRefused)
    ]
    assert {error.code: error for error in errors} == BY_CODE
    assert set(BY_CODE) == CODES
    assert all(isinstance(error.remedy, pysignal.Remedy) for error in errors)


def test_operations_are_coroutines_but_for_listeners() -> None:
    from pysignal.signaling import Signaling

    for name in SIGNALING:
        plain = name.endswith("_listener")
        assert inspect.iscoroutinefunction(getattr(Signaling, name)) is not plain, name
