"""Losses between what a layer of a student and one of its teacher compute.

Each takes activations [n, ...] of both, float, and returns a value for every example
[n], whose mean over the batch is the loss. Which of them need equal widths or equal
heights and widths of the images stands in `FEATURE_LOSSES`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import tensorflow as tf

if TYPE_CHECKING:
    from tensorflow import Tensor

SMALLEST = 1e-12
"""Squared length below which a vector counts as zero."""
ROUNDING = 1e-6
"""Squared distances below this share of the examples' mean square count as zero."""


def hint(student: Tensor, teacher: Tensor) -> Tensor:
    """Computes the mean squared difference.

    A. Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015, equation 3, where
    it is half the sum over all entries.

    Args:
        student: [n, ..., channels], after the adapter.
        teacher: Of the same shape.

    Returns:
        Loss [n], in squared units of the teacher's activations.
    """
    return tf.reduce_mean(_rows(student - teacher) ** 2, axis=1)


def attention_transfer(student: Tensor, teacher: Tensor) -> Tensor:
    """Computes the squared distance between unit attention maps.

    An attention map is the sum over the channels of the squared activations, at every
    place of the image; it is divided by its Euclidean norm.

    S. Zagoruyko, N. Komodakis, "Paying More Attention to Attention", ICLR 2017,
    equation 2, squared as their published code does.

    Args:
        student: [n, h, w, channels].
        teacher: [n, h, w, other channels].

    Returns:
        Loss [n], in [0, 2].
    """
    maps = [
        tf.math.l2_normalize(_rows(tf.reduce_sum(x**2, axis=-1)), 1, SMALLEST)
        for x in (student, teacher)
    ]
    return tf.reduce_sum((maps[0] - maps[1]) ** 2, axis=1)


def similarity_preserving(student: Tensor, teacher: Tensor) -> Tensor:
    """Compares which examples of the batch resemble each other.

    G = Q Q^T of the flattened activations Q [n, d], its rows made unit vectors; the
    loss is |G_teacher - G_student|^2 / n^2, row i its part of example i, times n.

    F. Tung, G. Mori, "Similarity-Preserving Knowledge Distillation", ICCV 2019,
    equations 1 to 3.

    Args:
        student: [n, ...]: the whole batch.
        teacher: [n, ...], its other sizes may differ.

    Returns:
        Loss [n].
    """
    unit = []
    for x in (student, teacher):
        flat = _rows(x)
        gram = tf.matmul(flat, flat, transpose_b=True)
        unit.append(tf.math.l2_normalize(gram, 1, SMALLEST))
    return tf.reduce_mean((unit[0] - unit[1]) ** 2, axis=1)


def relational(
    student: Tensor,
    teacher: Tensor,
    distance_weight: float = 1.0,
    angle_weight: float = 2.0,
) -> Tensor:
    """Compares distances and angles between the examples of the batch.

    The value of example j is distance_weight * mean over i of the Huber loss between
    |x_i - x_j| / mu of both networks, mu the mean distance, plus angle_weight * mean
    over i, k of the one between the cosines of the angle at x_j towards x_i and x_k.
    All pairs and triples are of different examples; the paper sums over them.

    W. Park et al., "Relational Knowledge Distillation", CVPR 2019, sections 3.2.1 and
    3.2.2.

    Args:
        student: [n, ...]: the whole batch.
        teacher: [n, ...], its other sizes may differ.
        distance_weight: Of the distances.
        angle_weight: Of the angles; they take memory for n^3 numbers.

    Returns:
        Loss [n], without unit.
    """
    (d_student, a_student), (d_teacher, a_teacher) = map(relations, (student, teacher))
    n = tf.shape(student)[0]
    apart = 1 - tf.eye(n, dtype=student.dtype)
    triples = apart[:, :, None] * apart[:, None, :] * apart[None, :, :]
    pair_count = tf.cast(tf.maximum(n - 1, 1), student.dtype)
    triple_count = pair_count * tf.cast(tf.maximum(n - 2, 1), student.dtype)
    distance = tf.reduce_sum(apart * _huber(d_student - d_teacher), axis=1)
    angle = tf.reduce_sum(triples * _huber(a_student - a_teacher), axis=[1, 2])
    return distance_weight * distance / pair_count + angle_weight * angle / triple_count


def relations(activations: Tensor) -> tuple[Tensor, Tensor]:
    """Computes how the examples of a batch lie to each other.

    Both come from the Gram matrix, so that no difference of two examples is stored.

    Args:
        activations: [n, ...].

    Returns:
        Distances over their mean [n, n]; and at [j, i, k] the cosine of the angle at
        example j between those to i and k [n, n, n]. Equal examples have distance 0,
        and angles whose cosine counts as 0.
    """
    flat = _rows(activations)
    flat -= tf.reduce_mean(flat, axis=0)
    gram = tf.matmul(flat, flat, transpose_b=True)
    square = tf.linalg.diag_part(gram)
    squared = square[:, None] + square[None, :] - 2 * gram
    differ = squared > ROUNDING * tf.reduce_mean(square)
    # The root of 0 has no gradient: 1 stands in where it is not used.
    lengths = tf.sqrt(tf.where(differ, squared, tf.ones_like(squared)))
    distances = tf.where(differ, lengths, tf.zeros_like(lengths))
    inverse = tf.where(differ, 1 / lengths, tf.zeros_like(lengths))
    products = (
        gram[None, :, :] - gram[:, :, None] - gram[:, None, :] + square[:, None, None]
    )
    cosines = products * inverse[:, :, None] * inverse[:, None, :]
    count = tf.reduce_sum(tf.cast(differ, flat.dtype))
    mean = tf.reduce_sum(distances) / tf.maximum(count, 1.0)
    return tf.math.divide_no_nan(distances, mean), cosines


def _huber(error: Tensor) -> Tensor:
    size = tf.abs(error)
    return tf.where(size < 1, size**2 / 2, size - 0.5)


def _rows(values: Tensor) -> Tensor:
    """Returns the values of each example in a row: [n, all others]."""
    return tf.reshape(values, [tf.shape(values)[0], -1])


@dataclass(frozen=True)
class FeatureLoss:
    """A loss, and what must fit before it can be computed.

    Attributes:
        compute: (student, teacher) -> loss [n].
        same_channels: Whether both need the same channels: an adapter is learned where
            they differ.
        same_places: Whether both need the same height and width: the student's are
            resized where they differ.
        batchwise: Whether the value of an example depends on the others of its batch.
    """

    compute: Callable[..., Tensor]
    same_channels: bool = False
    same_places: bool = False
    batchwise: bool = False


FEATURE_LOSSES = {
    "hint": FeatureLoss(hint, same_channels=True, same_places=True),
    "attention_transfer": FeatureLoss(attention_transfer, same_places=True),
    "similarity_preserving": FeatureLoss(similarity_preserving, batchwise=True),
    "relational": FeatureLoss(relational, batchwise=True),
}
"""Loss by the name that a hint knows it by."""
