"""The two lines of a request as this version writes them, decoded straight into their members. Pure.

Writer and audit see millions of them: a line of exactly this form is checked for its types, its members and their order
by one decoding and one encoding in C. Whatever is not of this form is no error here; it is read the general way
(`row.prepare_bytes`), which says what is wrong, if anything is.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from greenserve.canonical import LARGEST_INTEGER

Whole = Annotated[int, msgspec.Meta(ge=-LARGEST_INTEGER, le=LARGEST_INTEGER)]
Amount = Annotated[int, msgspec.Meta(ge=0, le=LARGEST_INTEGER)]
"""What is never negative: energy [uJ], emissions [ng], counts."""
Part = msgspec.Raw
"""A nested member, still as its bytes; whoever takes the line checks that they are canonical."""


class FirstLine(msgspec.Struct, gc=False, forbid_unknown_fields=True, kw_only=True):
    """Revision 0 of a request with known energy; members in order of name, as `entries.usage_body` tells them."""

    active_uj: Amount
    attempt: Amount
    batch_id: str | None
    budget_id: str | None
    cache: str
    charged: bool
    ci: Part
    ci_other: Part | msgspec.UnsetType = msgspec.UNSET
    code: str | None
    cpu_ns: Whole | None
    device: str | None
    embodied_ng: Amount | None
    emulated: bool
    end_ns: Whole
    ended_us: Whole
    facility_uj: Amount | None
    flags: tuple[str, ...]
    held_ns: Whole | None
    held_uj: Amount
    high_uj: Amount
    host_cpu_ns: Whole | None
    host_uj: Amount
    idle_uj: None
    key_id: str | None
    kind: Literal["usage"]
    loc_direct_ng: Amount | None
    loc_lifecycle_ng: Amount | None
    low_uj: Amount
    market_ng: Amount | None
    method: str
    model: str
    n_rows: Whole | None
    org: str | msgspec.UnsetType | None = msgspec.UNSET
    outcome: str
    overhead_uj: None
    project: str | msgspec.UnsetType | None = msgspec.UNSET
    protocol: str
    pue_milli: Whole | None
    reason: str | None
    region: str | None
    request_id: str
    reserved: Whole | None
    revision: Literal[0]
    rows: Amount
    run_id: str
    start_ns: Whole
    state: Literal["provisional"]
    tenant: str
    tier: str
    tokens_in: Amount | None
    v: Whole
    variant: str | None
    variant_digest: str | None
    zone: str | None


class SettledLine(msgspec.Struct, gc=False, forbid_unknown_fields=True, kw_only=True):
    """Revision 1 of a request with known energy that ran on the CPU alone, as `entries.settled_body` tells it."""

    active_uj: Amount
    attempt: Amount
    charged: bool
    embodied_ng: Amount | None
    ended_us: Whole
    facility_uj: Amount | None
    first: Amount | msgspec.UnsetType | None = msgspec.UNSET
    flags: tuple[str, ...]
    held_uj: Amount
    high_uj: Amount
    host_uj: Amount
    kind: Literal["usage"]
    loc_direct_ng: Amount | None
    loc_lifecycle_ng: Amount | None
    low_uj: Amount
    market_ng: Amount | None
    method: str
    request_id: str
    revision: Literal[1]
    state: Literal["settled"]
    tenant: str
    tier: str
    v: Whole


class GridReading(NamedTuple):
    """A grid reading as bytes and decoded, its intensity [mg/kWh], and whether that is direct; null is None in all."""

    data: bytes | None
    members: Mapping[str, Any] | None
    mg_per_kwh: int | None
    is_direct: bool | None


class Known(NamedTuple):
    """A first line of a charged request with all that follows from it alone: its grid reading, and the intensity
    [mg/kWh] in the other basis. Requests with the same `kind` differ in their figures alone."""

    line: FirstLine
    ci: GridReading
    other_mg: int | None
    kind: object


_encode = msgspec.json.Encoder().encode
_decode_first = msgspec.json.Decoder(FirstLine).decode
_decode_settled = msgspec.json.Decoder(SettledLine).decode


def first_line(body: bytes) -> FirstLine | None:
    """The line in these bytes; None where they are anything but its one canonical form."""
    try:
        line = _decode_first(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return line if _encode(line) == body else None


def settled_line(body: bytes) -> SettledLine | None:
    """As `first_line`."""
    try:
        line = _decode_settled(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return line if _encode(line) == body else None


def body_of(line: FirstLine | SettledLine) -> bytes:
    """The bytes that a line was decoded from."""
    return _encode(line)
