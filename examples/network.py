"""Two phones and a call server, over the network: one loses its connection, and misses nothing.

Run it: python examples/network.py
"""

import asyncio

import pysignal
from pysignal.server import Server
from pysignal.server.auth import JwtAuthenticator, sign_jwt

KEY = "a key of at least 32 bytes, kept secret"


def token_for(user: str) -> str:
    """What the application's own login service would give out."""
    return sign_jwt(user, KEY, pysignal.Clock().now_ms(), valid_s=3600)


class Phone(pysignal.SignalingListener, pysignal.ConnectionListener):
    """Prints what it hears; a real one would ring."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.rang = asyncio.Event()
        self.is_back = asyncio.Event()

    def on_receive_new_invitation(
        self, invite_id: str, inviter: str, group_id: str, invitee_list: list[str], data: str
    ) -> None:
        print(f"{self.name}: {inviter} calls: {data}")
        self.rang.set()

    def on_disconnected(self, error: pysignal.SignalingError) -> None:
        print(f"{self.name}: the connection is gone")

    def on_connected(self) -> None:
        print(f"{self.name}: connected")
        self.is_back.set()


async def main() -> None:
    async with pysignal.Hub() as hub, Server(hub, JwtAuthenticator(KEY)) as server:
        await server.start()  # on a free port of this machine

        phone = Phone("bob")
        bob = pysignal.RemoteSession(server.url, "bob", lambda: token_for("bob"))
        bob.signaling.add_signaling_listener(phone)
        bob.add_connection_listener(phone)
        await bob.login()
        phone.is_back.clear()

        async with pysignal.connect(server.url, "amy", lambda: token_for("amy")) as amy:
            for connection in list(server.connections):
                if connection.session is not None and connection.session.user_id == "bob":
                    connection.wire.close(1001, "a train goes into a tunnel")
            call = await amy.signaling.invite("bob", "are you there?", timeout=30)
            await phone.is_back.wait()
            await phone.rang.wait()
            await bob.signaling.accept(call, "just a tunnel")
            print("amy:", (await call.outcome()).data)
        await bob.logout()


asyncio.run(main())
