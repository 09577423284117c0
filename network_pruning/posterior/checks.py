"""Whether a teacher, its students and the images they learn on fit together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tf_keras as keras

from network_pruning.classifiers import check_classifier
from network_pruning.posterior.students import Student


def check_teacher(teacher: keras.Model) -> None:
    """Judges whether a network can walk through a posterior.

    Raises:
        ValueError: If it is no classifier of two classes or more, or all is frozen.
    """
    check_classifier(teacher)
    classes = teacher.outputs[0].shape[-1]
    if classes is None or classes < 2:
        raise ValueError(
            f"teacher {teacher.name!r}: got {classes} outputs, expected one for each "
            "of two classes or more: of two classes, two logits"
        )
    if not teacher.trainable_weights:
        raise ValueError(
            f"teacher {teacher.name!r} has no weight that could walk, expected "
            "trainable ones: teacher.trainable = True"
        )


def check_students(
    teacher: keras.Model, students: Sequence[Student], pool: Any
) -> None:
    """Judges students together.

    Args:
        teacher: Theirs.
        students: All of them.
        pool: Images that they learn on; None where nobody learns.

    Raises:
        ValueError: If they are no Students, share what each must have for itself, or
            the images are not what all take.
    """
    _check_kind(students)
    models = [teacher, *(student.model for student in students)]
    _check_own(models, students)
    if students:
        _check_pool(models, pool)


def _check_kind(students: Any) -> None:
    for one in students if isinstance(students, list | tuple) else [students]:
        if not isinstance(one, Student):
            raise ValueError(
                f"students: got {type(one).__name__}, expected a list of Students, as "
                "in students=[npr.Student(model)]"
            )
    if isinstance(students, Student):
        raise ValueError("students: got one Student, expected a list: [student]")


def _check_own(models: Sequence[keras.Model], students: Sequence[Student]) -> None:
    for i, model in enumerate(models):
        for other in models[:i]:
            if {id(w) for w in model.weights} & {id(w) for w in other.weights}:
                raise ValueError(
                    f"students: {model.name!r} shares weights with {other.name!r}, "
                    "expected a model of its own: keras.models.clone_model makes one"
                )
    names = [student.name for student in students]
    if len(set(names)) < len(names):
        raise ValueError(
            f"students: got {', '.join(names)}, expected different names: give each "
            "model its own, keras.Model(..., name=...)"
        )
    own = [id(s.optimizer) for s in students if s.optimizer is not None]
    if len(set(own)) < len(own):
        raise ValueError(
            "students: got one optimiser for two of them, expected one of its own for "
            "each, or none"
        )


def _check_pool(models: Sequence[keras.Model], pool: Any) -> None:
    if pool is None:
        raise ValueError(
            "pool: got none, expected the images that students learn on, as in "
            "pool=x_train"
        )
    for model in models:
        takes = model.inputs[0].shape
        if not len(pool) or not takes.is_compatible_with(np.shape(pool)):
            raise ValueError(
                f"pool: got images {list(np.shape(pool))}, expected "
                f"{takes.as_list()} and one at least, which {model.name!r} takes"
            )
