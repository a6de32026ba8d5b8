"""What each row of a batch owes where the batch is not padded: the other cost games of the method (beside E7).

Each function gives weights in pJ x 2^20 by position, to be used like those of `shapley_weights`.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import isqrt

from greenserve.carbon.shapley import PJ_PER_NJ, SCALE_BITS

ORDERS = 200
BASIS_POINTS = 10_000
NORMAL_90_MILLI = 1_645
"""Half width of a 90 % interval in standard deviations, in thousandths."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedCost:
    """A kernel without padding: `fixed + sum of (per token x n_i + per token squared x n_i^2)`, [nJ] and [pJ]."""

    fixed_nj: int
    per_token_nj: int
    per_token_squared_pj: int

    def __post_init__(self) -> None:
        if min(self.fixed_nj, self.per_token_nj, self.per_token_squared_pj) < 0:
            raise ValueError(f"the coefficients of a packed batch's cost are >= 0, got {self!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCost:
    """One step of a decoder: `step + per sequence x active + per token of context x sum of contexts` [nJ, nJ, pJ]."""

    step_nj: int
    per_sequence_nj: int
    per_context_token_pj: int

    def __post_init__(self) -> None:
        if min(self.step_nj, self.per_sequence_nj, self.per_context_token_pj) < 0:
            raise ValueError(f"the coefficients of a decoder step's cost are >= 0, got {self!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """Values from sampled orders: weights, and the 90 % half width of each row's own value [1/100 %], rounded up."""

    weights: tuple[int, ...]
    half_width_bp: tuple[int, ...]


def equal_weights(rows: int) -> list[int]:
    """A static shape: every row costs the same whatever it holds, so all owe the same."""
    if rows < 1:
        raise ValueError(f"a batch has at least one row, got {rows}")
    return [1 << SCALE_BITS] * rows


def packed_weights(lengths: Sequence[int], cost: PackedCost) -> list[int]:
    """F/n and the row's own tokens: nobody pads for anybody. `lengths` in tokens."""
    _check_counts(lengths, 1, "lengths")
    fixed = (cost.fixed_nj * PJ_PER_NJ << SCALE_BITS) // len(lengths)
    return [
        fixed + (cost.per_token_nj * PJ_PER_NJ * length + cost.per_token_squared_pj * length * length << SCALE_BITS)
        for length in lengths
    ]


def decoder_weights(contexts: Sequence[int], cost: StepCost) -> list[int]:
    """One step of the sequences that are active in it, by their contexts [tokens]; prefill is a batch of its own.

    A sequence's weight for a whole generation is the sum over its steps.
    """
    _check_counts(contexts, 0, "contexts")
    step = (cost.step_nj * PJ_PER_NJ << SCALE_BITS) // len(contexts)
    own = cost.per_sequence_nj * PJ_PER_NJ
    return [step + (own + cost.per_context_token_pj * context << SCALE_BITS) for context in contexts]


def sampled_weights(
    rows: int, value_pj: Callable[[frozenset[int]], int], *, batch_id: str, orders: int = ORDERS
) -> Sampled:
    """The Shapley value of a cost without closed form, from `orders` permutations and their reverses.

    `value_pj` [pJ] gives the cost of a set of positions and must be monotone with 0 for none (ValueError where a row
    takes cost away). The orders follow from SHA-256 of the batch id: another machine that replays the batch draws the
    same ones. The values sum to the cost of all rows (rounded down to 2^-20 pJ each). A permutation and its reverse
    count as one draw of the error, since they are not independent.
    """
    if rows < 1 or orders < 2:
        raise ValueError(f"needs at least one row and two orders, got {rows} rows and {orders} orders")
    words = _words(batch_id)
    sums, squares = [0] * rows, [0] * rows
    for _ in range(orders):
        order = list(range(rows))
        for last in range(rows - 1, 0, -1):
            other = next(words) % (last + 1)
            order[last], order[other] = order[other], order[last]
        forward = _marginals(order, value_pj)
        backward = _marginals(order[::-1], value_pj)
        for row in range(rows):
            pair = forward[row] + backward[row]
            sums[row] += pair
            squares[row] += pair * pair
    weights = tuple((total << SCALE_BITS) // (2 * orders) for total in sums)
    widths = tuple(_half_width_bp(total, square, orders) for total, square in zip(sums, squares, strict=True))
    return Sampled(weights=weights, half_width_bp=widths)


def _marginals(order: Sequence[int], value_pj: Callable[[frozenset[int]], int]) -> list[int]:
    added = [0] * len(order)
    before_pj, present = 0, frozenset[int]()
    for row in order:
        present |= {row}
        now_pj = value_pj(present)
        if now_pj < before_pj:
            raise ValueError(
                f"the cost of rows {sorted(present)} is {now_pj} pJ, less than {before_pj} pJ without {row}"
            )
        added[row], before_pj = now_pj - before_pj, now_pj
    return added


def _half_width_bp(total: int, square: int, draws: int) -> int:
    """90 % half width of a mean of `draws` relative to it [1/100 %]; 0 where the draws agree."""
    # Variance of the mean = (sum x^2 - (sum x)^2 / n) / (n (n - 1)); relative to the mean (sum x) / n.
    spread = draws * square - total * total
    if not spread:
        return 0
    scale = NORMAL_90_MILLI * BASIS_POINTS
    return isqrt(spread * scale * scale // ((draws - 1) * total * total)) // 1_000 + 1


def _words(seed: str) -> Iterator[int]:
    """64-bit numbers from SHA-256 in counter mode: the same everywhere."""
    start, block = hashlib.sha256(seed.encode()).digest(), 0
    while True:
        digest = hashlib.sha256(start + block.to_bytes(8, "big")).digest()
        yield from (int.from_bytes(digest[place : place + 8], "big") for place in range(0, len(digest), 8))
        block += 1


def _check_counts(counts: Sequence[int], least: int, what: str) -> None:
    if not counts or min(counts) < least:
        raise ValueError(f"needs at least one row and {what} >= {least}, got {tuple(counts)}")
