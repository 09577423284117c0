"""Reconstructed images as a dataset: train and valid, no test."""

from __future__ import annotations

import copy
import hashlib
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tf_keras as keras

from network_pruning.evaluation.predict import predict_logits

VALID_SHARE = 10
"""One image of so many validates."""


class Reconstructed:
    """Images made from what a network remembers, with the class each aims at.

    What they are good for is judged on the network's own outputs; there is no test
    split, as no image is real.

    Attributes:
        name, num_classes, input_shape, fingerprint, in_memory, multi_label: See
            `types.Dataset`.
        x_train, y_train, x_valid, y_valid: Arrays; every class has its share of both.
            Labels are [n], or [n, attributes] where `multi_label`.
    """

    in_memory = True

    def __init__(
        self,
        images: npt.NDArray[np.float32],
        labels: npt.NDArray[np.int64],
        num_classes: int,
        name: str = "reconstructed",
    ) -> None:
        """Divides images: the last of each class validate.

        Args:
            images: [n, h, w, c].
            labels: Class aimed at [n]; two images at least.
            num_classes: How many.
            name: For titles and messages.
        """
        self.name, self.num_classes, self.multi_label = name, num_classes, False
        self.input_shape: tuple[int, int, int] = images.shape[1:]
        last = _last_of_each(labels)
        self.x_train, self.y_train = images[~last], labels[~last]
        self.x_valid, self.y_valid = images[last], labels[last]
        digest = hashlib.sha256(f"{images.shape}".encode())
        digest.update(np.ascontiguousarray(images).tobytes())
        digest.update(labels.astype("<i8").tobytes())
        self.fingerprint = digest.hexdigest()

    def with_attributes(self, network: keras.Model) -> Reconstructed:
        """Returns the same images, labelled by the attributes a network sees in them.

        The class an image aims at is one attribute, and says nothing of the others.

        Args:
            network: Images -> logits [n, attributes]; what is above 0 is present.
        """
        seen = copy.copy(self)
        seen.multi_label = True
        seen.y_train, seen.y_valid = (
            (predict_logits(network, images) > 0).astype(np.int64)
            for images in (self.x_train, self.x_valid)
        )
        return seen

    def __getattr__(self, name: str) -> NoReturn:
        if name in {"x_test", "y_test"}:
            raise AttributeError(self._no_test())
        raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")

    def size(self, split: str) -> int:
        """Returns the number of images of train or valid."""
        return len(self._part(split)[1])

    def batches(
        self, split: str, size: int, seed: Any = None, augment: Any = None
    ) -> tf.data.Dataset:
        """Returns batches of train or valid, see `types.Dataset`."""
        images, labels = self._part(split)
        order = np.arange(len(labels))
        if seed is not None:
            order = np.random.default_rng(seed).permutation(len(order))
        x, y = tf.constant(images), tf.constant(labels)
        batches = tf.data.Dataset.from_tensor_slices(order).batch(size)
        batches = batches.map(lambda rows: (tf.gather(x, rows), tf.gather(y, rows)))
        if augment is not None:
            pairs = np.random.SeedSequence(0 if seed is None else seed).generate_state(
                2 * -(-len(order) // size)
            )
            pairs = tf.constant((pairs >> 1).reshape(-1, 2), tf.int32)
            batches = batches.enumerate().map(
                lambda i, pair: (augment(pair[0], pairs[i]), pair[1])
            )
        return batches.prefetch(tf.data.AUTOTUNE)

    def _part(
        self, split: str
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        if split == "train":
            return self.x_train, self.y_train
        if split == "valid":
            return self.x_valid, self.y_valid
        raise ValueError(
            f"split: got {split!r}, expected train or valid; " + self._no_test()
        )

    def _no_test(self) -> str:
        return (
            f"{self.name}: reconstructed images have no test split, judge networks on "
            "real ones"
        )


def _last_of_each(labels: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Marks the last tenth of each class, one image at least of one that has two.

    Returns:
        Bool [n].
    """
    last = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = max(len(members) // VALID_SHARE, int(len(members) > 1))
        last[members[len(members) - count :]] = True
    return last
