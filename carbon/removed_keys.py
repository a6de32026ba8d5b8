"""The columns of entries that tell of bodies which are gone: a tenant's, erased, and a month's, archived. Pure."""

from collections.abc import Mapping
from typing import Any, NamedTuple

KINDS = ("erased", "archived")
SUBJECT = "_erased-"
"""What the stand-ins for erased tenants begin with; no tenant's id can begin so."""
SUBJECT_END = "_erased."
"""Behind all of them, in the order of their bytes."""


class Columns(NamedTuple):
    """When an entry counts [us UTC], and its natural key."""

    at_us: int
    key: str


def columns_of(body: Mapping[str, Any]) -> Columns:
    """The columns of a body of one of KINDS; both are the platform's."""
    return Columns(body["at_us"], body["subject"] if body["kind"] == "erased" else str(body["period"]))


def is_erased(tenant: str) -> bool:
    """Whether a tenant column holds the stand-in of an erased tenant."""
    return tenant.startswith(SUBJECT)
