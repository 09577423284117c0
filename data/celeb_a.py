"""CelebA as a set with one class an image: its most balanced attribute, or persons.

Attributes are picked by name: in the published code of data-free distillation a file
name stood before them, and it trained on the column beside the one it had meant.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from data import images
from data.errors import DatasetError
from data.tfds_fields import Fields

if TYPE_CHECKING:
    from data.tfds_source import TfdsSource

PERSONS = 300
TEST_IMAGES = 9
"""Of each person: the first that are met."""
KEY = ("identity", "Identity_No")


def most_balanced(truth: npt.NDArray[Any]) -> int:
    """Returns the attribute whose share is closest to a half, the first such.

    Args:
        truth: Bool or uint8 [n, attributes].
    """
    return int(np.abs(truth.mean(axis=0, dtype=np.float64) - 0.5).argmin())


def most_frequent(persons: npt.NDArray[np.int64], number: int) -> list[int]:
    """Returns the persons with most images, most first, of equal ones the lowest."""
    found, counts = np.unique(persons, return_counts=True)
    return found[np.argsort(-counts, kind="stable")][:number].tolist()


def first_of_each(labels: npt.NDArray[np.int64], number: int) -> npt.NDArray[np.bool_]:
    """Marks the first images of each class.

    Args:
        labels: [n], in the order in which images are met.
        number: Marked of each class.

    Returns:
        Bool [n].
    """
    first = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        first[np.flatnonzero(labels == label)[:number]] = True
    return first


def by_balanced_attribute(source: TfdsSource) -> Fields:
    """Returns the fields of a source whose label is its most balanced attribute.

    Raises:
        DatasetError: If its labels are no attributes.
    """
    fields = source.fields
    if not fields.multi_label or fields.class_names is None:
        raise DatasetError(
            f"dataset {source.name!r}: has one class an image, expected attributes"
        )
    truth = np.concatenate([source.labels(split) for split in source.stored_splits()])
    name = fields.class_names[most_balanced(truth)]
    return dataclasses.replace(
        fields,
        num_classes=2,
        class_names=(f"not {name}", name),
        multi_label=False,
        attribute=name,
    )


def read_persons(source: TfdsSource, number: int = PERSONS) -> images.Delivered:
    """Reads the images of the persons with most of them.

    Args:
        source: The opened set; all its splits are looked through, in their order.
        number: Of persons.

    Returns:
        Their images; the first few of each are the test split.

    Raises:
        DatasetError: If the records name no persons, or all images of one would be
            test images.
    """
    splits = source.stored_splits()
    if not source.has(KEY):
        raise DatasetError(
            f"dataset {source.name!r}: its records name no persons, expected "
            f"{'/'.join(KEY)}: prepare version 2.1.0 or later with `tfds build celeb_a`"
        )
    persons = {split: source.numbers(split, KEY) for split in splits}
    chosen = most_frequent(np.concatenate(list(persons.values())), number)
    place = {person: label for label, person in enumerate(chosen)}
    pixels, labels = [], []
    for split in splits:
        rows = np.flatnonzero(np.isin(persons[split], chosen))
        pixels.append(source.images_at(split, rows))
        labels += [place[person] for person in persons[split][rows].tolist()]
    whole, classes = np.concatenate(pixels), np.array(labels, np.int64)
    test = first_of_each(classes, TEST_IMAGES)
    if len(np.unique(classes[~test])) < len(chosen):
        raise DatasetError(
            f"dataset {source.name!r}: a person has at most {TEST_IMAGES} images, "
            "expected more of each"
        )
    return images.Delivered(
        (whole[~test], classes[~test]),
        (whole[test], classes[test]),
        len(chosen),
        tuple(map(str, chosen)),
    )
