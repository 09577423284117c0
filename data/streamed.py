"""A dataset that is read from its TFDS files each time it is used."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from data import splits
from data.batching import SPLITS, Augment, augmented, check_request, seed_pair
from data.tfds_source import TfdsSource

if TYPE_CHECKING:
    import tensorflow as tf

RUN_RECORDS = 1000
"""Records read in a row; the runs come in a seeded order."""
SHUFFLE_RECORDS = 4096
"""Encoded images held to be shuffled on top of that."""


class StreamedDataset:
    """Splits of a TFDS set too big for memory.

    A random split takes seeded runs of records, not single images; a set without a
    test split gives a fixed fifth of its records, which is not stratified.

    Args:
        source: The opened set.
        num_valid: Validation images, or None: see `splits.pick_num_valid`.
        how: "random" or "first": see `splits.divide_stream`.
        seed: Of the random split.

    Attributes:
        name, num_classes, class_names, multi_label: As in `ArrayDataset`.
        input_shape: Of one image, (h, w, c).
        in_memory: False; there is no x_train and its like.
        split_indices: Split name -> record numbers int64 in the stored order.
        fingerprint: SHA-256 of the set's name, version, sizes, image shape and split,
            hex; not of the images.
    """

    in_memory = False

    def __init__(
        self, source: TfdsSource, num_valid: int | None, how: str, seed: int
    ) -> None:
        self._source = source
        self.name = source.name
        self.num_classes = source.fields.num_classes
        self.class_names = source.fields.class_names
        self.multi_label = source.fields.multi_label
        self.input_shape = source.image_shape
        self.split_indices = splits.divide_stream(
            source.sizes["train"], source.sizes.get("test"), num_valid, how, seed
        )
        self.fingerprint = self._fingerprint()

    def __getattr__(self, name: str) -> NoReturn:
        if name in {f"{axis}_{split}" for axis in "xy" for split in SPLITS}:
            raise AttributeError(
                f"{name}: dataset {self.name!r} does not fit in memory and is "
                f"streamed; use batches(), or a smaller --image_size"
            )
        raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")

    def size(self, split: str) -> int:
        """Returns the number of examples of a split: train, valid or test."""
        check_request(split)
        return len(self.split_indices[split])

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
            seed: None keeps the stored order; an int or ints, say [seed, epoch],
                shuffles runs of records and then records in a buffer, the same way
                each time.
            augment: (images [b, h, w, c], seed pair int32 [2]) -> images, a transform
                of training batches; the seed pair is another for every batch.

        Returns:
            Batches (images float32 [b, h, w, c] in [0, 1], labels [b] or
            [b, attributes]).
        """
        check_request(split, size, augment)
        import tensorflow as tf

        stored = "test" if split == "test" and "test" in self._source.sizes else "train"
        runs = splits.runs(self.split_indices[split], longest=RUN_RECORDS)
        if seed is not None:
            order = np.random.default_rng(seed).permutation(len(runs))
            runs = [runs[number] for number in order]
        pairs = self._source.pairs(stored, runs)
        if seed is not None:
            pairs = pairs.shuffle(
                SHUFFLE_RECORDS, seed_pair(seed)[0], reshuffle_each_iteration=False
            )
        batches = pairs.map(self._decode, num_parallel_calls=tf.data.AUTOTUNE)
        batches = augmented(batches.batch(size), augment, seed)
        return batches.prefetch(tf.data.AUTOTUNE)

    def _decode(
        self, encoded: tf.Tensor, label: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        import tensorflow as tf

        fields = self._source.fields
        feature = self._source.builder.info.features[fields.image]
        image = tf.cast(feature.decode_example(encoded), tf.float32)
        if fields.shape != self.input_shape:
            image = tf.image.resize(image, self.input_shape[:2], antialias=True)
        return tf.ensure_shape(image, self.input_shape) / 255, label

    def _fingerprint(self) -> str:
        builder = self._source.builder
        identity = {
            "name": builder.info.full_name,
            "sizes": self._source.sizes,
            "bytes": int(builder.info.dataset_size),
            "shape": [int(n) for n in self.input_shape],
            "classes": self.num_classes,
            "runs": {s: splits.runs(rows) for s, rows in self.split_indices.items()},
        }
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
