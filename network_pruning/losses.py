"""Losses: pure functions of logits, in log space, and how outputs become logits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import tensorflow as tf

if TYPE_CHECKING:
    from tensorflow import Tensor


def as_logits(outputs: Tensor, softmax: bool) -> Tensor:
    """Turns what a classifier gives into logits.

    The logarithm of probabilities are logits of the very same probabilities, so that
    nothing is put through a softmax twice.

    Args:
        outputs: [n, classes], float.
        softmax: Whether they are probabilities already, see
            `classifiers.ends_in_softmax`.

    Returns:
        Logits [n, classes], in float32 at least; those of probabilities that have
        become 0 are finite, -87.
    """
    outputs = full_precision(outputs)
    if not softmax:
        return outputs
    return tf.math.log(tf.maximum(outputs, outputs.dtype.as_numpy_dtype(1.2e-38)))


def full_precision(values: Tensor) -> Tensor:
    """Returns half precision as float32, and anything else as it is."""
    half = values.dtype in {tf.float16, tf.bfloat16}
    return tf.cast(values, tf.float32) if half else values


def total(terms: Iterable[Tensor]) -> Tensor:
    """Returns the sum of scalars of any float types, in float32 at least; 0 of none."""
    full = [full_precision(term) for term in terms]
    double = any(term.dtype == tf.float64 for term in full)
    kind = tf.float64 if double else tf.float32
    return tf.add_n([tf.zeros([], kind), *(tf.cast(term, kind) for term in full)])


def as_classes(labels: Tensor | None) -> Tensor:
    """Returns one class an example, from labels as Keras' own losses take them.

    Args:
        labels: Whole numbers [n] or [n, 1], of any kind.

    Returns:
        [n], int32 or int64, which TensorFlow's losses take.

    Raises:
        ValueError: If there are none, or they are one-hot.
    """
    expected = "expected the number of the class of each example [n]"
    if labels is None:
        raise ValueError(f"labels: got none, {expected}")
    if labels.shape.rank is None or labels.shape[1:] == [1]:
        labels = tf.reshape(labels, [-1])
    if labels.shape.rank != 1:
        raise ValueError(
            f"labels: got shape {labels.shape}, {expected}: of one-hot ones, "
            "labels.argmax(axis=1)"
        )
    return labels if labels.dtype in {tf.int32, tf.int64} else tf.cast(labels, tf.int64)


def classes_of(labels: Any, count: int) -> Tensor:
    """Returns the classes of all examples of a set, as a tensor.

    Args:
        labels: As in `as_classes`.
        count: Of the examples.

    Raises:
        ValueError: If there are more or fewer, or as in `as_classes`.
    """
    classes = as_classes(tf.convert_to_tensor(labels))
    if len(classes) != count:
        raise ValueError(
            f"labels: got {len(classes)}, expected as many as images: {count}"
        )
    return classes


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


def attributes_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Computes the cross entropy of labels of which an example has any number.

    The mean over the attributes of -log sigmoid(+-logit), + where it is present: a
    two-way cross entropy each.

    Args:
        logits: [n, attributes], float.
        labels: [n, attributes], 1 where present, else 0.

    Returns:
        Loss [n] in nats.
    """
    each = tf.nn.sigmoid_cross_entropy_with_logits(
        tf.cast(labels, logits.dtype), logits
    )
    return tf.reduce_mean(each, axis=-1)


def squares(logits: Tensor, labels: Tensor) -> Tensor:
    """Computes the squared distance of the probabilities from hard labels, per example.

    The mean over the classes of (softmax(logits) - [label = c])^2.

    Args:
        logits: [n, classes], float.
        labels: [n], int class of each example.

    Returns:
        Loss [n] in [0, 2 / classes].
    """
    right = tf.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    return tf.reduce_mean((tf.nn.softmax(logits) - right) ** 2, axis=-1)
