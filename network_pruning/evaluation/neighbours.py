"""How near images come to others: whether made ones repeat what was learnt."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from network_pruning.types import FloatArray

CHUNK = 500
"""Queries whose distances are held at once."""


def nearest(
    queries: FloatArray, batches: Iterable[FloatArray]
) -> npt.NDArray[np.float64]:
    """Computes the Euclidean distance of each image to its nearest neighbour.

    Args:
        queries: [n, ...].
        batches: Of the others, each [m, ...] of as many pixels; one other at least.

    Returns:
        [n], rounding errors of the square included: about 1e-3 for equal images.
    """
    rows = _flat(queries)
    least = np.full(len(rows), np.inf)
    for batch in batches:
        others = _flat(batch)
        lengths = np.einsum("md,md->m", others, others)
        for start in range(0, len(rows), CHUNK):
            part = slice(start, start + CHUNK)
            squares = lengths - 2 * rows[part] @ others.T
            least[part] = np.minimum(least[part], squares.min(axis=1))
    own = np.einsum("nd,nd->n", rows, rows)
    return np.sqrt(np.maximum(own + least, 0))


def _flat(images: FloatArray) -> npt.NDArray[np.float32]:
    return np.reshape(images, (len(images), -1)).astype(np.float32)


@dataclass(frozen=True)
class Leak:
    """How near made images come to training images, beside unseen real ones.

    Attributes:
        made: Median distance of made images to the nearest training image.
        unseen: The same of unseen real images.
        nearer: Share of made images that lie nearer than all but a hundredth of the
            unseen ones: .01 where they lie alike, more where they repeat.
    """

    made: float
    unseen: float
    nearer: float


def leak(made: FloatArray, unseen: FloatArray) -> Leak:
    """Compares distances to training images.

    Args:
        made: Of made images [n], see `nearest`.
        unseen: Of real ones that were not learnt [m].

    Returns:
        The comparison.
    """
    bound = np.quantile(unseen, 0.01)
    nearer = float(np.mean(np.asarray(made) < bound))
    return Leak(float(np.median(made)), float(np.median(unseen)), nearer)
