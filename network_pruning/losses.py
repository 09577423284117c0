"""Losses: pure functions of logits, in log space, and how outputs become logits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

if TYPE_CHECKING:
    from tensorflow import Tensor


def as_logits(outputs: Tensor, softmax: bool) -> Tensor:
    """Turns what a classifier gives into logits.

    The logarithm of probabilities are logits of the very same probabilities, so that
    nothing is put through a softmax twice.

    Args:
        outputs: [n, classes], float.
        softmax: Whether they are probabilities already, see `graph.ends_in_softmax`.

    Returns:
        Logits [n, classes]; those of probabilities that have become 0 are finite, -87.
    """
    if not softmax:
        return outputs
    return tf.math.log(tf.maximum(outputs, outputs.dtype.as_numpy_dtype(1.2e-38)))


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Computes the cross entropy of hard labels, per example.

    -log softmax(logits)[label]; finite where log(softmax) would underflow.

    Args:
        logits: [n, classes], float.
        labels: [n], int class of each example.

    Returns:
        Loss [n] in nats; neither summed nor averaged.
    """
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
