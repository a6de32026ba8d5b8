"""What the headers of one message declare about it: its length, its coding, and for whom a trusted peer speaks."""

from typing import Literal, cast

from greenserve.errors import InvalidRequest, UnsupportedEncoding
from greenserve.serve.http.guard import HttpLimits, body_too_large
from greenserve.serve.trust import POWERLESS, VOUCHED

WATCHED = frozenset({b"content-length", b"transfer-encoding", b"expect"}) | POWERLESS | VOUCHED

FEW_PIECES = 1_024
SMALL_PIECE_BYTES = 64
"""A piece costs a microsecond whatever its size: a million chunks of one byte would hold up everybody else."""


class Declared:
    """One per connection, cleared for each message. State: what the message's headers said so far.

    `believed` is of the connection: whether its peer may speak for others. `waits` for permission to send the body.
    """

    def __init__(self, limits: HttpLimits) -> None:
        self._limits = limits
        self.believed = False
        self.clear()

    def __repr__(self) -> str:
        return f"<Declared {self._length_bytes} bytes{', chunked' if self._chunked else ''}>"

    def clear(self) -> None:
        """A new message begins."""
        self._length_bytes = 0
        self._chunked = False
        self._body_bytes = 0
        self._pieces = 0
        self.waits = False
        self.forwarded_for = ""
        self.forwarded_proto: Literal["", "http", "https"] = ""

    @property
    def has_body(self) -> bool:
        """Whether a body follows."""
        return self._chunked or self._length_bytes > 0

    def grew(self, size: int) -> None:
        """A piece of the body came, of `size` bytes; raises BodyTooLarge or InvalidRequest once it is too much."""
        self._body_bytes += size
        self._pieces += 1
        if self._body_bytes > self._limits.max_body_bytes:
            raise body_too_large(self._limits)
        if self._pieces > FEW_PIECES + self._body_bytes // SMALL_PIECE_BYTES:
            raise InvalidRequest(f"the body came in {self._pieces:,} pieces of a few bytes; send larger chunks")

    def unparsed_bytes(self) -> int:
        """The body's length [bytes] where it comes without the parser; raises InvalidRequest where nobody knows it."""
        if self._chunked:
            raise InvalidRequest("Upgrade is not offered, and not read with a chunked body; send one of the two")
        return self._length_bytes

    def takes(self, name: bytes, value: bytes) -> bool:
        """Act on one of the WATCHED headers; whether the application may see it.

        Raises BodyTooLarge, UnsupportedEncoding or InvalidRequest for what is not served.
        """
        if name == b"content-length":
            self._length_bytes = int(value)  # the parser took digits only
            if self._length_bytes > self._limits.max_body_bytes:
                raise body_too_large(self._limits, declared=self._length_bytes)
        elif name == b"transfer-encoding":
            if value.lower().strip() != b"chunked":
                raise UnsupportedEncoding(f"Transfer-Encoding {_shown(value)}; allowed is chunked")
            self._chunked = True
        elif name == b"expect":
            if value.lower() != b"100-continue":
                raise InvalidRequest(f"Expect {_shown(value)}; allowed is 100-continue")
            self.waits = True
        elif name in POWERLESS or not self.believed:
            return False
        elif name == b"x-forwarded-for":
            self.forwarded_for = ",".join(filter(None, (self.forwarded_for, value.decode("latin-1"))))
        elif name == b"x-forwarded-proto" and (scheme := value.strip().lower()) in {b"http", b"https"}:
            self.forwarded_proto = cast(Literal["http", "https"], scheme.decode())
        return True


def _shown(value: bytes) -> str:
    return repr(value[:64].decode("latin-1"))
