"""How well a network does with only some units of a group present: a game, played fast.

A coalition is judged once, and many at once, on what `CutNetwork` keeps of the images.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tf_keras as keras

from network_pruning.classifiers import check_classifier
from network_pruning.losses import cross_entropy
from network_pruning.pruning.cut_network import Below, CutNetwork, Value
from network_pruning.pruning.units import UnitGroup
from network_pruning.types import BoolArray, Dataset

Float64 = npt.NDArray[np.float64]
KEPT_BYTES = 256 << 20
"""Size of what is kept from batch to batch; if there is more, it is computed anew."""


def _minus_cross_entropy(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    return -cross_entropy(logits, labels)


def _hit(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.argmax(logits, axis=-1) == labels, logits.dtype)


VALUES: dict[str, Value] = {"cross_entropy": _minus_cross_entropy, "accuracy": _hit}
"""Name -> value of each example: minus its cross entropy in nats; 1 if it is right."""


def valid_images(
    data: Dataset | None, images: int, seed: int = 0
) -> tuple[npt.NDArray[np.float32], npt.NDArray[Any]]:
    """Draws the subset of the validation split that coalitions are judged on.

    Args:
        data: In memory or streamed: the same images either way.
        images: Number to draw; all, if there are fewer.
        seed: Of the draw.

    Returns:
        Images [n, h, w, c] and labels [n].

    Raises:
        ValueError: If there are no data, or their labels are not classes.
    """
    if data is None:
        raise ValueError(
            "this criterion judges coalitions of units on validation images, got "
            "data=None: pass a Dataset."
        )
    if images < 1:
        raise ValueError(f"images: got {images}, expected at least 1.")
    if data.in_memory:
        order = np.random.default_rng(seed).permutation(len(data.x_valid))[:images]
        x, y = data.x_valid[order], data.y_valid[order]
    else:
        x, y = map(np.asarray, next(iter(data.batches("valid", images, seed=seed))))
    if y.ndim != 1:
        raise ValueError(
            f"labels of {data.name!r}: got shape {list(y.shape)}, expected one class "
            "for each image: this criterion has no multi-label loss."
        )
    return x, y


class Coalitions:
    """The game of one group of units, all other units present.

    Called with masks [m, n] it returns the value of each coalition [m]: that of
    `gate(model)`, coalition by coalition, up to float rounding. One that was met before
    is not evaluated again. The network must not change meanwhile.

    Attributes:
        n: Number of units.
        forward: Examples sent forward so far.
        linear: Whether units' contributions to their consumer are at hand.
    """

    def __init__(
        self,
        model: keras.Model,
        group: UnitGroup,
        images: npt.ArrayLike,
        labels: npt.ArrayLike,
        value: str = "cross_entropy",
    ) -> None:
        """Prepares the evaluation.

        Args:
            model: Images -> logits [n, classes], or their softmax.
            group: Of this model.
            images: [n, ...].
            labels: Class of each [n].
            value: One of `VALUES`; a coalition's is the mean over the images.

        Raises:
            ValueError: If the value is unknown, or the model has other inputs or
                outputs.
        """
        if value not in VALUES:
            raise ValueError(f"value: got {value!r}, expected one of {list(VALUES)}.")
        check_classifier(model)
        self.n = group.n_units
        self.forward = 0
        self._images = np.asarray(images)
        self._labels = np.asarray(labels, np.int64)
        self._known: dict[bytes, float] = {}
        self._network = CutNetwork(model, group, VALUES[value])
        self.linear = self._network.linear
        self._rows, self._batch = self._network.batch_sizes(len(self._images))
        self._kept: list[Below] = []

    def __call__(self, masks: BoolArray) -> Float64:
        """Evaluates coalitions.

        Args:
            masks: Bool [m, n], True = present.

        Returns:
            Mean value over the images [m] float64.
        """
        keys = [np.packbits(mask).tobytes() for mask in masks]
        new = {k: i for i, k in enumerate(keys) if k not in self._known}
        if new:
            values = self._evaluate(masks[list(new.values())])
            self._known.update(zip(new, values.tolist(), strict=True))
        return np.array([self._known[key] for key in keys], np.float64)

    def _evaluate(self, masks: BoolArray) -> Float64:
        # All batches have one shape, the last one padded: one trace serves them, and a
        # value does not depend on how many other coalitions are asked for.
        n_batches = -(-len(masks) // self._batch)
        padded = np.ones((n_batches * self._batch, self.n), bool)
        padded[: len(masks)] = masks
        batches = [tf.constant(batch) for batch in np.split(padded, n_batches)]
        sums = np.zeros(len(padded))
        for below in self._chunks():
            parts = [np.asarray(self._network.judge(b, below)) for b in batches]
            sums += np.concatenate(parts)
        self.forward += len(self._images) * len(masks)
        return sums[: len(masks)] / len(self._images)

    def _chunks(self) -> Iterator[Below]:
        """Yields what lies below the coalitions, for a chunk of images at a time."""
        if self._kept:
            yield from self._kept
            return
        made = []
        starts = range(0, len(self._images), self._rows)
        for start in starts:
            below = self._network.below(*self._chunk(start))
            if below.nbytes * len(starts) <= KEPT_BYTES:
                made.append(below)
            yield below
        self.forward += len(self._images)
        self._kept = made

    def _chunk(self, start: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns images, labels, and which count: all chunks are of one size."""
        places = np.arange(start, start + self._rows)
        counts = places < len(self._images)
        places[~counts] = start
        images, labels = self._images[places], self._labels[places]
        return tf.constant(images), tf.constant(labels), tf.constant(counts)
