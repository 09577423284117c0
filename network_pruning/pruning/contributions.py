"""What each unit adds to the pre-activation of a consumer that is linear in it.

A consumer's pre-activation is base + sum over units of mask_u * contribution_u. With
the contributions at hand, any number of coalitions is one matrix product.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tf_keras as keras

IntArray = npt.NDArray[np.int64]


def is_linear(layer: keras.layers.Layer) -> bool:
    """Returns whether `contributions` understands a layer."""
    # Exact classes: a subclass may compute something else.
    if layer.compute_dtype not in {"float32", "float64"}:
        return False
    if type(layer) is keras.layers.Conv2D:
        return layer.data_format == "channels_last" and layer.groups == 1
    return type(layer) is keras.layers.Dense


def contributions(
    layer: keras.layers.Layer, x: tf.Tensor, units: IntArray, n_units: int
) -> tf.Tensor:
    """Computes each unit's share in the pre-activation of Dense or Conv2D.

    Args:
        layer: One that `is_linear`.
        x: What it reads [n, ..., channels].
        units: Unit of each channel, -1 where it is none of these.
        n_units: Number of units.

    Returns:
        [n_units, n * numbers per example of the output]; summed over units, and with
        `base` added, the pre-activation.
    """
    channels, weights = _channels_of(units, n_units)
    weight = tf.constant(weights[:, None, :, None], x.dtype)
    if isinstance(layer, keras.layers.Conv2D):
        positions = _patches(layer, x)
        kernel = tf.reshape(layer.kernel, [-1, x.shape[-1], layer.filters])
    else:
        positions = x[..., None, :]
        kernel = layer.kernel[None]
    # [taps, units, channels of a unit, out] -> [units, taps * channels, out]
    picked = tf.gather(tf.cast(kernel, x.dtype), channels, axis=1)
    picked = tf.transpose(picked, [1, 0, 2, 3]) * weight
    taps = picked.shape[1] * picked.shape[2]
    picked = tf.reshape(picked, [n_units, taps, picked.shape[-1]])
    # [places, taps, units, channels of a unit] -> [units, places, taps * channels]
    flat = tf.reshape(positions, [-1, *positions.shape[-2:]])
    read = tf.transpose(tf.gather(flat, channels, axis=2), [2, 0, 1, 3])
    read = tf.reshape(read, [n_units, -1, taps])
    return tf.reshape(tf.matmul(read, picked), [n_units, -1])


def base(layer: keras.layers.Layer, x: tf.Tensor, units: IntArray) -> tf.Tensor:
    """Computes the pre-activation without any of the units, bias included.

    Args:
        layer: One that `is_linear`.
        x: What it reads [n, ..., channels].
        units: Unit of each channel, -1 where it is none of these.

    Returns:
        In the shape of the layer's output.
    """
    rest = tf.where(tf.constant(units < 0), x, tf.zeros([], x.dtype))
    if isinstance(layer, keras.layers.Conv2D):
        out = layer.convolution_op(rest, layer.kernel)
    else:
        out = tf.tensordot(rest, tf.cast(layer.kernel, x.dtype), 1)
    return out + layer.bias if layer.use_bias else out


def _channels_of(units: IntArray, n_units: int) -> tuple[IntArray, npt.NDArray[Any]]:
    """Lists each unit's channels, in rows of equal length.

    Returns:
        Channels [n_units, most], and 1 where an entry counts, 0 where it fills up.
    """
    lists = [np.flatnonzero(units == unit) for unit in range(n_units)]
    most = max(1, *(len(found) for found in lists))
    channels = np.zeros((n_units, most), np.int64)
    weights = np.zeros((n_units, most))
    for row, weight, found in zip(channels, weights, lists, strict=True):
        row[: len(found)] = found
        weight[: len(found)] = 1
    return channels, weights


def _patches(layer: keras.layers.Conv2D, x: tf.Tensor) -> tf.Tensor:
    """Returns what the kernel sees at each place [n, h, w, taps, channels]."""
    patches = tf.image.extract_patches(
        x,
        sizes=[1, *layer.kernel_size, 1],
        strides=[1, *layer.strides, 1],
        rates=[1, *layer.dilation_rate, 1],
        padding=layer.padding.upper(),
    )
    taps = layer.kernel_size[0] * layer.kernel_size[1]
    height, width = patches.shape[1:3]
    return tf.reshape(patches, [-1, height, width, taps, x.shape[-1]])
