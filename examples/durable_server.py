"""A call server that survives its own kill: everything acknowledged is there when it is back.

`Hub(journal=folder)` answers when what it decided is on the disk. The program runs itself three
times on the same folder; the first run is killed in the middle of its work, without a goodbye.

Run it: python examples/durable_server.py
"""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time

import pysignal


class Bell(pysignal.SignalingListener):
    """Prints what rings."""

    def on_receive_new_invitation(
        self, invite_id: str, inviter: str, group_id: str, invitee_list: list[str], data: str
    ) -> None:
        print(f"  bob's phone rings: {data}")


async def work(hub: pysignal.Hub) -> None:
    """Open calls, answer one, take one back, and be killed."""
    await hub.login("bob", "phone", listener=Bell())
    answered = await hub.invite_as("amy", "bob", "lunch?", timeout=60, request_id="amy 1")
    await hub.accept_as("bob", answered, "yes")
    cancelled = await hub.invite_as("amy", "bob", "a wrong number", timeout=60)
    await hub.cancel_as("amy", cancelled)
    await hub.invite_as("amy", "bob", "a short ring", timeout=0.3)
    await asyncio.sleep(0.01)  # bob's phone has rung for all three
    await hub.invite_as("cat", "dan", "a long ring", timeout=60)
    os.kill(os.getpid(), signal.SIGKILL)


async def look(hub: pysignal.Hub) -> None:
    """Show what came back."""
    for user in ("bob", "dan"):
        for call in await hub.pending(user):
            left_s = ((call.expires_at or 0) - hub.now_ms) / 1000
            print(f"  {user} can still answer {call.data!r}, for about {round(left_s)} s")
    phone = await hub.login("bob", "phone", start="hot", listener=Bell())
    for call in phone.snapshot.ended:
        print(f"  ended while bob's phone was away: {call.statuses['bob']}")
    again = await hub.invite_as("amy", "bob", "lunch?", timeout=60, request_id="amy 1")
    if call := await hub.invitation(again):
        print(f"  amy's first call, asked again, is {call.statuses['bob']} and rings nobody")


async def serve(folder: str, act: str) -> None:
    async with pysignal.Hub(journal=folder) as hub:
        await (work(hub) if act == "work" else look(hub))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run(serve(*sys.argv[1:3]))
        sys.exit()
    with tempfile.TemporaryDirectory() as folder:
        for act in ("work", "look", "look"):
            print(f"a server begins, to {act}", flush=True)
            subprocess.run([sys.executable, __file__, f"{folder}/calls", act])
            time.sleep(0.4)  # meanwhile the short ring falls due
