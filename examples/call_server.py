"""A call server that embeds the hub: it acts for its users and takes the events itself.

The server has connections of its own. It names the actor of each operation, and a sink gets every
event with the sessions that hear it, once a turn of the loop.

Run it: python examples/call_server.py
"""

import asyncio
from typing import Any

import pysignal


class Connections:
    """Sends events down the server's own connections; here it prints them."""

    def deliver(self, events: list[Any], receivers: list[list[pysignal.Session]]) -> None:
        """Take the events of one turn."""
        for event, sessions in zip(events, receivers, strict=True):
            names = ", ".join(f"{s.user_id}/{s.device_id}" for s in sessions)
            if isinstance(event, pysignal.Call):  # of a group
                print(f"{event.name} {event.args} -> {names}")
                continue
            print(f"{event.kind} by {event.actor or 'the server'} -> {names or 'nobody online'}")


async def main() -> None:
    """Ring, answer, and clean up."""
    async with pysignal.Hub(sink=Connections()) as hub:
        for device in ("phone", "laptop"):
            await hub.login("bob", device)
        await hub.login("amy")

        first = await hub.invite_as("amy", "bob", "call 1", timeout=30)
        print(f"bob has {len(await hub.pending('bob'))} call waiting")
        await hub.accept_as("bob", first, "on my way")

        second = await hub.invite_as("amy", "bob", "call 2", timeout=30)
        await hub.cancel_by_server(second)
        await asyncio.sleep(0.01)

        try:
            await hub.accept_as("bob", second)
        except pysignal.InvitationEnded as error:
            print(f"too late: {error.details['how']}")
        stats = hub.stats()
        print(f"{stats['invitations']} invitations, {stats['open']} open")


if __name__ == "__main__":
    asyncio.run(main())
