# cython: linetrace=False
"""Threads that carry out jobs on the files of a folder, and never need the interpreter.

A thread of Python's that has waited for the disk needs the interpreter's lock to go on, and on a
busy event loop it may not get it for seconds. These are threads of the system's, one for each lane,
started when its first job comes. They take structs that were filled by who added the job, and put
them into a list of what is done; a file descriptor wakes the loop. For the same reason no line here
is traced: that would take the lock. A thread sleeps as soon as it has nothing to do: looking out
for the next job for some microseconds first made a lone one no quicker, and cost more than waking.

Files are found by name when their step comes, and stay open: the few that were used last, and any
that holds something unsynced, since a failure to write it back is told to those who have it open.
After a sync that failed the system may have thrown the data away and would call the next one a
success, so that it is never tried again: each later one of that file fails as the first did.
"""

from libc.errno cimport EINTR, EINVAL, EIO, ENOENT, ENOMEM, errno
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free
from libc.string cimport strcmp, strdup

# Files that are kept open though nobody uses them and nothing in them is unsynced.
cdef enum: IDLE_MAX = 8

cdef enum: PIECE = 1 << 20  # bytes of zeros written at once

# Of the caller's lanes, the one whose jobs rest on those before them.
cdef enum: COMMITS = 0

cdef extern from * nogil:
    """
    #include <errno.h>
    #include <fcntl.h>
    #include <pthread.h>
    #include <signal.h>
    #include <stdio.h>
    #include <sys/stat.h>
    #include <unistd.h>

    static char PYSIGNAL_ZEROS[1 << 20];  /* costs no memory: nobody writes to it */

    /* The data, and what is needed to read it again. */
    static inline int pysignal_sync(int fd) {
    #ifdef __APPLE__
        return fcntl(fd, F_FULLFSYNC);
    #else
        return fdatasync(fd);
    #endif
    }

    /* A thread that no signal is handed to: those are the interpreter's. */
    static int pysignal_start(pthread_t *thread, void *(*run)(void *), void *with) {
        sigset_t all, before;
        int error;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        error = pthread_create(thread, NULL, run, with);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        return error;
    }
    """
    char *PYSIGNAL_ZEROS
    int pysignal_sync(int fd)
    int pysignal_start(pthread_t *thread, void *(*run)(void *) noexcept nogil, void *argument)

    int ECANCELED
    int O_CLOEXEC, O_CREAT, O_EXCL, O_NOFOLLOW, O_RDWR
    int close(int fd)
    int fchmod(int fd, int mode)
    int fsync(int fd)
    int ftruncate(int fd, int64_t size)
    int openat(int folder, const char *name, int flags, int mode)
    Py_ssize_t pwrite(int fd, const void *data, size_t size, int64_t offset)
    int renameat(int folder, const char *name, int to_folder, const char *to)
    int unlinkat(int folder, const char *name, int flags)
    Py_ssize_t write(int fd, const void *data, size_t size)

    int pthread_join(pthread_t thread, void **result)
    int pthread_mutex_init(pthread_mutex_t *mutex, const void *attributes)
    int pthread_mutex_destroy(pthread_mutex_t *mutex)
    int pthread_mutex_lock(pthread_mutex_t *mutex)
    int pthread_mutex_unlock(pthread_mutex_t *mutex)
    int pthread_cond_init(pthread_cond_t *condition, const void *attributes)
    int pthread_cond_destroy(pthread_cond_t *condition)
    int pthread_cond_signal(pthread_cond_t *condition)
    int pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex)


# -- the caller's side -----------------------------------------------------------------------------


cdef Lanes *new_lanes(int folder, int wake) noexcept nogil:
    """Lanes without a thread yet, for the files of an open folder; NULL where memory runs out."""
    cdef Lanes *lanes = <Lanes *>calloc(1, sizeof(Lanes))
    cdef LaneState *lane
    cdef int i
    if lanes == NULL:
        return NULL
    lanes.wake = wake
    lanes.files.folder = folder
    pthread_mutex_init(&lanes.lock, NULL)
    pthread_mutex_init(&lanes.files.lock, NULL)
    for i in range(LANES):
        lane = &lanes.lanes[i]
        lane.lanes = lanes
        lane.era = 1
        lane.stops_at_failure = i == COMMITS
        pthread_mutex_init(&lane.lock, NULL)
        pthread_cond_init(&lane.wanted, NULL)
    return lanes


