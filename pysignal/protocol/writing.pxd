"""The messages of the server that are many, written straight into bytes."""

from libc.stdint cimport int64_t

from pysignal.engine.facts cimport Event


cdef bytes event_told(Event event, str cursor, int64_t now)
cdef bytes fields_of(Event event)
cdef bytes invited(int64_t number, str invite_id)
cdef bytes done(int64_t number)
