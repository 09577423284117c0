"""The table: which teachers and students, images by what, at what settings."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SEEDS = (0, 1, 2)
INITS = ("he", "original")
TEACHER, STUDENT, DISTILLED = "teacher", "student", "distilled"
NOISE, CLASS_MEANS = "noise", "class_means"
BASELINES = (TEACHER, STUDENT, DISTILLED, NOISE, CLASS_MEANS)
"""The teacher; students of real labels, and of it on real images, noise, means."""
PRUNE, LEAKAGE = "prune", "leakage"
FURTHER = (PRUNE, LEAKAGE)
NONE = "none"
"""Form of records where there are none."""
TOP = "logits"
"""Top layer of the published networks."""

Flags = Mapping[str, Any]
_OF_TOP: Mapping[str, Flags] = {
    "full": {"form": "full", "layers": (TOP,)},
    "diag": {"form": "diag", "layers": (TOP,)},
}
_OF_LAYERS: Mapping[str, Flags] = {
    "lowrank": {"form": "lowrank", "rank": 150, "joint": True},
    "full": {"form": "full", "joint": False},
    "diag": {"form": "diag", "joint": True},
}
_OF_SPECTRA: Mapping[str, Flags] = {
    basis: {"form": "mean", "basis": basis, "compute_graphwise_stats": True}
    for basis in ("weights", "pca")
}
FORMS: Mapping[str, Mapping[str, Flags]] = {
    "all_layers": _OF_LAYERS,
    "all_layers_dropout": _OF_LAYERS,
    "top_layer": _OF_TOP,
    "spectral_all_layers": _OF_SPECTRA,
    "spectral_layer_pairs": _OF_SPECTRA,
}
"""Objective -> form of records -> flags of compute_stats. lowrank is of all layers
together, full of each alone; of spectra the form is the basis."""


@dataclass(frozen=True)
class Trained:
    """A network that another command has trained.

    Attributes:
        path: Its .keras file.
        num_valid: Images that its training left for validation.
    """

    path: str
    num_valid: int


@dataclass(frozen=True)
class Pair:
    """A teacher and its student.

    Attributes:
        teacher: By name.
        student: Likewise.
        dataset: Real images, that the teacher learns from and students are judged on.
        objectives: Those that its teacher can be asked for.
        train: Flags of every training on real images.
        images: Flags of optimize_dataset; noise and means are as many.
        distill: Flags of distill on images that are not real.
        bar: Test accuracy in percent that the best form should reach, if there is one.
        inits: Starts of the weights.
        form: The one form of the records; None: all of each objective.
        baselines: Those beside it.
        further: Procedures that use the images of its first objective, and their flags.
        records: Flags of compute_stats beside those of the form.
        source_seed: Of one teacher, one set of records and one of images, that the
            students of all seeds learn from; None: each seed has its own.
        trained: The teacher, where no cell is to train it.
    """

    teacher: str
    student: str
    dataset: str
    objectives: tuple[str, ...]
    train: Flags
    images: Flags
    distill: Flags
    bar: float | None = None
    inits: tuple[str, ...] = INITS
    form: str | None = None
    baselines: tuple[str, ...] = BASELINES
    further: Mapping[str, Flags] = field(default_factory=dict)
    records: Flags = field(default_factory=dict)
    source_seed: int | None = None
    trained: Trained | None = None

    def digest(self) -> str:
        """Returns 8 hex digits that change with how cells are made."""
        made = [dict(self.train), dict(self.images), dict(self.distill)]
        names = self.teacher, self.student, self.dataset
        # Named where there are some alone: cells of older pairs keep their digests.
        rest: list[Any] = [dict(self.records)] if self.records else []
        rest += [] if self.source_seed is None else [self.source_seed]
        rest += [] if self.trained is None else [dataclasses.asdict(self.trained)]
        text = json.dumps([*names, *made, *rest], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def forms(self, objective: str) -> tuple[str, ...]:
        """Returns the forms of records of an objective, or of a baseline."""
        if objective not in FORMS:
            return (NONE,)
        return (self.form,) if self.form else tuple(FORMS[objective])


_COSINE = {"schedule": "cosine"}
_SHIFT = {"augment": "shift", "shift": 1}
# Few steps, for a cell is to take minutes. Smoothing is what most matters: on valid,
# seed 0, the top layer alone gives FC 61.2 without it and 76.8 with it.
_GRID: Mapping[str, Any] = {
    "images": {"images": 640, "steps": 60, "lr": 0.05, "blur": True, "blur_every": 4},
    "distill": {"epochs": 30, **_COSINE, **_SHIFT},
}
_FC = Pair(
    "hinton1200",
    "hinton800",
    "mnist",
    tuple(FORMS),
    train={"epochs": 10, "train_batch_size": 256, **_COSINE},
    **_GRID,
)
_LENET = Pair(
    "lenet",
    "lenet_half",
    "mnist_conv",
    tuple(name for name in FORMS if name != "all_layers_dropout"),
    train={"epochs": 8, "train_batch_size": 128, **_COSINE},
    **_GRID,
)


def _best(pair: Pair, **changes: Any) -> Pair:
    """Returns a pair at settings chosen for accuracy on the real validation split."""
    return dataclasses.replace(
        pair, objectives=("all_layers",), form="lowrank", inits=("he",), **changes
    )


_BESIDE = (TEACHER, NOISE, CLASS_MEANS)
# On valid, seed 0: FC 94.7 with 200 images, 96.5 with 640 (and with 2000), 97.2
# smoothed as well; LeNet 95.6, 97.1 and 97.1. More steps changed nothing.
_MORE: Mapping[str, Any] = {
    "images": {"images": 640, "steps": 100, "lr": 0.05, "blur": True, "blur_every": 10},
    "distill": {"epochs": 40, **_COSINE, **_SHIFT},
}
# LeNet again, images turned as well: 97.5 in 40 epochs, 98.5 in 300; blended with one
# another, too, 97.6 and 98.5.
_TURNED_LESSON = {
    **{"train_batch_size": 128, "lr": 0.003, "temperature": 4.0, **_COSINE},
    **{"augment": "affine", "shift": 2},
}
_TURNED = {**_MORE, "distill": {"epochs": 300, **_TURNED_LESSON}}
# 50 000 images take the better part of an hour: one set for the students of all seeds.
_COLOURED: Mapping[str, Any] = {
    "objectives": ("all_layers",),
    "form": "lowrank",
    "inits": ("he",),
    "baselines": BASELINES,
    "source_seed": 0,
}
# On valid, seed 0: with 200 images a class of 60 steps 31.6 from the last three layers,
# 34.3 from conv2 as well. With 5000 of 20 steps 40.3 mirrored and moved, and 43.0 where
# the student sees them as they are. Of moved ones it says as the teacher does in .76 of
# cases, but names the class aimed at in .30 alone (.87 and .80 as they are).
_QUICK = Pair(
    "quick",
    "quick_student",
    "cifar10",
    train={"epochs": 20, "train_batch_size": 128, "lr": 0.002, **_COSINE},
    images={"images": 5000, "steps": 20, "lr": 0.05, "blur": True, "blur_every": 5},
    distill={
        **{"epochs": 10, "train_batch_size": 128, "lr": 0.002, "temperature": 4.0},
        **_COSINE,
    },
    records={"layers": ("conv2", "conv3", "fc1", "logits")},
    **_COLOURED,
)
# Of the weights 0, .1, 1 and 10 for the match of BatchNormalization, 1 was the best on
# valid, seed 0, with 200 images a class.
_RESNET20 = dataclasses.replace(
    _QUICK,
    teacher="resnet20",
    train={**_QUICK.train, "augment": "flip_shift", "shift": 4},
    images={**_QUICK.images, "batch_norm": 1.0},
    records={"layers": ("stage3_block1_conv2", "stage3_block3_conv2", TOP)},
    trained=Trained(
        "references/runs/cifar10-50-lr=0.1-l1=0-l2=0-c8c592c740/checkpoints/seed=0/"
        "val_accuracy.keras",
        num_valid=5000,
    ),
)
PAIRS: Mapping[str, Pair] = {
    "fc": _FC,
    "lenet": _LENET,
    "fc_best": _best(_FC, **_MORE, bar=97.0, baselines=_BESIDE),
    "lenet_best": _best(
        _LENET,
        **_TURNED,
        bar=98.2,
        baselines=_BESIDE,
        further={PRUNE: _TURNED_LESSON, LEAKAGE: {}},
    ),
    "fc_fashion": _best(_FC, **_MORE, dataset="fashion"),
    "lenet_fashion": _best(_LENET, **_TURNED, dataset="fashion_conv"),
    "quick": _QUICK,
    "resnet20": _RESNET20,
}
"""Name -> pair."""