cdef int add_job(Lanes *lanes, Job *job) noexcept nogil:
    """Have a job carried out; returns errno where its lane has no thread and gets none."""
    cdef LaneState *lane = &lanes.lanes[job.lane]
    cdef int error
    cdef bint asleep
    if not lane.started:
        error = pysignal_start(&lane.thread, run_lane, lane)
        if error:
            return error
        lane.started = True
    job.next = NULL
    job.era = lane.era
    pthread_mutex_lock(&lane.lock)
    if lane.first == NULL:
        lane.first = job
    else:
        lane.last.next = job
    lane.last = job
    asleep = lane.asleep
    pthread_mutex_unlock(&lane.lock)
    if asleep:
        pthread_cond_signal(&lane.wanted)
    return 0


cdef Job *take_done(Lanes *lanes) noexcept nogil:
    """Take the jobs that are done, in the order in which they were."""
    cdef Job *job
    pthread_mutex_lock(&lanes.lock)
    job = lanes.first_done
    lanes.first_done = lanes.last_done = NULL
    pthread_mutex_unlock(&lanes.lock)
    return job


cdef void forgive(Lanes *lanes, int lane) noexcept nogil:
    """Begin jobs again that are added from now on: their caller knows of the failure."""
    lanes.lanes[lane].era += 1


cdef void join_lanes(Lanes *lanes) noexcept nogil:
    """Carry out what was added, and end the threads."""
    cdef LaneState *lane
    cdef int i
    for i in range(LANES):
        lane = &lanes.lanes[i]
        pthread_mutex_lock(&lane.lock)
        lane.stopping = True
        pthread_mutex_unlock(&lane.lock)
        pthread_cond_signal(&lane.wanted)
    for i in range(LANES):
        lane = &lanes.lanes[i]
        if lane.started:
            pthread_join(lane.thread, NULL)
            lane.started = False


cdef void free_lanes(Lanes *lanes) noexcept nogil:
    """Close the files and free what has no thread any more; what is done was taken."""
    cdef File *file
    cdef int i
    while lanes.files.first != NULL:
        file = lanes.files.first
        lanes.files.first = file.next
        close_file(file)
    for i in range(LANES):
        pthread_mutex_destroy(&lanes.lanes[i].lock)
        pthread_cond_destroy(&lanes.lanes[i].wanted)
    pthread_mutex_destroy(&lanes.files.lock)
    pthread_mutex_destroy(&lanes.lock)
    free(lanes)


# -- the threads -----------------------------------------------------------------------------------


cdef void *run_lane(void *argument) noexcept nogil:
    cdef LaneState *lane = <LaneState *>argument
    cdef Job *job
    while True:
        job = next_job(lane)
        if job == NULL:
            return NULL
        carry_out(lane, job)
        tell(lane.lanes, job)


cdef Job *next_job(LaneState *lane) noexcept nogil:
    """Wait for a job; NULL where there will be none."""
    cdef Job *job
    pthread_mutex_lock(&lane.lock)
    while lane.first == NULL and not lane.stopping:
        lane.asleep = True
        pthread_cond_wait(&lane.wanted, &lane.lock)
    lane.asleep = False
    job = lane.first
    if job != NULL:
        lane.first = job.next
    pthread_mutex_unlock(&lane.lock)
    return job


cdef void carry_out(LaneState *lane, Job *job) noexcept nogil:
    cdef int i
    if lane.stops_at_failure and job.era == lane.broken:
        job.error, job.failed = ECANCELED, -1
        return
    for i in range(job.count):
        job.error = take_step(&lane.lanes.files, &job.steps[i])
        if job.error:
            job.failed = i
            lane.broken = job.era
            return


cdef void tell(Lanes *lanes, Job *job) noexcept nogil:
    """Note that a job is done; the loop is woken unless it has been for one before."""
    cdef int64_t one = 1
    cdef bint is_first
    job.next = NULL
    pthread_mutex_lock(&lanes.lock)
    is_first = lanes.first_done == NULL
    if is_first:
        lanes.first_done = job
    else:
        lanes.last_done.next = job
    lanes.last_done = job
    pthread_mutex_unlock(&lanes.lock)
    if is_first:
        while write(lanes.wake, &one, sizeof(one)) < 0 and errno == EINTR:
            pass


