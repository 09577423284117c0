"""Changes of training images, drawn anew for each batch by stateless operations.

What a batch's images become depends on its seed pair alone, so that a training that was
stopped goes on with the same images, in memory, streamed or distributed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from network_pruning.types import Augmentation

Augment = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""(images [n, h, w, c], seed pair int32 [2]) -> images."""


ROTATION, SCALE, SHEAR = 0.3, 0.15, 0.2
"""Of affine, the largest: radians, share of either side, pixels sideways per pixel."""


def make_augment(
    kind: Augmentation, shift: int, black: float = 0.0, erase: int = 0
) -> Augment | None:
    """Returns the change that --augment and --erase name.

    Args:
        kind: none; shift; flip_shift, which also mirrors left to right; or affine,
            which also turns, stretches and slants, between pixels as well.
        shift: Largest move in pixels, either way along height and width. Of shift and
            flip_shift it is the random crop of an image padded by as many pixels.
        black: What the pixels that come in from outside are.
        erase: Side in pixels of the square that each image loses, once it has moved;
            0 for none. See `_erased`.
    """
    moves = {
        "shift": functools.partial(_shifted, shift=shift, black=black, flips=False),
        "flip_shift": functools.partial(_shifted, shift=shift, black=black, flips=True),
        "affine": functools.partial(_affine, shift=shift, black=black),
    }
    changes = [moves[kind]] if kind in moves else []
    if erase:
        changes.append(functools.partial(_erased, side=erase))
    return functools.partial(_changed, changes=changes) if changes else None


def _changed(
    images: tf.Tensor, seed: tf.Tensor, changes: Sequence[Augment]
) -> tf.Tensor:
    for change in changes:
        images = change(images, seed)
    return images


def _erased(images: tf.Tensor, seed: tf.Tensor, side: int) -> tf.Tensor:
    """Paints a square of each image in its mean colour: Cutout.

    The square's centre is any pixel, so that part of it may lie outside (DeVries and
    Taylor 2017, arXiv:1708.04552, section 3.2; there it is the mean of all images).

    Returns:
        The images.
    """
    height, width = tf.shape(images)[1], tf.shape(images)[2]
    middle = draw_squares(seed, tf.shape(images)[0], height, width)
    down = _within(height, middle[:, :1], side)
    across = _within(width, middle[:, 1:], side)
    lost = (down[:, :, None] & across[:, None, :])[..., None]
    mean = tf.reduce_mean(images, axis=[1, 2], keepdims=True)
    return tf.where(lost, mean, images)


def _within(length: tf.Tensor, middle: tf.Tensor, side: int) -> tf.Tensor:
    """Returns which of `length` places lie in a stretch about `middle`: bool [n, l]."""
    place = tf.range(length) - (middle - side // 2)
    return (place >= 0) & (place < side)


def draw_squares(
    seed: tf.Tensor, count: tf.Tensor | int, height: tf.Tensor, width: tf.Tensor
) -> tf.Tensor:
    """Draws the pixel in the middle of each image's erased square.

    Args:
        seed: Pair int32 [2], of the moves too; what is drawn here is independent.
        count: Images.
        height: Of an image, in pixels.
        width: Likewise.

    Returns:
        int32 [count, 2]: row in [0, height), column in [0, width).
    """
    own = tf.random.experimental.stateless_fold_in(seed, 1)
    return _draw_below(own, count, tf.stack([height, width]))


def _shifted(
    images: tf.Tensor, seed: tf.Tensor, shift: int, black: float, flips: bool
) -> tf.Tensor:
    count = tf.shape(images)[0]
    down, right, mirrored = tf.unstack(draw(seed, count, shift), axis=1)
    margin = [[0, 0], [shift, shift], [shift, shift], [0, 0]]
    padded = tf.pad(images, margin, constant_values=black)
    rows = down[:, None] + tf.range(tf.shape(images)[1])
    columns = tf.range(tf.shape(images)[2])
    if flips:
        flip = tf.cast(mirrored, tf.bool)[:, None]
        columns = tf.where(flip, columns[::-1], columns)
    columns = right[:, None] + columns
    moved = tf.gather(padded, rows, axis=1, batch_dims=1)
    moved = tf.gather(moved, columns, axis=2, batch_dims=1)
    return tf.ensure_shape(moved, images.shape)


def _affine(images: tf.Tensor, seed: tf.Tensor, shift: int, black: float) -> tf.Tensor:
    shape = tf.shape(images)
    x, y, down, right = draw_affine(seed, shape[0], shift)
    # About the centre, in the order of the operation: columns first, then rows.
    middle = tf.cast(shape[1:3] - 1, tf.float32) / 2
    across = middle[1] - x[0] * middle[1] - x[1] * middle[0] + right
    along = middle[0] - y[0] * middle[1] - y[1] * middle[0] + down
    none = tf.zeros_like(down)
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.stack([*x, across, *y, along, none, none], axis=1),
        output_shape=shape[1:3],
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
        fill_value=black,
    )
    return tf.ensure_shape(moved, images.shape)


def draw_affine(
    seed: tf.Tensor, count: tf.Tensor | int, shift: int
) -> tuple[list[tf.Tensor], list[tf.Tensor], tf.Tensor, tf.Tensor]:
    """Draws where the pixels of each image of a batch are fetched from.

    Args:
        seed: Pair int32 [2].
        count: Images.
        shift: Largest move in pixels.

    Returns:
        Seen from the centre, the column that an output pixel comes from is
        x[0] column + x[1] row + right, the row y[0] column + y[1] row + down:
        x, y, down, right; each number float32 [count].
    """
    drawn = tf.random.stateless_uniform([6, count], seed, -1.0, 1.0)
    angle, wide, high, slant, down, right = tf.unstack(drawn)
    cos, sin = tf.cos(ROTATION * angle), tf.sin(ROTATION * angle)
    wide, high, slant = 1 + SCALE * wide, 1 + SCALE * high, SHEAR * slant
    x = [cos * wide, (cos * slant - sin) * high]
    y = [sin * wide, (sin * slant + cos) * high]
    return x, y, shift * down, shift * right


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
    return _draw_below(seed, count, tf.constant([2 * shift + 1, 2 * shift + 1, 2]))


def _draw_below(seed: tf.Tensor, count: tf.Tensor | int, ends: tf.Tensor) -> tf.Tensor:
    """Returns whole numbers drawn in [0, ends): int32 [count, ends]."""
    drawn = tf.random.stateless_uniform(
        [count, ends.shape[0]], seed, minval=None, maxval=None, dtype=tf.uint32
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
