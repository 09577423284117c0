"""A small trained network with its images, and records of it; made once."""

from __future__ import annotations

import pytest
import tf_keras as keras

import data
from data.arrays import ArrayDataset
from network_pruning.inversion.records import ActivationRecords

layers = keras.layers


def make_network():
    """Two convolutions and two dense layers, with dropout between."""
    x = inputs = keras.Input((8, 8, 1), name="images")
    x = layers.Conv2D(4, 3, activation="relu", name="c1")(x)
    x = layers.MaxPooling2D(name="pool")(x)
    x = layers.Conv2D(6, 2, activation="relu", name="c2")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dropout(0.25, name="drop_1")(x)
    x = layers.Dense(16, "relu", name="f1")(x)
    x = layers.Dropout(0.5, name="drop_2")(x)
    return keras.Model(inputs, layers.Dense(10, name="logits")(x), name="tiny")


PATHS = ["c1", "c2", "f1", "logits"]


@pytest.fixture(scope="session")
def digits():
    """Some of the embedded digits, as they are: 8x8; the test split breaks readers."""
    whole = data.load("uci_digits", image_size=(8, 8))
    parts = {
        split: (getattr(whole, f"x_{split}")[:n], getattr(whole, f"y_{split}")[:n])
        for split, n in {"train": 700, "valid": 60}.items()
    }
    parts["test"] = parts["valid"][0] * float("nan"), parts["valid"][1]
    return ArrayDataset("digits", parts, num_classes=10)


@pytest.fixture(scope="session")
def teacher(digits):
    """A trained network; not to be changed."""
    keras.utils.set_random_seed(0)
    network = make_network()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.Adam(0.01), loss)
    network.fit(digits.x_train, digits.y_train, batch_size=64, epochs=10, verbose=0)
    return network


@pytest.fixture(scope="session")
def records(teacher, digits):
    """Its records, with all that there can be in them."""
    spectra = ("network", "pairs")
    return ActivationRecords.from_data(teacher, digits, rank=20, spectra=spectra)
