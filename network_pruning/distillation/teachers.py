"""Networks that teach: judged beside their student, asked, kept as they are."""

from __future__ import annotations

import os
from collections.abc import MutableMapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf
import tf_keras as keras

from network_pruning import losses
from network_pruning.classifiers import check_classifier, ends_in_softmax, plain
from network_pruning.distillation.hints import Hint
from network_pruning.taps import call_tapped

Teachers: TypeAlias = keras.Model | Sequence[keras.Model] | None
Store: TypeAlias = MutableMapping[str, Any]


class Teacher:
    """Networks that are asked, and not taught; Keras does not see them as ours.

    Attributes:
        models: Empty where logits are stored.
        is_blank: Whether their weights are still to come from a file.
    """

    def __init__(self, models: Sequence[keras.Model], paths: Sequence[str]) -> None:
        self.models = tuple(models)
        self._softmax = [ends_in_softmax(model) for model in models]
        self._paths = list(paths)
        self.is_blank = False

    @property
    def weights(self) -> list[tf.Variable]:
        """Those of all models, in order."""
        return [weight for model in self.models for weight in model.weights]

    def ask(self, images: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Runs the teachers in inference.

        Args:
            images: [n, h, w, c].

        Returns:
            Logits [n, classes], of several [n, teachers, classes]; and the activations
            that hints need, by path.
        """
        taps: dict[str, tf.Tensor] = {}
        several = []
        for model, softmax in zip(self.models, self._softmax, strict=True):
            if self._paths:
                outputs, taps = call_tapped(plain(model), images, self._paths, False)
            else:
                outputs = model(images, training=False)
            several.append(losses.as_logits(losses.full_precision(outputs), softmax))
        return several[0] if len(several) == 1 else tf.stack(several, axis=1), taps

    def save(self, store: Store) -> None:
        """Writes the weights, by number.

        Args:
            store: Of a file that Keras writes.
        """
        for number, weight in enumerate(self.weights):
            store[str(number)] = weight.numpy()

    def load(self, store: Store) -> None:
        """Takes the weights of a file; those that are there already stay.

        Args:
            store: What `save` has filled.

        Raises:
            ValueError: If the file's teacher is another one.
        """
        kept = [np.asarray(store[str(number)]) for number in range(len(store))]
        if self.is_blank:
            keras.backend.batch_set_value(list(zip(self.weights, kept, strict=True)))
            self.is_blank = False
            return
        ours = [weight.numpy() for weight in self.weights]
        if len(ours) != len(kept) or not all(map(np.array_equal, ours, kept)):
            raise ValueError(
                "teacher: the file was written with a teacher of other weights, "
                "expected the same one: keras.models.load_model brings it back"
            )


def judged(
    teacher: Teachers, student: keras.Model, hints: Sequence[Hint]
) -> list[keras.Model]:
    """Judges teachers.

    Returns:
        Them; none where logits are stored.

    Raises:
        ValueError: If there are none, they do not fit their student, or several (or
            stored ones) are to give hints.
    """
    models = list(teacher) if isinstance(teacher, list | tuple) else [teacher]
    if teacher is None:
        models = []
    elif not models:
        raise ValueError("teacher: got an empty list, expected at least one model")
    for model in models:
        if isinstance(model, str | os.PathLike):
            raise ValueError(
                f"teacher: got the path {model}, expected a model, as "
                "keras.models.load_model gives it"
            )
        check_pair(student, model)
    if hints and len(models) != 1:
        raise ValueError(
            f"hints: got {len(models)} teachers, expected one model, whose layers can "
            "be read"
        )
    if hints and plain(student) is not student and not hasattr(student, "call_tapped"):
        raise ValueError(
            f"hints: got a {type(student).__name__} as student, which does not show "
            "its layers, expected a functional or Sequential model"
        )
    return models


def check_pair(student: keras.Model, teacher: keras.Model) -> None:
    """Judges whether a student can learn from a teacher, as far as both have a graph.

    Raises:
        ValueError: If one is no classifier, their inputs or classes differ, or a weight
            is both's.
    """
    for model in (student, teacher):
        check_model(model)
    pair = [plain(student), plain(teacher)]
    if {id(w) for w in student.weights} & {id(w) for w in teacher.weights}:
        raise ValueError(
            f"teacher {teacher.name!r}: shares weights with its student, expected "
            "another model: keras.models.clone_model makes one"
        )
    if not all(model._is_graph_network for model in pair):
        return
    for what, shapes in {
        "input shapes": [model.inputs[0].shape[1:] for model in pair],
        "classes": [model.outputs[0].shape[1:] for model in pair],
    }.items():
        if not shapes[0].is_compatible_with(shapes[1]):
            raise ValueError(
                f"{what}: got {list(shapes[0])} of the student and {list(shapes[1])} "
                "of the teacher, expected the same"
            )


def check_student(student: Any, loss: str) -> None:
    """Judges whether a model can learn, as far as it has a graph.

    Args:
        student: What is to be taught.
        loss: Of the soft part.

    Raises:
        ValueError: If it is no classifier, has nothing to compare, or is frozen.
    """
    check_model(student)
    model = plain(student)
    if not model._is_graph_network:
        return
    if model.outputs[0].shape[-1] == 1 and loss != "attributes":
        raise ValueError(
            f"student {model.name!r}: got one output, expected at least 2 classes: "
            "the softmax of one logit is 1 whatever it is; loss='attributes' compares "
            "one by one"
        )
    if not student.trainable_weights:
        raise ValueError(
            f"student {model.name!r}: got no weight that is trainable, expected some: "
            "set student.trainable = True"
        )


def check_model(model: Any) -> None:
    """Judges whether this is a classifier, as far as it has a graph.

    Raises:
        ValueError: If it is no tf_keras model, or its graph is no classifier's.
    """
    model = plain(model)
    if not isinstance(model, keras.Model) or model._is_graph_network:
        check_classifier(model)
