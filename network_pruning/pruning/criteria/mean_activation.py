"""How strongly a unit answers."""

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
    """Scores each unit by the mean of |a|, its activation as the consumers read it.

    The mean is over examples and positions. P. Molchanov et al., "Pruning
    Convolutional Neural Networks for Resource Efficient Inference", ICLR 2017, section
    2.2, "Activation": there the mean of a itself, which is the same behind ReLU;
    elsewhere signs would cancel.

    Args:
        model: The network of the groups.
        groups: The units.
        data: Its training split is read, not the labels.
        seed: Of the draw of examples.
        images: Examples drawn; all there are, if they are fewer.
        batch_size: Examples in a batch.

    Returns:
        Values float64 [n_units] by group name, with standard errors over examples.

    Raises:
        ValueError: If there is no data.
    """
    data = require(data, "mean_activation", labels=False)
    each = reading_means(model, groups, tf.abs)
    batches = draw(data, images, batch_size, seed)
    return score_means(each, groups, batches)
