"""The columns of entries that restate: revised grid readings, revised factors, and the sums that follow them. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from greenserve.units import US_PER_S

KINDS = ("intensity", "factor", "restated")
CAUSES = ("intensity", "factor")
"""Those that a `restated` entry names by index."""
ROW = ("tenant", "key_id", "hour", "model", "variant", "region", "role")
"""The row of the hourly sums that a `restated` entry changes: the members of `RollupKey`, in its order."""
_APART = "\x1f"
_US_PER_HOUR = 3_600 * US_PER_S


class Columns(NamedTuple):
    """When an entry counts [us UTC], its natural key, and its tenant; None: the platform's."""

    at_us: int
    key: str
    tenant: str | None


def key_of_row(row: Sequence[str | int]) -> str:
    """The natural key of all restatements of a row of the sums."""
    return _APART.join(map(str, row))


def columns_of(body: Mapping[str, Any]) -> Columns:
    """The columns of a body of one of KINDS. A `restated` entry lies in the hour that it changes."""
    if body["kind"] == "restated":
        return Columns(body["hour"] * _US_PER_HOUR, key_of_row([body[name] for name in ROW]), body["tenant"])
    if body["kind"] == "intensity":
        reading = body["reading"]
        parts = [reading[name] for name in ("zone", "provider", "basis", "kind", "start_us", "end_us")]
    elif body["factor"] == "meter":
        parts = [body[name] for name in ("factor", "device", "model", "variant", "start_us", "end_us")]
    else:
        parts = [body[name] for name in ("factor", "region", "start_us", "end_us")]
    return Columns(body["at_us"], _APART.join(map(str, parts)), None)
