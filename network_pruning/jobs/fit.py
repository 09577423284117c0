"""Training that can be stopped at any moment and ends with the same weights.

After every epoch the whole state (weights, optimiser, history) is written at once; data
order and random layers are seeded by (seed, epoch), so nothing else needs remembering.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import tensorflow as tf
import tf_keras as keras
from tqdm import tqdm

from network_pruning.evaluation import metrics
from network_pruning.evaluation.predict import predict_split
from network_pruning.jobs.devices import distributed, is_chief, make_strategy
from network_pruning.runs import RunDir
from network_pruning.training import (
    AfterUpdate,
    DivergedError,
    ResidentLoop,
    Trainer,
    check_finite,
    is_dense,
    reseed,
)
from network_pruning.types import Dataset

MONITORS = ("val_loss", "val_accuracy")
Epoch = dict[str, float]
OnEpoch = Callable[[int, Epoch, keras.Model], None]


@dataclass(frozen=True)
class FitPlan:
    """How a network is trained.

    Attributes:
        epochs: Passes over the training split.
        batch_size: Examples in a step, over all replicas together.
        learning_rate: Of Adam; the first one under the cosine schedule.
        seed: Names the order of the data and what random layers draw.
        schedule: Constant, or falling to zero as half a cosine over all steps.
        select_from: First epoch that may be chosen as the best.
        distribute: none, mirrored or multi_worker.
        jit: Whether to compile the step; None does for dense networks.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    seed: int
    schedule: Literal["constant", "cosine"] = "constant"
    select_from: int = 0
    distribute: Literal["none", "mirrored", "multi_worker"] = "none"
    jit: bool | None = None

    def steps(self, examples: int) -> int:
        """Returns the number of updates in all."""
        return self.epochs * -(-examples // self.batch_size)


@dataclass(frozen=True)
class Training:
    """A finished training, as its folder holds it.

    Attributes:
        folder: Inside the run.
        history: One dict an epoch: loss, cross_entropy, accuracy and their val_ twins.
        digests: sha256 of each model file by name (val_loss, val_accuracy, last).
        identity: Names the settings and data it came from.
        select_from: First epoch that could be the best.
    """

    folder: str
    history: list[Epoch]
    digests: dict[str, str]
    identity: str = ""
    select_from: int = 0

    def chosen(self, which: str) -> int:
        """Returns the epoch (from 0) of a file: val_loss, val_accuracy or last."""
        if which == "last":
            return len(self.history) - 1
        return best_epoch(self.history, which, self.select_from)

    def load(self, run: RunDir, which: str) -> keras.Model:
        """Returns the network: val_loss or val_accuracy (best epoch by it), or last."""
        return run.read_model(f"{self.folder}/{which}.keras", self.digests[which])


def finished(run: RunDir, folder: str) -> Training | None:
    """Returns the training a folder holds, or None where it is not complete.

    Raises:
        DamagedFile: If the folder's record is not what was written.
    """
    name = f"{folder}/training.json"
    if not run.exists(name):
        return None
    try:
        return Training(**run.read_json(name))
    except TypeError:
        raise run.damaged(name, "expected what a finished training writes") from None


def fit(
    make_network: Callable[[], keras.Model],
    data: Dataset,
    plan: FitPlan,
    run: RunDir,
    folder: str,
    *,
    identity: str = "",
    after_update: AfterUpdate | None = None,
    export: Callable[[keras.Model], keras.Model] = lambda network: network,
    on_epoch: OnEpoch | None = None,
) -> Training:
    """Trains a network, or goes on where a stopped training was.

    Args:
        make_network: Builds it, initial weights included (called under the seed).
        data: Train and valid splits are used; test is not touched.
        plan: How.
        run: Where files go.
        folder: Of this training, inside the run.
        identity: Kept with it, so that another run can tell whether to share it.
        after_update: See `Trainer`.
        export: What of the network is saved and judged (strips wrappers).
        on_epoch: Called with (epoch, its numbers, the network), by the chief.

    Returns:
        The finished training.

    Raises:
        DivergedError: If the loss is no number; the last good state stays on disk.
    """
    done = finished(run, folder)
    if done is not None:
        return done
    trainer = _make_trainer(make_network, plan, data.size("train"), after_update)
    state = TrainingState(trainer, run, f"{folder}/state.npz")
    history = state.restore()
    run_epoch = _epoch_runner(trainer, data, plan)
    epochs = range(len(history), plan.epochs)
    for epoch in tqdm(
        epochs, desc=folder, unit="epoch", initial=len(history), disable=None
    ):
        try:
            numbers = run_epoch(epoch)
        except DivergedError as error:
            raise _diverged(error, epoch, plan, run, folder) from None
        network = export(trainer.network)
        history.append(numbers | _validate(network, data))
        if is_chief(plan.distribute):
            _save_best(network, history, plan, run, folder)
            state.save(history)
            if on_epoch is not None:
                on_epoch(epoch, history[-1], network)
    network = export(trainer.network)
    training = Training(folder, history, {}, identity, plan.select_from)
    return _finish(network, training, run) if is_chief(plan.distribute) else training


def _make_trainer(
    make_network: Callable[[], keras.Model],
    plan: FitPlan,
    examples: int,
    after_update: AfterUpdate | None,
) -> Trainer:
    keras.backend.experimental.enable_tf_random_generator()
    with make_strategy(plan.distribute).scope():
        keras.utils.set_random_seed(plan.seed)
        trainer = Trainer(make_network(), after_update)
        rate: Any = plan.learning_rate
        if plan.schedule == "cosine":
            rate = keras.optimizers.schedules.CosineDecay(rate, plan.steps(examples))
        trainer.compile(optimizer=keras.optimizers.Adam(rate))
        trainer.optimizer.build(trainer.network.trainable_variables)
    return trainer


def _epoch_runner(
    trainer: Trainer, data: Dataset, plan: FitPlan
) -> Callable[[int], Epoch]:
    """Returns the function that trains one epoch by its number."""
    keys = ("loss", "cross_entropy", "accuracy")
    if data.in_memory and plan.distribute == "none":
        jit = is_dense(trainer.network) if plan.jit is None else plan.jit
        loop = ResidentLoop(trainer, data.x_train, data.y_train, plan.batch_size, jit)

        def run_resident(epoch: int) -> Epoch:
            reseed(trainer.network, plan.seed, epoch)
            order = np.random.default_rng([plan.seed, epoch])
            return loop.epoch(order.permutation(data.size("train")))

        return run_resident

    def run_batches(epoch: int) -> Epoch:
        reseed(trainer.network, plan.seed, epoch)
        batches = data.batches("train", plan.batch_size, seed=[plan.seed, epoch])
        fitted = trainer.fit(distributed(batches), verbose=0, callbacks=[StopAtNan()])
        return {key: float(fitted.history[key][0]) for key in keys}

    return run_batches


class StopAtNan(keras.callbacks.Callback):
    """Ends a `fit` at the step whose loss is no number."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Judges the loss of one step."""
        check_finite(logs["loss"], batch + 1)


def _validate(network: keras.Model, data: Dataset) -> Epoch:
    logits, labels = predict_split(network, data, "valid")
    cross_entropy = metrics.cross_entropy(logits, labels)
    penalty = float(tf.add_n([tf.constant(0.0), *network.losses]))
    return {
        "val_loss": cross_entropy + penalty,
        "val_cross_entropy": cross_entropy,
        "val_accuracy": metrics.accuracy(logits, labels),
    }


def best_epoch(history: list[Epoch], monitor: str, start: int = 0) -> int:
    """Returns the first epoch, from `start` on, that no other beats.

    Args:
        history: Numbers of each epoch.
        monitor: val_loss (lowest is best) or val_accuracy (highest).
        start: First epoch that counts.
    """
    sign = 1 if monitor == "val_loss" else -1
    values = [sign * numbers[monitor] for numbers in history]
    start = min(start, len(values) - 1)
    return start + int(np.argmin(values[start:]))


def _save_best(
    network: keras.Model, history: list[Epoch], plan: FitPlan, run: RunDir, folder: str
) -> None:
    for monitor in MONITORS:
        if best_epoch(history, monitor, plan.select_from) == len(history) - 1:
            run.write_model(f"{folder}/{monitor}.keras", network)


def _finish(network: keras.Model, training: Training, run: RunDir) -> Training:
    """Marks a training complete: its last network, and the digests of all three."""
    folder = training.folder
    run.write_model(f"{folder}/last.keras", network)
    digests = {
        name: run.digest(f"{folder}/{name}.keras") for name in (*MONITORS, "last")
    }
    done = dataclasses.replace(training, digests=digests)
    run.write_json(f"{folder}/training.json", dataclasses.asdict(done))
    run.remove(f"{folder}/state.npz")
    return done


def _diverged(
    error: DivergedError, epoch: int, plan: FitPlan, run: RunDir, folder: str
) -> DivergedError:
    kept = (
        f"the state after epoch {epoch} is kept in {run.path / folder}"
        if epoch
        else "no epoch was complete"
    )
    return DivergedError(
        f"{error} {epoch + 1} (seed {plan.seed}); {kept}: lower the learning rate "
        f"(now {plan.learning_rate:g}) or the penalties"
    )


class TrainingState:
    """All that an epoch hands to the next, in one file."""

    def __init__(self, trainer: Trainer, run: RunDir, name: str) -> None:
        """Names the file; nothing is read yet."""
        self.run, self.name = run, name
        self.variables = [
            *trainer.network.weights,
            *trainer.optimizer.variables,
        ]

    def save(self, history: list[Epoch]) -> None:
        """Writes every variable and the history, atomically."""
        arrays = {f"variable_{i}": v.numpy() for i, v in enumerate(self.variables)}
        for key in history[0]:
            arrays[f"history_{key}"] = np.array([numbers[key] for numbers in history])
        self.run.write_arrays(self.name, arrays)

    def restore(self) -> list[Epoch]:
        """Puts the stored state back.

        Returns:
            The history up to it; empty where nothing is stored.

        Raises:
            ValueError: If the file fits another network.
        """
        if not self.run.exists(self.name):
            return []
        arrays = self.run.read_arrays(self.name)
        for i, variable in enumerate(self.variables):
            stored = arrays.get(f"variable_{i}")
            if stored is None or stored.shape != tuple(variable.shape):
                raise ValueError(
                    f"{self.run.path / self.name} holds another network's training "
                    f"(at {variable.name}): delete it to train from the start"
                )
            variable.assign(stored)
        keys = [key for key in arrays if key.startswith("history_")]
        columns = zip(*(arrays[key].tolist() for key in keys), strict=True)
        names = [key.removeprefix("history_") for key in keys]
        return [dict(zip(names, values, strict=True)) for values in columns]
