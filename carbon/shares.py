"""A request's part of a batch that ran on a device which is settled by spans, as its line in the ledger carries it."""

from collections.abc import Mapping
from typing import Any

from greenserve.carbon.attribution import WorkSpan
from greenserve.record import record

WHOLE_PPB = 1_000_000_000
"""The weights of all rows of a batch together."""


@record(frozen=True, slots=True, kw_only=True)
class SpanShare:
    """A batch, and how much of it is the request's: `weight_ppb` [1/10^9] of its energy, by Shapley value (E7).

    Times are monotonic [ns] of the node's boot; `device` is the engine's name of it or the board's UUID. Class, work
    and `share_milli` [1/1000] are those of `attribution.WorkSpan`. All lines of a batch repeat its facts, so that a
    writer which starts anew needs nothing but the lines.
    """

    batch_id: str
    device: str
    work_class: str
    start_ns: int
    end_ns: int
    work: int
    share_milli: int
    weight_ppb: int

    def __post_init__(self) -> None:
        if not 0 <= self.weight_ppb <= WHOLE_PPB:
            raise ValueError(f"a request's weight in a batch lies in 0..{WHOLE_PPB} billionths, got {self!r}")

    def members(self) -> dict[str, Any]:
        """What stands in the line."""
        return {
            "batch": self.batch_id,
            "class": self.work_class,
            "device": self.device,
            "end_ns": self.end_ns,
            "share_milli": self.share_milli,
            "start_ns": self.start_ns,
            "weight_ppb": self.weight_ppb,
            "work": self.work,
        }

    @classmethod
    def of(cls, members: Mapping[str, Any]) -> "SpanShare":
        """The share that a line tells of; KeyError or ValueError where it is not whole."""
        return cls(
            batch_id=members["batch"],
            device=members["device"],
            work_class=members["class"],
            start_ns=members["start_ns"],
            end_ns=members["end_ns"],
            work=members["work"],
            share_milli=members["share_milli"],
            weight_ppb=members["weight_ppb"],
        )

    def work_span(self) -> WorkSpan:
        """The batch for settlement."""
        return WorkSpan.ended(
            self.batch_id,
            self.work_class,
            (self.start_ns, self.end_ns),
            work=self.work,
            share_milli=self.share_milli,
        )
