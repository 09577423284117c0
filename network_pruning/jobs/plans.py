"""How a network is trained, in numbers."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

import tf_keras as keras

from network_pruning import optimizers
from network_pruning.augmentation import Augment, make_augment
from network_pruning.configs import SweepConfig
from network_pruning.jobs.trainings import Epoch, best_epoch
from network_pruning.types import Augmentation

SHARED = (
    *("batch_size", "optimizer", "momentum", "nesterov", "weight_decay"),
    *("augment", "shift", "erase"),
)
"""Fields of a config that hold for the training and for the retraining."""
COURSE = (
    *("epochs", "learning_rate", "schedule", "milestones", "step_factor"),
    *("warmup_epochs", "early_stopping", "monitor", "distribute"),
)
"""Fields of a config that the training alone goes by."""


@dataclass(frozen=True)
class FitPlan:
    """How a network is trained.

    Attributes:
        epochs: Passes over the training split; 0 takes the network as it is.
        batch_size: Examples in a step, over all replicas together.
        learning_rate: The highest.
        seed: Names the order of the data and what random layers draw.
        schedule: Constant, falling to zero as half a cosine over all steps, or falling
            by `step_factor` after each of `milestones`.
        select_from: First epoch that may be chosen as the best.
        distribute: none, mirrored or multi_worker.
        jit: Whether to compile the step; None does for dense networks.
        optimizer: adam or sgd.
        momentum: Of sgd.
        nesterov: Whether it is Nesterov's.
        weight_decay: Of the kernels; decoupled with adam, in the gradient with sgd.
        milestones: Epochs; below 1, shares of all of them.
        step_factor: See schedule.
        warmup_epochs: In which the learning rate rises.
        augment: See augmentation.make_augment.
        shift: Pixels.
        erase: Pixels; likewise.
        black: What pixels beyond an image's edge are.
        early_stopping: Epochs without a better `monitor` that end it; 0 for none.
        monitor: val_loss or val_accuracy.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    seed: int
    schedule: Literal["constant", "cosine", "step"] = "constant"
    select_from: int = 0
    distribute: Literal["none", "mirrored", "multi_worker"] = "none"
    jit: bool | None = None
    optimizer: Literal["adam", "sgd"] = "adam"
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0
    milestones: tuple[float, ...] = ()
    step_factor: float = 0.1
    warmup_epochs: int = 0
    augment: Augmentation = "none"
    shift: int = 2
    erase: int = 0
    black: float = 0.0
    early_stopping: int = 0
    monitor: str = "val_loss"

    def steps(self, examples: int) -> int:
        """Returns the number of updates in all."""
        return self.epochs * -(-examples // self.batch_size)

    def make_optimizer(self, network: keras.Model, examples: int) -> Any:
        """Returns a fresh optimiser."""
        return optimizers.scaled(self._optimizer(network, examples), network)

    def _optimizer(self, network: keras.Model, examples: int) -> Any:
        rate = optimizers.make_rate(
            self.schedule,
            self.learning_rate,
            self.epochs,
            -(-examples // self.batch_size),
            self.milestones,
            self.step_factor,
            self.warmup_epochs,
        )
        if self.optimizer == "adam":
            return optimizers.adam(network, rate, self.weight_decay)
        return keras.optimizers.SGD(rate, self.momentum, self.nesterov)

    @property
    def l2_decay(self) -> float:
        """What a trainer is to add to gradients: the decay that no optimiser does."""
        return self.weight_decay if self.optimizer == "sgd" else 0.0

    @property
    def augments(self) -> bool:
        """Whether training images are changed."""
        return self.augment != "none" or self.erase > 0

    def check_images(self, shape: tuple[int, ...]) -> None:
        """Judges whether images can be changed as the plan says.

        Args:
            shape: Of one image, [height, width, channels].

        Raises:
            ValueError: If nothing might be left of them.
        """
        side = min(shape[:2])
        if self.erase >= side:
            raise ValueError(
                f"erase: got {self.erase}, expected less than the {side} pixels of an "
                "image's shorter side"
            )

    def make_augment(self) -> Augment | None:
        """Returns what changes the training images."""
        return make_augment(self.augment, self.shift, self.black, self.erase)

    def is_over(self, history: list[Epoch]) -> bool:
        """Returns whether the training has lost its patience."""
        if not self.early_stopping or len(history) <= self.select_from:
            return False
        best = best_epoch(history, self.monitor, self.select_from)
        return len(history) - 1 - best >= self.early_stopping


def training_plan(config: SweepConfig, seed: int) -> FitPlan:
    """Returns how the flags say to train."""
    fields = {name: getattr(config, name) for name in (*SHARED, *COURSE)}
    return FitPlan(**fields, seed=seed, black=config.input_range[0])


def retraining_plan(config: SweepConfig, seed: int) -> FitPlan:
    """Returns how the flags say to retrain a pruned network: as it was trained, but.

    The learning rate falls as a cosine, to its end: there is no early stopping.
    """
    return FitPlan(
        **{name: getattr(config, name) for name in SHARED},
        epochs=config.finetune_epochs,
        learning_rate=config.finetune_learning_rate,
        seed=seed,
        schedule="cosine",
        black=config.input_range[0],
    )


def weights_plan(config: SweepConfig, seed: int) -> FitPlan:
    """Returns the same for weights that are pruned as the retraining goes on."""
    # Only epochs after the schedule's end have the sparsity that is asked for.
    return dataclasses.replace(
        retraining_plan(config, seed),
        jit=False,
        select_from=config.finetune_epochs // 2,
    )
