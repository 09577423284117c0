"""Image-classification sets of tensorflow-datasets, prepared here or fetched."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from data import availability, images
from data.errors import DatasetError
from data.tfds_fields import Fields, find_fields

if TYPE_CHECKING:
    import tensorflow as tf

Runs = list[tuple[int, int]]
BATCH = 1000
"""Records decoded at a time where a whole set is read."""


class TfdsSource:
    """A TFDS set opened for reading.

    Args:
        name: As the user knows it, for error lines.
        tfds_name: As TFDS knows it, `set[/config][:version]`.
        image_size: (height, width), or None: as stored.

    Attributes:
        builder: TFDS' own reader.
        fields: Which parts of a record are read.
        sizes: "train" and, if there is a labelled one, "test" -> number of records.
        image_shape: Of one image as it is to come out, (h, w, c).
    """

    def __init__(
        self, name: str, tfds_name: str, image_size: tuple[int, int] | None
    ) -> None:
        self.name = name
        self.builder = _open_builder(name, tfds_name)
        self.fields: Fields = find_fields(name, self.builder.info.features)
        self.image_shape = self._image_shape(image_size)
        self._stored = self._find_splits()
        stored_splits = self.builder.info.splits
        self.sizes = {
            split: int(stored_splits[stored].num_examples)
            for split, stored in self._stored.items()
        }

    def _image_shape(self, image_size: tuple[int, int] | None) -> tuple[int, int, int]:
        height, width, channels = self.fields.shape
        if image_size:
            return (*image_size, channels)
        if height is None or width is None:
            raise DatasetError(
                f"dataset {self.name!r}: its images differ in size; say which size "
                f"they shall have, as --image_size=224,224"
            )
        return height, width, channels

    def _find_splits(self) -> dict[str, str]:
        # A test split without labels, as ImageNet's, is none.
        splits = [key for key, info in self.builder.info.splits.items() if info]
        if "train" not in splits and len(splits) != 1:
            raise DatasetError(
                f"dataset {self.name!r}: has the splits {', '.join(splits) or 'none'}, "
                f"expected 'train' among them"
            )
        train = "train" if "train" in splits else splits[0]
        for test in ("test", "validation"):
            if test in splits and test != train and self._is_labelled(test):
                return {"train": train, "test": test}
        return {"train": train}

    def _is_labelled(self, stored: str) -> bool:
        with self._reading():
            first = self._open(stored).take(1).as_numpy_iterator()
            return all((label >= 0).all() for _, label in first)

    def fits_in_memory(self) -> bool:
        """Returns whether float32 images, and the files, stay within the limit."""
        pixels = sum(self.sizes.values()) * int(np.prod(self.image_shape))
        stored = int(self.builder.info.dataset_size)
        return max(4 * pixels, stored) <= images.MEMORY_LIMIT

    def pairs(self, split: str, runs: Runs) -> tf.data.Dataset:
        """Opens runs of records.

        Args:
            split: "train" or "test".
            runs: Which records, as (from, to), in the order they are to come in.

        Returns:
            Pairs (image as png or jpeg bytes, label).
        """
        import tensorflow_datasets as tfds

        stored = self._stored[split]
        pieces = [
            tfds.core.ReadInstruction(stored, start, stop, unit="abs")
            for start, stop in runs
        ]
        return self._open(
            sum(pieces[1:], start=pieces[0]),
            decoders={self.fields.image: tfds.decode.SkipDecoding()},
        )

    def _open(
        self,
        instruction: Any,
        decoders: dict[str, Any] | None = None,
    ) -> tf.data.Dataset:
        """Returns pairs (image, label) in the order of instruction and records."""
        records = self._records(instruction, decoders)
        return records.map(self.fields.pair)

    def _records(
        self, instruction: Any, decoders: dict[str, Any] | None = None
    ) -> tf.data.Dataset:
        """Returns whole records in the order of instruction and records."""
        import tensorflow_datasets as tfds

        # More than one file at a time would mix the records.
        config = tfds.ReadConfig(try_autocache=False, interleave_cycle_length=1)
        config.options.deterministic = True
        return self.builder.as_dataset(
            split=instruction,
            shuffle_files=False,
            decoders=decoders,
            read_config=config,
        )

    def stored_splits(self) -> list[str]:
        """Returns the names of all splits that hold records."""
        return [key for key, info in self.builder.info.splits.items() if info]

    def labels(self, stored: str) -> npt.NDArray[Any]:
        """Returns the labels of a stored split, no image decoded."""
        return self._column(stored, lambda record: self.fields.pair(record)[1])

    def has(self, key: tuple[str, str]) -> bool:
        """Returns whether records hold a number under a key in a dict."""
        outer, inner = key
        features = self.builder.info.features
        return outer in features and inner in features[outer]

    def numbers(self, stored: str, key: tuple[str, str]) -> npt.NDArray[np.int64]:
        """Returns the numbers of a stored split under a key in a dict."""
        outer, inner = key
        return self._column(stored, lambda record: record[outer][inner])

    def _column(
        self, stored: str, pick: Callable[[dict[str, Any]], Any]
    ) -> npt.NDArray[Any]:
        import tensorflow_datasets as tfds

        skip = {self.fields.image: tfds.decode.SkipDecoding()}
        with self._reading():
            column = self._records(stored, skip).map(pick).batch(BATCH)
            return np.concatenate(list(column.as_numpy_iterator()))

    def images_at(
        self, stored: str, rows: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.uint8]:
        """Returns some images of a stored split, in its order.

        Args:
            stored: Name of the split.
            rows: Numbers of records, ascending.

        Returns:
            uint8 [n, h, w, c].
        """
        import tensorflow as tf

        wanted = np.zeros(self.builder.info.splits[stored].num_examples, bool)
        wanted[rows] = True
        marks = tf.data.Dataset.from_tensor_slices(wanted)
        found = np.empty((len(rows), *self.image_shape), np.uint8)
        with self._reading():
            pairs = tf.data.Dataset.zip(marks, self._open(stored))
            chosen = pairs.filter(lambda mark, _: mark).as_numpy_iterator()
            for i, (_, (image, _)) in enumerate(chosen):
                found[i] = images.resize(image[None], self.image_shape[:2])[0]
        return found

    def read(self) -> images.Delivered:
        """Reads everything into memory, in stored order.

        Returns:
            uint8 images and labels.
        """
        test = self._read_split("test") if "test" in self.sizes else None
        return images.Delivered(
            self._read_split("train"),
            test,
            self.fields.num_classes,
            self.fields.class_names,
            self.fields.multi_label,
        )

    def _read_split(self, split: str) -> images.Labelled:
        count, done = self.sizes[split], 0
        pixels = np.empty((count, *self.image_shape), np.uint8)
        labels = []
        # Images that differ in size cannot be batched before they are resized.
        size = 1 if None in self.fields.shape else BATCH
        with self._reading():
            batches = self._open(self._stored[split]).batch(size)
            for x, y in batches.as_numpy_iterator():
                pixels[done : done + len(x)] = images.resize(x, self.image_shape[:2])
                labels.append(y)
                done += len(x)
        targets = np.concatenate(labels)
        images.check_range(
            targets, 2 if self.fields.multi_label else self.fields.num_classes, "labels"
        )
        return pixels, targets

    # Turns TensorFlow's reading errors into one line.
    @contextlib.contextmanager
    def _reading(self) -> Generator[None, None, None]:
        import tensorflow as tf

        try:
            yield
        except tf.errors.OpError as error:
            reason = re.sub(r"\{\{.*?\}\}|\[Op:.*", "", _first_line(error.message))
            raise DatasetError(
                f"dataset {self.name!r}: {self.builder.data_dir} is damaged "
                f"({reason.strip()}); prepare it again with "
                f"`tfds build {self.builder.name} --overwrite`"
            ) from error


def _open_builder(name: str, tfds_name: str) -> Any:
    folder = availability.prepared(tfds_name)
    import tensorflow_datasets as tfds

    if folder is None:
        availability.check_available(tfds_name)
        return _prepare(name, tfds_name)
    try:
        return tfds.builder_from_directory(folder)
    # Damaged json surfaces as protobuf, json, key and type errors alike.
    except Exception as error:
        raise DatasetError(
            f"dataset {name!r}: {folder} cannot be opened ({_first_line(error)}); "
            f"prepare it again with `tfds build {tfds_name} --overwrite`"
        ) from error


def _prepare(name: str, tfds_name: str) -> Any:
    import tensorflow_datasets as tfds

    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    home = availability.data_dir()
    try:
        builder = tfds.builder(tfds_name, data_dir=home)
        find_fields(name, builder.info.features)
        builder.download_and_prepare()
    except DatasetError:
        raise
    # Downloads, checksums, manual files and disks fail in a dozen unrelated types.
    except Exception as error:
        raise DatasetError(
            f"dataset {name!r}: could not be prepared in {home} "
            f"({_first_line(error)}); run `tfds build {tfds_name}` by hand, and set "
            f"TFDS_DATA_DIR to the folder that holds the result"
        ) from error
    return builder


def _first_line(error: Exception | str) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
