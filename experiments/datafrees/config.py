"""The flags of data-free compression.

A flag whose default is `none` has a default of its own in each procedure that reads it
(`DEFAULTS`); given, it also says which earlier step a later one is to go on from.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from network_pruning.criterion_flags import check_criteria
from network_pruning.flags import (
    OF_SHIFTS,
    Meant,
    check_id,
    check_meant_for,
    check_seeds,
    fields_of,
    flag,
)
from network_pruning.inversion.recipe import LAYERED, SCOPES, Recipe
from network_pruning.ranges import check_above, check_from, check_share
from network_pruning.types import Augmentation

PROCEDURES = (
    *("train", "compute_stats", "optimize_dataset", "distill", "plot", "leakage"),
    "prune",
)
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "train": {"lr": 0.001, "epochs": 10},
    "optimize_dataset": {"lr": 0.07},
    "distill": {"lr": 0.001, "epochs": 30},
    "prune": {"lr": 0.001, "epochs": 10},
}
SETTLED: Mapping[str, Any] = {
    "model": "hinton1200",
    "init": "he",
    "rng_seed": 42,
    "form": "lowrank",
    "rank": 150,
    "joint": True,
    "basis": "weights",
    "fraction": 0.1,
    "optimization_objective": "top_layer",
}
"""Defaults that are the same wherever they are read."""
STUDENTS = {
    "hinton1200": "hinton800",
    "lenet": "lenet_half",
    "alex": "alex_half",
    "vgg19": "vgg16",
}
"""Teacher -> its published student."""
GONE = {
    "model_meta": "a .keras file holds graph and weights: give --model_checkpoint",
    "commit": "done.json of each step names the commit by itself",
    "log_file": "config.json, done.json and report.md are the log",
}
_LAYERED: Meant = {
    name: ("optimization_objective", set(LAYERED))
    for name in ("joint_targets", "weighting", "rectify")
}
MEANT: Meant = {"rank": ("form", {"lowrank"}), **OF_SHIFTS, **_LAYERED}
_COUNTS = (
    *("train_batch_size", "test_batch_size", "eval_interval", "compared"),
    *("epochs", "rank"),
)
Objective = Literal[
    "top_layer",
    "all_layers",
    "all_layers_dropout",
    "spectral_all_layers",
    "spectral_layer_pairs",
]


@dataclass(frozen=True)
class DatafreeConfig:
    """Compress a model whose training data is gone."""

    procedure: Literal[
        "train",
        "compute_stats",
        "optimize_dataset",
        "distill",
        "plot",
        "leakage",
        "prune",
        "all",
    ] = flag("all", "Which step; each goes on from those before it.")
    run_name: str = flag("experiment", "Name of the run's folder.")
    summary_folder: str = flag("results", "Folder of all runs.")
    dataset: str | None = flag(
        None,
        "train and all: images that the teacher learns, by default mnist, of lenet "
        "mnist_conv. distill: by default the newest reconstructed set of the run; the "
        "folder of another, or a name for ordinary distillation. Others: a set or, by "
        "what it has learnt, a teacher.",
    )
    eval_dataset: str | None = flag(
        None,
        "Real images that students are judged on; by default the teacher's. Of a model "
        "file also what it has learnt from.",
    )
    model: str | None = flag(None, "Teacher; train makes hinton1200 by default.")
    model_checkpoint: str | None = flag(
        None, "Teacher as a .keras file, or the folder of a train step."
    )
    student_model: str | None = flag(
        None, "Student; by default the published one of the teacher, or hinton800."
    )
    init: Literal["he", "original"] | None = flag(
        None, "How weights of the published networks start; by default he."
    )
    rng_seed: int | None = flag(None, "Seed of each step; by default 42.")
    loss: Literal["xent", "mse", "attrxent"] = flag(
        "xent",
        "Of train: cross entropy; squares of probabilities less labels; or two-way "
        "cross entropy of each attribute.",
    )
    lr: float | None = flag(
        None, "Adam's; by default .001 for train, distill and prune, .07 for images."
    )
    epochs: int | None = flag(
        None,
        "By default 10 for train and prune, 30 for distill; of prune over the larger "
        "of its two sets of images, the smaller has as many updates.",
    )
    schedule: Literal["constant", "cosine"] = flag(
        "constant", "Course of the learning rate of train and distill."
    )
    augment: Augmentation = flag(
        "none", "Change of the images to learn from, as network_pruning.train has it."
    )
    shift: int = flag(2, "Pixels of --augment.")
    train_batch_size: int = flag(64, "Images in a training step.")
    test_batch_size: int = flag(1000, "Images judged at once.")
    eval_interval: int = flag(10, "Epochs of distill between looks at --eval_dataset.")
    checkpoint_interval: int = flag(
        0, "Epochs of train and distill between networks that are kept; 0 keeps none."
    )
    num_valid: int | None = flag(None, "Validation images; see network_pruning.train.")
    image_size: tuple[int, int] | None = flag(None, "Height,width to resize to.")
    layers: tuple[str, ...] | None = flag(
        None, "Layers to record; by default all dense and convolutional ones."
    )
    form: Literal["full", "lowrank", "diag", "mean"] | None = flag(
        None, "What is recorded of covariances; by default lowrank."
    )
    rank: int | None = flag(None, "Of lowrank; by default 150.")
    joint: bool | None = flag(
        None, "Whether layers are recorded together; by default they are."
    )
    compute_graphwise_stats: bool | None = flag(
        None, "Whether to record spectra; by default where the objective needs them."
    )
    basis: Literal["weights", "pca"] | None = flag(
        None, "Of the spectra; by default weights."
    )
    fraction: float | None = flag(
        None, "Coefficients of a spectrum that are kept; by default .1."
    )
    records: str | None = flag(None, "Records as a .npz; by default the run's.")
    optimization_objective: Objective | None = flag(
        None, "What images are moved by; by default top_layer."
    )
    images: int = flag(640, "Images made of each class.")
    steps: int = flag(400, "Steps of Adam on each image.")
    batch: int = flag(1000, "Images moved at once.")
    joint_targets: bool = flag(
        True, "Whether layers that were recorded together are drawn together."
    )
    residual: bool = flag(
        True, "Whether what factors leave out of variances is drawn, too."
    )
    weighting: Literal["balanced", "published"] = flag(
        "balanced", "Of layers: by their mean squares, or by their sizes as published."
    )
    rectify: bool = flag(True, "Whether activations pass a ReLU before comparison.")
    start_mean: float | None = flag(
        None, "Of pixels at the start; else as in the data."
    )
    start_sd: float | None = flag(None, "Likewise.")
    clip: bool = flag(True, "Whether pixels are kept in the range of the data.")
    blur: bool = flag(False, "Whether images are smoothed on the way.")
    blur_every: int = flag(1, "Steps from one smoothing to the next.")
    total_variation: float = flag(0.0, "Weight of the images' roughness.")
    batch_norm: float = flag(0.0, "Weight of the match of BatchNormalization.")
    temperature: float = flag(8.0, "Of distillation.")
    soft_weight: float = flag(1.0, "Share of the teacher's word, against the labels.")
    criteria: tuple[str, ...] = flag(
        ("taylor", "fisher", "shapley"), "Of prune: what ranks units."
    )
    sparsity: float = flag(0.5, "Of prune: share of the units that is cut.")
    compared: int = flag(1000, "Images of each kind that leakage compares.")
    model_meta: str | None = flag(None, f"Gone: {GONE['model_meta']}.")
    commit: str | None = flag(None, f"Gone: {GONE['commit']}.")
    log_file: str | None = flag(None, f"Gone: {GONE['log_file']}.")

    def __post_init__(self) -> None:
        """Judges every value.

        Raises:
            ValueError: In one line, for the first unfit value.
        """
        for name, instead in GONE.items():
            if getattr(self, name) is not None:
                raise ValueError(f"{name}: this flag is gone, {instead}")
        check_id("run_name", self.run_name, "summary_folder")
        if not self.summary_folder:
            raise ValueError("summary_folder: got none, expected a folder")
        check_from(fields_of(self, *_COUNTS), 1)
        check_from(fields_of(self, "checkpoint_interval", "shift"))
        check_from(fields_of(self, "images"), 2)  # One of each class validates.
        check_above(fields_of(self, "temperature", "lr"))
        check_share(fields_of(self, "soft_weight"))
        check_share(fields_of(self, "sparsity"), low="(", high=")")
        check_share(fields_of(self, "fraction"), low="(")
        check_meant_for(self, MEANT, type(self).get)
        check_criteria(self.criteria)
        if self.procedure == "train" and self.model_checkpoint is not None:
            raise ValueError(
                f"model_checkpoint: got {self.model_checkpoint} with "
                "--procedure=train, expected none: that step makes a network"
            )
        if self.rng_seed is not None:
            check_seeds((self.rng_seed,), "rng_seed")
        self.recipe()

    def get(self, name: str, procedure: str = "") -> Any:
        """Returns a flag, or what a procedure takes where it is not given."""
        value = getattr(self, name)
        if value is not None:
            return value
        return DEFAULTS.get(procedure, {}).get(name, SETTLED.get(name))

    def given(self, *names: str) -> dict[str, Any]:
        """Returns those of the named flags that are given."""
        return fields_of(self, *names)

    def recipe(self) -> Recipe:
        """Returns how images are made."""
        same = {field.name for field in dataclasses.fields(self)}
        names = [f.name for f in dataclasses.fields(Recipe) if f.name in same]
        chosen = {name: getattr(self, name) for name in names if name != "joint"}
        return Recipe(
            **chosen,
            objective=self.get("optimization_objective"),
            n=self.images,
            seed=self.get("rng_seed"),
            learning_rate=self.get("lr", "optimize_dataset"),
            joint=self.joint_targets,
        )

    def spectra(self) -> bool:
        """Returns whether spectra are to be recorded."""
        if self.compute_graphwise_stats is not None:
            return self.compute_graphwise_stats
        return self.optimization_objective in SCOPES

    def procedures(self) -> tuple[str, ...]:
        """Returns the steps to take; a network that is there is not trained."""
        if self.procedure != "all":
            return (self.procedure,)
        return PROCEDURES[1 if self.model_checkpoint is not None else 0 :]
