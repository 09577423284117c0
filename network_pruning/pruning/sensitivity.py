"""How much each group matters: accuracy against the share of one group removed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tf_keras as keras

from network_pruning.classifiers import check_fits, ends_in_softmax
from network_pruning.losses import as_logits
from network_pruning.pruning.gates import gate
from network_pruning.pruning.selection import keep_units
from network_pruning.types import BoolArray, Dataset, Scores

RATIOS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
BATCH = 1000
Hits = Callable[[Mapping[str, BoolArray]], int]
Logits = Callable[[Mapping[str, BoolArray], Dataset], npt.NDArray[np.float32]]


def sensitivity(
    model: keras.Model,
    scores: Mapping[str, Scores],
    data: Dataset,
    ratios: Sequence[float] = RATIOS,
) -> dict[str, npt.NDArray[np.float64]]:
    """Removes the worst units of one group at a time, the others complete.

    H. Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017, section 3.2.

    Args:
        model: Functional or Sequential tf_keras model, a classifier.
        scores: By group name; these groups are looked at.
        data: Accuracies are those of its validation split.
        ratios: Shares of a group's units to remove, in [0, 1).

    Returns:
        Accuracy [ratios] in [0, 1] by group name; nothing is retrained.

    Raises:
        ValueError: If a group is unknown, a ratio out of range, or the data do not fit
            the model.
    """
    check_fits(model, data)
    hits, images = masked_hits(model, data), data.size("valid")
    return {
        name: np.array([
            hits(keep_units({name: found}, sparsity=ratio)) / images for ratio in ratios
        ])
        for name, found in scores.items()
    }


def masked_hits(model: keras.Model, data: Dataset) -> Hits:
    """Returns a function from masks to the validation images then still right.

    One trace serves all masks.
    """
    gated = gate(model)

    @tf.function(reduce_retracing=True)
    def right(images: tf.Tensor, labels: tf.Tensor, masks: Any) -> tf.Tensor:
        outputs = gated([images, masks], training=False)
        return tf.math.count_nonzero(tf.argmax(outputs, -1, labels.dtype) == labels)

    whole = {group.name: np.ones(group.n_units, bool) for group in gated.groups}

    def hits(masks: Mapping[str, BoolArray]) -> int:
        # Every group is named each time: other names would be another trace.
        tensors = {name: tf.constant(m) for name, m in {**whole, **masks}.items()}
        batches = data.batches("valid", BATCH)
        return sum(int(right(images, labels, tensors)) for images, labels in batches)

    return hits


def masked_logits(model: keras.Model) -> Logits:
    """Returns a function from masks and a dataset to the logits of its valid images.

    Masks are as in `masked_hits`; the logits are [n, classes], in the split's order.
    """
    gated, softmax = gate(model), ends_in_softmax(model)

    @tf.function(reduce_retracing=True)
    def ask(images: tf.Tensor, masks: Any) -> tf.Tensor:
        return as_logits(gated([images, masks], training=False), softmax)

    whole = {group.name: np.ones(group.n_units, bool) for group in gated.groups}

    def logits(
        masks: Mapping[str, BoolArray], data: Dataset
    ) -> npt.NDArray[np.float32]:
        tensors = {name: tf.constant(m) for name, m in {**whole, **masks}.items()}
        batches = data.batches("valid", BATCH)
        return np.concatenate([ask(images, tensors).numpy() for images, _ in batches])

    return logits
