"""Who pays for the rows of a batch: one row for those who joined it, and what the platform lost (method: section 5)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from greenserve.carbon.apportion import apportion

Cause = Literal[
    "answered",
    "cancelled",
    "failed",
    "failed_beside",
    "client_hedge",
    "client_retry",
    "gateway_hedge",
    "gateway_retry",
    "lost_copy",
    "unrecorded",
]
CHARGED: Mapping[Cause, bool] = MappingProxyType(
    {
        # What the client asked for, and what it took back too late: its own.
        "answered": True,
        "cancelled": True,
        "failed": True,
        "client_hedge": True,
        "client_retry": True,
        # What a fault or the gateway caused: the platform's. The re-run of a row that failed beside another is
        # charged, so its first run is not.
        "failed_beside": False,
        "gateway_hedge": False,
        "gateway_retry": False,
        "lost_copy": False,
        "unrecorded": False,
    }
)
"""Whether the share of a run is charged to its request; what is not becomes waste of the platform."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A request's part of a batch: its weight (the sum of its rows' Shapley values), and whether it is charged; where
    its run crosses grid slots, their edges [monotonic ns]."""

    request_id: str
    weight: int
    charged: bool = True
    edges_ns: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise ValueError(f"a member's weight is >= 0, got {self!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of a batch: its weight (E7), the requests that share it (one, or all that joined it in flight, also those
    that have been cancelled since), and why it ran."""

    weight: int
    request_ids: Sequence[str]
    cause: Cause = "answered"

    def __post_init__(self) -> None:
        if self.weight < 0 or not self.request_ids or len(set(self.request_ids)) != len(self.request_ids):
            raise ValueError(f"a row has a weight >= 0 and belongs to at least one request, each once, got {self!r}")


def members_of(rows: Iterable[Row]) -> tuple[Member, ...]:
    """The members of a batch, in the order of their ids: a request pays the sum of its rows.

    A row that several requests share is split equally, leftovers to the smaller id. Requests whose rows were cancelled
    before the launch are not in the batch: they only used the host. ValueError where a request's rows are charged and
    not charged in one batch: that is two runs.
    """
    weights: dict[str, int] = {}
    charged: dict[str, bool] = {}
    for row in rows:
        for request_id, weight in apportion(row.weight, dict.fromkeys(row.request_ids, 1)).items():
            weights[request_id] = weights.get(request_id, 0) + weight
            if charged.setdefault(request_id, CHARGED[row.cause]) != CHARGED[row.cause]:
                raise ValueError(f"request {request_id} is charged for one row of this batch and not for another")
    return tuple(
        Member(request_id=request_id, weight=weights[request_id], charged=charged[request_id])
        for request_id in sorted(weights)
    )
