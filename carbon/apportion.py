"""Share an integer amount among those who caused it, exact to the last unit (method: E5)."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

Name = TypeVar("Name", bytes, str)


def apportion(total: int, weights: Mapping[Name, int]) -> dict[Name, int]:
    """Split `total` (uJ, ns, any one unit) in proportion to `weights` by largest remainder.

    `weights` maps an id to an integer >= 0. The shares sum to `total` exactly, each less than 1 from its true
    proportion; equal remainders go to the smaller id, so two machines that replay a ledger agree whatever order they
    read it in. All weights zero: equal weights. A larger total can lower a share (a property of largest remainders),
    so split a closed amount once and keep the result.
    """
    names = sorted(weights)
    return dict(zip(names, apportion_list(total, [weights[name] for name in names]), strict=True))


def apportion_list(total: int, weights: Sequence[int]) -> list[int]:
    """The same for weights by position, for hot paths: equal remainders go to the earlier position."""
    if total < 0 or not weights or min(weights) < 0:
        raise ValueError(f"needs an amount >= 0 and at least one weight, all >= 0; got {total} for {weights!r}")
    whole = sum(weights)
    if not whole:
        weights, whole = [1] * len(weights), len(weights)
    shares = []
    remainders = []
    for weight in weights:
        share, remainder = divmod(total * weight, whole)
        shares.append(share)
        remainders.append(remainder)
    missing = total - sum(shares)
    if missing:
        # `reverse` keeps equal elements in their order, so ties stay with the earlier position.
        for index in sorted(range(len(shares)), key=remainders.__getitem__, reverse=True)[:missing]:
            shares[index] += 1
    return shares
