"""A class: the teacher asks, students raise their hands, everybody sees, one speaks.

Run it: python examples/raise_hand.py
"""

import asyncio

import pysignal


class Student(pysignal.SignalingListener):
    """Raises a hand when asked, and counts the hands of the others."""

    def __init__(self, session: pysignal.Session) -> None:
        self.session = session
        self.hands: set[str] = set()

    async def on_receive_new_invitation(
        self, invite_id: str, inviter: str, group_id: str, invitee_list: list[str], data: str
    ) -> None:
        """Answer what is asked of this student."""
        if self.session.user_id in invitee_list:
            await self.session.signaling.accept(invite_id, data)

    def on_invitee_accepted(self, invite_id: str, invitee: str, data: str) -> None:
        """See a hand."""
        if data == "raise_hand":
            self.hands.add(invitee)
        else:
            print(f"{self.session.user_id} sees that {invitee} speaks")


async def main() -> None:
    """Hold the class."""
    names = ["ann", "ben", "cat"]
    async with pysignal.Hub() as hub:
        await hub.groups.put("class-1", ["teacher", *names], owner="teacher")
        teacher = await hub.login("teacher")
        students = []
        for name in names:
            session = hub.session(name)
            students.append(Student(session))
            session.signaling.add_signaling_listener(students[-1])
            await session.login()

        question = await teacher.signaling.invite_in_group(
            "class-1", names, "raise_hand", timeout=30
        )
        outcome = await question.outcome()
        print(f"hands up: {', '.join(outcome.accepted)}")

        speak = await teacher.signaling.invite_in_group("class-1", ["ben"], "speak", timeout=30)
        await speak.outcome()
        await asyncio.sleep(0.01)
        for student in students:
            print(f"{student.session.user_id} saw {len(student.hands)} other hands")


if __name__ == "__main__":
    asyncio.run(main())
