"""An extension of somebody else builds on the core: by its headers alone, at the speed of C.

What is compiled here knows of the package only what is installed with it. It leads a million
operations through the C face without touching a Python object, and crosses the limits that only
the C face can set.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import pysignal

PACKAGE_ROOT = Path(pysignal.__file__).parent.parent

SOURCE = '''
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from pysignal.engine.audit cimport core_audit
from pysignal.engine.core cimport (
    BAD_NUMBER, DONE, DUE, ENDED, ENGINE_ABI, NO_MEMORY, TABLE_FULL, UNKNOWN,
    core_advance, core_answer, core_bytes, core_cancel, core_find, core_free, core_init,
    core_open, core_t, core_take, limits_t, opening_t,
)
from pysignal.engine.facts cimport ENDS, facts_waiting
from pysignal.engine.ids cimport id_key_t, invite_id_t
from pysignal.engine.roster cimport ACCEPTED, PENDING, TIMED_OUT
from pysignal.engine.slab cimport NONE
from pysignal.engine.users cimport users_new

from pysignal.engine.core import require_abi

require_abi(ENGINE_ABI + {skew})

RESULTS = {{
    "done": DONE, "due": DUE, "ended": ENDED, "unknown": UNKNOWN, "table_full": TABLE_FULL,
    "bad_number": BAD_NUMBER,
}}


cdef class Core:
    cdef core_t core
    cdef invite_id_t last
    cdef uint64_t random

    def __cinit__(
        self, uint32_t users, uint32_t capacity=1 << 20, uint32_t invitees=1 << 20,
        uint32_t ended_max=1000, uint64_t lifetime_ms=86_400_000,
    ):
        cdef limits_t limits
        cdef id_key_t key
        cdef uint32_t i
        key.first = 1
        key.second = 2
        limits.capacity = capacity
        limits.users = users
        limits.groups = 0
        limits.invitees = invitees
        limits.ended_max = ended_max
        limits.keep_ms = 60_000
        limits.lifetime_ms = lifetime_ms
        if core_init(&self.core, &limits, key, 3, 1) != DONE:
            raise ValueError("limits")
        for i in range(users):
            assert users_new(&self.core.users) == i

    def __dealloc__(self):
        core_free(&self.core)

    def open(self, uint32_t inviter, list invitees, uint64_t timeout_ms=30_000):
        cdef opening_t o
        cdef uint32_t[64] numbers
        cdef uint32_t i
        for i in range(len(invitees)):
            numbers[i] = invitees[i]
        o.now_ms = self.core.wheel.now
        o.timeout_ms = timeout_ms
        o.data = 0
        self.random += <uint64_t>0x9E3779B97F4A7C15
        o.random = self.random
        o.invitees = numbers
        o.count = len(invitees)
        o.inviter = inviter
        o.group = NONE
        o.device = 0
        o.flags = 0
        return core_open(&self.core, &o, &self.last)

    def accept(self, uint32_t user):
        return core_answer(&self.core, self.core.wheel.now, self.last, user, ACCEPTED, 0, 0)

    def cancel(self, uint32_t user):
        return core_cancel(&self.core, self.core.wheel.now, self.last, user, 0, 0)

    def found(self):
        return core_find(&self.core, self.last) != NONE

    def take(self):
        core_take(&self.core, facts_waiting(&self.core.facts))

    def audit(self):
        cdef const char *broken = core_audit(&self.core)
        return None if broken == NULL else broken.decode()

    def counts(self):
        return {{
            "opened": self.core.counts.invitations,
            "pending": self.core.counts.invitees[PENDING],
            "accepted": self.core.counts.invitees[ACCEPTED],
            "timed_out": self.core.counts.invitees[TIMED_OUT],
            "open": self.core.open_count,
            "ended": self.core.ended_count,
            "slots": self.core.invitations.top,
            "pages": self.core.pages.used,
            "facts": facts_waiting(&self.core.facts),
            "position": self.core.position,
            "bytes": core_bytes(&self.core),
        }}

    def drive(self, uint32_t users, uint32_t cycles):
        """Open one invitation a cycle; accept two of three, leave the third to its deadline."""
        cdef opening_t o
        cdef invite_id_t name
        cdef uint32_t i, invitee
        cdef uint64_t now_ms = self.core.wheel.now, ended = 0
        cdef int64_t budget
        cdef int result = DONE
        with nogil:
            for i in range(cycles):
                invitee = (i * 7 + 1) % users
                o.now_ms = now_ms
                o.timeout_ms = 1000
                o.data = i
                self.random += <uint64_t>0x9E3779B97F4A7C15
                o.random = self.random
                o.invitees = &invitee
                o.count = 1
                o.inviter = (i * 7) % users
                o.group = NONE
                o.device = 0
                o.flags = 0
                result = core_open(&self.core, &o, &name)
                if result == DONE and i % 3:
                    result = core_answer(&self.core, now_ms, name, invitee, ACCEPTED, 0, 0)
                if result != DONE:
                    break
                if i % 100 == 99:
                    now_ms += 1
                    while True:
                        budget = 1000
                        result = core_advance(&self.core, now_ms, &budget)
                        if result != DONE or budget > 0:
                            break
                    ended += self.take_all()
        return result, ended

    cdef uint64_t take_all(self) noexcept nogil:
        cdef uint32_t i
        cdef uint64_t ended = 0
        for i in range(self.core.facts.head, self.core.facts.tail):
            ended += self.core.facts.items[i].flags & ENDS != 0
        core_take(&self.core, facts_waiting(&self.core.facts))
        return ended

    def advance(self, uint64_t now_ms):
        cdef int64_t budget = 1 << 60
        return core_advance(&self.core, now_ms, &budget)
'''

SETUP = """
from Cython.Build import cythonize
from setuptools import Extension, setup

