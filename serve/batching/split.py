"""How to cut a backlog by length: the groups of neighbouring length buckets that take the least time in all."""

from collections.abc import Sequence
from dataclasses import dataclass

from greenserve.serve.batching.cost import Rates


@dataclass(frozen=True, slots=True)
class Pile:
    """Rows of one length that wait: their bucket's index, number, costs, and the largest batch of that length."""

    bucket: int
    rows: int
    rates: Rates
    cap: int


def group_of(piles: Sequence[Pile], bucket: int) -> tuple[int, int]:
    """(first, last) index into `piles`, both included, of the group in which the bucket's rows run.

    `piles` ascend by length and one of them is the bucket's. A group runs at its longest length, in as few batches as
    its cap allows; C(j) = min over i of C(i) + time of the group i+1..j.
    """
    least = [0.0]
    starts: list[int] = []
    for last, pile in enumerate(piles):
        best, start, rows = float("inf"), last, 0
        for first in range(last, -1, -1):
            rows += piles[first].rows
            batches = -(-rows // pile.cap)
            seconds = least[first] + batches * pile.rates.fixed_s + rows * pile.rates.row_s
            if seconds < best:
                best, start = seconds, first
        least.append(best)
        starts.append(start)
    last = len(piles) - 1
    while last >= 0:
        if piles[starts[last]].bucket <= bucket <= piles[last].bucket:
            return starts[last], last
        last = starts[last] - 1
    raise ValueError(f"no pile of bucket {bucket} among {[pile.bucket for pile in piles]}")
