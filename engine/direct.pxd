"""Operations for compiled callers: what was not done is a result, and not an exception.

They do what the operations of `Machine` do that have these names, for the ordinary case, and refuse
without a reason. Who wants to know why calls the machine. `near` is the number that the actor had
the last time, or any other; it becomes the one that they have.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from pysignal.engine.machine cimport Machine

cdef str open_one(
    Machine machine, uint64_t now_ms, str inviter, uint32_t *near, str invitee, str data,
    uint64_t timeout_ms, bint online_only, uint32_t device,
)
cdef bint is_open_to_one(
    Machine machine, uint64_t now_ms, str invite_id, str inviter, uint32_t *near,
) except -1
cdef bint answer_one(
    Machine machine, uint64_t now_ms, str invite_id, str invitee, uint32_t *near, uint8_t status,
    str data, uint32_t device,
) except -1
cdef bint cancel_one(
    Machine machine, uint64_t now_ms, str invite_id, str inviter, uint32_t *near, str data,
    uint32_t device,
) except -1
