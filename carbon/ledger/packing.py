"""How the tables keep the lines of a request: the members' values in order of name, without the names. Pure.

Names are up to three fifths of such a line, and the same in all of them. A packed line is a JSON array: the number of
its form, then the values as the body has them. Only what a form of `forms` takes is packed, so that names and bytes
follow from the values; everything else is kept as it is. A body begins with a brace, a packed one with a bracket.

What is hashed, signed, exported and proved is the body. Bytes that are no packed line are given back as they are: who
reads them finds a body that the tree does not know.
"""

from typing import Any

import msgspec

from greenserve.carbon.ledger.forms import FirstLine, Known, SettledLine, first_line, settled_line
from greenserve.carbon.ledger.row import Prepared

_PACKED = b"["
_FIRST, _SETTLED = 1, 2


class FirstRow(FirstLine, array_like=True, tag=_FIRST, gc=False, forbid_unknown_fields=True, kw_only=True):
    """A first line as it is kept: members in order of name, all of them."""


class SettledRow(SettledLine, array_like=True, tag=_SETTLED, gc=False, forbid_unknown_fields=True, kw_only=True):
    """A settled line as it is kept."""


def _named(name: str, line: type[msgspec.Struct]) -> Any:
    """The same members again, made from their values in order."""
    return msgspec.defstruct(name, [(field.name, Any) for field in msgspec.structs.fields(line)], gc=False)


_first_named, _settled_named = _named("FirstNamed", FirstLine), _named("SettledNamed", SettledLine)
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(FirstRow | SettledRow).decode
_decode_first = msgspec.json.Decoder(FirstRow).decode
_decode_settled = msgspec.json.Decoder(SettledRow).decode
_values = msgspec.structs.astuple


def stored(line: Prepared) -> bytes:
    """What the tables keep of a row's body."""
    form = line.form
    if form is not None:
        return _pack(form.line if isinstance(form, Known) else form, line.body)
    return packed(line.body) if line.kind == "usage" else line.body


def packed(body: bytes) -> bytes:
    """As `stored`, for a body alone."""
    line = first_line(body) or settled_line(body)
    return body if line is None else _pack(line, body)


def unpacked(data: bytes) -> bytes:
    """The body that was kept so."""
    if not data.startswith(_PACKED):
        return data
    try:
        line = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return data
    return body_of(line)


def body_of(line: FirstLine | SettledLine) -> bytes:
    """The body of a line, however it was kept."""
    if isinstance(line, FirstRow):
        return bytes(_encode(_first_named(*_values(line))))
    return bytes(_encode(_settled_named(*_values(line)) if isinstance(line, SettledRow) else line))


def own_body(data: bytes) -> bytes | None:
    """As `unpacked`; None where a packed line is not kept as `packed` would keep it, byte for byte."""
    if not data.startswith(_PACKED):
        return data
    try:
        line = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return data
    return body_of(line) if _encode(line) == data else None


def first_row(data: bytes) -> FirstLine | None:
    """As `forms.first_line`, for what is kept of a first line; `own_body` says whether that is kept as it should be."""
    if not data.startswith(_PACKED):
        return first_line(data)
    try:
        return _decode_first(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def settled_row(data: bytes) -> SettledLine | None:
    """As `forms.settled_line`, for what is kept of a settled line."""
    if not data.startswith(_PACKED):
        return settled_line(data)
    try:
        return _decode_settled(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _pack(line: FirstLine | SettledLine, body: bytes) -> bytes:
    if isinstance(line, FirstLine):
        # Lines of before some member was told have names of their own, as it were.
        if msgspec.UNSET in (line.ci_other, line.org, line.project):
            return body
        return bytes(_encode((_FIRST, *_values(line))))
    return body if line.first is msgspec.UNSET else bytes(_encode((_SETTLED, *_values(line))))
