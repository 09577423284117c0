"""What batches of datasets in memory and of streamed ones have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from data.errors import DatasetError

if TYPE_CHECKING:
    import tensorflow as tf

Augment = Callable[["tf.Tensor", "tf.Tensor"], "tf.Tensor"]
SPLITS = ("train", "valid", "test")


def check_request(split: str, size: int = 1, augment: Augment | None = None) -> None:
    """Checks the arguments of `batches` and `size`.

    Raises:
        DatasetError: If the split is unknown, the batch is empty, or anything but
            training images would be augmented.
    """
    if split not in SPLITS:
        raise DatasetError(f"split: got {split!r}, expected one of {', '.join(SPLITS)}")
    if size < 1:
        raise DatasetError(f"batch size: got {size}, expected at least 1")
    if augment is not None and split != "train":
        raise DatasetError(
            f"augment: only training images are augmented, got split {split!r}; leave "
            f"augment out"
        )


def seed_pair(seed: int | Sequence[int] | None) -> tuple[int, int]:
    """Returns two numbers below 2**31, as TensorFlow takes them, for an int or ints."""
    entropy = 0 if seed is None else seed
    first, second = np.random.SeedSequence(entropy).generate_state(2) >> 1
    return int(first), int(second)


def augmented(
    batches: tf.data.Dataset,
    augment: Augment | None,
    seed: int | Sequence[int] | None,
) -> tf.data.Dataset:
    """Transforms the images of batches (images, labels).

    Args:
        batches: Of (images [b, h, w, c], labels).
        augment: (images, seed pair int32 [2]) -> images, or None: no change.
        seed: An int, ints or None (as 0); with the batch's number it makes the pair.

    Returns:
        Batches of the same structure.
    """
    if augment is None:
        return batches
    import tensorflow as tf

    first, second = seed_pair(seed)

    def transform(
        number: tf.Tensor, batch: tuple[tf.Tensor, tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        images, labels = batch
        mark = tf.bitwise.bitwise_xor(tf.cast(number, tf.int32), second)
        return augment(images, tf.stack([first, mark])), labels

    return batches.enumerate().map(transform, num_parallel_calls=tf.data.AUTOTUNE)
