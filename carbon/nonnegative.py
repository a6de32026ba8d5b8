"""Ridge regression whose coefficients cannot be negative, from sums of products (method: E6)."""

from collections.abc import Sequence
from operator import mul

SWEEPS = 20


def solve_nonnegative(
    matrix: Sequence[Sequence[float]], vector: Sequence[float], ridge: Sequence[float], anchor: Sequence[float]
) -> list[float]:
    """The x >= 0 that minimises `x M x - 2 v x + sum of ridge_j (x_j - anchor_j)^2`.

    `matrix` M is symmetric and positive semidefinite, each ridge is > 0. Solved directly, because descent by
    coordinates creeps where columns run together: what the data do not say must come from the anchor, at once.
    Negative coefficients are set to 0 and left out; sweeps of coordinate descent then settle what that moved.
    """
    target = [value + weight * start for value, weight, start in zip(vector, ridge, anchor, strict=True)]
    free = list(range(len(vector)))
    solution = [0.0] * len(vector)
    while free:
        found = _solve(
            [[matrix[row][column] + (ridge[row] if row == column else 0.0) for column in free] for row in free],
            [target[row] for row in free],
        )
        if min(found) >= 0.0:
            for place, value in zip(free, found, strict=True):
                solution[place] = value
            break
        free = [place for place, value in zip(free, found, strict=True) if value >= 0.0]
    if len(free) < len(vector):
        for _ in range(SWEEPS):
            for column, line in enumerate(matrix):
                own = line[column]
                others = sum(map(mul, line, solution)) - own * solution[column]
                solution[column] = max(0.0, (target[column] - others) / (own + ridge[column]))
    return solution


def _solve(matrix: list[list[float]], vector: list[float]) -> list[float]:
    """The solution of a symmetric, positive definite system, by elimination without pivots; changes its arguments."""
    size = len(vector)
    for step in range(size):
        line, pivot = matrix[step], matrix[step][step]
        for row in range(step + 1, size):
            factor = matrix[row][step] / pivot
            if factor:
                matrix[row][step:] = [
                    value - factor * above for value, above in zip(matrix[row][step:], line[step:], strict=True)
                ]
                vector[row] -= factor * vector[step]
    found = [0.0] * size
    for step in reversed(range(size)):
        rest = sum(map(mul, matrix[step][step + 1 :], found[step + 1 :]))
        found[step] = (vector[step] - rest) / matrix[step][step]
    return found
