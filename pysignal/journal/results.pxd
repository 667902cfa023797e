"""Results of requests as entries of a journal (see `results.pyx`)."""

from pysignal.requests cimport Request


cdef bytes entry_of(Request request)
cdef list entries_of(list requests)
