"""Takes the network of a finished run."""

from __future__ import annotations

import tf_keras as keras

from experiments.benchmarks.config import trained_seeds
from network_pruning.jobs.trainings import finished
from network_pruning.runs import RunDir


def trained_network(path: str) -> tuple[keras.Model, str]:
    """Loads the network of a run's first seed, of its epoch of lowest validation loss.

    Args:
        path: Of the run's folder.

    Returns:
        The network, and where it comes from.

    Raises:
        ValueError: If there is no finished training.
    """
    run = RunDir(path)
    for folder in trained_seeds(path):
        training = finished(run, folder)
        if training is not None:
            name = f"{folder} of the run {run.path.name}"
            return training.load(run, "val_loss"), name
    raise ValueError(f"run: got {path!r}, expected the folder of a finished run")
