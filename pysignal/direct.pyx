"""The operations on invitations that need not wait, compiled: the hot path.

Each operation is first tried at once: an ordinary call of a session that may call, while nothing
waits before it. That takes one coroutine, which never suspends; with a journal it does once, until
what was done is durable. Whatever
is not so, or what the engine refuses, has changed nothing; it goes the general way, through
`signaling`, which judges anew and says what is wrong.
"""

from cpython.long cimport PyLong_AsLongAndOverflow
from cpython.ref cimport PyTypeObject
from libc.math cimport rint
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from pysignal.arguments cimport with_text, with_truth, with_whole
from pysignal.commands cimport Commands
from pysignal.engine.direct cimport answer_one, cancel_one, open_one
from pysignal.engine.machine cimport Machine
from pysignal.engine.roster cimport ACCEPTED, CANCELLED, REJECTED, STATUSES
from pysignal.engine.slab cimport NONE
from pysignal.receivers cimport Receiver
from pysignal.requests cimport Request, Requests

from pysignal import text
from pysignal.invitation import Invitation

# The longest timeout, 30 days, in seconds.
TIMEOUT_MAX_S = 30 * 86_400

cdef extern from *:
    """
    #define pysignal_is_ascii(text) PyUnicode_IS_ASCII(text)

    /* A user ID of ASCII characters that are all printable: 1 to 128 of them. */
    static int pysignal_is_plain_id(PyObject *text) {
        Py_ssize_t size = PyUnicode_GET_LENGTH(text);
        const unsigned char *at = PyUnicode_1BYTE_DATA(text);
        unsigned char odd = 0;
        if (!PyUnicode_IS_ASCII(text) || size < 1 || size > 128) return 0;
        for (Py_ssize_t i = 0; i < size; i++) odd |= (unsigned char)(at[i] - 0x20) > 0x5e;
        return !odd;
    }

    /* A new instance of a subclass of str, without the way through its Python constructor. */
    static PyObject *pysignal_subclass_of_str(PyTypeObject *type, PyObject *text) {
        PyObject *args = PyTuple_Pack(1, text), *made;
        if (!args) return NULL;
        made = PyUnicode_Type.tp_new(type, args, NULL);
        Py_DECREF(args);
        return made;
    }
    """
    bint pysignal_is_ascii(object text)
    bint pysignal_is_plain_id(object text)
    object pysignal_subclass_of_str(PyTypeObject *type, str text)

cdef double TIMEOUT_MAX = TIMEOUT_MAX_S
cdef object HANDLE = Invitation

# The numbers of the operations' names, with which those of their arguments begin.
cdef uint64_t INVITE = with_text(0, "invite")
cdef uint64_t[STATUSES] OPERATIONS
OPERATIONS[<int>ACCEPTED] = with_text(0, "accept")
OPERATIONS[<int>REJECTED] = with_text(0, "reject")
OPERATIONS[<int>CANCELLED] = with_text(0, "cancel")


cdef object handle(str invite_id, Receiver actor):
    """An `Invitation`."""
    made = pysignal_subclass_of_str(<PyTypeObject *>HANDLE, invite_id)
    made._actor = actor
    return made


cdef inline bint is_plain_id(value):
    return type(value) is str and pysignal_is_plain_id(value)


cdef inline bint is_plain_data(value, Py_ssize_t bytes_max):
    return type(value) is str and pysignal_is_ascii(value) and len(<str>value) <= bytes_max


cdef str checked_data(data, Py_ssize_t bytes_max):
    """Custom data as an exact `str`; what is wrong with it is raised."""
    if is_plain_data(data, bytes_max):
        return <str>data
    return text.data(data, bytes_max=bytes_max)


cdef bint is_timeout(timeout, uint64_t *ms):
    """Whether a timeout is an ordinary one, and its milliseconds."""
    cdef double seconds
    cdef long whole
    cdef int overflow = 0
    if type(timeout) is int:
        whole = PyLong_AsLongAndOverflow(timeout, &overflow)
        if overflow or not 0 <= whole <= TIMEOUT_MAX:
            return False
        ms[0] = <uint64_t>whole * 1000
        return True
    if type(timeout) is not float:
        return False
    seconds = timeout
    if not 0 <= seconds <= TIMEOUT_MAX:     # NaN is neither
        return False
    ms[0] = <uint64_t>rint(seconds * 1000)
    if ms[0] == 0 and seconds != 0:
        ms[0] = 1
    return True


