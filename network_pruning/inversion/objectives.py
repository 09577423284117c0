"""What reconstruction minimises: pure functions, a loss for each image.

Losses are sums or means over units and never over images, so that images are
independent of each other; the match of batch normalisation's statistics, which are of
a batch, is the exception. Squares are tf.square: under XLA x ** 2 is a power, which
takes many times as long.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from network_pruning.inversion.signals import Taps, flat

if TYPE_CHECKING:
    from tensorflow import Tensor


def layers_apart(
    taps: Taps, targets: Taps, weights: Mapping[str, float], rectify: bool = True
) -> Tensor:
    """Computes how far the activations of layers are from their targets.

    sum_l weight_l * sum_units (r(s_l) - r(h_l))^2, r = max(0, .).

    Args:
        taps: Activations h_l [n, ..., channels], before the activation function.
        targets: s_l [n, d_l], likewise.
        weights: By layer; those named count.
        rectify: Whether r is a ReLU, so that a target below zero asks for no more than
            an activation below zero; else r(x) = x.

    Returns:
        [n].
    """
    losses = [
        weight
        * _square_sum(
            _through(targets[name], rectify) - _through(flat(taps[name]), rectify)
        )
        for name, weight in weights.items()
    ]
    return tf.add_n(losses)


def _through(values: Tensor, rectify: bool) -> Tensor:
    return tf.nn.relu(values) if rectify else values


@tf.custom_gradient
def _square_sum(rows: Tensor) -> tuple[Tensor, Any]:
    # The gradient in one pass: the tape would take three over all activations.
    return (
        tf.reduce_sum(tf.square(rows), axis=1),
        lambda upstream: 2 * upstream[:, None] * rows,
    )


def dropped(values: Tensor, mask: Tensor, rate: float) -> Tensor:
    """Applies a fixed dropout mask, as training does.

    Args:
        values: [n, ...].
        mask: 1 = keep [n, ...].
        rate: Share of units that drop out.

    Returns:
        [n, ...]; what remains is divided by 1 - rate.
    """
    return values * tf.cast(mask, values.dtype) / (1 - rate)


def spectral_apart(signal: Tensor, targets: Tensor, basis: Tensor) -> Tensor:
    """Computes how far the coefficients of a signal are from their targets.

    |c* - U^T s|^2 / q.

    Args:
        signal: s [n, d].
        targets: c* [n, q].
        basis: U [d, q]; or [n, d, q] for a basis of each image; or [classes, d, q]
            where the images' classes are 0, 1, ..., 0, 1, ... to the last.

    Returns:
        [n].
    """
    if len(basis.shape) == 2:
        found = signal @ basis
    elif basis.shape[0] == signal.shape[0]:
        found = tf.einsum("nd,ndq->nq", signal, basis)
    else:
        by_class = tf.reshape(signal, [-1, *basis.shape[:2]])
        found = tf.einsum("mcd,cdq->mcq", by_class, basis)
        found = tf.reshape(found, [-1, basis.shape[2]])
    return tf.reduce_mean(tf.square(targets - found), axis=1)


def batch_norm_apart(
    means: Sequence[Tensor],
    variances: Sequence[Tensor],
    moving_means: Sequence[Tensor],
    moving_variances: Sequence[Tensor],
) -> Tensor:
    """Computes how far a batch's statistics are from those that networks keep.

    sum_l |m - m_l|^2 / sum v_l + |v - v_l|^2 / sum v_l^2, after H. Yin et al.,
    "Dreaming to Distill", 2020, eq. 4, each term in units of the layer's own variance
    so that no layer outweighs the others.

    Args:
        means: m [c_l] of each layer's input, over images and places.
        variances: v [c_l].
        moving_means: m_l [c_l].
        moving_variances: v_l [c_l].

    Returns:
        Scalar, of the batch.
    """
    terms = []
    for m, v, mean, variance in zip(
        means, variances, moving_means, moving_variances, strict=True
    ):
        terms.append(_squares(m - mean) / tf.reduce_sum(variance))
        terms.append(_squares(v - variance) / _squares(variance))
    return tf.add_n(terms)


def _squares(values: Tensor) -> Tensor:
    return tf.reduce_sum(tf.square(values))


def total_variation(images: Tensor) -> Tensor:
    """Computes the mean squared difference of neighbouring pixels.

    Args:
        images: [n, h, w, c].

    Returns:
        [n]; the means down and across added.
    """
    down = images[:, 1:] - images[:, :-1]
    across = images[:, :, 1:] - images[:, :, :-1]
    return tf.add_n([
        tf.reduce_mean(tf.square(x), axis=(1, 2, 3)) for x in (down, across)
    ])


def blurred(images: Tensor) -> Tensor:
    """Averages over 3x3 pixels with binomial weights, the border mirrored.

    Args:
        images: [n, h, w, c].

    Returns:
        [n, h, w, c].
    """
    padded = tf.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]], "SYMMETRIC")
    rows = (padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]) / 4
    return (rows[:, :, :-2] + 2 * rows[:, :, 1:-1] + rows[:, :, 2:]) / 4
