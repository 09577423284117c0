"""Changes of training images, drawn anew for each batch by stateless operations.

What a batch's images become depends on its seed pair alone, so that a training that was
stopped goes on with the same images, in memory, streamed or distributed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import tensorflow as tf

Augment = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""(images [n, h, w, c], seed pair int32 [2]) -> images."""


def make_augment(kind: str, shift: int, black: float = 0.0) -> Augment | None:
    """Returns the change that --augment names.

    Args:
        kind: none, shift, or flip_shift, which also mirrors left to right.
        shift: Largest move in pixels, either way along height and width. It is the
            random crop of an image padded by as many pixels.
        black: What the pixels that come in from outside are.
    """
    if kind == "none":
        return None

    def augment(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        count = tf.shape(images)[0]
        down, right, mirrored = tf.unstack(draw(seed, count, shift), axis=1)
        margin = [[0, 0], [shift, shift], [shift, shift], [0, 0]]
        padded = tf.pad(images, margin, constant_values=black)
        rows = down[:, None] + tf.range(tf.shape(images)[1])
        columns = tf.range(tf.shape(images)[2])
        if kind == "flip_shift":
            flip = tf.cast(mirrored, tf.bool)[:, None]
            columns = tf.where(flip, columns[::-1], columns)
        columns = right[:, None] + columns
        moved = tf.gather(padded, rows, axis=1, batch_dims=1)
        moved = tf.gather(moved, columns, axis=2, batch_dims=1)
        return tf.ensure_shape(moved, images.shape)

    return augment


def draw(seed: tf.Tensor, count: tf.Tensor | int, shift: int) -> tf.Tensor:
    """Draws what happens to each image of a batch.

    Args:
        seed: Pair int32 [2].
        count: Images.
        shift: Largest move in pixels.

    Returns:
        int32 [count, 3]: rows and columns, in [0, 2 shift], by which the window lies
        below and right of the padded image's corner; 1 where the image is mirrored.
    """
    ends = tf.constant([2 * shift + 1, 2 * shift + 1, 2])
    drawn = tf.random.stateless_uniform(
        [count, 3], seed, minval=None, maxval=None, dtype=tf.uint32
    )
    # Of 2^32 values the remainders are even to 1 in 10^8.
    return tf.cast(drawn % tf.cast(ends, tf.uint32), tf.int32)


def batch_seeds(seed: Sequence[int], batches: int) -> npt.NDArray[np.int32]:
    """Returns the seed pair of each batch of an epoch.

    The same pairs as Dataset.batches hands out under this seed, so that a training in
    memory sees the images that a streamed one sees.

    Args:
        seed: Whole numbers that name the epoch, say (seed, epoch).
        batches: Their number.

    Returns:
        int32 [batches, 2].
    """
    first, second = np.random.SeedSequence(list(seed)).generate_state(2) >> 1
    marks = np.arange(batches) ^ int(second)
    return np.stack([np.full(batches, first), marks], axis=1).astype(np.int32)
