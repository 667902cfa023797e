"""The model itself, on the central scenarios of SPEC, written out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from oracle.model import Oracle, Place
from oracle.parameters import Failure
from pysignal import Limits

NOW = 1_000_000
AMY, AMY_2 = ("amy", "1"), ("amy", "2")
BOB, BOB_2, CAROL = ("bob", "1"), ("bob", "2"), ("carol", "1")


@pytest.fixture
def oracle() -> Oracle:
    oracle = Oracle(Limits(), NOW)
    for place in (AMY, AMY_2, BOB, BOB_2, CAROL):
        oracle.login(*place, "cold")
    oracle.next_name = "i"
    return oracle


def hear(oracle: Oracle, *places: Place) -> list[list[tuple[Any, ...]]]:
    """Let each hear what waits, and return what was called, for each place."""
    oracle.settle()
    heard = []
    for place in places:
        device = oracle.online[place]
        heard.append(device.calls)
        device.calls = []
    return heard


def refused(code: int, call: Any, *args: Any, **options: Any) -> Failure:
    with pytest.raises(Failure) as caught:
        call(*args, **options)
    assert caught.value.code == code
    return caught.value


def test_an_invitation_is_heard_by_all_but_the_acting_session(oracle: Oracle) -> None:
    assert oracle.invite(AMY, "bob", "hi") == "i"
    opened = ("receive_new_invitation", "i", "amy", "", ["bob"], "hi")
    assert hear(oracle, AMY, AMY_2, BOB, BOB_2, CAROL) == [[], [opened], [opened], [opened], []]
    oracle.accept(BOB, "i", "yes")
    accepted = ("invitee_accepted", "i", "bob", "yes")
    assert hear(oracle, AMY, AMY_2, BOB, BOB_2) == [[accepted], [accepted], [], [accepted]]


def test_who_is_late_is_told_how_it_ended_if_a_party(oracle: Oracle) -> None:
    oracle.invite(AMY, "bob")
    oracle.accept(BOB, "i")
    late = {"status": "accepted", "state": "completed", "reason": ""}
    here = late | {"how": "you have accepted it already on this device"}
    there = late | {"how": "you have accepted it already on another device"}
    assert refused(8010, oracle.reject, BOB, "i").details == here
    assert refused(8010, oracle.reject, BOB_2, "i").details == there
    assert refused(8010, oracle.cancel, AMY, "i").details == late | {"status": "", "how": None}
    assert refused(8010, oracle.accept, CAROL, "i").details == {}
    oracle.tick(NOW + 60_000)
    assert refused(8010, oracle.reject, BOB, "i").details == {}


def test_the_deadline_is_too_late_and_a_millisecond_before_is_not(oracle: Oracle) -> None:
    oracle.invite(AMY, ["bob", "carol"], timeout=5)
    oracle.tick(NOW + 4_999)
    oracle.accept(CAROL, "i")
    oracle.tick(NOW + 5_000)
    refused(8010, oracle.accept, BOB, "i")
    (heard,) = hear(oracle, AMY)
    assert heard == [("invitee_accepted", "i", "carol", ""), ("invitation_timeout", "i", ["bob"])]
    assert oracle.online[BOB].events[-1][:6] == ("timed_out", "", 3, 1, NOW + 5_000, NOW + 5_000)


def test_refusals_come_in_the_order_of_the_spec(oracle: Oracle) -> None:
    refused(6014, oracle.invite, ("amy", "9"), 5, "x" * 20_000)
    refused(8001, oracle.invite, AMY, 5, "x" * 20_000)
    assert refused(6017, oracle.invite, AMY, 5, timeout=-1).details == {"parameter": "invitee"}
    assert refused(6017, oracle.invite, AMY, "amy", timeout=-1).details == {"parameter": "timeout"}
    refused(10010, oracle.invite_in_group, AMY, "g", ["nobody"])
    oracle.put("g", ["bob"])
    refused(10007, oracle.invite_in_group, AMY, "g", ["nobody"])
    oracle.invite(AMY, "bob", online_user_only=True)
    refused(8011, oracle.modify_invitation, BOB, "i", "new", 7)
    refused(7014, oracle.modify_invitation, AMY, "i", "new", 7)
    oracle.next_name = "j"
    oracle.invite(AMY, "bob")
    refused(8006, oracle.modify_invitation, AMY, "j", "new", 7)
    refused(8011, oracle.accept, AMY, "j")


def test_leaving_a_group_rejects_and_cancels_before_it_is_told(oracle: Oracle) -> None:
    oracle.put("g", ["amy", "bob", "carol"])
    oracle.invite_in_group(AMY, "g", ["bob"])
    oracle.next_name = "j"
    oracle.invite_in_group(BOB, "g", ["amy", "carol"], notify="parties")
    hear(oracle, AMY, BOB, CAROL)
    oracle.remove("g", ["bob"])
    rejected = ("invitee_rejected", "i", "bob", "")
    cancelled = ("invitation_cancelled", "j", "bob", "")
    kicked = ("member_kicked", "g", "", ["bob"])
    assert hear(oracle, AMY, BOB, CAROL) == [[rejected, cancelled, kicked]] * 3
    info = oracle.invitation("j")
    assert info is not None
    assert info[3:5] == ("cancelled", "left_group")


def test_a_cold_login_rings_again_and_a_hot_one_only_what_is_news(oracle: Oracle) -> None:
    oracle.put("g", ["amy", "bob"])
    oracle.invite(AMY, "bob", "c2c", timeout=100)
    oracle.next_name = "j"
    oracle.invite_in_group(AMY, "g", ["bob"], "group", timeout=100)
    hear(oracle, BOB)
    oracle.logout(BOB)
    assert [info[0] for info in oracle.login(*BOB, "hot").open] == ["i", "j"]
    assert hear(oracle, BOB) == [[]]
    oracle.tick(NOW + 30_000)
    oracle.login(*BOB, "cold")
    assert [call[1] for call in hear(oracle, BOB)[0]] == ["i", "j"]
    oracle.tick(NOW + 30_001)
    oracle.login(*BOB, "cold")
    assert [call[1] for call in hear(oracle, BOB)[0]] == ["i"]
    oracle.login(*BOB, "hot")  # the cold one was too late for the group's
    assert [call[1] for call in hear(oracle, BOB)[0]] == ["j"]


def test_what_was_on_its_way_at_the_logout_was_not_told(oracle: Oracle) -> None:
    oracle.invite(AMY, "bob", timeout=100)
    oracle.logout(BOB)
    oracle.login(*BOB, "hot")
    assert [call[1] for call in hear(oracle, BOB)[0]] == ["i"]
    oracle.cancel(AMY, "i")
    oracle.logout(BOB)
    assert [info[0] for info in oracle.login(*BOB, "hot").ended] == ["i"]


def test_a_seventeenth_notice_ends_the_oldest_in_silence(oracle: Oracle) -> None:
    for number in range(17):
        oracle.next_name = f"n{number}"
        oracle.invite(AMY, "bob", timeout=0)
    assert len(oracle.pending("bob")) == 16
    info = oracle.invitation("n0")
    assert info is not None
    assert info[3:5] == ("completed", "lifetime")
    assert {call[0] for call in hear(oracle, BOB)[0]} == {"receive_new_invitation"}
    oracle.login(*BOB, "cold")
    assert hear(oracle, BOB) == [[]]


def test_a_request_is_done_once_for_two_minutes(oracle: Oracle) -> None:
    assert oracle.invite(AMY, "bob", "x", request_id="r") == "i"
    oracle.next_name = "j"
    assert oracle.invite(AMY_2, "bob", "x", request_id="r") == "i"
    details = refused(6017, oracle.invite, AMY, "bob", "y", request_id="r").details
    assert details == {"parameter": "request_id"}
    oracle.tick(NOW + 119_999)
    assert oracle.invite(AMY, "bob", "x", request_id="r") == "i"
    oracle.tick(NOW + 120_000)
    assert oracle.invite(AMY, "bob", "x", request_id="r") == "j"


def test_the_rules_of_a_work_group(oracle: Oracle) -> None:
    oracle.create_group(AMY, "Work", "g", member_list=["bob"])
    refused(8508, oracle.join_group, CAROL, "g")
    assert oracle.invite_user_to_group(BOB, "g", ["carol", "amy"]) == {"carol": True, "amy": False}
    refused(10007, oracle.kick_group_member, BOB, "g", "carol")
    hear(oracle, AMY, AMY_2, BOB)
    oracle.quit_group(AMY, "g")
    left, owner = ("member_leave", "g", "amy"), ("group_info_changed", "g", {"owner": "bob"})
    assert hear(oracle, AMY, AMY_2, BOB) == [[], [("quit_from_group", "g")], [left, owner]]
    oracle.kick_group_member(BOB, "g", ["carol"])
    oracle.quit_group(BOB, "g")
    refused(10010, oracle.get_group_info, BOB, "g")
