"""Which parts of a TFDS record are the image and its label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from data.errors import DatasetError

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass(frozen=True)
class Fields:
    """The parts of a TFDS record that matter here.

    Attributes:
        image: Key of the image.
        label: Key of the label, or of the dict of attributes.
        shape: Of one image as stored, (h, w, c); None where it varies.
        num_classes: Classes or attributes.
        class_names: In the order of the labels; of attributes, alphabetical.
        multi_label: Whether there is a dict of attributes instead of one label.
        attribute: The one of them that is the label, or None.
    """

    image: str
    label: str
    shape: tuple[int | None, int | None, int]
    num_classes: int
    class_names: tuple[str, ...] | None
    multi_label: bool
    attribute: str | None = None

    def pair(self, record: dict[str, Any]) -> tuple[tf.Tensor, tf.Tensor]:
        """Takes image and label from a record.

        Args:
            record: As TFDS delivers it.

        Returns:
            The image as it is, and the label int64 or, when `multi_label`, uint8
            [attributes].
        """
        import tensorflow as tf

        label = record[self.label]
        if self.attribute is not None:
            label = label[self.attribute]
        if not self.multi_label:
            return record[self.image], tf.cast(label, tf.int64)
        attributes = tf.stack([label[name] for name in self.class_names or ()], -1)
        return record[self.image], tf.cast(attributes, tf.uint8)


def find_fields(name: str, features: Any) -> Fields:
    """Finds image and label among the features of a TFDS set.

    Args:
        name: Of the set, for error lines.
        features: `builder.info.features`.

    Returns:
        What to read.

    Raises:
        DatasetError: If it is not a set of 8-bit images with a class or attributes.
    """
    import tensorflow_datasets as tfds

    inner = dict(features) if isinstance(features, tfds.features.FeaturesDict) else {}
    image_key = _only(inner, "image", tfds.features.Image)
    label_key = _only(inner, "label", tfds.features.ClassLabel)
    attributes = inner.get("attributes")
    if image_key and label_key:
        label = inner[label_key]
        names = tuple(label.names) if label.names else None
        shape = _shape(name, inner[image_key])
        return Fields(image_key, label_key, shape, label.num_classes, names, False)
    if image_key and attributes and _all_boolean(attributes):
        names = tuple(sorted(attributes))
        shape = _shape(name, inner[image_key])
        return Fields(image_key, "attributes", shape, len(names), names, True)
    described = ", ".join(f"{k} ({type(v).__name__})" for k, v in sorted(inner.items()))
    raise DatasetError(
        f"dataset {name!r}: no image-classification set; its records hold "
        f"{described or type(features).__name__}, expected one Image and one "
        f"ClassLabel (or a dict 'attributes' of booleans)"
    )


def _only(features: dict[str, Any], usual: str, kind: type) -> str | None:
    """Returns the usual key, else that of the only feature of a kind, else None."""
    keys = [key for key, feature in features.items() if isinstance(feature, kind)]
    if usual in keys:
        return usual
    return keys[0] if len(keys) == 1 else None


def _all_boolean(feature: Any) -> bool:
    import tensorflow_datasets as tfds

    return isinstance(feature, tfds.features.FeaturesDict) and all(
        np.dtype(inner.np_dtype) == np.bool_ for inner in feature.values()
    )


def _shape(name: str, image: Any) -> tuple[int | None, int | None, int]:
    dtype = np.dtype(image.np_dtype)
    if dtype != np.uint8 or image.shape[-1] not in {1, 3}:
        raise DatasetError(
            f"dataset {name!r}: images of shape {image.shape} and dtype {dtype}, "
            f"expected uint8 with 1 or 3 channels"
        )
    return image.shape
