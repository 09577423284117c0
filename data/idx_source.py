"""A folder of idx files, the format of MNIST, gzipped or not.

train-images-idx3-ubyte, train-labels-idx1-ubyte and the same with t10k for the test
images; where only one of the two pairs is there, it is the whole set.

Reference: Y. LeCun, C. Cortes, C. J. C. Burges, The MNIST database (file formats).
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data.errors import DatasetError
from data.images import (
    Delivered,
    Labelled,
    check_images,
    check_labels,
    count_classes,
    resize,
)

UNSIGNED_BYTE = 8
"""The one element type of the format that image sets use."""


def holds_idx(folder: Path) -> bool:
    """Returns whether, by its file names, a folder is of this kind."""
    return any(_find(folder, split, "images") for split in ("train", "t10k"))


def read(folder: Path, image_size: tuple[int, int] | None = None) -> Delivered:
    """Reads a folder of idx files.

    Args:
        folder: Of the files.
        image_size: (height, width), or None: as they are.

    Returns:
        What it holds.

    Raises:
        DatasetError: If a file is missing, damaged or truncated, or pairs do not fit.
    """
    found = [
        _read_pair(folder, split, image_size)
        for split in ("train", "t10k")
        if _find(folder, split, "images")
    ]
    train, test = found[0], found[1] if len(found) > 1 else None
    if test and test[0].shape[1:] != train[0].shape[1:]:
        raise DatasetError(
            f"{folder}: test images are {list(test[0].shape[1:])}, expected "
            f"{list(train[0].shape[1:])}, as the training images"
        )
    return Delivered(train, test, count_classes(train[1], test and test[1]))


def _read_pair(
    folder: Path, split: str, image_size: tuple[int, int] | None
) -> Labelled:
    image_file = _find(folder, split, "images")
    label_file = _find(folder, split, "labels")
    if image_file is None or label_file is None:
        raise DatasetError(
            f"{folder}: {split}-labels-idx1-ubyte[.gz] is missing beside the images"
        )
    images = check_images(read_idx(image_file, 3), str(image_file))
    labels = check_labels(read_idx(label_file, 1), len(images), str(label_file))
    return resize(images, image_size), labels


def _find(folder: Path, split: str, what: str) -> Path | None:
    rank = {"images": 3, "labels": 1}[what]
    for joint in ("-", "."):
        for ending in ("", ".gz"):
            path = folder / f"{split}-{what}{joint}idx{rank}-ubyte{ending}"
            if path.is_file():
                return path
    return None


def read_idx(path: Path, rank: int) -> npt.NDArray[np.uint8]:
    """Reads one idx file of unsigned bytes.

    Args:
        path: Of the file; gzipped if it ends in .gz.
        rank: Expected number of dimensions.

    Returns:
        uint8, of the shape the file's header tells.

    Raises:
        DatasetError: If header or length are not what they should be.
    """
    content = _content(path)
    header = 4 + 4 * rank
    if len(content) < header:
        raise DatasetError(
            f"{path}: truncated, expected a header of {header} bytes, found "
            f"{len(content)} bytes in all; fetch the file again"
        )
    magic = (0, 0, UNSIGNED_BYTE, rank)
    if tuple(content[:4]) != magic:
        raise DatasetError(
            f"{path}: begins with the bytes {list(content[:4])}, expected "
            f"{list(magic)}: no idx file of {rank} dimension(s) of unsigned bytes"
        )
    shape = struct.unpack(f">{rank}I", content[4:header])
    expected = header + int(np.prod(shape, dtype=object))
    if len(content) != expected:
        raise DatasetError(
            f"{path}: damaged or truncated, expected {expected} bytes, found "
            f"{len(content)}; fetch the file again"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _content(path: Path) -> bytes:
    raw = path.read_bytes()
    if path.suffix != ".gz":
        return raw
    stream = zlib.decompressobj(wbits=31)
    try:
        return stream.decompress(raw)
    except zlib.error as error:
        raise DatasetError(
            f"{path}: {len(raw)} bytes that are no gzip file or a damaged one "
            f"({error}); fetch the file again"
        ) from error