def invite_at_once(
    Commands commands not None, long long now_ms, inviter, invitee, data, timeout, online_only,
):
    """Open an ordinary invitation to one user as the embedding server; its ID, or None.

    None where something is not ordinary or was refused; then nothing was changed.
    """
    cdef uint64_t timeout_ms = 0
    cdef uint32_t near = NONE
    if not (is_plain_id(inviter) and is_plain_id(invitee)):
        return None
    if not is_plain_data(data, commands.data_bytes_max) or not is_timeout(timeout, &timeout_ms):
        return None
    if online_only is not True and online_only is not False:
        return None
    if not commands.has_room:
        return None
    return open_one(
        commands.machine, now_ms, <str>inviter, &near, <str>invitee, <str>data, timeout_ms,
        online_only is True, 0,
    )


def answer_at_once(
    Commands commands not None, long long now_ms, invitee, invite_id, accept, data,
):
    """Answer as a user, as the embedding server; False where it is not ordinary, or was refused."""
    cdef uint32_t near = NONE
    if accept is not True and accept is not False or not is_plain_id(invitee):
        return False
    if not isinstance(invite_id, str) or not is_plain_data(data, commands.data_bytes_max):
        return False
    return answer_one(
        commands.machine, now_ms, <str>invite_id, <str>invitee, &near,
        ACCEPTED if accept is True else REJECTED, <str>data, 0,
    )


