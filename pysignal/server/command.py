"""`pysignal serve`: a hub behind its door, until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from pysignal.errors import SignalingError
from pysignal.hub import Hub
from pysignal.journal.contract import JournalError
from pysignal.server.auth import AnyOf, Authenticator, JwtAuthenticator, UserSigAuthenticator
from pysignal.server.server import Server

STOPPED, UNUSABLE = 0, 2


class Unusable(Exception):
    """The command cannot be carried out as it was given; the message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line says.

    Attributes:
        host: of the address.
        port: of the address; 0 for any that is free.
        unix: a unix socket instead.
        journal: folder of the journal; None to keep nothing.
        jwt_key: key of JWTs, `""` for none.
        audience: what `aud` of a JWT must be, `""` for anything.
        usersig_app: SDKAppID of UserSigs, 0 for none.
        usersig_key: their key.
        shard: 0 to 4095; each server of a cluster has its own.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    unix: Path | None = None
    journal: Path | None = None
    jwt_key: str = ""
    audience: str = ""
    usersig_app: int = 0
    usersig_key: str = ""
    shard: int = 0


def serve(options: Options) -> int:
    """Serve until SIGINT or SIGTERM; return the exit status."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        authenticator = _authenticator(options)
        with asyncio.Runner(loop_factory=_loop_factory()) as loop:
            loop.run(_serve(options, authenticator))
    except (Unusable, ValueError, OSError, JournalError, SignalingError) as error:
        print(f"error: {error}", file=sys.stderr)
        return UNUSABLE
    return STOPPED


def _authenticator(options: Options) -> Authenticator:
    found: list[Authenticator] = []
    if options.jwt_key:
        found.append(JwtAuthenticator(options.jwt_key, audience=options.audience or None))
    if options.usersig_app:
        if not options.usersig_key:
            raise Unusable("set PYSIGNAL_USERSIG_KEY to the key of the app")
        found.append(UserSigAuthenticator(options.usersig_app, options.usersig_key))
    if not found:
        raise Unusable(
            "nobody could log in: set PYSIGNAL_JWT_KEY to a key of 32 bytes or more "
            "(openssl rand -hex 32 makes one), or name the app of UserSigs with --usersig-app"
        )
    return found[0] if len(found) == 1 else AnyOf(*found)


async def _serve(options: Options, authenticator: Authenticator) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with Hub(journal=options.journal, shard=options.shard) as hub:
        server = Server(hub, authenticator)
        _calm_the_collector()
        async with server:
            if options.unix is not None:
                await server.start(path=options.unix)
            else:
                await server.start(host=options.host, port=options.port)
            kept = f"journal {options.journal}" if options.journal else "nothing is kept"
            print(f"pysignal is listening on {server.url} ({kept})", flush=True)
            await stop.wait()
            print("stopping", flush=True)
    if options.unix is not None:
        with contextlib.suppress(FileNotFoundError):
            options.unix.unlink()


def _calm_the_collector() -> None:
    """Let Python's collector look seldom, and at what is new: nearly nothing here is garbage.

    Its full looks at all sessions and kept results would cost as much as a quarter of the work.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return cast("Callable[[], asyncio.AbstractEventLoop]", uvloop.new_event_loop)
