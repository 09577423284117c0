"""How far a unit's incoming weights are from those of the others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import tf_keras as keras

from network_pruning.pruning.criteria._incoming import incoming_vectors
from network_pruning.pruning.units import UnitGroup
from network_pruning.types import Dataset, Scores


def score(
    model: keras.Model,
    groups: Sequence[UnitGroup],
    data: Dataset | None = None,
    seed: int = 0,
) -> dict[str, Scores]:
    """Scores unit k by sum over units j of ||w_k - w_j||, w its incoming weights.

    The unit nearest to the geometric median, which the others can best replace, goes
    first. Y. He et al., "Filter Pruning via Geometric Median for Deep Convolutional
    Neural Networks Acceleration", CVPR 2019, section 3. The weights of all producers
    count as one vector, biases do not count.

    Args:
        model: Not read; the groups hold its layers.
        groups: The units.
        data: Not read.
        seed: Not read.

    Returns:
        Values float64 [n_units] by group name, exact.
    """
    del model, data, seed
    return {group.name: Scores(_distances(incoming_vectors(group))) for group in groups}


def _distances(vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Returns each row's summed distance to all rows."""
    # |a - b|^2 = a.a + b.b - 2 a.b is one GEMM; centred, it loses few digits.
    centred = vectors - vectors.mean(axis=0)
    products = centred @ centred.T
    squares = np.diag(products)
    squared = squares[:, None] + squares - 2 * products
    np.fill_diagonal(squared, 0)
    return np.sqrt(np.maximum(squared, 0)).sum(axis=1)