# -- steps; each returns errno, 0 for success ------------------------------------------------------


cdef int take_step(Files *files, Step *step) noexcept nogil:
    if step.kind == STEP_WRITE:
        return write_file(files, step)
    if step.kind == STEP_SYNC:
        return sync_file(files, step)
    if step.kind == STEP_CREATE:
        return create_file(files, step)
    if step.kind == STEP_TRUNCATE:
        return cut_file(files, step)
    if step.kind == STEP_RENAME:
        return rename_file(files, step)
    if step.kind == STEP_REMOVE:
        return remove_file(files, step)
    return sync_folder(files)


cdef int write_file(Files *files, Step *step) noexcept nogil:
    cdef File *file = NULL
    cdef int error = take_file(files, step.name, &file)
    if error:
        return error
    error = write_all(file.fd, step.data, step.size, step.offset)
    leave_file(files, file, True)
    return error


cdef int write_all(int fd, const char *data, int64_t size, int64_t offset) noexcept nogil:
    """Write all bytes, in as many goes as the system makes of it."""
    cdef Py_ssize_t written
    while size > 0:
        written = pwrite(fd, data, <size_t>size, offset)
        if written < 0:
            if errno != EINTR:
                return errno
            continue
        if written == 0:
            return EIO
        data += written
        offset += written
        size -= written
    return 0


cdef int sync_file(Files *files, Step *step) noexcept nogil:
    cdef File *file = NULL
    cdef int error = take_file(files, step.name, &file)
    if error:
        return error
    pthread_mutex_lock(&files.lock)
    error = file.sync_error
    file.dirty = False  # what is written from now on, by the other lane, may not be in this sync
    pthread_mutex_unlock(&files.lock)
    if not error and pysignal_sync(file.fd):
        error = errno
    if error:
        pthread_mutex_lock(&files.lock)
        file.sync_error = error
        pthread_mutex_unlock(&files.lock)
    leave_file(files, file, error != 0)
    return error


cdef int create_file(Files *files, Step *step) noexcept nogil:
    cdef File *file
    cdef int64_t at = 0, size
    cdef int error
    if step.size < 0:
        return EINVAL
    error = remove_file(files, step)
    if error and error != ENOENT:
        return error
    file = <File *>calloc(1, sizeof(File))
    if file != NULL:
        file.name = strdup(step.name)
    if file == NULL or file.name == NULL:
        free(file)
        return ENOMEM
    file.fd = open_at(files, step.name, O_CREAT | O_EXCL)
    if file.fd < 0:
        error = errno
        free(file.name)
        free(file)
        return error
    # Zeros that were only promised a place would be moved to it, in the file system's own journal,
    # by the sync that follows the first write to each.
    error = errno if fchmod(file.fd, 0o600) else 0
    while not error and at < step.size:
        size = min(step.size - at, <int64_t>PIECE)
        error = write_all(file.fd, PYSIGNAL_ZEROS, size, at)
        at += size
    if error:
        close_file(file)
        unlinkat(files.folder, step.name, 0)
        return error
    keep_file(files, file)
    leave_file(files, file, True)
    return 0


cdef int cut_file(Files *files, Step *step) noexcept nogil:
    cdef File *file = NULL
    cdef int error = take_file(files, step.name, &file)
    if error:
        return error
    while ftruncate(file.fd, step.size):
        if errno != EINTR:
            error = errno
            break
    leave_file(files, file, True)
    return error


cdef int rename_file(Files *files, Step *step) noexcept nogil:
    cdef File *file
    cdef File *replaced
    cdef char *to = strdup(step.to)
    cdef int error
    if to == NULL:
        return ENOMEM
    error = errno if renameat(files.folder, step.name, files.folder, to) else 0
    if error or strcmp(step.name, to) == 0:
        free(to)
        return error
    pthread_mutex_lock(&files.lock)
    replaced = let_go(files, to)
    file = find(files, step.name)
    if file != NULL:
        file.name, to = to, file.name
    pthread_mutex_unlock(&files.lock)
    close_file(replaced)
    free(to)
    return 0


