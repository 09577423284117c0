"""The gradient of each example's loss with respect to every unit's gate."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf
import tf_keras as keras

from network_pruning.classifiers import check_classifier, ends_in_softmax
from network_pruning.losses import as_logits, cross_entropy
from network_pruning.pruning.criteria._examples import Each
from network_pruning.pruning.gates import gate
from network_pruning.pruning.units import UnitGroup


def gate_gradients(model: keras.Model, groups: Sequence[UnitGroup]) -> Each:
    """Differentiates with respect to gates that stand at one.

    With a gate m_nk of its own for each example n and unit k,
    g_nk = d loss_n / d m_nk = sum over positions p of a_nkp * d loss_n / d a_nkp,
    a being the unit's activation as its consumers read it. One backward pass gives all
    examples of a batch and all groups.

    Args:
        model: Ends in logits or their softmax; it runs at rest (no dropout, moving
            statistics).
        groups: The units.

    Returns:
        (images, labels) -> g [n, n_units] by group name.

    Raises:
        ValueError: If the model gives no single row of logits an image.
    """
    check_classifier(model)
    gated, softmax = gate(model), ends_in_softmax(model)

    def each(images: tf.Tensor, labels: tf.Tensor) -> dict[str, tf.Tensor]:
        n = tf.shape(images)[0]
        ones = {group.name: tf.ones([n, group.n_units]) for group in groups}
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(ones)
            outputs = gated(images, training=False, masks=ones)
            logits = as_logits(outputs, softmax)
            total = tf.reduce_sum(cross_entropy(logits, labels))
        return tape.gradient(total, ones)

    return each
