"""The l1 norm of a unit's incoming weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tf_keras as keras

from network_pruning.pruning.criteria._incoming import sum_incoming
from network_pruning.pruning.units import UnitGroup
from network_pruning.types import Dataset, Scores


def score(
    model: keras.Model,
    groups: Sequence[UnitGroup],
    data: Dataset | None = None,
    seed: int = 0,
) -> dict[str, Scores]:
    """Scores each unit by sum |w| over its incoming weights, in all producers.

    The bias is not counted. H. Li et al., "Pruning Filters for Efficient ConvNets",
    ICLR 2017, section 3.1.

    Args:
        model: Not read; the groups hold its layers.
        groups: The units.
        data: Not read.
        seed: Not read.

    Returns:
        Values float64 [n_units] by group name, exact.
    """
    del model, data, seed
    return {group.name: Scores(sum_incoming(group, np.abs)) for group in groups}
