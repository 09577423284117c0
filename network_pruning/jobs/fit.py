"""Training that can be stopped at any moment and ends with the same weights.

After every epoch the whole state (weights, optimiser, history) is written at once; data
order and random layers are seeded by (seed, epoch), so nothing else needs remembering.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tf_keras as keras
from tqdm import tqdm

from network_pruning import losses
from network_pruning.evaluation import metrics
from network_pruning.evaluation.predict import predict_split
from network_pruning.jobs.devices import (
    chief_number,
    distributed,
    is_chief,
    make_strategy,
)
from network_pruning.jobs.plans import FitPlan
from network_pruning.jobs.trainings import (
    MONITORS,
    Epoch,
    Training,
    TrainingState,
    best_epoch,
    check_identity,
    finished,
)
from network_pruning.resident import ResidentLoop
from network_pruning.runs import RunDir
from network_pruning.training import (
    AfterUpdate,
    DivergedError,
    Trainer,
    check_finite,
    reseed,
)
from network_pruning.types import Dataset, FloatArray

OnEpoch = Callable[[int, Epoch, keras.Model], None]
MakeTrainer = Callable[[keras.Model, AfterUpdate | None, float], Trainer]
"""(network, after_update, l2_decay) -> what trains it, not compiled."""


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
    make_trainer: MakeTrainer = Trainer,
    targets: FloatArray | None = None,
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
        on_epoch: Called with (epoch, its numbers, the network), by the chief, before
            the epoch counts as made: after a kill perhaps a second time, with the same.
        make_trainer: Builds what trains the network (called under the seed, too).
        targets: What the trainer's step takes behind images and labels: a row for each
            training example [n, ...], in their order.

    Returns:
        The finished training.

    Raises:
        DivergedError: If the loss is no number; the last good state stays on disk.
        ValueError: If the folder holds a training of other settings or data, or targets
            cannot follow their examples.
    """
    plan.check_images(data.input_shape)
    _check_targets(targets, data, plan)
    done = finished(run, folder)
    if done is not None:
        check_identity(done.identity, identity, run, folder)
    if chief_number(plan.distribute, int(done is not None)):
        return done or Training(folder, [], {}, identity, plan.select_from)
    trainer = _make_trainer(make_network, make_trainer, after_update, plan, data)
    state = TrainingState(trainer, run, folder, identity, plan.distribute)
    history = state.restore()
    run_epoch = _epoch_runner(trainer, data, plan, targets)
    for epoch in _epochs(plan, history, folder):
        try:
            numbers = run_epoch(epoch)
            network = export(state.read())
            history.append(numbers | _validate(network, data))
        except DivergedError as error:
            message = _explain(error, epoch, plan, run, folder)
            raise DivergedError(message) from None
        if is_chief(plan.distribute):
            _save_best(network, history, plan, state)
            # Before the state: an epoch whose process is killed here is made again, and
            # nothing that belongs to it is missed.
            if on_epoch is not None:
                on_epoch(epoch, history[-1], network)
            state.save(history)
    network = export(state.read())
    made = len(history)
    if not plan.epochs:
        history = _take_as_it_is(network, data, plan, state)
    training = Training(folder, history, {}, identity, plan.select_from, made)
    return _finish(network, training, state) if is_chief(plan.distribute) else training


def _epochs(plan: FitPlan, history: list[Epoch], folder: str) -> Iterator[int]:
    """Yields the epochs to go, under a bar, while there is patience left."""
    start = len(history)
    bar = {"desc": folder, "unit": "epoch", "initial": start, "total": plan.epochs}
    epochs = range(start, plan.epochs)
    for epoch in tqdm(epochs, **bar, disable=None, leave=None):
        if _is_over(plan, history):
            return
        yield epoch


def _check_targets(targets: FloatArray | None, data: Dataset, plan: FitPlan) -> None:
    """Judges whether targets can follow their examples through a training.

    Raises:
        ValueError: If they cannot.
    """
    if targets is None:
        return
    if not _is_resident(data, plan) or plan.augments:
        raise ValueError(
            "targets: stored ones need data in memory, one device and no augmentation; "
            f"got in_memory={data.in_memory}, distribute={plan.distribute}, "
            f"augment={plan.augment}, erase={plan.erase}: compute them in the training "
            "step instead"
        )
    if len(targets) != data.size("train"):
        raise ValueError(
            f"targets: got {len(targets)} rows, expected {data.size('train')}, one for "
            "each training example"
        )


