"""How often a unit is silent."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf
import tf_keras as keras

from network_pruning.pruning.criteria._examples import draw, require, score_means
from network_pruning.pruning.criteria._taps import reading_means
from network_pruning.pruning.units import UnitGroup
from network_pruning.types import Dataset, Scores


def score(
    model: keras.Model,
    groups: Sequence[UnitGroup],
    data: Dataset | None = None,
    seed: int = 0,
    images: int = 2000,
    batch_size: int = 100,
) -> dict[str, Scores]:
    """Scores each unit by 1 - APoZ, the share of its activations that are not zero.

    APoZ = (zero entries of the unit's activation) / (all entries), over examples and
    positions, as the consumers read it. H. Hu et al., "Network Trimming", 2016,
    arXiv:1607.03250, eq. 1. It tells units apart only behind an activation with exact
    zeros, ReLU for instance: units of a sigmoid all score 1.

    Args:
        model: The network of the groups.
        groups: The units.
        data: Its training split is read, not the labels.
        seed: Of the draw of examples.
        images: Examples drawn; all there are, if they are fewer.
        batch_size: Examples in a batch.

    Returns:
        Values float64 [n_units] in [0, 1] by group name, with standard errors over
        examples.

    Raises:
        ValueError: If there is no data.
    """
    data = require(data, "apoz", labels=False)
    each = reading_means(model, groups, lambda x: tf.cast(x != 0, tf.float32))
    batches = draw(data, images, batch_size, seed)
    return score_means(each, groups, batches)
