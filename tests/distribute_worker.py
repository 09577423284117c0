"""One process of a distributed training; test_distribute.py starts it.

Arguments: how to distribute (mirrored, multi_worker), folder for files, result file.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras as keras

from data.arrays import ArrayDataset
from network_pruning.jobs import devices, fit
from network_pruning.runs import RunDir

RAGGED = {"uneven": 101, "lone": 97}
"""Training images: at 16 a batch the last one holds 5 (3 + 2), or 1 (1 + 0)."""
EPOCHS = 3
BATCH = 16


def dataset(n_train: int) -> ArrayDataset:
    generator = np.random.default_rng(7)
    parts = {
        split: (
            generator.random((n, 4, 4, 1), dtype=np.float32),
            generator.integers(0, 3, n),
        )
        for split, n in {"train": n_train, "valid": 20, "test": 5}.items()
    }
    return ArrayDataset("tiny", parts, num_classes=3)


def network(noisy: bool = False) -> keras.Model:
    layers = keras.layers
    penalty = keras.regularizers.L2(0.01)
    x = inputs = keras.Input((4, 4, 1), name="images")
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(12, "relu", kernel_regularizer=penalty, name="hidden")(x)
    if noisy:
        x = layers.BatchNormalization(name="norm")(x)
        x = layers.Dropout(0.3, name="dropout")(x)
    return keras.Model(inputs, layers.Dense(3, name="logits")(x), name="tiny")


def plan(distribute: str) -> fit.FitPlan:
    return fit.FitPlan(EPOCHS, BATCH, 0.01, seed=5, distribute=distribute)


class Recorder(fit.StopAtNan):
    """Keeps the loss of each step by itself, not the mean since the epoch began."""

    steps: list[float] = []

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        self.steps.append(float(logs["loss"]))
        for tracker in self.model.metrics:
            tracker.reset_state()


def work(distribute: str, run: RunDir) -> dict:
    devices.make_strategy(distribute)
    seen: dict = {"replicas": devices.make_strategy(distribute).num_replicas_in_sync}
    fit.StopAtNan = Recorder
    for name, size in RAGGED.items():
        Recorder.steps.clear()
        fit.fit(network, dataset(size), plan(distribute), run, name)
        seen[name] = list(Recorder.steps)
    _resume(distribute, run)
    Recorder.steps.clear()
    fit.fit(network, dataset(RAGGED["uneven"]), plan(distribute), run, "uneven")
    seen["steps of the finished"] = len(Recorder.steps)
    return seen


def _resume(distribute: str, run: RunDir) -> None:
    """Trains a noisy network, and again from a copy of its first epoch's state.

    Only the chief has the copy.
    """

    def copy(epoch: int, *unused) -> None:
        # The state on disk is that of the epoch before.
        if epoch == 1:
            (run.path / "again").mkdir()
            shutil.copy(run.path / "noisy/state.npz", run.path / "again/state.npz")

    def train(folder: str, on_epoch=None) -> None:
        data = dataset(RAGGED["lone"])
        make = lambda: network(noisy=True)  # noqa: E731
        fit.fit(make, data, plan(distribute), run, folder, on_epoch=on_epoch)

    train("noisy", copy)
    train("again")


def disagree(distribute: str, words: str) -> str:
    try:
        devices.check_same(distribute, words)
    except ValueError as error:
        return str(error)
    return ""


def main() -> None:
    distribute, folder, result = sys.argv[1:]
    if distribute == "mirrored":
        cpu = tf.config.list_physical_devices("CPU")[0]
        half = tf.config.LogicalDeviceConfiguration()
        tf.config.set_logical_device_configuration(cpu, [half, half])
    seen = work(distribute, RunDir(folder))
    seen["same"] = disagree(distribute, "one job")
    seen["different"] = disagree(distribute, folder)
    devices.dismiss_workers(distribute)
    Path(result).write_text(json.dumps(seen), encoding="utf-8")


if __name__ == "__main__":
    main()
