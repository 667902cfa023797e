"""Results of requests as entries of a journal."""

from pysignal.requests import Request

__pyx_capi__: dict[str, object]

def of_request(request: Request) -> bytes: ...
def request_of(entry: bytes) -> Request: ...
