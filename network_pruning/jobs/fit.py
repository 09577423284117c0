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
from network_pruning.jobs.devices import (
    chief_number,
    distributed,
    is_chief,
    make_strategy,
)
from network_pruning.jobs.trainings import (
    MONITORS,
    Epoch,
    Training,
    TrainingState,
    best_epoch,
    check_identity,
    finished,
)
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
        ValueError: If the folder holds a training of other settings or data.
    """
    done = finished(run, folder)
    if done is not None:
        check_identity(done.identity, identity, run, folder)
    if chief_number(plan.distribute, int(done is not None)):
        return done or Training(folder, [], {}, identity, plan.select_from)
    trainer = _make_trainer(make_network, plan, data.size("train"), after_update)
    state = TrainingState(trainer, run, folder, identity, plan.distribute)
    history = state.restore()
    start = len(history)
    run_epoch = _epoch_runner(trainer, data, plan)
    epochs = range(start, plan.epochs)
    bar = {"desc": folder, "unit": "epoch", "initial": start, "total": plan.epochs}
    for epoch in tqdm(epochs, **bar, disable=None, leave=None):
        try:
            numbers = run_epoch(epoch)
            network = export(state.read())
            history.append(numbers | _validate(network, data))
        except DivergedError as error:
            message = _explain(error, epoch, plan, run, folder)
            raise DivergedError(message) from None
        if is_chief(plan.distribute):
            _save_best(network, history, plan, state)
            state.save(history)
            if on_epoch is not None:
                on_epoch(epoch, history[-1], network)
    network = export(state.read())
    training = Training(folder, history, {}, identity, plan.select_from)
    return _finish(network, training, state) if is_chief(plan.distribute) else training


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
    penalty = float(tf.add_n([tf.constant(0.0), *network.losses]))
    if not (np.isfinite(logits).all() and np.isfinite(penalty)):
        raise DivergedError("the validation loss is no number after epoch")
    cross_entropy = metrics.cross_entropy(logits, labels)
    return {
        "val_loss": cross_entropy + penalty,
        "val_cross_entropy": cross_entropy,
        "val_accuracy": metrics.accuracy(logits, labels),
    }


def _save_best(
    network: keras.Model, history: list[Epoch], plan: FitPlan, state: TrainingState
) -> None:
    for monitor in MONITORS:
        if best_epoch(history, monitor, plan.select_from) == len(history) - 1:
            state.keep(monitor, network)


def _finish(network: keras.Model, training: Training, state: TrainingState) -> Training:
    """Marks a training complete.

    Returns:
        It, with the digests of its three files.
    """
    state.keep("last", network)
    done = dataclasses.replace(training, digests=state.digests)
    state.run.write_json(f"{state.folder}/training.json", dataclasses.asdict(done))
    state.run.remove(state.name)
    return done


def _explain(
    error: DivergedError, epoch: int, plan: FitPlan, run: RunDir, folder: str
) -> str:
    kept = (
        f"the state after epoch {epoch} is kept in {run.path / folder}"
        if epoch
        else "no epoch was complete"
    )
    if not is_chief(plan.distribute):
        kept = "the chief says what is kept"
    return (
        f"{error} {epoch + 1} (seed {plan.seed}); {kept}: lower the learning rate "
        f"(now {plan.learning_rate:g}) or the penalties"
    )
