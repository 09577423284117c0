"""Losses: pure functions of logits, in log space."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

if TYPE_CHECKING:
    from tensorflow import Tensor


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