modules = [Extension(name, [name + ".pyx"], extra_compile_args=["-O1"]) for name in {names}]
setup(ext_modules=cythonize(modules, compiler_directives={{"language_level": 3}}))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two extensions, built in a folder of their own; one for a version that never was."""
    folder = tmp_path_factory.mktemp("extension")
    (folder / "third_party.pyx").write_text(SOURCE.format(skew=0))
    lines = SOURCE.format(skew=1000).split("RESULTS = ")[0]
    (folder / "outdated.pyx").write_text(lines)
    (folder / "setup.py").write_text(SETUP.format(names=["third_party", "outdated"]))
    result = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
        cwd=folder,
        env={"PYTHONPATH": str(PACKAGE_ROOT), "PATH": "/usr/bin:/bin", "CFLAGS": "-O1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stdout
    return folder


def load(folder: Path, name: str) -> ModuleType:
    (path,) = folder.glob(f"{name}.*.so")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def third_party(folder: Path) -> ModuleType:
    return load(folder, "third_party")


def test_an_extension_leads_a_million_operations_through_the_c_face(
    third_party: ModuleType,
) -> None:
    core = third_party.Core(10_000)
    cycles = 600_000  # each opens; two of three are accepted: a million operations
    result, ended = core.drive(10_000, cycles)
    assert result == third_party.RESULTS["done"]
    counts = core.counts()
    assert core.audit() is None
    assert counts["opened"] == cycles
    assert counts["accepted"] == cycles * 2 // 3
    assert counts["pending"] + counts["timed_out"] == cycles // 3
    assert counts["pending"] == counts["open"]
    assert ended == counts["accepted"] + counts["timed_out"]
    assert counts["position"] == cycles + ended
    assert counts["facts"] == 0
    assert counts["ended"] <= 1_000
    assert counts["slots"] < 100_000
    assert core.advance(1 << 40) == third_party.RESULTS["done"]
    core.take()
    assert core.audit() is None
    counts = core.counts()
    assert (counts["open"], counts["timed_out"]) == (0, cycles // 3)


def test_limits_of_the_c_face_are_crossed_without_a_change(third_party: ModuleType) -> None:
    full, done = third_party.RESULTS["table_full"], third_party.RESULTS["done"]
    core = third_party.Core(20, invitees=16)
    assert core.open(0, [1, 2, 3]) == done
    before = core.counts()
    assert core.open(0, list(range(1, 11))) == full  # two pages, and one is left
    assert core.counts() == before
    assert core.audit() is None
    assert core.open(0, [1, 2]) == done
    assert core.open(0, [1, 2]) == full
    assert core.open(0, [1]) == done  # one invitee needs no page
    assert core.audit() is None


def test_a_full_table_of_slots_is_told_apart_from_memory(third_party: ModuleType) -> None:
    """Where nobody takes facts, ended ones keep their slots until there is no slot."""
    core = third_party.Core(2, capacity=10, ended_max=0)
    done = third_party.RESULTS["done"]
    result = done
    opened = 0
    while result == done:
        result = core.open(0, [1])
        if result == done:
            opened += 1
            assert core.accept(1) == done
    assert result == third_party.RESULTS["table_full"]
    assert opened == 65_536 + 10
    assert core.audit() is None
    core.take()
    assert core.open(0, [1]) == done
    assert core.audit() is None


def test_a_stale_handle_finds_nothing(third_party: ModuleType) -> None:
    core = third_party.Core(2, ended_max=0)
    assert core.open(0, [1]) == third_party.RESULTS["done"]
    assert core.found()
    core.cancel(0)
    assert not core.found()
    assert core.accept(1) == third_party.RESULTS["unknown"]


def test_numbers_that_were_never_given_out_are_refused(third_party: ModuleType) -> None:
    bad = third_party.RESULTS["bad_number"]
    core = third_party.Core(3)
    for inviter, invitees in ((3, [1]), (0, [3]), (0, [1, 0]), (0, []), (0, [0])):
        assert core.open(inviter, invitees) == bad
    assert core.open(0, [1], 31 * 86_400_000) == bad
    assert core.counts()["position"] == 0
    assert core.audit() is None
    for limits in (
        {"capacity": 2**31}, {"ended_max": 2**31}, {"invitees": 2**31}, {"lifetime_ms": 0},
    ):  # fmt: skip
        with pytest.raises(ValueError, match="limits"):
            third_party.Core(0, **limits)


def test_an_extension_built_against_another_abi_fails_at_import(folder: Path) -> None:
    with pytest.raises(
        ImportError, match=r"built against engine ABI 1\d{3}, but ABI \d+ is"
    ) as caught:
        load(folder, "outdated")
    assert "rebuild the extension" in str(caught.value)
