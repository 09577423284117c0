"""Trainings of students that teachers guide, in a run's folder."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import tf_keras as keras

from network_pruning.classifiers import plain
from network_pruning.distillation.distiller import Distiller
from network_pruning.distillation.hints import Hint
from network_pruning.distillation.stored import cache_logits
from network_pruning.distillation.teachers import check_pair
from network_pruning.graph import fingerprint
from network_pruning.jobs.fit import OnEpoch, fit
from network_pruning.jobs.plans import FitPlan
from network_pruning.jobs.trainings import Training, finished
from network_pruning.runs import RunDir
from network_pruning.training import AfterUpdate
from network_pruning.types import Dataset, FloatArray

LOGITS = "teacher_logits"
"""Folder of a run that keeps outputs of teachers; students of the same share them."""


@dataclass(frozen=True)
class Lesson:
    """What a student is to learn from its teachers, see `Distiller`.

    Attributes:
        loss: kd, reversed_kd, dkd, dist or attributes.
        temperature: T, above 0.
        soft_weight: Share of the soft part, in [0, 1].
        hints: Layers that learn from layers.
        options: Of the loss, by name.
    """

    loss: str = "kd"
    temperature: float = 5.0
    soft_weight: float = 0.9
    hints: tuple[Hint, ...] = ()
    options: Mapping[str, float] = field(default_factory=dict)


def distill(
    make_student: Callable[[], keras.Model],
    teachers: Sequence[keras.Model],
    data: Dataset,
    plan: FitPlan,
    lesson: Lesson,
    run: RunDir,
    folder: str,
    *,
    identity: str = "",
    after_update: AfterUpdate | None = None,
    on_epoch: OnEpoch | None = None,
) -> Training:
    """Trains a student, or goes on where a stopped training was.

    The teachers' outputs are computed once where the same images come in every epoch
    from memory, and in every step otherwise.

    Args:
        make_student: Builds it, initial weights included (called under the seed). Of
            one that clusters the plain network is kept.
        teachers: One or several, whose predictions are averaged.
        data: Train and valid splits are used; test is not touched.
        plan: How it is trained.
        lesson: What it is taught.
        run: Where files go.
        folder: Of this training, inside the run.
        identity: Names what else the training comes from; lesson and teachers are put
            to it here.
        after_update: See `Trainer`.
        on_epoch: See `fit`.

    Returns:
        The finished training. Its history has the Distiller's parts, and val_loss of
        the labels' cross entropy alone.

    Raises:
        DivergedError: If the loss is no number; the last good state stays on disk.
        ValueError: If something does not fit: networks, settings, or what is stored.
    """
    teachers = list(teachers)
    if not teachers:
        raise ValueError("teachers: got none, expected at least one model")
    stores = _may_store(data, plan, lesson)
    targets = None
    if stores and finished(run, folder) is None:
        targets = _stored(teachers, data, run)

    def make_trainer(
        student: keras.Model, after_update: AfterUpdate | None, l2_decay: float
    ) -> Distiller:
        for teacher in teachers:
            check_pair(student, teacher)
        return Distiller(
            student,
            None if stores else teachers,
            lesson.loss,
            lesson.temperature,
            lesson.soft_weight,
            lesson.hints,
            after_update=after_update,
            l2_decay=l2_decay,
            **lesson.options,
        )

    return fit(
        make_student,
        data,
        plan,
        run,
        folder,
        identity=_identity(identity, lesson, teachers),
        after_update=after_update,
        export=plain,
        on_epoch=on_epoch,
        make_trainer=make_trainer,
        targets=targets,
    )


def _may_store(data: Dataset, plan: FitPlan, lesson: Lesson) -> bool:
    """Returns whether teachers see the same images in every epoch, on one device."""
    resident = data.in_memory and plan.distribute == "none"
    return resident and not plan.augments and not lesson.hints


def _stored(teachers: list[keras.Model], data: Dataset, run: RunDir) -> FloatArray:
    marks = "".join(fingerprint(plain(model)) for model in teachers)
    mark = hashlib.sha256((marks + data.fingerprint).encode()).hexdigest()[:16]
    return cache_logits(teachers, data, run, f"{LOGITS}/{mark}.npz")


def _identity(rest: str, lesson: Lesson, teachers: list[keras.Model]) -> str:
    """Returns what names a training that is taught, beside the rest."""
    told = [
        dataclasses.asdict(lesson),
        [fingerprint(plain(model)) for model in teachers],
    ]
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
    return f"{rest} taught by {digest}".strip()
