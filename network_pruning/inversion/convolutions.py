"""Convolutions whose gradient ends in few channels.

Where images are learnt, the gradient ends in their one or three channels, and a
processor that computes 16 numbers at once leaves most of them empty: it takes longer
than all the rest of a small network. Here a block of neighbouring pixels is computed as
the channels of one convolution, whose kernel holds the original one once for each
pixel, moved. Nothing else changes: the sums are the same, with zeros.
"""

from __future__ import annotations

import functools
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import tensorflow as tf
import tf_keras as keras

from network_pruning.graph import leaf_layers

Block = tuple[int, int]
"""Pixels down and across."""
VECTOR = 16
"""Numbers that a processor computes at once."""
BLOCKS: tuple[Block, ...] = ((4, 4), (2, 4), (2, 2), (1, 2))


@contextmanager
def gradients_by_block(network: keras.Model) -> Generator[None]:
    """Lets a network's convolutions of few channels send gradients back by the block.

    What is traced within stays so; outside, the layers are as they were.
    """
    swapped = [layer for _, layer in leaf_layers(network) if _fits(layer)]
    for layer in swapped:
        own = functools.partial(convolved, padding=layer.padding)
        layer.convolution_op = own
    try:
        yield
    finally:
        for layer in swapped:
            del layer.convolution_op


def _fits(layer: keras.layers.Layer) -> bool:
    """Returns whether a layer is a convolution as `convolved` computes it."""
    return (
        type(layer) is keras.layers.Conv2D
        and layer.strides == layer.dilation_rate == (1, 1)
        and layer.groups == 1
        and layer.data_format == "channels_last"
        and block_of(layer.kernel.shape[2]) != (1, 1)
    )


def block_of(channels: int) -> Block:
    """Returns the largest block of pixels whose channels are computed at once."""
    fitting = [b for b in BLOCKS if b[0] * b[1] * channels <= VECTOR]
    return fitting[0] if fitting else (1, 1)


def convolved(x: tf.Tensor, kernel: Any, padding: str) -> tf.Tensor:
    """Convolves at stride 1; the gradient with respect to the kernel is left out.

    Args:
        x: [n, h, w, c]; with h or w unknown, or more axes, nothing is done by block.
        kernel: [a, b, c, f].
        padding: valid or same.

    Returns:
        [n, h', w', f].
    """
    # Read out here: a variable may not be read within.
    kernel = tf.convert_to_tensor(kernel)
    if x.shape.rank != 4 or None in x.shape[1:]:
        return tf.nn.conv2d(x, kernel, 1, padding.upper())

    @tf.custom_gradient
    def convolve(x: tf.Tensor) -> tuple[tf.Tensor, Any]:
        y = tf.nn.conv2d(x, kernel, 1, padding.upper())
        return y, lambda upstream: _sent_back(upstream, kernel, x.shape, padding)

    return convolve(x)


def _sent_back(
    upstream: tf.Tensor, kernel: tf.Tensor, shape: tf.TensorShape, padding: str
) -> tf.Tensor:
    """Computes the gradient with respect to a convolution's input.

    A pixel's is the sum of upstream over the places that read it, times the weights
    they read it with: a convolution with the kernel turned by half, at stride 1; or,
    for all pixels of a block, at the block's stride.

    Args:
        upstream: [n, h', w', f].
        kernel: [a, b, c, f].
        shape: Of the input [n, h, w, c].
        padding: Of the convolution.

    Returns:
        [n, h, w, c].
    """
    _, height, width, channels = shape
    block = down, across = block_of(channels)
    margins, places = [], []
    for size, out, reach, step in zip(
        (height, width), upstream.shape[1:3], kernel.shape[:2], block, strict=True
    ):
        before = reach - 1 - ((reach - 1) // 2 if padding == "same" else 0)
        count = -(-size // step)
        margins.append([before, count * step + reach - 1 - out - before])
        places.append(count)
    blocks = tf.nn.conv2d(
        upstream, _of_block(kernel, block), block, [[0, 0], *margins, [0, 0]]
    )
    apart = tf.reshape(blocks, [-1, *places, *block, channels])
    # Not depth_to_space, which takes as long as the convolution.
    pixels = tf.reshape(
        tf.transpose(apart, [0, 1, 3, 2, 4, 5]),
        [-1, places[0] * down, places[1] * across, channels],
    )
    return pixels[:, :height, :width]


def _of_block(kernel: tf.Tensor, block: Block) -> tf.Tensor:
    """Lays turned kernels side by side, one for each pixel of a block.

    Args:
        kernel: [a, b, c, f].
        block: Pixels down and across.

    Returns:
        [a + down - 1, b + across - 1, f, down * across * c].
    """
    down, across = block
    turned = tf.transpose(kernel[::-1, ::-1], [0, 1, 3, 2])
    moved = [
        tf.pad(turned, [[i, down - 1 - i], [j, across - 1 - j], [0, 0], [0, 0]])
        for i in range(down)
        for j in range(across)
    ]
    return tf.concat(moved, axis=3)
