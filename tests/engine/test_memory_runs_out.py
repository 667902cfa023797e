"""The n-th allocation that fails gives a clean error, for every n: nothing is half done.

A small library stands between the core and the C library's allocator and lets the n-th allocation
that the engine asks for fail. Linux only, as it rests on LD_PRELOAD. What Python allocates for
itself is left alone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pysignal

PACKAGE_ROOT = Path(pysignal.__file__).parent.parent

SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

static long left = -1;      /* allocations that succeed; -1: all */
static long failed;

void fail_after(long count) { left = count; failed = 0; }
long failures(void) { return failed; }

static int refuse(void *caller)
{
    Dl_info info;
    if (left < 0 || !dladdr(caller, &info) || !strstr(info.dli_fname, "engine/"))
        return 0;
    if (left > 0) { left--; return 0; }
    failed++;
    return 1;
}

#define PASS(result, name, types, ...) \
    result name types { \
        static result (*real) types; \
        if (!real) *(void **)&real = dlsym(RTLD_NEXT, #name); \
        return refuse(__builtin_return_address(0)) ? NULL : real(__VA_ARGS__); \
    }

PASS(void *, malloc, (size_t size), size)
PASS(void *, realloc, (void *old, size_t size), old, size)
PASS(void *, aligned_alloc, (size_t alignment, size_t size), alignment, size)

void *__libc_calloc(size_t count, size_t size);
void *calloc(size_t count, size_t size)     /* dlsym itself calls this one */
{
    return refuse(__builtin_return_address(0)) ? NULL : __libc_calloc(count, size);
}
"""

PROGRAM = '''
import ctypes, gc, sys
from pysignal.engine import snapshot
from pysignal.engine.entropy import Entropy
from pysignal.engine.machine import Machine
from pysignal.engine.refused import Refused

shim = ctypes.CDLL(sys.argv[1])
now = 1_000_000


def make():
    return Machine(key=b"k" * 16, entropy=Entropy(1), now_ms=now, journaled=True, ended_max=5)


def attempts(machine):
    """Operations that, with those before them, need every table."""
    many = [f"u{i}" for i in range(40)]
    yield lambda: machine.open(now, "a", "b", "data")
    yield lambda: machine.open(now, "a", many, "data", 10, group_id="g")
    yield lambda: machine.open(now, "c", many, "data", 20, group_id="g")
    for k in range(70):
        yield lambda k=k: machine.open(now, f"x{k}", "b", "data", 30)
    yield lambda: machine.open(now, "a", [], "data", group_id="h")
    yield lambda: machine.leave(now, "a", "g")
    yield lambda: machine.dismiss(now, "g")
    yield lambda: machine.hold("late")
    yield lambda: machine.advance(now + 100)


def insist(operation, check):
    """Do it, again and again until memory is there; return how often it was not."""
    missed = 0
    while True:
        try:
            operation()
            return missed
        except MemoryError:
            missed += 1
            shim.fail_after(-1)
            check()
            assert missed == 1


met = 0
for count in range(60):
    shim.fail_after(count)
    try:
        machine = make()
    except MemoryError:
        shim.fail_after(-1)
        machine = make()
    missed = 0
    for operation in attempts(machine):
        before = []
        def check():
            machine.check()
        missed += insist(operation, check)
    shim.fail_after(-1)
    machine.check()
    met += missed
    records = machine.records()
    told = machine.take()
    assert [event.position for event in told] == list(range(1, len(records) + 1))
    wanted = machine.state_hash()
    pieces, at = [], 0
    while at is not None:
        piece, at = snapshot.take_slice(machine, at, 30)
        pieces.append(piece)

    copy = make()
    shim.fail_after(count)
    for record in records:
        missed += insist(lambda: snapshot.apply(copy, record), copy.check)
    shim.fail_after(-1)
    copy.advance(now + 100)
    copy.check()
    assert copy.state_hash() == wanted

    restore = snapshot.Restore(make())
    shim.fail_after(count)
    try:
        for piece in pieces:
            restore.load(piece)
        insist(restore.finish, gc.collect)
    except MemoryError:
        met += 1
        shim.fail_after(-1)
        del restore
        restore = snapshot.Restore(make())
        for piece in pieces:
            restore.load(piece)
        restore.finish()
    shim.fail_after(-1)
    restore.machine.check()
    restore.machine.advance(now + 100)
    assert restore.machine.state_hash() == wanted
    met += missed
print(met)
'''


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or shutil.which("gcc") is None,
    reason="LD_PRELOAD and gcc are needed",
)
def test_every_failing_allocation_leaves_the_machine_whole(tmp_path: Path) -> None:
    source, library = tmp_path / "shim.c", tmp_path / "shim.so"
    source.write_text(SHIM)
    subprocess.run(
        ["gcc", "-O1", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True
    )
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(library)],
        env=os.environ | {"LD_PRELOAD": str(library), "PYTHONPATH": str(PACKAGE_ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert int(result.stdout) > 10  # it did happen
