"""A server of ours to be measured: a hub behind a WebSocket, in a process of its own.

    python served_hub.py KEY CLASS_SIZE [FOLDER]

KEY signs the tokens. The first CLASS_SIZE of the users are the group "class". With FOLDER the hub
has a journal there. Prints one JSON object with its port, and ends with its input.
"""

from __future__ import annotations

import asyncio
import json
import sys
from urllib.parse import urlsplit

import uvloop
from network import name_of

from pysignal import Hub
from pysignal.server.auth import JwtAuthenticator
from pysignal.server.server import Server


async def serve(key: str, class_size: int, folder: str | None) -> None:
    """Serve until the input ends."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), ended.set)
    async with Hub(journal=folder) as hub:
        if class_size:
            await hub.groups.put("class", [name_of(number) for number in range(class_size)])
        async with Server(hub, JwtAuthenticator(key)) as server:
            await server.start(host="127.0.0.1", port=0)
            print(json.dumps({"port": urlsplit(server.url).port}), flush=True)
            await ended.wait()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], int(sys.argv[2]), sys.argv[3] if sys.argv[3:] else None))