cdef class DirectSignaling:
    """The operations on invitations, as far as they can be carried out at once.

    Args:
        actor: who acts: a session, or a user whom the embedding server acts for.
    """

    def __cinit__(self, Receiver actor not None):
        self._actor = actor

    async def invite(
        self,
        invitee,
        data="",
        *,
        timeout=30,
        online_user_only=False,
        offline_push_info=None,
        request_id=None,
    ):
        """Invite one user, or several without a group.

        Args:
            invitee: a user, or a list of users (one invitation; its parties hear each other).
            data: opaque text, at most 12 KiB of UTF-8.
            timeout: seconds, rounded to ms; 0 for never, at most 30 days.
            online_user_only: only sessions that are online now are told of the opening.
            offline_push_info: taken as V2TIM does; an embedded hub pushes nothing and ignores it.
            request_id: see the class.

        Returns:
            The ID of the invitation, with an outcome to await.

        Raises:
            DataTooLong, InvalidParameter, LimitExceeded, NotLoggedIn.
        """
        cdef str invite_id
        if type(invitee) is str:
            invite_id = self.open_now(invitee, data, timeout, online_user_only, request_id)
            if invite_id is not None:
                if self.is_journaled():
                    await self.durable()
                return handle(invite_id, self._actor)
        return await self._invite(invitee, data, timeout, online_user_only, request_id)

    async def accept(self, invite_id, data="", *, request_id=None):
        """Accept as a pending invitee.

        Raises:
            InvitationEnded: it has ended, or the actor has answered; `details["how"]` explains.
            NotPermitted: the actor is not an invitee.
            DataTooLong, InvalidParameter, NotLoggedIn.
        """
        if not self.answer_now(ACCEPTED, invite_id, data, request_id):
            await self._answer("accept", invite_id, data, request_id)
        elif self.is_journaled():
            await self.durable()

    async def reject(self, invite_id, data="", *, request_id=None):
        """Reject as a pending invitee; errors as for `accept`."""
        if not self.answer_now(REJECTED, invite_id, data, request_id):
            await self._answer("reject", invite_id, data, request_id)
        elif self.is_journaled():
            await self.durable()

    async def cancel(self, invite_id, data="", *, request_id=None):
        """Cancel as the inviter, from any session, while somebody is pending.

        Raises:
            InvitationEnded: it has ended.
            NotPermitted: the actor is not the inviter.
            DataTooLong, InvalidParameter, NotLoggedIn.
        """
        if not self.answer_now(CANCELLED, invite_id, data, request_id):
            await self._answer("cancel", invite_id, data, request_id)
        elif self.is_journaled():
            await self.durable()

    cdef bint is_journaled(self):
        return (<Commands>(<Receiver>self._actor)._commands).is_journaled()

    cdef object durable(self):
        """A future: what was just done is durable."""
        return (<Commands>(<Receiver>self._actor)._commands).writer.arrive()

    cdef str open_now(self, invitee, data, timeout, online_only, request_id):
        """Open an invitation to one user at once; its ID, or None where that could not be."""
        cdef Receiver actor = self._actor
        cdef Commands commands = <Commands>actor._commands
        cdef Requests requests
        cdef Request request = None
        cdef uint64_t timeout_ms = 0, arguments
        cdef long long now_ms
        cdef str invite_id = None
        if commands is None or not commands.takes(actor):
            return None
        data = checked_data(data, commands.data_bytes_max)
        if not pysignal_is_plain_id(invitee):
            invitee = text.user_id(invitee, "invitee")
        if online_only is not True and online_only is not False:
            return None
        if not is_timeout(timeout, &timeout_ms) or not commands.is_free():
            return None
        if not commands.has_room:
            return None
        commands.want_turn()
        now_ms = commands.now_ms()
        if request_id is None:
            return open_one(
                commands.machine, now_ms, actor.user_id, &actor.number, <str>invitee, <str>data,
                timeout_ms, online_only is True, actor.device_number,
            )
        if not is_plain_id(request_id):
            return None
        requests = commands.publisher.requests
        arguments = with_text(with_text(INVITE, <str>invitee), <str>data)
        arguments = with_truth(with_whole(arguments, timeout_ms), online_only is True)
        self.own = requests.of(actor.user_id, self.own, now_ms)
        request = requests.begin(self.own, <str>request_id, now_ms, arguments)
        if request is None:
            return None
        try:
            invite_id = open_one(
                commands.machine, now_ms, actor.user_id, &actor.number, <str>invitee, <str>data,
                timeout_ms, online_only is True, actor.device_number,
            )
        finally:
            if invite_id is None:
                requests.take_out(request)
            else:
                requests.keep(request, invite_id)
        return invite_id

    cdef bint answer_now(self, uint8_t status, invite_id, data, request_id) except -1:
        """Accept, reject or cancel at once; whether that could be."""
        cdef Receiver actor = self._actor
        cdef Commands commands = <Commands>actor._commands
        cdef Requests requests
        cdef Request request
        cdef uint64_t arguments
        cdef long long now_ms
        cdef bint is_done = False
        if commands is None or not commands.takes(actor):
            return False
        data = checked_data(data, commands.data_bytes_max)
        if not isinstance(invite_id, str) or not commands.is_free():
            return False
        commands.want_turn()
        now_ms = commands.now_ms()
        if request_id is None:
            return answer(commands.machine, now_ms, actor, status, <str>invite_id, <str>data)
        if not is_plain_id(request_id):
            return False
        requests = commands.publisher.requests
        arguments = with_text(with_text(OPERATIONS[status], <str>invite_id), <str>data)
        self.own = requests.of(actor.user_id, self.own, now_ms)
        request = requests.begin(self.own, <str>request_id, now_ms, arguments)
        if request is None:
            return False
        try:
            is_done = answer(commands.machine, now_ms, actor, status, <str>invite_id, <str>data)
        finally:
            if is_done:
                requests.keep(request, None)
            else:
                requests.take_out(request)
        return is_done


cdef inline bint answer(
    Machine machine, long long now_ms, Receiver actor, uint8_t status, str invite_id, str data,
) except -1:
    """Accept, reject or cancel; whether it was done."""
    if status == CANCELLED:
        return cancel_one(
            machine, now_ms, invite_id, actor.user_id, &actor.number, data, actor.device_number,
        )
    return answer_one(
        machine, now_ms, invite_id, actor.user_id, &actor.number, status, data,
        actor.device_number,
    )
