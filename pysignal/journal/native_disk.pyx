"""One folder, whose files are written by threads of the system's.

Steps are translated into structs when they are submitted, and carried out by `lanes`. What is done
wakes the event loop through a file descriptor that it watches, and the callbacks are run right
there. The objects that the structs point into are referred to until then, by what the collector of
cycles does not see: a thread may read them at any time.

The folder is locked with `flock`, which the kernel undoes however the process ends. A child shares
a lock with the process that forked it, as long as either has it open. So a child that Python forks
lets go of its part at once, and its disk is not open: it has no threads, and must not write. One
that others fork keeps the folder locked if its parent dies before it, and writes nothing either.
"""

import asyncio
import errno
import logging
import os
import weakref

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport strchr, strcmp, strlen

from pysignal.journal.lanes cimport (
    LANES,
    STEP_CREATE,
    STEP_REMOVE,
    STEP_RENAME,
    STEP_SYNC,
    STEP_SYNC_FOLDER,
    STEP_TRUNCATE,
    STEP_WRITE,
    Step,
    add_job,
    forgive,
    free_lanes,
    join_lanes,
    new_lanes,
    take_done,
)

from pysignal.journal import folder
from pysignal.journal.contract import JournalInUse
from pysignal.journal.disk import Create, Remove, Rename, Sync, SyncFolder, Truncate, Write

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL

cdef extern from "<sys/file.h>" nogil:
    int LOCK_UN
    int flock(int fd, int operation)

cdef extern from "<unistd.h>" nogil:
    int close(int fd)
    Py_ssize_t read(int fd, void *data, size_t size)
    Py_ssize_t write(int fd, const void *data, size_t size)

log = logging.getLogger("pysignal")

_open_disks = weakref.WeakSet()


