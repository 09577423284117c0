"""The nouns that several rooms of the house share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import tensorflow as tf

FloatArray = npt.NDArray[np.floating[Any]]
BoolArray = npt.NDArray[np.bool_]
Masks = Mapping[str, BoolArray]
"""Unit masks by group name, or weight masks by kernel path; True = keep."""

Augmentation = Literal["none", "shift", "flip_shift", "affine"]
"""Change of training images, drawn anew each time; see augmentation.make_augment."""

SPLITS = ("train", "valid", "test")


@runtime_checkable
class Dataset(Protocol):
    """Splits of one labelled image set, behind one door.

    Images are float32 [n, height, width, channels] in [0, 1], labels int64 [n] (uint8
    [n, attributes] when `multi_label`). `x_train` ... `y_test` exist when `in_memory`.
    """

    name: str
    num_classes: int
    input_shape: tuple[int, int, int]
    fingerprint: str
    in_memory: bool
    multi_label: bool
    x_train: npt.NDArray[np.float32]
    y_train: npt.NDArray[Any]
    x_valid: npt.NDArray[np.float32]
    y_valid: npt.NDArray[Any]
    x_test: npt.NDArray[np.float32]
    y_test: npt.NDArray[Any]

    def size(self, split: str) -> int:
        """Returns the number of examples of a split: train, valid or test."""
        ...

    def batches(
        self, split: str, size: int, seed: Any = None, augment: Any = None
    ) -> tf.data.Dataset:
        """Returns batches (images, labels); seed None keeps the order, else shuffles.

        The order under a seed (an int or a sequence of ints, say [seed, epoch]) is the
        permutation `np.random.default_rng(seed)` draws; the last batch may be ragged.
        """
        ...


@dataclass(frozen=True)
class Price:
    """What a ranking has cost: examples sent forward, backward, and seconds."""

    forward: int = 0
    backward: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Scores:
    """A criterion's verdict on the units of one group.

    Attributes:
        values: Importance [n_units] float64, higher = keep.
        standard_error: [n_units] float64, or None where the criterion is exact.
        price: What it has cost.
        parts: Units [n_units] of each layer that makes only some of the group's; one of
            them stays in any case, as no layer can be empty.
        samples: How many were drawn, by a criterion that draws them.
        decided: Whether they decide the cut, where one was named beforehand.
    """

    values: npt.NDArray[np.float64]
    standard_error: npt.NDArray[np.float64] | None = None
    price: Price = Price()
    parts: tuple[BoolArray, ...] = ()
    samples: int | None = None
    decided: bool | None = None
