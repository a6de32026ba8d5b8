"""What each row of a padded batch owes: the Shapley value in closed form, in integers (method: E7, E8)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from greenserve.carbon.apportion import apportion_list

SCALE_BITS = 20
PJ_PER_NJ = 1_000
NJ_PER_J = 1_000_000_000
PJ_PER_J = 1_000_000_000_000


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
        return self.fixed_nj * PJ_PER_NJ + len(lengths) * self.row_pj(max(lengths)) if lengths else 0


def shapley_weights(lengths: Sequence[int], cost: BatchCost) -> list[int]:
    """Each row's Shapley value in pJ x 2^20, by position; equal weights where the cost is zero throughout.

    `lengths` [tokens] are what each row is padded to when it runs alone. The value of a row is the cost it adds,
    averaged over every order in which the batch could have assembled: rows of equal length weigh the same, a longer
    row never less. Only integers, so a replay gives the same bits on every machine.
    """
    if not lengths or min(lengths) < 1:
        raise ValueError(f"needs at least one row of at least one token, got lengths {tuple(lengths)}")
    by_length = _value_by_length(sorted(lengths), cost)
    return [by_length[length] for length in lengths]


def split_batch(total: int, lengths: Sequence[int], cost: BatchCost) -> list[int]:
    """Split `total` (uJ or ns) over the rows by Shapley value and largest remainder; the parts sum to it exactly."""
    return split_amounts((total,), lengths, cost)[0]


def split_amounts(totals: Sequence[int], lengths: Sequence[int], cost: BatchCost) -> list[list[int]]:
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


def _value_by_length(ascending: Sequence[int], cost: BatchCost) -> dict[int, int]:
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
