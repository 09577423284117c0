"""What removing a unit costs, by the Fisher information."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf
import tf_keras as keras

from network_pruning.pruning.criteria._examples import draw, require, score_means
from network_pruning.pruning.criteria._gradients import gate_gradients
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
    """Scores unit k by Delta_k = 1/(2N) sum over examples n of g_nk^2.

    g_nk = sum over positions of a * dL_n/da, the gradient of the example's own cross
    entropy with respect to the unit's gate: the second-order estimate of the loss
    without the unit, the Fisher information standing for the Hessian. L. Theis et al.,
    "Faster gaze prediction with dense networks and Fisher pruning", 2018,
    arXiv:1801.05787, section on Fisher pruning.

    Args:
        model: Ends in logits; it runs at rest (no dropout, moving statistics).
        groups: The units.
        data: Its training split is read.
        seed: Of the draw of examples.
        images: Examples drawn; all there are, if they are fewer.
        batch_size: Examples in a batch.

    Returns:
        Values float64 [n_units] by group name, with standard errors over examples.

    Raises:
        ValueError: If there is no data, or an example has several labels.
    """
    data = require(data, "fisher")
    gradients = gate_gradients(model, groups)

    def each(x: tf.Tensor, labels: tf.Tensor) -> dict[str, tf.Tensor]:
        return {name: 0.5 * g**2 for name, g in gradients(x, labels).items()}

    batches = draw(data, images, batch_size, seed)
    return score_means(each, groups, batches, backward=True)
