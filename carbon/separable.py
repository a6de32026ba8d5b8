"""Which classes of work always run together, so that a counter cannot tell them apart."""

from collections.abc import Sequence
from math import hypot

CONDITION = 1e6
"""Ratio of the largest to the smallest eigenvalue from which a direction counts as unknown."""
INVOLVED = 0.05
"""Squared part of a class in such a direction from which it is involved."""
ROTATIONS = 30


def inseparable(gram: Sequence[Sequence[float]], condition: float = CONDITION) -> frozenset[int]:
    """The positions of a symmetric matrix of sums of products that hardly differ from a combination of others.

    Scaled to a unit diagonal first, so that a rare class is not taken for an unknown one; rows with a zero diagonal
    are left out. Empty where all can be told apart.
    """
    places = [place for place in range(len(gram)) if gram[place][place] > 0.0]
    if len(places) < 2:
        return frozenset()
    roots = [gram[place][place] ** 0.5 for place in places]
    scaled = [
        [gram[row][column] / (row_root * column_root) for column, column_root in zip(places, roots, strict=True)]
        for row, row_root in zip(places, roots, strict=True)
    ]
    values, vectors = _eigen(scaled)
    least = max(values) / condition
    weak = [place for place, value in enumerate(values) if value < least]
    return frozenset(
        places[row] for row in range(len(places)) if any(vectors[row][column] ** 2 > INVOLVED for column in weak)
    )


def _eigen(matrix: list[list[float]]) -> tuple[list[float], list[list[float]]]:
    """Eigenvalues and eigenvectors (columns) of a symmetric matrix, by Jacobi's rotations, cyclic by rows."""
    size = len(matrix)
    vectors = [[float(row == column) for column in range(size)] for row in range(size)]
    for _ in range(ROTATIONS):
        off = sum(matrix[row][column] ** 2 for row in range(size) for column in range(row))
        if off < 1e-24:
            break
        for first in range(size):
            for second in range(first + 1, size):
                _rotate(matrix, vectors, first, second)
    return [matrix[place][place] for place in range(size)], vectors


def _rotate(matrix: list[list[float]], vectors: list[list[float]], first: int, second: int) -> None:
    """Turn the plane of two axes so that their element vanishes."""
    element = matrix[first][second]
    if abs(element) < 1e-18:
        return
    half = (matrix[second][second] - matrix[first][first]) / (2.0 * element)
    tangent = (1.0 if half >= 0 else -1.0) / (abs(half) + hypot(half, 1.0))
    cosine = 1.0 / hypot(tangent, 1.0)
    sine = tangent * cosine
    for line in matrix:
        line[first], line[second] = (
            cosine * line[first] - sine * line[second],
            sine * line[first] + cosine * line[second],
        )
    upper, lower = matrix[first], matrix[second]
    matrix[first] = [cosine * one - sine * other for one, other in zip(upper, lower, strict=True)]
    matrix[second] = [sine * one + cosine * other for one, other in zip(upper, lower, strict=True)]
    for line in vectors:
        line[first], line[second] = (
            cosine * line[first] - sine * line[second],
            sine * line[first] + cosine * line[second],
        )
