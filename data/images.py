"""What a source hands over, and the checks every source's images and labels pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from data.errors import DatasetError

Labelled = tuple[npt.NDArray[Any], npt.NDArray[Any]]

MEMORY_LIMIT = 4 * 2**30
"""Bytes of float32 images beyond which a set is not held in memory."""


@dataclass(frozen=True)
class Delivered:
    """What a source delivers, in its own order.

    Attributes:
        train: Images uint8 or float32 [n, h, w, c] and labels: int64 [n], or uint8
            [n, attributes] when `multi_label`.
        test: The same, or None where the source has no test split.
        num_classes: Classes, or attributes.
        class_names: In the order of the labels, or None.
        multi_label: Whether an image has any number of attributes.
    """

    train: Labelled
    test: Labelled | None
    num_classes: int
    class_names: tuple[str, ...] | None = None
    multi_label: bool = False


def resize(
    images: npt.NDArray[Any], image_size: tuple[int, int] | None
) -> npt.NDArray[Any]:
    """Resizes images bilinearly, averaging where they shrink.

    Args:
        images: uint8 or float32 [n, h, w, c].
        image_size: (height, width), or None: as they are.

    Returns:
        The same dtype, [n, height, width, c].
    """
    if image_size is None or images.shape[1:3] == tuple(image_size):
        return images
    from PIL import Image

    out = np.empty((len(images), *image_size, images.shape[3]), images.dtype)
    width_first = (image_size[1], image_size[0])
    for n, channel in np.ndindex(len(images), images.shape[3]):
        plane = Image.fromarray(np.ascontiguousarray(images[n, :, :, channel]))
        out[n, :, :, channel] = plane.resize(width_first, Image.Resampling.BILINEAR)
    return out


def to_unit_floats(images: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Returns uint8 images (0..255), or floats, as float32 in [0, 1]."""
    out = images.astype(np.float32)
    if images.dtype == np.uint8:
        out /= 255
    return out


def check_images(images: npt.NDArray[Any], where: str) -> npt.NDArray[Any]:
    """Checks images of any origin.

    Args:
        images: Expected: [n, h, w] or [n, h, w, 1 or 3], uint8 or floats in [0, 1].
        where: What to call them in the error line.

    Returns:
        uint8 or float32 [n, h, w, c].

    Raises:
        DatasetError: If shape, dtype or range is another.
    """
    if images.ndim == 3:
        images = images[..., np.newaxis]
    if images.ndim != 4 or images.shape[3] not in {1, 3} or not images.size:
        raise DatasetError(
            f"{where}: got shape {list(images.shape)}, expected [n, height, width] or "
            f"[n, height, width, 1 or 3], none of them 0"
        )
    if images.dtype == np.uint8:
        return images
    if not np.issubdtype(images.dtype, np.floating):
        raise DatasetError(
            f"{where}: got dtype {images.dtype}, expected uint8 in 0..255 or floats in "
            f"[0, 1]; where the values allow it, convert with .astype('uint8')"
        )
    low, high = float(images.min()), float(images.max())
    if not (low >= 0 and high <= 1):
        raise DatasetError(
            f"{where}: got values from {low:g} to {high:g}, expected floats in [0, 1]; "
            f"rescale them, or give uint8 in 0..255"
        )
    return images.astype(np.float32, copy=False)


def check_labels(labels: npt.NDArray[Any], count: int, where: str) -> npt.NDArray[Any]:
    """Checks that there is one whole number per image.

    Args:
        labels: Expected: integers [n] or [n, 1].
        count: The number of images.
        where: What to call them in the error line.

    Returns:
        int64 [n].

    Raises:
        DatasetError: If dtype or shape is another.
    """
    if not np.issubdtype(labels.dtype, np.integer):
        raise DatasetError(
            f"{where}: got dtype {labels.dtype}, expected integers 0, 1, ...; number "
            f"the classes with np.unique(labels, return_inverse=True)"
        )
    if labels.shape not in {(count,), (count, 1)}:
        raise DatasetError(
            f"{where}: got shape {list(labels.shape)}, expected [{count}], one label "
            f"per image"
        )
    return labels.reshape(-1).astype(np.int64)


def count_classes(train: npt.NDArray[Any], test: npt.NDArray[Any] | None) -> int:
    """Counts the classes of a source that does not tell.

    Args:
        train: int64 [n].
        test: int64 [m], or None.

    Returns:
        C, where the training labels are exactly 0..C-1.

    Raises:
        DatasetError: If they are not, or the test labels go beyond.
    """
    found = np.unique(train)
    if len(found) < 2 or found[0] != 0 or found[-1] != len(found) - 1:
        raise DatasetError(
            f"labels: got {_some(found)} ({len(found)} distinct), expected every class "
            f"of 0..C-1, C at least 2; number the classes with "
            f"np.unique(labels, return_inverse=True)"
        )
    if test is not None:
        check_range(test, len(found), "test labels")
    return len(found)


def check_range(labels: npt.NDArray[Any], num_classes: int, where: str) -> None:
    """Checks that labels lie in 0..num_classes-1.

    Raises:
        DatasetError: If one does not.
    """
    wrong = np.unique(labels[(labels < 0) | (labels >= num_classes)])
    if len(wrong):
        raise DatasetError(
            f"{where}: got {_some(wrong)}, expected 0..{num_classes - 1}"
        )


def _some(values: npt.NDArray[Any]) -> str:
    shown = ", ".join(str(value) for value in values[:5])
    return shown + (", ..." if len(values) > 5 else "")