@cython.final
cdef class NativeDisk:
    """One folder, of which the process is the only writer while the disk is open.

    All its methods are called by the thread of one event loop, the one that runs at the first
    `submit`; where that was closed, by another one.

    Args:
        path: of the folder. Its name and what it holds are for its owner alone; the folder above it
            must be there.
    """

    def __cinit__(self):
        self.folder = self.lock = self.wake = self.woken = -1

    def __init__(self, path):
        self.path = os.fspath(path)

    def __dealloc__(self):
        self.end()

    def open(self):
        """Take the folder, which is made where there is none; begin to carry out jobs.

        Raises:
            JournalInUse: somebody else has it, in this process or another.
            OSError: it cannot be used, or others than its owner may read it; it says why.
        """
        if self.lanes != NULL:
            raise JournalInUse(
                f"{self.path} is in use by another hub of this process: stop that one, or choose "
                "another folder"
            )
        self.folder, self.lock = folder.take(self.path)
        try:
            self.woken, self.wake = _wake_pair()
            _open_disks.add(self)
            self.lanes = new_lanes(self.folder, self.wake)
            if self.lanes == NULL:
                raise MemoryError
        except BaseException:
            self.close_all()
            raise

    def names(self):
        """Return the names of the files, sorted."""
        self.require_open()
        return folder.names(self.folder)

    def size(self, name):
        """Return the size of a file in bytes."""
        self.require_open()
        return folder.size(self.folder, name)

    def read(self, name, offset, size):
        """Return bytes of a file, fewer at its end; it may hold the caller up.

        Args:
            name: of the file.
            offset: where they begin, bytes, from 0.
            size: how many, from 0.
        """
        self.require_open()
        return folder.read(self.folder, name, offset, size)

    def submit(self, int lane, steps, done):
        """Carry out steps in order, in the background; the first that fails ends the job.

        After a failure in lane COMMITS, its jobs that were submitted before the failure was told
        are not begun: they fail with ECANCELED. A sync that failed is never tried again: every
        later one of that file fails as it did.

        Args:
            lane: jobs of the same lane come one after the other.
            steps: at least one.
            done: called on the event loop, in the order in which jobs are done, with what went
                wrong. What it raises is logged.

        Raises:
            ValueError: there is no such lane, no step, or a name is none of a file in the folder.
            OSError: no thread could be started; nothing was submitted.
        """
        cdef tuple owner
        cdef Job *job
        cdef int error
        self.require_open()
        if lane < 0 or lane >= LANES:
            raise ValueError(f"there is no lane {lane}")
        if self._loop is None or self._loop.is_closed():
            self.watch()
        owner = (tuple(steps), done)
        job = translated(<tuple>owner[0])
        job.lane = lane
        job.owner = <void *>owner
        Py_INCREF(owner)
        error = add_job(self.lanes, job)
        if error:
            free(job)
            Py_DECREF(owner)
            raise OSError(error, f"no thread for the journal: {os.strerror(error)}", self.path)

    def close(self):
        """Carry out what was submitted, call nobody back any more, and let go of the folder."""
        loop, self._loop = self._loop, None
        try:
            if loop is not None and not loop.is_closed():
                loop.remove_reader(self.woken)
        finally:
            self.end()

    def _wake(self):
        """Call back for what is done."""
        cdef char count[64]
        cdef Job **last = &self.done
        if self.lanes == NULL:
            return
        # Before what is done is taken: what is added afterwards wakes the loop again.
        read(self.woken, count, sizeof(count))
        while last[0] != NULL:
            last = &last[0].next
        last[0] = take_done(self.lanes)
        try:
            while self.done != NULL:
                self.call_back()
        finally:
            if self.done != NULL:  # the others are called back at the next turn
                wake(self.wake)

    def _forked(self):
        """Let go of everything in a child: the threads are the parent's, and so is the lock."""
        self._loop = None
        self.lanes = NULL  # not freed: a thread may have been at it in the moment of the fork
        self.done = NULL
        self.close_all()

    cdef int require_open(self) except -1:
        if self.lanes == NULL:
            raise RuntimeError(
                f"{self.path} is not open in this process: open it first, and after a fork only "
                "where its parent has closed it"
            )
        return 0

    cdef int watch(self) except -1:
        """Have the running event loop call back."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self.woken, self._wake)
        self._loop = loop
        return 0

    cdef int call_back(self) except -1:
        """Tell of the first job that is done."""
        cdef Job *job = self.done
        cdef tuple owner = <tuple>job.owner
        # Where memory runs out for the error, the job stays and is told of at the next turn.
        error = failure(self.path, job, <tuple>owner[0]) if job.error else None
        if job.failed >= 0:
            forgive(self.lanes, job.lane)
        self.done = job.next
        free_job(job)
        try:
            owner[1](error)
        except (Exception, asyncio.CancelledError) as raised:
            log.error("what follows a write to %s has failed", self.path, exc_info=raised)
        return 0

    cdef void end(self) noexcept:
        """Carry out what was submitted, forget what is done, and close everything."""
        cdef Lanes *lanes = self.lanes
        self.lanes = NULL  # whoever runs while the threads are waited for finds it closed
        if lanes != NULL:
            with nogil:
                join_lanes(lanes)
            free_jobs(take_done(lanes))
            free_jobs(self.done)
            self.done = NULL
            free_lanes(lanes)
        if self.lock >= 0:
            flock(self.lock, LOCK_UN)  # also for a child that has not let go of it yet
        self.close_all()

    cdef void close_all(self) noexcept:
        """Close the file descriptors; the lock last."""
        if self.wake != self.woken:
            close(self.wake)
        if self.woken >= 0:
            close(self.woken)
        if self.folder >= 0:
            close(self.folder)
        if self.lock >= 0:
            close(self.lock)
        self.folder = self.lock = self.wake = self.woken = -1


def _wake_pair():
    """Return where to read that there is something done, and where to write it."""
    if hasattr(os, "eventfd"):
        fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        return fd, fd
    woken, wake = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(wake, False)
    return woken, wake


cdef void wake(int fd) noexcept nogil:
    cdef int64_t one = 1
    write(fd, &one, sizeof(one))


cdef void free_job(Job *job) noexcept:
    cdef PyObject *owner = <PyObject *>job.owner
    free(job)
    Py_DECREF(<object>owner)


cdef void free_jobs(Job *job) noexcept:
    cdef Job *following
    while job != NULL:
        following = job.next
        free_job(job)
        job = following


cdef Job *translated(tuple steps) except NULL:
    """A job of these steps, which points into them."""
    cdef Py_ssize_t count = len(steps), i
    cdef Job *job
    if count == 0:
        raise ValueError("a job has at least one step")
    job = <Job *>malloc(sizeof(Job) + (count - 1) * sizeof(Step))
    if job == NULL:
        raise MemoryError
    job.error, job.failed, job.count = 0, -1, <int>count
    try:
        for i in range(count):
            translate(steps[i], &job.steps[i])
    except BaseException:
        free(job)
        raise
    return job


cdef int translate(step, Step *to) except -1:
    kind = type(step)
    to.name = name_of(step[0]) if kind is not SyncFolder else NULL
    if kind is Write:
        data = step[2]
        if type(data) is not bytes:
            raise TypeError(f"what is written to {step[0]} is bytes, not {type(data).__name__}")
        to.kind, to.offset = STEP_WRITE, step[1]
        to.data, to.size = PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data)
    elif kind is Sync:
        to.kind = STEP_SYNC
    elif kind is SyncFolder:
        to.kind = STEP_SYNC_FOLDER
    elif kind is Create:
        to.kind, to.size = STEP_CREATE, step[1]
    elif kind is Truncate:
        to.kind, to.size = STEP_TRUNCATE, step[1]
    elif kind is Rename:
        to.kind, to.to = STEP_RENAME, name_of(step[1])
    elif kind is Remove:
        to.kind = STEP_REMOVE
    else:
        raise TypeError(f"a disk has no step {kind.__name__}")
    return 0


cdef const char *name_of(name) except NULL:
    """The name of a file in the folder, as the system has it; it lives as long as the str."""
    cdef Py_ssize_t size
    cdef const char *text = PyUnicode_AsUTF8AndSize(name, &size)
    if (
        size == 0 or <size_t>size != strlen(text) or strchr(text, b"/") != NULL
        or strcmp(text, b".") == 0 or strcmp(text, b"..") == 0 or strcmp(text, b"lock") == 0
    ):
        raise ValueError(f"{name!r} is not the name of a file of a journal")
    return text


cdef object failure(str path, Job *job, tuple steps):
    """What went wrong with a job."""
    if job.failed < 0:
        return OSError(errno.ECANCELED, "not begun: a write before it has failed", path)
    step = steps[job.failed]
    why = os.strerror(job.error)
    if type(step) is SyncFolder:
        return OSError(job.error, why, path)
    if type(step) is Rename:
        return OSError(
            job.error, why, os.path.join(path, step[0]), None, os.path.join(path, step[1])
        )
    return OSError(job.error, why, os.path.join(path, step[0]))


def _forget_in_child():
    for disk in list(_open_disks):
        (<NativeDisk>disk)._forked()


os.register_at_fork(after_in_child=_forget_in_child)
