"""What each row of a padded batch owes: the Shapley value in closed form, in integers (method: E7, E8)."""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Protocol

from greenserve.carbon.apportion import apportion_list

SCALE_BITS = 20
PJ_PER_NJ = 1_000
NJ_PER_J = 1_000_000_000
PJ_PER_J = 1_000_000_000_000


class PaddedCost(Protocol):
    """A batch's cost `fixed + rows x g(longest)`, with g never falling."""

    @property
    def fixed_nj(self) -> int:
        """The cost of running at all [nJ], >= 0."""

    def row_pj(self, length: int) -> int:
        """g [pJ]: what one row costs in a batch whose longest row has `length` tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCost:
    """Cost of a set of rows: `fixed + rows x g(longest)`, `g(L) = per row + per token x L + per token squared x L^2`.

    Integers: nanojoules [nJ], the quadratic coefficient in picojoules [pJ], all >= 0, so g never falls with L.
    """

    fixed_nj: int
    per_row_nj: int
    per_token_nj: int
    per_token_squared_pj: int

    def __post_init__(self) -> None:
        if min(self.fixed_nj, self.per_row_nj, self.per_token_nj, self.per_token_squared_pj) < 0:
            raise ValueError(f"the coefficients of a batch's cost are >= 0, got {self!r}")

    @classmethod
    def from_coefficients(cls, e_dynamic_j: Sequence[float]) -> "BatchCost":
        """From a profile's coefficients [J] over [1, b, bL, bL^2]; ValueError unless four, finite and >= 0."""
        if len(e_dynamic_j) != 4 or not all(math.isfinite(value) and value >= 0 for value in e_dynamic_j):
            raise ValueError(
                f"e_dynamic_j needs four finite coefficients >= 0 over [1, b, bL, bL^2], got {tuple(e_dynamic_j)}; "
                "measure the variant again with `greenserve optimize`"
            )
        fixed, row, token, squared = map(Fraction, e_dynamic_j)
        return cls(
            fixed_nj=round(fixed * NJ_PER_J),
            per_row_nj=round(row * NJ_PER_J),
            per_token_nj=round(token * NJ_PER_J),
            per_token_squared_pj=round(squared * PJ_PER_J),
        )

    def row_pj(self, length: int) -> int:
        """g [pJ]: what one row costs in a batch whose longest row has `length` tokens."""
        return (self.per_row_nj + self.per_token_nj * length) * PJ_PER_NJ + self.per_token_squared_pj * length * length

    def batch_pj(self, lengths: Sequence[int]) -> int:
        """The cost [pJ] of the rows together; 0 for none."""
        return batch_pj(lengths, self)


@dataclass(frozen=True, slots=True, kw_only=True)
class TableCost:
    """A measured cost of one row by bucket: `fixed + rows x g(edge)`, for engines that pad to the edge of a bucket.

    `edges` [tokens] rise, `row_nj` [nJ] holds g of each edge and never falls. A row costs what its bucket's edge
    costs, so all rows of a bucket owe the same.
    """

    fixed_nj: int
    edges: tuple[int, ...]
    row_nj: tuple[int, ...]

    def __post_init__(self) -> None:
        rising = all(low < high for low, high in pairwise((0, *self.edges)))
        growing = all(low <= high for low, high in pairwise((0, *self.row_nj)))
        if not (self.edges and len(self.edges) == len(self.row_nj) and rising and growing and self.fixed_nj >= 0):
            raise ValueError(
                "a cost table has a cost >= 0 for each edge >= 1 token, edges rising and costs never falling, "
                f"got {self!r}"
            )

    def row_pj(self, length: int) -> int:
        """g [pJ] of the bucket that holds `length`; ValueError beyond the last edge, which the engine cannot run."""
        place = bisect_left(self.edges, length)
        if place == len(self.edges):
            raise ValueError(f"a row of {length} tokens exceeds the largest bucket of {self.edges[-1]}; measure it too")
        return self.row_nj[place] * PJ_PER_NJ


