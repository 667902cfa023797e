"""Operations for compiled callers: what was not done is a result, and not an exception."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from pysignal.engine.core cimport (
    DONE,
    LISTED,
    ONLINE_ONLY,
    OPEN,
    core_answer,
    core_cancel,
    core_find,
    core_open,
    invitation_at,
    invitation_t,
    opening_t,
)
from pysignal.engine.ids cimport id_blank, id_fill, id_parse, invite_id_t
from pysignal.engine.machine cimport Machine
from pysignal.engine.slab cimport NONE
from pysignal.engine.texts cimport handle_of, release, spelled_add
from pysignal.engine.wheel cimport wheel_enter


cdef str open_one(
    Machine machine, uint64_t now_ms, str inviter, uint32_t *near, str invitee, str data,
    uint64_t timeout_ms, bint online_only, uint32_t device,
):
    """Open an invitation to one user, without a group; its ID, or None where nothing was done."""
    cdef opening_t o
    cdef invite_id_t name
    cdef uint32_t one
    cdef str invite_id
    machine.forget_idle(1)
    o.inviter = machine.users.find_near(inviter, near[0])
    if o.inviter == NONE:
        o.inviter = machine.number_of(inviter, "inviter")
    near[0] = o.inviter
    one = machine.number_of(invitee, "invitee")
    if o.inviter == NONE or one == NONE:
        return None
    o.invitees = &one
    o.count = 1
    o.now_ms = now_ms
    o.timeout_ms = timeout_ms
    o.group = NONE
    o.device = device
    o.flags = ONLINE_ONLY if online_only else 0
    o.random = machine.entropy.next()
    invite_id = id_blank()      # what could run out is taken before anything is changed
    o.data = handle_of(data)
    if core_open(&machine.core, &o, &name) != DONE:
        release(o.data)
        return None
    id_fill(invite_id, name)
    spelled_add(&machine.spelled, machine.core.position, invite_id)
    return invite_id


cdef bint answer_one(
    Machine machine, uint64_t now_ms, str invite_id, str invitee, uint32_t *near, uint8_t status,
    str data, uint32_t device,
) except -1:
    """Accept or reject as a pending invitee; whether it was done."""
    cdef uint32_t user = machine.users.find_near(invitee, near[0])
    cdef invite_id_t name
    cdef uint64_t handle
    near[0] = user
    if not id_parse(invite_id, &name):
        return False
    handle = handle_of(data)
    if core_answer(&machine.core, now_ms, name, user, status, handle, device) == DONE:
        spelled_add(&machine.spelled, machine.core.position, invite_id)
        return True
    release(handle)
    return False


cdef bint cancel_one(
    Machine machine, uint64_t now_ms, str invite_id, str inviter, uint32_t *near, str data,
    uint32_t device,
) except -1:
    """Cancel as the inviter; whether it was done."""
    cdef uint32_t user = machine.users.find_near(inviter, near[0])
    cdef invite_id_t name
    cdef uint64_t handle
    near[0] = user
    if user == NONE or not id_parse(invite_id, &name):
        return False
    handle = handle_of(data)
    if core_cancel(&machine.core, now_ms, name, user, handle, device) == DONE:
        return True
    release(handle)
    return False


cdef bint is_open_to_one(
    Machine machine, uint64_t now_ms, str invite_id, str inviter, uint32_t *near,
) except -1:
    """Whether an ID names an inviter's open invitation to one user, without a group.

    False too where something is due by now, which has to end first.
    """
    cdef invite_id_t name
    cdef const invitation_t *one
    cdef uint32_t slot
    near[0] = machine.users.find_near(inviter, near[0])
    if near[0] == NONE or machine.core.restoring or not id_parse(invite_id, &name):
        return False
    if not wheel_enter(&machine.core.wheel, now_ms):
        return False
    slot = core_find(&machine.core, name)
    if slot == NONE:
        return False
    one = invitation_at(&machine.core, slot)
    return one.state == OPEN and not one.flags & LISTED and one.inviter == near[0]
