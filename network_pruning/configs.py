"""The flags of the main job, as data: what can be set, what it means, what is refused.

A field's `changes` metadata says what another value makes different:

- "training": the trained weights (and so all that follows);
- "rows": what is measured on the trained network;
- "view": neither (where files go, which rows are asked for).

A run's folder is named by the digest of everything but views; a training is recognised
by the digest of its training fields alone, so that runs can share it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

from network_pruning.criterion_flags import check_criterion, read_option
from network_pruning.flags import (
    OF_SGD,
    OF_SHIFTS,
    Meant,
    check_id,
    check_image_size,
    check_input_range,
    check_meant_for,
    check_momentum,
    check_seeds,
    fields_of,
    flag,
    is_model_file,
    words,
)
from network_pruning.milestones import fall_epoch
from network_pruning.ranges import check_above, check_from, check_share
from network_pruning.tf_config import check_tf_config
from network_pruning.types import Augmentation

K_VALS = (0.0, 0.25, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.97, 0.99, 0.995, 0.999)
NETWORK_OPTIONS = {
    name: name
    for name in (
        *("widths", "width", "use_bias", "activation", "batch_norm", "dropout"),
        "pretrained",
    )
} | {"l1_reg": "l1", "l2_reg": "l2"}
"""Flags that say how a network is built -> what builders call them."""


@dataclass(frozen=True)
class SweepConfig:
    """The main job: train a network, prune it over k, hand back smaller networks."""

    dataset: str = flag(
        "digits",
        "Images to learn: digits (MNIST), fashion, uci_digits (embedded, needs no "
        "network), any tensorflow-datasets name, a folder or a .npz.",
    )
    model: str = flag(
        "mlp",
        "Network by name, or a trained one to go on from: path/to/a.keras or .h5, or a "
        "SavedModel folder, path/to/folder.",
    )
    pretrained: bool = flag(
        False,
        "Begin with ImageNet weights, for the networks of tf_keras.applications "
        "(MobileNetV2, ResNet50 ...).",
    )
    input_range: tuple[float, ...] = flag(
        (0.0, 1.0),
        "Low,high: what black and white are when fed to the network, for a file that "
        "was trained on 0,255 or -1,1. Pruned networks take what it took.",
    )
    epochs: int = flag(
        20, "Passes over the training split; 0 prunes a model file as it is."
    )
    early_stopping: int = flag(
        0,
        "End the training after so many epochs without a better --monitor; 0 never "
        "does. The best epoch is pruned, see --keep_best.",
    )
    batch_size: int = flag(128, "Images in a step, over all devices together.")
    optimizer: Literal["adam", "sgd"] = flag("adam", "Optimiser of the training.")
    learning_rate: float = flag(0.001, "Step size of the optimiser.")
    momentum: float = flag(0.9, "Momentum of sgd.")
    nesterov: bool = flag(False, "Whether the momentum of sgd is Nesterov's.")
    weight_decay: float = flag(
        0.0,
        "Decay of every kernel, never of biases or normalisers: sgd adds "
        "weight_decay * w to the gradient, as the published recipes do; with adam it "
        "is decoupled (AdamW).",
    )
    schedule: Literal["constant", "cosine", "step"] = flag(
        "constant",
        "Course of the learning rate: constant, half a cosine down to zero, or times "
        "--step_factor at each of --milestones.",
    )
    milestones: tuple[float, ...] = flag(
        (0.5, 0.75),
        "Epochs after which the step schedule falls; below 1, shares of --epochs.",
    )
    step_factor: float = flag(0.1, "What the step schedule multiplies by.")
    warmup_epochs: int = flag(
        0, "Epochs in which the learning rate rises linearly to its course."
    )
    augment: Augmentation = flag(
        "none",
        "Change of the training images, drawn anew each time: moved by up to --shift "
        "pixels over black (shift), mirrored left to right every other time as well "
        "(flip_shift), or turned by up to 17 degrees, stretched by 15 % and slanted by "
        "a fifth as well (affine).",
    )
    shift: int = flag(2, "Pixels of --augment; 4 is usual for 32x32 images.")
    erase: int = flag(
        0,
        "Side in pixels of a square at a random place that each training image loses, "
        "as Cutout does; 8 to 16 for 32x32 images.",
    )
    l1_reg: float = flag(0.0, "Penalty l1_reg * sum|w| on every hidden kernel.")
    l2_reg: float = flag(0.0, "Penalty l2_reg * sum w^2 on every hidden kernel.")
    num_valid: int | None = flag(
        None,
        "Validation images taken from the training split; by default 10000, or a fifth "
        "where there are fewer than 20000.",
    )
    split: Literal["random", "first"] = flag(
        "random", "Which images validate: a seeded draw, or the first num_valid."
    )
    image_size: tuple[int, int] | None = flag(
        None, "Height,width to resize images to, where their sizes differ."
    )
    widths: tuple[int, ...] = flag(
        (1000, 1000, 500, 200), "Units of each hidden layer of the mlp."
    )
    width: float = flag(
        1.0, "Multiplies the widths of a convolutional network: 0.5 halves them."
    )
    use_bias: bool = flag(False, "Whether the mlp has biases.")
    activation: Literal["relu", "tanh", "sigmoid", "elu", "selu", "gelu"] = flag(
        "relu", "Hidden activation of the mlp."
    )
    batch_norm: bool = flag(False, "Whether the mlp normalises before activations.")
    dropout: float = flag(0.0, "Dropout rate after every hidden layer of the mlp.")
    seeds: tuple[int, ...] = flag(
        (0,), "Seeds, one training each; several give means and sds.", "rows"
    )
    keep_best: bool = flag(
        True,
        "Prune the epoch with the best --monitor (by default the lowest validation "
        "loss, penalty included); --nokeep_best prunes the last epoch.",
        "rows",
    )
    monitor: Literal["val_loss", "val_accuracy"] = flag(
        "val_loss", "What --keep_best compares, on the validation split.", "rows"
    )
    k_vals: tuple[float, ...] = flag(
        K_VALS, "Fractions to prune, in [0,1), comma separated.", "view"
    )
    kinds: tuple[str, ...] = flag(
        ("weight", "unit"), "What to prune: weight, unit, or both.", "view"
    )
    criterion: str = flag(
        "l2", "What ranks the units, by name: the lowest scores go first.", "rows"
    )
    criterion_options: tuple[str, ...] = flag(
        (), "Options of the criterion: name=value, comma separated.", "rows"
    )
    scope: Literal["layer", "global"] = flag(
        "layer",
        "Whether every layer loses the fraction k, or all of them together.",
        "rows",
    )
    finetune_epochs: int = flag(
        0,
        "Epochs of retraining after each cut: weights under tfmot's polynomial "
        "schedule, units as shrunk networks. 0 is one-shot pruning.",
        "rows",
    )
    finetune_learning_rate: float = flag(
        0.001,
        "First step size of the retraining; it falls to zero as a cosine.",
        "rows",
    )
    distribute: Literal["none", "mirrored", "multi_worker"] = flag(
        "none",
        "Train on one device, on all of this machine, or on the machines of TF_CONFIG.",
    )
    output_dir: str = flag("results", "Folder of all runs.", "view")
    experiment_id: str | None = flag(
        None, "Name of this run's folder; by default made from the settings.", "view"
    )
    force_train: bool = flag(
        False,
        "Train again; the old run stands until the new one is complete.",
        "view",
    )

    def __post_init__(self) -> None:
        """Judges every value.

        Raises:
            ValueError: In one line, for the first unfit value.
        """
        _check_ranges(self)
        _check_recipe(self)
        check_criterion(self.criterion, self.criterion_options)
        _check_k_vals(self.k_vals)
        check_seeds(self.seeds)
        _check_kinds(self.kinds)
        check_id("experiment_id", self.experiment_id)
        check_image_size(self.image_size)
        if not self.output_dir:
            raise ValueError("output_dir: got none, expected a folder, . for this one")
        if self.distribute == "multi_worker":
            check_tf_config(os.environ.get("TF_CONFIG"))

    def digest(self, *changes: str) -> str:
        """Returns 10 hex digits that change with any field of the named kinds.

        Fields at their default are left out, so that a later version with more fields
        still knows its old runs.
        """
        default = _defaults()
        chosen = {
            name: value
            for name, value in self.as_dict().items()
            if self._kinds(name) & set(changes) and value != default[name]
        }
        text = json.dumps(chosen, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:10]

    def _kinds(self, name: str) -> set[str]:
        # What is monitored decides when a training with patience ends.
        ends = name == "monitor" and self.early_stopping
        return {_kind(name), "training"} if ends else {_kind(name)}

    def given(self, *names: str) -> dict[str, Any]:
        """Returns those of the named fields that are not at their default."""
        pairs = {name: getattr(self, name) for name in names}
        fields = type(self).__dataclass_fields__
        return {n: value for n, value in pairs.items() if value != fields[n].default}

    def network_options(self) -> dict[str, Any]:
        """Returns what is asked of the network beside its name, as its builder says."""
        given = self.given(*NETWORK_OPTIONS)
        return {NETWORK_OPTIONS[name]: value for name, value in given.items()}

    def score_options(self) -> dict[str, Any]:
        """Returns the options of the criterion, numbers as Python's."""
        return dict(map(read_option, self.criterion_options))

    def run_id(self) -> str:
        """Returns the folder's name: readable settings, and a digest of all of them."""
        if self.experiment_id is not None:
            return self.experiment_id
        readable = re.sub(r"[^A-Za-z0-9._-]+", "_", self.dataset)[-60:].strip("._-")
        readable = readable or "data"
        return (
            f"{readable}-{self.epochs}-lr={self.learning_rate:g}-l1={self.l1_reg:g}"
            f"-l2={self.l2_reg:g}-{self.digest('training', 'rows')}"
        )

    def as_dict(self) -> dict[str, Any]:
        """Returns every field as JSON can hold it."""
        return json.loads(json.dumps(dataclasses.asdict(self)))