def batch_pj(lengths: Sequence[int], cost: PaddedCost) -> int:
    """v(S) [pJ]: the cost of the rows together; 0 for none."""
    return cost.fixed_nj * PJ_PER_NJ + len(lengths) * cost.row_pj(max(lengths)) if lengths else 0


def shapley_weights(lengths: Sequence[int], cost: PaddedCost, own_pj: Sequence[int] | None = None) -> list[int]:
    """Each row's Shapley value in pJ x 2^20, by position; equal weights where the cost is zero throughout.

    `lengths` [tokens] are what each row is padded to when it runs alone. The value of a row is the cost it adds,
    averaged over every order in which the batch could have assembled: rows of equal length weigh the same, a longer
    row never less. `own_pj` [pJ] is what each row costs by itself, whoever runs beside it (its output, unpadded
    attention): the value is additive, so a row owes all of it. Only integers, so a replay gives the same bits on every
    machine.
    """
    if not lengths or min(lengths) < 1:
        raise ValueError(f"needs at least one row of at least one token, got lengths {tuple(lengths)}")
    by_length = _value_by_length(sorted(lengths), cost)
    if own_pj is None:
        return [by_length[length] for length in lengths]
    if len(own_pj) != len(lengths) or min(own_pj) < 0:
        raise ValueError(f"needs an own cost >= 0 pJ for each of {len(lengths)} rows, got {tuple(own_pj)}")
    return [by_length[length] + (own << SCALE_BITS) for length, own in zip(lengths, own_pj, strict=True)]


def alone_uj(total_uj: int, lengths: Sequence[int], cost: PaddedCost) -> list[int | None]:
    """What each row would have used alone [uJ], on the scale of the metered `total_uj` of the batch, rounded down.

    Shown beside a share as information: a row may pay more than alone for the padding that it forces on others.
    None where the batch has no known cost.
    """
    whole_pj = batch_pj(lengths, cost)
    if not whole_pj:
        return [None] * len(lengths)
    return [total_uj * batch_pj((length,), cost) // whole_pj for length in lengths]


def split_batch(total: int, lengths: Sequence[int], cost: PaddedCost) -> list[int]:
    """Split `total` (uJ or ns) over the rows by Shapley value and largest remainder; the parts sum to it exactly."""
    return split_amounts((total,), lengths, cost)[0]


def split_amounts(totals: Sequence[int], lengths: Sequence[int], cost: PaddedCost) -> list[list[int]]:
    """`split_batch` of several amounts of one batch, which share the work of weighing.

    The leftover units are dealt out in order of length, so that the order of rows in the batch changes nothing but
    which of several equally long rows gets a last unit.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    weights = shapley_weights([lengths[index] for index in order], cost)
    splits = []
    for total in totals:
        shares = [0] * len(order)
        for index, share in zip(order, apportion_list(total, weights), strict=True):
            shares[index] = share
        splits.append(shares)
    return splits


def _value_by_length(ascending: Sequence[int], cost: PaddedCost) -> dict[int, int]:
    """E7 over the distinct lengths: `reach` sums what rows that reach a level pay, `rest` what the shorter ones pay."""
    rows = len(ascending)
    fixed = (cost.fixed_nj * PJ_PER_NJ << SCALE_BITS) // rows
    levels: list[tuple[int, int, int]] = []
    before_pj = 0
    previous = 0
    for index, length in enumerate(ascending):
        if length == previous:
            continue
        previous = length
        row_pj = cost.row_pj(length)
        step = (row_pj - before_pj) << SCALE_BITS
        before_pj = row_pj
        reaching = rows - index
        paid_by_reaching = step * (rows + reaching * reaching) // (reaching * (reaching + 1))
        levels.append((length, paid_by_reaching, step * reaching // (reaching + 1)))
    rest = sum(paid_by_shorter for _, _, paid_by_shorter in levels)
    reach = fixed
    values: dict[int, int] = {}
    for length, paid_by_reaching, paid_by_shorter in levels:
        reach += paid_by_reaching
        rest -= paid_by_shorter
        values[length] = reach + rest
    return values
