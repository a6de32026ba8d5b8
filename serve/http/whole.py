"""A whole answer in one write, where uvicorn's cycle makes two of it and looks at each header on its own.

Most answers of a gateway are of this kind. Whatever is not (a client that reads slowly, an application's own stream)
goes through ASGI's `send`.
"""

import re

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from greenserve.serve.http.message import Pairs

CLOSE = (b"connection", b"close")
CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


def send_whole(cycle: RequestResponseCycle, status: int, headers: Pairs, body: bytes) -> bool:
    """Send head and body of a cycle's answer and end it; False where that cannot be done at once.

    `headers` hold the content-length; `body` is empty for HEAD. ValueError for a control character in a header, which
    would end it.
    """
    if cycle.response_started or cycle.disconnected or cycle.flow.write_paused:
        return False
    if CONTROL.search(b"".join([value for _, value in headers])):
        raise ValueError(f"a header holds a control character: {headers!r}")
    if CLOSE in headers:
        cycle.keep_alive = False
    elif not cycle.keep_alive:
        headers = [*headers, CLOSE]
    head = b"\r\n".join([b"%b: %b" % pair for pair in headers])
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    cycle.transport.write(b"%b%b\r\n\r\n%b" % (STATUS_LINE[status], head, body))
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()
    return True
