"""What most people would put on the network: a python-socketio server that passes calls on.

It keeps no state: the caller makes up the ID and says who calls whom; the relay emits the same to the
room of the one who is called, and acknowledges. No validation, no timeouts, no login, no replay.

    python socketio_relay.py

says where it listens, and ends with its input. It has the settings that make it fast:
aiohttp on uvloop, WebSocket alone, no compression, orjson, handlers that run at once and in order, no
task that looks after clients, no log.
"""

import asyncio
import sys

import orjson
import socketio
import uvloop
from aiohttp import web


class Json:
    """orjson, called as python-socketio calls json."""

    @staticmethod
    def dumps(value, **options):
        return orjson.dumps(value).decode()

    @staticmethod
    def loads(text, **options):
        return orjson.loads(text)


server = socketio.AsyncServer(
    async_mode="aiohttp",
    transports=["websocket"],
    allow_upgrades=False,
    http_compression=False,
    async_handlers=False,
    monitor_clients=False,
    json=Json,
    logger=False,
    engineio_logger=False,
)


@server.event
async def connect(sid, environ, auth):
    await server.enter_room(sid, auth["user"])


@server.event
async def invite(sid, call):
    await server.emit("invite", call, room=call["to"])


@server.event
async def accept(sid, call):
    await server.emit("accept", call, room=call["to"])


async def serve():
    app = web.Application()
    server.attach(app)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"listening on ws://127.0.0.1:{runner.addresses[0][1]}/socket.io/", flush=True)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), ended.set)
    await ended.wait()
    await runner.cleanup()


if __name__ == "__main__":
    uvloop.run(serve())
