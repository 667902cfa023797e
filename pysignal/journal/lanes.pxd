"""Threads that carry out jobs on the files of a folder (see `lanes.pyx`)."""

from libc.stdint cimport int64_t, uint64_t


cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_t:
        pass
    ctypedef struct pthread_mutex_t:
        pass
    ctypedef struct pthread_cond_t:
        pass


cdef enum: LANES = 2

# What a step does.
cdef enum:
    STEP_WRITE = 0
    STEP_SYNC = 1
    STEP_CREATE = 2
    STEP_TRUNCATE = 3
    STEP_RENAME = 4
    STEP_REMOVE = 5
    STEP_SYNC_FOLDER = 6


cdef struct Step:
    int kind
    const char *name        # of the file; NULL for the folder
    const char *to          # its new name
    const char *data
    int64_t offset
    int64_t size            # of the data, or of the file that is made or cut


cdef struct Job:
    Job *next
    void *owner             # what the caller keeps alive until the job is done
    int lane
    int error               # errno of the step that failed, 0 for none
    int failed              # which step that was; -1 where none was begun
    int count
    uint64_t era            # of its lane, when it was added
    Step steps[1]           # `count` of them


# A file that is kept open.
cdef struct File:
    File *next              # the one that was used before it
    char *name
    int fd
    int users               # lanes at work on it
    bint dirty              # something was written to it since its last sync
    bint gone               # it has no name any more: its last user closes it
    int sync_error          # errno of a sync that failed, 0 for none


cdef struct Files:
    pthread_mutex_t lock    # never held during a system call
    int folder
    int folder_error        # as `sync_error`
    int count
    File *first             # the one that was used last


cdef struct LaneState:
    Lanes *lanes
    pthread_t thread
    pthread_mutex_t lock
    pthread_cond_t wanted
    Job *first
    Job *last
    bint asleep
    bint stopping
    bint started
    bint stops_at_failure
    uint64_t era            # of the jobs that are added; only the caller's thread knows it
    uint64_t broken         # the last era in which a job failed; only its thread knows it


cdef struct Lanes:
    Files files
    pthread_mutex_t lock    # for the two below
    Job *first_done
    Job *last_done
    int wake                # file descriptor that is written to when there is something done
    LaneState lanes[LANES]


cdef Lanes *new_lanes(int folder, int wake) noexcept nogil
cdef int add_job(Lanes *lanes, Job *job) noexcept nogil
cdef Job *take_done(Lanes *lanes) noexcept nogil
cdef void forgive(Lanes *lanes, int lane) noexcept nogil
cdef void join_lanes(Lanes *lanes) noexcept nogil
cdef void free_lanes(Lanes *lanes) noexcept nogil
