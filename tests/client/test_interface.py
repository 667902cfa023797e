"""Embedded and far away: the same names, the same parameters, the same defaults."""

from __future__ import annotations

import inspect
import subprocess
import sys
from typing import Any

import pytest
from client.script import ScriptedServer, play

from pysignal import Hub, RemoteSession, Session, interface
from pysignal.client.groups import RemoteGroups
from pysignal.client.handle import RemoteInvitation
from pysignal.client.signaling import RemoteSignaling
from pysignal.groups.operations import GroupOperations
from pysignal.invitation import Invitation
from pysignal.signaling import Signaling

KINDS = [
    (interface.Session, Session, RemoteSession),
    (interface.Signaling, Signaling, RemoteSignaling),
    (interface.Groups, GroupOperations, RemoteGroups),
]
# What only one of them has: the number of a device in the engine; what a connection is about.
OF_ONE = {Session: {"device_number", "hub"}, RemoteSession: {"recovered", "sync"}}


def public(found: object) -> set[str]:
    return {name for name in dir(found) if not name.startswith("_")}


def signature(kind: type, name: str) -> list[tuple[str, Any, Any]]:
    """Names, kinds and defaults; a compiled method has no annotations."""
    parameters = inspect.signature(getattr(kind, name)).parameters.values()
    return [(each.name, each.kind, each.default) for each in parameters]


@pytest.mark.parametrize(("shape", "embedded", "remote"), KINDS, ids=lambda kind: kind.__name__)
def test_both_kinds_take_the_same_parameters(shape: type, embedded: type, remote: type) -> None:
    names = {name for name, value in vars(shape).items() if inspect.isfunction(value)}
    names = {name for name in names if not name.startswith("_") or name == "__aenter__"}
    assert names
    for name in names:
        wanted = signature(shape, name)
        assert signature(embedded, name) == wanted, name
        assert signature(remote, name) == wanted, name
        is_async = inspect.iscoroutinefunction(getattr(shape, name))
        for kind in (embedded, remote):
            assert inspect.iscoroutinefunction(getattr(kind, name)) == is_async, name


@pytest.mark.anyio
async def test_both_kinds_have_the_same_public_names() -> None:
    remote = ScriptedServer().session()
    async with Hub() as hub:
        embedded = hub.session("amy")
        for one, other in (
            (embedded, remote),
            (embedded.signaling, remote.signaling),
            (embedded.groups, remote.groups),
        ):
            ones = public(one) - OF_ONE.get(type(one), set())
            assert ones == public(other) - OF_ONE.get(type(other), set()) - {"device_number"}
        shape = public(interface.Session) | set(interface.Session.__annotations__)
        assert shape == public(embedded) - OF_ONE[Session]


def test_both_handles_are_the_same_text() -> None:
    async def scene() -> None:
        server = ScriptedServer()
        session = await server.joined()
        handle = Invitation("i1", session)
        assert type(handle) is RemoteInvitation
        assert isinstance(handle, Invitation)
        assert (handle, hash(handle)) == ("i1", hash("i1"))
        assert public(handle) == public(Invitation)
        await session.logout()

    play(scene)


def test_an_embedder_needs_nothing_of_the_network() -> None:
    program = """
import sys
for name in ("aiohttp", "msgspec", "jwt"):
    sys.modules[name] = None
import pysignal
assert pysignal.Hub and "connect" in pysignal.__all__
try:
    pysignal.connect
except ImportError as error:
    assert "pip install" in str(error) and "pysignal-engine[network]" in str(error), error
else:
    raise AssertionError("it came without its packages")
assert not hasattr(pysignal, "no_such_name")
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
