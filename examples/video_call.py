"""A video call between two people: ring, answer, talk, hang up.

Run it: python examples/video_call.py
"""

import asyncio

import orjson

import pysignal


def call_payload(command: str, room: int, **more: object) -> str:
    """Return the conventional payload of a call, as the apps of both sides read it."""
    return orjson.dumps(
        {
            "version": 4,
            "businessID": "av_call",
            "call_type": 2,
            "room_id": room,
            "data": {"cmd": command, "room_id": room, "userIDs": ["bob"]},
            **more,
        }
    ).decode()


class Phone(pysignal.SignalingListener):
    """What an app does when it rings: ask the person, answer, enter the room."""

    def __init__(self, session: pysignal.Session) -> None:
        self.session = session

    async def on_receive_new_invitation(
        self, invite_id: str, inviter: str, group_id: str, invitee_list: list[str], data: str
    ) -> None:
        """Ring."""
        call = orjson.loads(data)
        if call["data"]["cmd"] == "hangup":
            print(f"{self.session.user_id}: {inviter} hung up after {call['call_end']} s")
            return
        print(f"{self.session.user_id}: {inviter} calls, room {call['room_id']}")
        await self.session.signaling.accept(invite_id, "")


async def main() -> None:
    """Call, talk, hang up."""
    async with pysignal.Hub() as hub:
        amy = await hub.login("amy")
        bob = hub.session("bob")
        bob.signaling.add_signaling_listener(Phone(bob))
        await bob.login()

        invitation = await amy.signaling.invite("bob", call_payload("videoCall", 4711), timeout=30)
        outcome = await invitation.outcome()
        print(f"amy: bob {outcome.status}")

        # Who leaves just leaves the room; the party left behind tells the other.
        await amy.signaling.invite("bob", call_payload("hangup", 4711, call_end=12), timeout=0)
        await asyncio.sleep(0.01)


if __name__ == "__main__":
    asyncio.run(main())
