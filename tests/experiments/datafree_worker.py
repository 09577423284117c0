"""A process that takes a tiny run's steps; test_datafree_killed.py kills it.

Argument: the folder of all runs, in which a teacher is trained already.
"""

from __future__ import annotations

import sys

import tf_keras as keras

import data
from data.arrays import ArrayDataset
from experiments import datafree
from experiments.datafrees.config import DatafreeConfig
from network_pruning.inversion import recording, tallies

layers = keras.layers
FLAGS = {
    "train": {"epochs": 2, "lr": 0.01},
    "compute_stats": {"rank": 12},
    "optimize_dataset": {"images": 12, "steps": 60, "batch": 20},
    "distill": {"epochs": 12, "augment": "shift", "shift": 1},
}


def load(name: str, **options: object) -> ArrayDataset:
    """Loads small digits, whatever the name."""
    del name, options
    return data.load("uci_digits", image_size=(8, 8))


def build(
    name: str, shape: tuple[int, ...], classes: int, **options: object
) -> keras.Model:
    """Builds a small network, with dropout, whatever the name."""
    del name, options
    x = inputs = keras.Input(shape, name="images")
    x = layers.Conv2D(4, 3, 2, activation="relu", name="conv")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(12, "relu", name="hidden")(x)
    x = layers.Dropout(0.2, name="drop")(x)
    return keras.Model(inputs, layers.Dense(classes, name="logits")(x))


def keep_often() -> None:
    """Lets records go batch by small batch, each kept."""
    recording.BATCH, tallies.SECONDS = 10, 0.0


def take(folder: str, *procedures: str) -> None:
    """Takes steps, those that are finished aside."""
    for procedure in procedures:
        flags = {"dataset": "uci_digits"} if procedure == "train" else {}
        config = DatafreeConfig(
            procedure=procedure,
            summary_folder=folder,
            run_name="tiny",
            **flags,
            **FLAGS[procedure],
        )
        datafree.run(config, load, build)


if __name__ == "__main__":
    keep_often()
    take(sys.argv[1], *list(FLAGS)[1:])
