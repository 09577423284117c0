"""Datasets by name: `load("digits")` returns splits behind one door.

A name is an alias of `ALIASES`, any name that tensorflow-datasets knows, or the path of
a folder of idx files, of a folder with one sub-folder of images per class, or of a .npz
file. Importing this module, and judging a name with `check`, loads no TensorFlow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from data import availability
from data.errors import DatasetError
from data.registry import ALIASES, Alias, Place, resolve

if TYPE_CHECKING:
    from data.arrays import ArrayDataset
    from data.images import Delivered
    from data.streamed import StreamedDataset
    from data.tfds_source import TfdsSource

__all__ = [
    "ALIASES",
    "Alias",
    "DatasetError",
    "check",
    "check_available",
    "check_options",
    "load",
    "names",
]

HOW = ("random", "first")


def names() -> list[str]:
    """Returns the short names; `load` takes TFDS names and paths as well."""
    return sorted(ALIASES)


def check(name: str) -> None:
    """Judges a dataset name without TensorFlow, and without looking for the images.

    Raises:
        DatasetError: If it is neither an alias, nor a path, nor a TFDS name.
    """
    resolve(name)


def check_available(name: str) -> None:
    """Judges, without TensorFlow and within seconds, whether the images can be had.

    Raises:
        DatasetError: If the name is unknown, or the set is neither prepared here nor
            to be fetched from here; the line names the remedy.
    """
    place = resolve(name)
    if place.kind == "tfds":
        availability.check_available(place.alias.tfds or name)


def check_options(
    num_valid: int | None,
    split: str,
    seed: int,
    image_size: tuple[int, int] | None,
) -> None:
    """Judges the options of `load` as far as that needs no images.

    Raises:
        DatasetError: If one is out of range.
    """
    if num_valid is not None and num_valid < 1:
        raise DatasetError(
            f"num_valid: got {num_valid}, expected at least 1: networks are selected "
            f"on validation images"
        )
    if split not in HOW:
        raise DatasetError(f"split: got {split!r}, expected one of {', '.join(HOW)}")
    if seed < 0:
        raise DatasetError(f"seed: got {seed}, expected 0 or more")
    if image_size is not None and (len(image_size) != 2 or min(image_size) < 1):
        raise DatasetError(
            f"image_size: got {image_size}, expected height and width, as 224,224"
        )


def load(
    name: str,
    *,
    num_valid: int | None = None,
    split: str = "random",
    seed: int = 0,
    image_size: tuple[int, int] | None = None,
    in_memory: bool | None = None,
) -> ArrayDataset | StreamedDataset:
    """Loads a dataset.

    Args:
        name: An alias, a TFDS name or a path.
        num_valid: Images taken out of the training images for validation; None: 10 000,
            or a fifth where there are fewer than 20 000.
        split: "random": seeded, whatever the order in which the images are delivered;
            "first": the first `num_valid` training images as delivered.
        seed: Of the random split.
        image_size: (height, width) to resize to; None: the alias', else as they are.
        in_memory: Whether to hold a TFDS set in memory; None: where it fits in 4 GB.

    Returns:
        Splits train, valid and test; without a test split of its own, a set gives a
        fixed stratified fifth.

    Raises:
        DatasetError: If it cannot be had; one line with the remedy.
    """
    check_options(num_valid, split, seed, image_size)
    place = resolve(name)
    size = image_size or place.alias.image_size
    if place.kind == "tfds":
        check_available(name)
        from data.streamed import StreamedDataset
        from data.tfds_source import TfdsSource

        source = TfdsSource(place.name, place.alias.tfds or name, size)
        if place.alias.classes == "persons":
            return _persons(source, num_valid, split, seed)
        if place.alias.classes == "balanced_attribute":
            from data.celeb_a import by_balanced_attribute

            source.fields = by_balanced_attribute(source)
        if not (source.fits_in_memory() if in_memory is None else in_memory):
            return StreamedDataset(source, num_valid, split, seed)
        delivered = source.read()
    else:
        delivered = _read(place, size)
    from data.arrays import from_delivered

    return from_delivered(place.name, delivered, num_valid, split, seed)


def _persons(
    source: TfdsSource, num_valid: int | None, split: str, seed: int
) -> ArrayDataset:
    from data.arrays import from_delivered
    from data.celeb_a import read_persons

    return from_delivered(source.name, read_persons(source), num_valid, split, seed)


def _read(place: Place, image_size: tuple[int, int] | None) -> Delivered:
    """Returns what a source other than TFDS delivers."""
    from data import folder_source, idx_source, npz_source, uci_digits

    if place.path is None:
        return uci_digits.read(image_size)
    if place.kind == "npz":
        return npz_source.read(place.path, image_size)
    if idx_source.holds_idx(place.path):
        return idx_source.read(place.path, image_size)
    return folder_source.read(place.path, image_size)
