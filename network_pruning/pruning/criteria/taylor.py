"""What removing a unit costs, by the first-order Taylor expansion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import tensorflow as tf
import tf_keras as keras

from network_pruning.pruning.criteria._examples import draw, require, score_means
from network_pruning.pruning.criteria._gradients import gate_gradients
from network_pruning.pruning.units import UnitGroup
from network_pruning.types import Dataset, Scores

FORMS = ("mean_abs", "abs_mean")


def score(
    model: keras.Model,
    groups: Sequence[UnitGroup],
    data: Dataset | None = None,
    seed: int = 0,
    form: str = "mean_abs",
    images: int = 2000,
    batch_size: int = 100,
) -> dict[str, Scores]:
    """Scores unit k by its gate's gradients g_nk = sum over positions of a * dL_n/da.

    form="mean_abs": mean over examples of |g_nk|; P. Molchanov et al., "Pruning
    Convolutional Neural Networks for Resource Efficient Inference", ICLR 2017, eq. 8
    (there divided by the number of positions, the same for all units of a layer).
    form="abs_mean": |mean over examples of g_nk|, the first-order change of the mean
    loss; its square is the gate's importance in P. Molchanov et al., "Importance
    Estimation for Neural Network Pruning", CVPR 2019.

    Args:
        model: Ends in logits; it runs at rest (no dropout, moving statistics).
        groups: The units.
        data: Its training split is read.
        seed: Of the draw of examples.
        form: "mean_abs" or "abs_mean".
        images: Examples drawn; all there are, if they are fewer.
        batch_size: Examples in a batch.

    Returns:
        Values float64 [n_units] by group name, with standard errors over examples.

    Raises:
        ValueError: If there is no data, an example has several labels, or the form is
            unknown.
    """
    data = require(data, "taylor")
    if form not in FORMS:
        raise ValueError(f"form: got {form!r}, expected one of {', '.join(FORMS)}.")
    gradients = gate_gradients(model, groups)

    def magnitudes(x: tf.Tensor, labels: tf.Tensor) -> dict[str, tf.Tensor]:
        return {name: tf.abs(g) for name, g in gradients(x, labels).items()}

    each = magnitudes if form == "mean_abs" else gradients
    batches = draw(data, images, batch_size, seed)
    scores = score_means(each, groups, batches, backward=True)
    return {
        name: replace(found, values=np.abs(found.values))
        for name, found in scores.items()
    }
