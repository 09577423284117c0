"""Small sets in TFDS format, written without network."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
    """An empty folder of prepared sets."""
    folder = tmp_path / "tfds"
    folder.mkdir()
    monkeypatch.setenv("TFDS_DATA_DIR", str(folder))
    return folder


@pytest.fixture
def store(data_dir):
    """Writes a set: store(name, features, {split: [record, ...]})."""
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()

    def write(name, features, splits, version="1.0.0"):
        tfds.dataset_builders.store_as_tfds_dataset(
            name,
            version=version,
            data_dir=data_dir,
            features=tfds.features.FeaturesDict(features),
            split_datasets={key: list(enumerate(part)) for key, part in splits.items()},
            disable_shuffling=True,
        )
        return data_dir / name / version

    return write


@pytest.fixture
def store_images(store):
    """Writes seeded random images with classes; returns (images, labels) by split."""
    import tensorflow_datasets as tfds

    def write(name, sizes, shape=(6, 5, 3), classes=3):
        generator = np.random.default_rng(0)
        made = {}
        for split, size in sizes.items():
            images = generator.integers(0, 256, (size, *shape), dtype=np.uint8)
            made[split] = (images, np.arange(size) % classes)
        features = {
            "image": tfds.features.Image(shape=shape),
            "label": tfds.features.ClassLabel(num_classes=classes),
        }
        records = {
            split: [{"image": x, "label": int(y)} for x, y in zip(*part, strict=True)]
            for split, part in made.items()
        }
        store(name, features, records)
        return made

    return write
