"""Datasets seen another way: other pixel values, no test split."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from network_pruning.types import Dataset

DESCRIBING = {"name", "input_shape", "num_classes", "in_memory", "multi_label"}
"""What says of a dataset whether it fits, and nothing of its examples."""


def rescaled(data: Dataset, low: float, high: float) -> Dataset:
    """Returns the dataset with black at `low` and white at `high`.

    For networks that were trained on such pixels: what is made of them takes the pixels
    that they took. Training images are scaled before they are augmented.
    """
    if (low, high) == (0.0, 1.0):
        return data
    return _Rescaled(data, low, high)


def without_test(data: Dataset) -> Dataset:
    """Returns the dataset for eyes that must not see the test split."""
    return _WithoutTest(data)


def watched(data: Dataset) -> Watched:
    """Returns the dataset, which from now on knows whether anybody reads it."""
    return Watched(data)


class _View:
    """All that a dataset says, unless a subclass says otherwise."""

    def __init__(self, data: Dataset) -> None:
        self._data = data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._data, name)


class _Rescaled(_View):
    def __init__(self, data: Dataset, low: float, high: float) -> None:
        super().__init__(data)
        self._low, self._scale = np.float32(low), np.float32(high - low)
        self._scaled: dict[str, npt.NDArray[np.float32]] = {}

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._data, name)
        if not name.startswith("x_"):
            return value
        if name not in self._scaled:
            self._scaled[name] = value * self._scale + self._low
        return self._scaled[name]

    def batches(
        self, split: str, size: int, seed: Any = None, augment: Any = None
    ) -> tf.data.Dataset:
        """Returns batches, see `types.Dataset`."""

        def scale(images: tf.Tensor) -> tf.Tensor:
            return images * self._scale + self._low

        if augment is None:
            batches = self._data.batches(split, size, seed)
            return batches.map(lambda images, labels: (scale(images), labels))

        def scale_first(images: tf.Tensor, pair: tf.Tensor) -> tf.Tensor:
            return augment(scale(images), pair)

        return self._data.batches(split, size, seed, scale_first)


class Watched(_View):
    """A dataset that notes its use.

    Attributes:
        read: Whether any example was asked of it, or how many there are.
    """

    read = False

    def __getattr__(self, name: str) -> Any:
        self.read |= name not in DESCRIBING
        return getattr(self._data, name)


class _WithoutTest(_View):
    def __getattr__(self, name: str) -> Any:
        if name in {"x_test", "y_test"}:
            self._refuse(name)
        return getattr(self._data, name)

    def size(self, split: str) -> int:
        """Returns the number of examples of train or valid."""
        return self._refuse(split) if split == "test" else self._data.size(split)

    def batches(
        self, split: str, size: int, seed: Any = None, augment: Any = None
    ) -> tf.data.Dataset:
        """Returns batches of train or valid, see `types.Dataset`."""
        if split == "test":
            self._refuse(split)
        return self._data.batches(split, size, seed, augment)

    def _refuse(self, name: str) -> NoReturn:
        raise AttributeError(f"{name}: networks are pruned by train and valid alone")
