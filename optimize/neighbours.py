"""Search as a measure of embeddings: the nearest texts of an index, what they are called, and who else finds them."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Places = npt.NDArray[np.int64]
Labels = npt.NDArray[np.int64]

NEAREST = 10


def nearest(queries: Floats, index: Floats, *, count: int = NEAREST) -> Places:
    """Places in `index` of the `count` unit vectors with the largest cosine to each query, [n, count], best first.

    Equal cosines go to the smaller place; an index of fewer vectors gives them all.
    """
    places: Places = np.argsort(-(queries @ index.T), axis=1, kind="stable")[:, :count].astype(np.int64)
    return places


def shared(found: Places, wanted: Places) -> npt.NDArray[np.int64]:
    """How many of each row's `wanted` places are among `found`, [n], 0..count."""
    both: npt.NDArray[np.int64] = (found[:, :, None] == wanted[:, None, :]).any(axis=1).sum(axis=1)
    return both


def voted(queries: Floats, index: Floats, labels: Labels, *, classes: int, count: int = NEAREST) -> Labels:
    """The class that each query's nearest texts vote for, weighted by their cosines; ties go to the lower class."""
    places = nearest(queries, index, count=count)
    weights = np.take_along_axis(queries @ index.T, places, axis=1)
    votes = np.stack([(weights * (labels[places] == one)).sum(axis=1) for one in range(classes)], axis=1)
    chosen: Labels = votes.argmax(axis=1)
    return chosen