cdef int remove_file(Files *files, Step *step) noexcept nogil:
    cdef File *file
    if unlinkat(files.folder, step.name, 0):
        return errno
    pthread_mutex_lock(&files.lock)
    file = let_go(files, step.name)
    pthread_mutex_unlock(&files.lock)
    close_file(file)
    return 0


cdef int sync_folder(Files *files) noexcept nogil:
    cdef int error
    pthread_mutex_lock(&files.lock)
    error = files.folder_error
    pthread_mutex_unlock(&files.lock)
    if not error and fsync(files.folder):
        error = errno
        pthread_mutex_lock(&files.lock)
        files.folder_error = error
        pthread_mutex_unlock(&files.lock)
    return error


# -- files that are open ---------------------------------------------------------------------------


cdef int open_at(Files *files, const char *name, int how) noexcept nogil:
    cdef int fd
    while True:
        fd = openat(files.folder, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | how, 0o600)
        if fd >= 0 or errno != EINTR:
            return fd


cdef int take_file(Files *files, const char *name, File **taken) noexcept nogil:
    """Begin to use a file, which is opened if need be; returns errno."""
    cdef File *file
    cdef int error
    pthread_mutex_lock(&files.lock)
    file = find(files, name)
    if file != NULL:
        file.users += 1
    pthread_mutex_unlock(&files.lock)
    if file == NULL:
        file = <File *>calloc(1, sizeof(File))
        if file == NULL:
            return ENOMEM
        file.name = strdup(name)
        file.fd = open_at(files, name, 0) if file.name != NULL else -1
        if file.fd < 0:
            error = errno
            free(file.name)
            free(file)
            return error
        keep_file(files, file)
    taken[0] = file
    return 0


cdef void keep_file(Files *files, File *file) noexcept nogil:
    """Put a file that was opened among the others, and close what there is too much of."""
    cdef File *closing
    cdef File *idle
    pthread_mutex_lock(&files.lock)
    closing = let_go(files, file.name)  # the other lane may have opened it meanwhile
    file.users = 1
    file.next = files.first
    files.first = file
    files.count += 1
    while files.count > IDLE_MAX:
        idle = let_go_idle(files)
        if idle == NULL:
            break
        idle.next, closing = closing, idle
    pthread_mutex_unlock(&files.lock)
    while closing != NULL:
        idle, closing = closing, closing.next
        close_file(idle)


cdef void leave_file(Files *files, File *file, bint dirty) noexcept nogil:
    """End the use of a file."""
    cdef bint is_last
    pthread_mutex_lock(&files.lock)
    file.users -= 1
    file.dirty |= dirty
    is_last = file.gone and file.users == 0
    pthread_mutex_unlock(&files.lock)
    if is_last:
        close_file(file)


cdef File *find(Files *files, const char *name) noexcept nogil:
    """The open file of that name, which becomes the one that was used last, or NULL."""
    cdef File **at = &files.first
    cdef File *file
    while at[0] != NULL:
        file = at[0]
        if strcmp(file.name, name) == 0:
            at[0] = file.next
            file.next = files.first
            files.first = file
            return file
        at = &file.next
    return NULL


cdef File *let_go(Files *files, const char *name) noexcept nogil:
    """Forget a file that has lost its name; returns it if it is to be closed, else NULL."""
    cdef File *file = find(files, name)
    if file == NULL:
        return NULL
    files.first = file.next
    files.count -= 1
    file.gone = True
    file.next = NULL
    return file if file.users == 0 else NULL


cdef File *let_go_idle(Files *files) noexcept nogil:
    """Forget the file that was used longest ago, of those that can be closed; else NULL."""
    cdef File **at = &files.first
    cdef File **last = NULL
    cdef File *file
    while at[0] != NULL:
        if at[0].users == 0 and not at[0].dirty:
            last = at
        at = &at[0].next
    if last == NULL:
        return NULL
    file = last[0]
    last[0] = file.next
    files.count -= 1
    return file


cdef void close_file(File *file) noexcept nogil:
    if file != NULL:
        close(file.fd)
        free(file.name)
        free(file)
