"""One .npz file: x_train, y_train and, if there is a test split, x_test, y_test."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from numpy.lib.npyio import NpzFile

from data.errors import DatasetError
from data.images import (
    Delivered,
    Labelled,
    check_images,
    check_labels,
    count_classes,
    resize,
)

NAMES = ("x_train", "y_train", "x_test", "y_test")


def read(path: Path, image_size: tuple[int, int] | None = None) -> Delivered:
    """Reads the arrays of a .npz file.

    Args:
        path: Of the file.
        image_size: (height, width), or None: as they are.

    Returns:
        What it holds.

    Raises:
        DatasetError: If the file is damaged, an array is missing, or one is not
            what it should be.
    """
    arrays = _arrays(path)
    if not {"x_train", "y_train"} <= set(arrays) or ("x_test" in arrays) != (
        "y_test" in arrays
    ):
        raise DatasetError(
            f"{path}: got the arrays {', '.join(sorted(arrays)) or 'none'}, expected "
            f"x_train, y_train and, if there is a test split, both x_test and y_test"
        )
    train = _labelled(path, arrays, "train", image_size)
    test = _labelled(path, arrays, "test", image_size) if "x_test" in arrays else None
    if test and test[0].shape[1:] != train[0].shape[1:]:
        raise DatasetError(
            f"{path}: x_test has images {list(test[0].shape[1:])}, expected "
            f"{list(train[0].shape[1:])}, as in x_train"
        )
    if test and test[0].dtype != train[0].dtype:
        raise DatasetError(
            f"{path}: x_test is {test[0].dtype}, expected {train[0].dtype}, as x_train"
        )
    return Delivered(train, test, count_classes(train[1], test and test[1]))


def _arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        with path.open("rb") as file, _load(file) as stored:
            return {key: stored[key] for key in NAMES if key in stored.files}
    except ValueError as error:
        raise DatasetError(
            f"{path}: holds pickled objects or is no .npz file ({_first_line(error)}); "
            f"expected plain arrays written by np.savez"
        ) from error
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DatasetError(
            f"{path}: damaged or truncated ({_first_line(error)}); expected a .npz "
            f"file written by np.savez, make it again"
        ) from error


def _load(file: BinaryIO) -> NpzFile:
    stored = np.load(file, allow_pickle=False)
    if not isinstance(stored, NpzFile):
        raise ValueError("one array alone")
    return stored


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _labelled(
    path: Path,
    arrays: dict[str, npt.NDArray[Any]],
    split: str,
    image_size: tuple[int, int] | None,
) -> Labelled:
    images = check_images(arrays[f"x_{split}"], f"{path}: x_{split}")
    labels = check_labels(arrays[f"y_{split}"], len(images), f"{path}: y_{split}")
    return resize(images, image_size), labels
