"""Hints: layers of a student that learn from layers of its teacher.

Both are read before their activation. Where a loss needs equal widths, an adapter (a
dense layer along the channels, that is a 1x1 convolution) is learned with the student,
without being part of it; where it needs equal places, the student's are resized.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
import tf_keras as keras

from network_pruning.distillation.feature_losses import FEATURE_LOSSES
from network_pruning.ranges import check_above
from network_pruning.replicas import over_whole_batch
from network_pruning.taps import Shape, tap_shapes


@dataclass(frozen=True)
class Hint:
    """What one layer of the student learns from one of the teacher.

    Attributes:
        student: Path of the student's layer.
        teacher: Path of the teacher's layer.
        loss: hint, attention_transfer, similarity_preserving or relational.
        weight: Of the loss.
    """

    student: str
    teacher: str
    loss: str = "hint"
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Judges the loss and its weight.

        Raises:
            ValueError: If one is unfit.
        """
        if self.loss not in FEATURE_LOSSES:
            raise ValueError(
                f"loss of {self}: got {self.loss!r}, expected one of "
                f"{', '.join(FEATURE_LOSSES)}"
            )
        check_above({f"weight of {self}": self.weight})

    def __str__(self) -> str:
        return f"hint {self.teacher!r} -> {self.student!r}"


Hints = Mapping[str, str] | Sequence[Hint]
"""The teacher's layer by the student's, each with the plain loss; or hints as such."""


def read_hints(hints: Hints | None) -> tuple[Hint, ...]:
    """Returns hints written in either way.

    Raises:
        ValueError: If they are something else.
    """
    if hints is None:
        return ()
    if isinstance(hints, Mapping) and all(isinstance(p, str) for p in hints.values()):
        return tuple(Hint(student, teacher) for student, teacher in hints.items())
    given: Any = hints
    if isinstance(given, list | tuple) and all(isinstance(h, Hint) for h in given):
        return tuple(given)
    raise ValueError(
        f"hints: got {hints!r}, expected a dict of the teacher's layer by the "
        "student's, or a list of Hint"
    )


def make_hinted(
    hints: Sequence[Hint], student: keras.Model, teacher: keras.Model
) -> list[HintedLayer]:
    """Makes what compares the layers.

    Args:
        hints: What is to be learned.
        student: Functional or Sequential.
        teacher: Likewise.

    Returns:
        A layer for each hint.

    Raises:
        ValueError: If a layer is unknown, or two cannot be compared.
    """
    theirs = _shapes("teacher", teacher, unique(hint.teacher for hint in hints))
    ours = _shapes("student", student, unique(hint.student for hint in hints))
    return [HintedLayer(h, ours[h.student], theirs[h.teacher]) for h in hints]


def _shapes(whose: str, model: keras.Model, paths: list[str]) -> dict[str, Shape]:
    """Returns the shapes that hints compare; a refusal says whose layer is meant.

    Raises:
        ValueError: As `taps.tap_shapes`.
    """
    try:
        return tap_shapes(model, paths)
    except ValueError as error:
        raise ValueError(f"hints, of the {whose}: {error}") from None


def unique(paths: Iterable[str]) -> list[str]:
    """Returns each path once, in order."""
    return list(dict.fromkeys(paths))


class HintedLayer(keras.layers.Layer):
    """Compares the activations of two layers.

    Attributes:
        hint: What it is for.
        adapter: Brings the student's channels to the teacher's; None where it need not.
    """

    def __init__(self, hint: Hint, student: Shape, teacher: Shape) -> None:
        """Makes the adapter, if one is needed.

        Args:
            hint: What it is for.
            student: Shape [n, ..., channels] of the student's activation.
            teacher: Likewise.

        Raises:
            ValueError: If the loss cannot compare such shapes.
        """
        name = f"hint_{hint.student}_{hint.teacher}_{hint.loss}".replace("/", "_")
        super().__init__(name=name, dtype="float32")
        self.hint = hint
        self._loss = FEATURE_LOSSES[hint.loss]
        _check_shapes(hint, student, teacher)
        places = {student[1:-1], teacher[1:-1]}
        settled = len(places) == 1 and None not in student[1:-1]
        self._resizes = self._loss.same_places and len(student) == 4 and not settled
        self.adapter = None
        if self._loss.same_channels and student[-1] != teacher[-1]:
            self.adapter = keras.layers.Dense(teacher[-1], dtype="float32")
            self.adapter.build(student)
        self.built = True

    def call(self, student: tf.Tensor, teacher: tf.Tensor) -> tf.Tensor:
        """Computes the weighted loss of each example.

        Args:
            student: Activation [n, ..., channels] of this replica's examples.
            teacher: Likewise.

        Returns:
            Loss [n] times its weight.
        """
        student, teacher = (tf.cast(x, tf.float32) for x in (student, teacher))
        if self._resizes:
            student = tf.image.resize(student, tf.shape(teacher)[1:3])
        if self.adapter is not None:
            student = self.adapter(student)
        if self._loss.batchwise:
            each = over_whole_batch(self._loss.compute, student, teacher)
        else:
            each = self._loss.compute(student, teacher)
        return self.hint.weight * each


def _check_shapes(hint: Hint, student: Shape, teacher: Shape) -> None:
    """Judges whether two activations can be compared.

    Raises:
        ValueError: If not.
    """
    loss = FEATURE_LOSSES[hint.loss]
    if not loss.same_places:
        return
    fits = len(student) == len(teacher)
    expected = "both of images, or both of dense layers"
    if not loss.same_channels:
        fits, expected = fits and len(student) > 2, "both of convolutions"
    if fits and len(student) not in {2, 4}:
        fits = student[1:-1] == teacher[1:-1]
        expected = (
            "equal lengths: those of two-dimensional convolutions alone are resized"
        )
    if not fits:
        raise ValueError(
            f"{hint}: got activations {list(student)} of the student and "
            f"{list(teacher)} of the teacher, expected {expected}"
        )
