"""A folder of images: one sub-folder per class, named after it.

folder/cat/1.png ...                     one set, split here
folder/train/cat/1.png, folder/test/cat/2.png (or val, valid, validation)
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data.errors import DatasetError
from data.images import Delivered, Labelled, resize

ENDINGS = frozenset(".png .jpg .jpeg .bmp .gif .webp .ppm .pgm .tif .tiff".split())
TEST_FOLDERS = ("test", "val", "valid", "validation")
GREY_MODES = frozenset({"1", "L", "LA"})
COLOUR_MODES = frozenset({"P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"})


def read(folder: Path, image_size: tuple[int, int] | None = None) -> Delivered:
    """Reads a folder of images; classes are numbered in the order of their names.

    Args:
        folder: With one sub-folder per class, or `train` and perhaps `test` that have.
        image_size: (height, width), or None: as they are, all of one size.

    Returns:
        What it holds, class by class, files by name; one channel if all are grey.

    Raises:
        DatasetError: If there are no classes, or an image cannot be read.
    """
    train_folder, test_folder = _split_folders(folder)
    classes = tuple(d.name for d in _folders(train_folder))
    if len(classes) < 2:
        raise DatasetError(
            f"{folder}: found {len(classes)} sub-folder(s) with a class name, expected "
            f"idx files, or one sub-folder of images for each of two classes or more"
        )
    files = [_list_files(train_folder, classes)]
    if test_folder:
        _check_test_classes(test_folder, classes)
        files.append(_list_files(test_folder, classes, required=False))
    parts = _read_parts(files, image_size)
    return Delivered(
        parts[0], parts[1] if len(parts) > 1 else None, len(classes), classes
    )


def _split_folders(folder: Path) -> tuple[Path, Path | None]:
    if not _folders(folder / "train"):
        return folder, None
    tests = [folder / name for name in TEST_FOLDERS if (folder / name).is_dir()]
    return folder / "train", tests[0] if tests else None


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(
        d for d in folder.iterdir() if d.is_dir() and not d.name.startswith(".")
    )


def _check_test_classes(test_folder: Path, classes: tuple[str, ...]) -> None:
    strange = [d.name for d in _folders(test_folder) if d.name not in classes]
    if strange:
        raise DatasetError(
            f"{test_folder}: has the class {strange[0]!r} that the training images do "
            f"not have, expected a part of {', '.join(classes)}"
        )


def _list_files(
    folder: Path, classes: tuple[str, ...], required: bool = True
) -> list[tuple[Path, int]]:
    found = []
    for label, name in enumerate(classes):
        here = folder / name
        files = sorted(here.iterdir()) if here.is_dir() else []
        files = [file for file in files if file.suffix.lower() in ENDINGS]
        if required and not files:
            raise DatasetError(
                f"{here}: holds no image, expected files ending in one of "
                f"{', '.join(sorted(ENDINGS))}"
            )
        found += [(file, label) for file in files]
    if not found:
        raise DatasetError(
            f"{folder}: holds no image, expected one sub-folder of images per class; "
            f"fill or remove it"
        )
    return found


def _read_parts(
    files: list[list[tuple[Path, int]]], image_size: tuple[int, int] | None
) -> list[Labelled]:
    """Returns all parts, with one number of channels between them."""
    images = [[_read_image(file, image_size) for file, _ in part] for part in files]
    _check_sizes(files, images)
    grey = all(image.shape[2] == 1 for part in images for image in part)
    return [
        (_stack(part, 1 if grey else 3), np.array([label for _, label in listed]))
        for part, listed in zip(images, files, strict=True)
    ]


def _read_image(
    path: Path, image_size: tuple[int, int] | None
) -> npt.NDArray[np.uint8]:
    """Reads one image, without its transparency.

    Args:
        path: Of the file.
        image_size: (height, width), or None: as it is.

    Returns:
        uint8 [h, w, 1 or 3].

    Raises:
        DatasetError: If it cannot be read or has not 8 bits per channel.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            mode = image.mode
            if mode in GREY_MODES | COLOUR_MODES:
                pixels = np.array(image.convert("L" if mode in GREY_MODES else "RGB"))
                shaped = pixels.reshape(1, *pixels.shape[:2], -1)
                return resize(shaped, image_size)[0]
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DatasetError(
            f"{path}: not a readable image ({error}); mend or remove the file"
        ) from error
    raise DatasetError(
        f"{path}: pixels of mode {mode}, expected 8 bits per channel; convert the file"
    )


def _check_sizes(
    files: list[list[tuple[Path, int]]], images: list[list[npt.NDArray[Any]]]
) -> None:
    first, first_file = images[0][0].shape[:2], files[0][0][0]
    for listed, part in zip(files, images, strict=True):
        for (file, _), image in zip(listed, part, strict=True):
            if image.shape[:2] != first:
                raise DatasetError(
                    f"{file}: {os.fspath(first_file)} has height and width "
                    f"{list(first)}, this one {list(image.shape[:2])}; give one size "
                    f"for all, as --image_size={first[0]},{first[1]}"
                )


def _stack(images: list[npt.NDArray[np.uint8]], channels: int) -> npt.NDArray[np.uint8]:
    height, width = images[0].shape[:2]
    out = np.empty((len(images), height, width, channels), np.uint8)
    for place, image in zip(out, images, strict=True):
        place[...] = image
    return out
