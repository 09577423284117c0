"""A dataset held in memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from data import splits
from data.batching import Augment, augmented, check_request
from data.images import Delivered, Labelled, to_unit_floats

if TYPE_CHECKING:
    import tensorflow as tf


class ArrayDataset:
    """Images float32 [n, h, w, c] in [0, 1] and labels, per split.

    Labels are int64 [n], or uint8 [n, attributes] when `multi_label`.

    Args:
        name: For titles and folders.
        parts: Split name ("train", "valid", "test") -> (images, labels).
        num_classes: Classes, or attributes.
        class_names: In the order of the labels, or None.
        multi_label: Whether an image has any number of attributes.
        fingerprint: SHA-256 of content and split, hex; None: computed here.
        split_indices: Split name -> rows int64 of what the source delivered (of its
            test images for "test", unless it has none); None: not known.

    Attributes:
        x_train, y_train, x_valid, y_valid, x_test, y_test: The arrays.
        input_shape: Of one image, (h, w, c).
        in_memory: True.
    """

    in_memory = True

    def __init__(
        self,
        name: str,
        parts: Mapping[str, Labelled],
        *,
        num_classes: int,
        class_names: tuple[str, ...] | None = None,
        multi_label: bool = False,
        fingerprint: str | None = None,
        split_indices: Mapping[str, splits.Rows] | None = None,
    ) -> None:
        self.name = name
        self.num_classes = num_classes
        self.class_names = class_names
        self.multi_label = multi_label
        self.split_indices = split_indices
        self.x_train, self.y_train = parts["train"]
        self.x_valid, self.y_valid = parts["valid"]
        self.x_test, self.y_test = parts["test"]
        self.input_shape: tuple[int, int, int] = self.x_train.shape[1:]
        self.fingerprint = fingerprint or _fingerprint(
            {split: splits.digests(*part) for split, part in parts.items()},
            self.input_shape,
            num_classes,
        )
        self._tensors: dict[str, tuple[tf.Tensor, tf.Tensor]] = {}

    def size(self, split: str) -> int:
        """Returns the number of examples of a split: train, valid or test."""
        check_request(split)
        return len(getattr(self, f"y_{split}"))

    def with_train(self, count: int) -> ArrayDataset:
        """Returns these images with fewer to learn from: the first of the split.

        Args:
            count: Training images that stay.

        Raises:
            ValueError: If there are fewer.
        """
        if not 1 <= count <= len(self.y_train):
            raise ValueError(
                f"num_train: got {count}, expected 1 to {len(self.y_train)}, the "
                f"training images of {self.name}"
            )
        parts = {
            split: (getattr(self, f"x_{split}"), getattr(self, f"y_{split}"))
            for split in ("train", "valid", "test")
        }
        parts["train"] = tuple(values[:count] for values in parts["train"])
        rows = self.split_indices
        return ArrayDataset(
            self.name,
            parts,
            num_classes=self.num_classes,
            class_names=self.class_names,
            multi_label=self.multi_label,
            split_indices=rows and {**rows, "train": rows["train"][:count]},
        )

    def batches(
        self,
        split: str,
        size: int,
        seed: int | Sequence[int] | None = None,
        augment: Augment | None = None,
    ) -> tf.data.Dataset:
        """Batches a split.

        Args:
            split: "train", "valid" or "test".
            size: Images per batch; the last may have fewer.
            seed: None keeps the order of the arrays; an int or ints, say [seed, epoch]:
                the order is `np.random.default_rng(seed).permutation(n)`.
            augment: (images [b, h, w, c], seed pair int32 [2]) -> images, a transform
                of training batches; the seed pair is another for every batch.

        Returns:
            Batches (images [b, h, w, c], labels [b] or [b, attributes]).
        """
        check_request(split, size, augment)
        import tensorflow as tf

        images, labels = self._as_tensors(split)
        order = np.arange(self.size(split))
        if seed is not None:
            order = np.random.default_rng(seed).permutation(len(order))
        batches = tf.data.Dataset.from_tensor_slices(order).batch(size)
        batches = batches.map(
            lambda rows: (tf.gather(images, rows), tf.gather(labels, rows)),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        return augmented(batches, augment, seed).prefetch(tf.data.AUTOTUNE)

    def _as_tensors(self, split: str) -> tuple[tf.Tensor, tf.Tensor]:
        import tensorflow as tf

        if split not in self._tensors:
            with tf.device("CPU"):
                self._tensors[split] = (
                    tf.constant(getattr(self, f"x_{split}")),
                    tf.constant(getattr(self, f"y_{split}")),
                )
        return self._tensors[split]


def from_delivered(
    name: str, delivered: Delivered, num_valid: int | None, how: str, seed: int
) -> ArrayDataset:
    """Splits what a source has delivered.

    Args:
        name: For titles and folders.
        delivered: Checked images and labels.
        num_valid: Validation images, or None: see `splits.pick_num_valid`.
        how: "random" or "first": see `splits.divide`.
        seed: Of the random split.

    Returns:
        The dataset.
    """
    pool = _pool(delivered, delivered.train)
    test = delivered.test and _pool(delivered, delivered.test)
    rows = splits.divide(pool, test, num_valid, how, seed)
    origin = {
        "train": (delivered.train, pool),
        "valid": (delivered.train, pool),
        "test": (delivered.test or delivered.train, test or pool),
    }
    parts: dict[str, Labelled] = {}
    marks = {}
    for split, ((images, labels), marked) in origin.items():
        parts[split] = (to_unit_floats(images[rows[split]]), labels[rows[split]])
        marks[split] = marked.digests[rows[split]]
    shape = delivered.train[0].shape[1:]
    return ArrayDataset(
        name,
        parts,
        num_classes=delivered.num_classes,
        class_names=delivered.class_names,
        multi_label=delivered.multi_label,
        fingerprint=_fingerprint(marks, shape, delivered.num_classes),
        split_indices=rows,
    )


def _pool(delivered: Delivered, part: Labelled) -> splits.Pool:
    images, labels = part
    alike = np.zeros(len(labels), np.int64)
    classes = alike if delivered.multi_label else labels
    return splits.Pool(splits.digests(images, labels), classes)


def _fingerprint(
    marks: Mapping[str, npt.NDArray[np.uint8]],
    shape: tuple[int, ...],
    num_classes: int,
) -> str:
    """Returns the hash of every image with its label, in order, split by split."""
    head: dict[str, Any] = {"shape": [int(n) for n in shape], "classes": num_classes}
    head["splits"] = {split: len(mark) for split, mark in marks.items()}
    content = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
    for split in sorted(marks):
        content.update(marks[split].tobytes())
    return content.hexdigest()