def _is_resident(data: Dataset, plan: FitPlan) -> bool:
    return data.in_memory and plan.distribute == "none"


def _make_trainer(
    make_network: Callable[[], keras.Model],
    make_trainer: MakeTrainer,
    after_update: AfterUpdate | None,
    plan: FitPlan,
    data: Dataset,
) -> Trainer:
    keras.backend.experimental.enable_tf_random_generator()
    with make_strategy(plan.distribute).scope():
        keras.utils.set_random_seed(plan.seed)
        trainer = make_trainer(make_network(), after_update, plan.l2_decay)
        optimizer = plan.make_optimizer(trainer, data.size("train"))
        trainer.compile(optimizer=optimizer)
        trainer.optimizer.build(trainer.trainable_variables)
    return trainer


def _epoch_runner(
    trainer: Trainer, data: Dataset, plan: FitPlan, targets: FloatArray | None
) -> Callable[[int], Epoch]:
    """Returns the function that trains one epoch by its number."""
    if _is_resident(data, plan):
        jit = trainer.jit_pays if plan.jit is None else plan.jit
        split, augment = (data.x_train, data.y_train), plan.make_augment()
        loop = ResidentLoop(trainer, *split, plan.batch_size, jit, augment, targets)

        def run_resident(epoch: int) -> Epoch:
            reseed(trainer.network, plan.seed, epoch)
            order = np.random.default_rng([plan.seed, epoch])
            rows = order.permutation(data.size("train"))
            return loop.epoch(rows, (plan.seed, epoch))

        return run_resident

    def run_batches(epoch: int) -> Epoch:
        reseed(trainer.network, plan.seed, epoch)
        batches = data.batches(
            "train", plan.batch_size, [plan.seed, epoch], plan.make_augment()
        )
        fitted = trainer.fit(distributed(batches), verbose=0, callbacks=[StopAtNan()])
        return {key: float(values[0]) for key, values in fitted.history.items()}

    return run_batches


class StopAtNan(keras.callbacks.Callback):
    """Ends a `fit` at the step whose loss is no number."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Judges the loss of one step."""
        check_finite(logs["loss"], batch + 1)


def _is_over(plan: FitPlan, history: list[Epoch]) -> bool:
    """Returns whether the chief, who alone knows the history, has lost patience."""
    if not plan.early_stopping:
        return False
    mine = is_chief(plan.distribute) and plan.is_over(history)
    return bool(chief_number(plan.distribute, int(mine)))


def _take_as_it_is(
    network: keras.Model, data: Dataset, plan: FitPlan, state: TrainingState
) -> list[Epoch]:
    """Keeps a network that is not to be trained.

    Returns:
        A history of one entry: what the network does.

    Raises:
        ValueError: If it gives no numbers.
    """
    try:
        numbers = _measure(network, data, "train", "") | _validate(network, data)
        if is_chief(plan.distribute):
            _save_best(network, [numbers], plan, state)
        return [numbers]
    except DivergedError:
        raise ValueError(
            f"model {network.name!r} gives outputs that are no numbers, expected "
            "trained weights: look at --model and --input_range"
        ) from None


def _validate(network: keras.Model, data: Dataset) -> Epoch:
    return _measure(network, data, "valid", "val_")


def _measure(network: keras.Model, data: Dataset, split: str, prefix: str) -> Epoch:
    logits, labels = predict_split(network, data, split)
    penalty = float(losses.total(network.losses))
    if not (np.isfinite(logits).all() and np.isfinite(penalty)):
        raise DivergedError("the validation loss is no number after epoch")
    if data.multi_label:
        cross_entropy = metrics.attributes_cross_entropy(logits, labels)
        accuracy = metrics.attributes_accuracy(logits, labels)
    else:
        cross_entropy = metrics.cross_entropy(logits, labels)
        accuracy = metrics.accuracy(logits, labels)
    return {
        f"{prefix}loss": cross_entropy + penalty,
        f"{prefix}cross_entropy": cross_entropy,
        f"{prefix}accuracy": accuracy,
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
