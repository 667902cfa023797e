"""Calls: a request takes its first step in the very turn in which it came, so order is kept.

Nearly all are done by then, and the most frequent without so much as a coroutine. What waits for
its turn, or for a journal, goes on when what it awaits has come to pass: that is what a task does,
without the cost of one.
"""

cimport cython

import logging
from contextvars import copy_context

from pysignal.engine.roster cimport ACCEPTED, CANCELLED, REJECTED
from pysignal.server.outbox cimport Outbox

from pysignal.errors import SignalingError
from pysignal.protocol.messages import Accept, Cancel, Invite, Reject
from pysignal.protocol.params import ChangeParams
from pysignal.protocol.writing import invite_answer, null_answer
from pysignal.server import operations
from pysignal.server.operations import failed, refused

log = logging.getLogger("pysignal.server")

cdef dict BEGIN = operations.OPERATIONS
cdef object INVITE = Invite
cdef dict STATUSES = {Accept: ACCEPTED, Reject: REJECTED, Cancel: CANCELLED}


cdef class Caller:
    """Carries out the operations that one connection asks for.

    Args:
        session: on whose behalf.
        outbox: the session's, which sends on this connection.
        post: takes an answer that has come later: the connection may have gone.
        prefix: with the number of a request it is the request's ID.
    """

    def __init__(self, session, Outbox outbox not None, post, str prefix not None):
        self.session = session
        self.signaling = session.signaling
        self.outbox = outbox
        self.post = post
        self.prefix = prefix

    def take(self, request):
        """Begin what a request asks for; False where it is no operation."""
        cdef Call call
        try:
            if self.take_now(request):
                return True
        except SignalingError as refusal:
            self.outbox.post(refused(request.id, refusal))
            return True
        operation = BEGIN.get(type(request))
        if operation is None:
            return False
        begin, write = operation
        params = request.params
        request_id = self.request_id(request, params) if isinstance(params, ChangeParams) else ""
        call = Call.__new__(Call)
        call.number = request.id
        call.operation = begin(self.session, params, request_id)
        call.write = write
        call.post = self.post
        call.go_on(None)
        return True

    cdef str request_id(self, request, params):
        given = params.request_id
        return f"{self.prefix}{request.id}" if given is None else given

    cdef bint take_now(self, request) except -1:
        """Carry out an ordinary operation at once; False where it is not one."""
        cdef str invite_id
        cdef bytes text
        cdef Later later
        kind = type(request)
        params = request.params
        if kind is INVITE:
            invitee = params.invitee
            if type(invitee) is not str:
                return False
            invite_id = self.signaling.open_now(
                invitee, params.data, params.timeout, params.online_user_only,
                self.request_id(request, params),
            )
            if invite_id is None:
                return False
            text = invite_answer(request.id, invite_id)
        else:
            status = STATUSES.get(kind)
            if status is None or not self.signaling.answer_now(
                status, params.invite_id, params.data, self.request_id(request, params),
            ):
                return False
            text = null_answer(request.id)
        if not self.signaling.is_journaled():
            self.outbox.post(text)
            return True
        later = Later.__new__(Later)
        later.number = request.id
        later.text = text
        later.post = self.post
        self.signaling.durable().add_done_callback(later, context=copy_context())
        return True


@cython.freelist(256)
cdef class Later:
    """An answer that waits until what it tells of is durable."""

    def __call__(self, acknowledgement):
        """Post it, or why it never will be."""
        try:
            acknowledgement.result()
        except SignalingError as error:
            self.post(refused(self.number, error))
        else:
            self.post(self.text)


@cython.freelist(256)
cdef class Call:
    """An operation on its way: a coroutine of the session."""

    def go_on(self, awaited):
        """Take it as far as it goes now; also called with what it has awaited."""
        try:
            awaited = self.operation.send(None)
        except StopIteration as end:
            self.post(self.write(self.number, end.value))
        except SignalingError as refusal:
            self.post(refused(self.number, refusal))
        except Exception:
            log.exception("a request could not be carried out")
            self.post(failed(self.number))
        else:
            # By this a task, too, tells a future that it has understood whom to wake.
            awaited._asyncio_future_blocking = False
            awaited.add_done_callback(self.go_on, context=copy_context())
