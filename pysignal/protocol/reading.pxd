"""What a client decodes, as the objects that the engine itself gives."""

from pysignal.engine.facts cimport Event


cdef int fill_roll(Event event, object fields, Event opening) except -1