def differences(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """Compares the settings of two runs.

    Args:
        ours: What `as_dict` gives.
        theirs: Likewise, perhaps of an older version: fields it had not are at their
            defaults.

    Returns:
        "name: theirs there, ours now" for each field that differs and is no view.
    """
    theirs = _defaults() | theirs
    return [
        f"{name}: {theirs[name]} there, {ours[name]} now"
        for name in ours
        if _kind(name) != "view" and ours[name] != theirs[name]
    ]


def _defaults() -> dict[str, Any]:
    fields = dataclasses.fields(SweepConfig)
    return json.loads(json.dumps({field.name: field.default for field in fields}))


def _kind(name: str) -> str:
    return SweepConfig.__dataclass_fields__[name].metadata["changes"]


_POSITIVE = (
    "batch_size",
    "learning_rate",
    "finetune_learning_rate",
    "step_factor",
    "shift",
    "width",
)
_NOT_NEGATIVE = (
    "epochs",
    "erase",
    "l1_reg",
    "l2_reg",
    "finetune_epochs",
    "early_stopping",
    "warmup_epochs",
    "weight_decay",
)
_MEANT_FOR: Meant = {
    **OF_SGD,
    "milestones": ("schedule", {"step"}),
    "step_factor": ("schedule", {"step"}),
    **OF_SHIFTS,
}


def _check_ranges(config: SweepConfig) -> None:
    check_above(fields_of(config, *_POSITIVE))
    check_from(fields_of(config, *_NOT_NEGATIVE))
    if config.num_valid is not None and config.num_valid < 1:
        raise ValueError(
            f"num_valid: got {config.num_valid}, expected at least 1: the best epoch "
            "is chosen on them"
        )
    check_share(fields_of(config, "dropout"), high=")")
    if not config.widths or min(config.widths) < 1:
        raise ValueError(
            f"widths: got {config.widths}, expected positive whole numbers"
        )


def _check_recipe(config: SweepConfig) -> None:
    """Judges what says how the network is trained.

    Raises:
        ValueError: In one line, for the first unfit value.
    """
    if config.epochs == 0 and not is_model_file(config.model):
        raise ValueError(
            "epochs: got 0, expected a number above 0: only a model file, as in "
            "--model=path/to/my.keras, is pruned untrained"
        )
    check_meant_for(config, _MEANT_FOR)
    check_momentum(config.momentum, config.nesterov)
    if not all(0 < number < math.inf for number in config.milestones):
        raise ValueError(
            f"milestones: got {words(config.milestones)}, expected epochs or shares "
            "of them above 0, as in --milestones=0.5,0.75"
        )
    steps = config.milestones if config.epochs and config.schedule == "step" else ()
    late = tuple(m for m in steps if fall_epoch(m, config.epochs) >= config.epochs)
    if late:
        raise ValueError(
            f"milestones: got {words(late)}, expected less than the {config.epochs} "
            "epochs of the training: the step size would never fall there"
        )
    if not all(fall_epoch(milestone, config.epochs) for milestone in steps):
        raise ValueError(
            f"milestones: got {words(steps)}, the start of {config.epochs} epochs, "
            "expected later ones: no step would be as large as --learning_rate says"
        )
    if config.epochs and config.warmup_epochs >= config.epochs:
        raise ValueError(
            f"warmup_epochs: got {config.warmup_epochs}, expected fewer than the "
            f"{config.epochs} epochs of the training"
        )
    check_input_range(config.input_range)


def _check_k_vals(k_vals: tuple[float, ...]) -> None:
    if not k_vals:
        raise ValueError(
            "k_vals: got none, expected fractions as in --k_vals=0,0.5,0.9"
        )
    seen = set()
    for k in k_vals:
        if not 0 <= k < 1:
            raise ValueError(
                f"k_vals: got {k}, expected fractions to remove in [0,1), 0.9 for 90 %"
            )
        exact = Fraction(str(k))
        if exact in seen:
            raise ValueError(f"k_vals: got {k} twice, expected each fraction once")
        seen.add(exact)


def _check_kinds(kinds: tuple[str, ...]) -> None:
    fit = kinds and set(kinds) <= {"weight", "unit"}
    if not fit or len(set(kinds)) < len(kinds):
        raise ValueError(
            f"kinds: got {','.join(kinds) or 'none'}, expected weight, unit or both, "
            "as in --kinds=weight,unit"
        )
