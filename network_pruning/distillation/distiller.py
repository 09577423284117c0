"""A trainer that teaches a student what one or several trained networks know."""

from __future__ import annotations

import functools
import inspect
from dataclasses import asdict
from typing import Any

import tensorflow as tf
import tf_keras as keras

from network_pruning import losses
from network_pruning.classifiers import plain
from network_pruning.distillation.hints import (
    Hint,
    Hints,
    make_hinted,
    read_hints,
    unique,
)
from network_pruning.distillation.soft_losses import (
    BATCHWISE,
    LABELLED,
    SOFT_LOSSES,
    mix,
)
from network_pruning.distillation.teachers import (
    Store,
    Teacher,
    Teachers,
    check_student,
    judged,
)
from network_pruning.ranges import check_above, check_from, check_share
from network_pruning.replicas import over_whole_batch
from network_pruning.taps import call_tapped
from network_pruning.training import (
    AfterUpdate,
    Trainer,
    check_keras_file,
    hard_loss,
    is_dense,
    is_right,
)

Batch = tuple[tf.Tensor, tf.Tensor | None, tf.Tensor | None]


@keras.saving.register_keras_serializable("network_pruning")
class Distiller(Trainer):
    """Teaches a student with its teacher's outputs, with labels, and with hints.

    The loss of a step is soft_weight * T^2 * soft + (1 - soft_weight) * hard + hints
    + the student's penalties, where soft compares both networks' logits at temperature
    T and hard is the cross entropy of the labels. T^2 keeps the gradients of soft as
    large as at temperature 1 (G. Hinton, O. Vinyals, J. Dean, 2015, section 2). It is
    one loss, and one update.

    A batch is (images [n, h, w, c], labels [n] or [n, 1], or [n, attributes]); without
    labels, images alone, where soft_weight is 1. With stored outputs (teacher None) the
    teacher's logits [n, classes], of several teachers [n, teachers, classes], come last
    in it.

    The teacher is asked without a gradient and in inference; its weights and penalties
    are no part of this model. A student that clusters or has other penalties of its own
    learns with them.

    It saves and loads whole, teachers included; `student` alone is an ordinary model.
    """

    TOLD = ("loss", "soft", "hard", "hints", "accuracy", "agreement")

    def __init__(
        self,
        student: keras.Model,
        teacher: Teachers,
        loss: str = "kd",
        temperature: float = 5.0,
        soft_weight: float = 0.9,
        hints: Hints | None = None,
        *,
        after_update: AfterUpdate | None = None,
        l2_decay: float = 0.0,
        **options: Any,
    ) -> None:
        """Judges the networks and settings.

        Args:
            student: Ends in logits or in a softmax, like its teacher. One that stands
                for another (`classifiers.plain`) learns by hints if it has a method
                `call_tapped`, which does as `taps.call_tapped`.
            teacher: A model; a list, whose predictions are averaged; or None where
                batches carry stored logits.
            loss: Of the soft part: kd, reversed_kd, dkd (needs labels), dist, or
                attributes where an example has any number of labels.
            temperature: T, above 0.
            soft_weight: Share of the soft part, in [0, 1].
            hints: The teacher's layer by the student's that learns from it, or a list
                of `Hint`; each adds its weight times its loss.
            after_update: See `Trainer`.
            l2_decay: See `Trainer`.
            **options: Of the soft loss, see its function.

        Raises:
            ValueError: In one line, for the first that is unfit.
        """
        _check_settings(loss, temperature, soft_weight, options)
        check_student(student, loss)
        super().__init__(student, after_update, l2_decay)
        self.temperature = temperature
        self.soft_weight = soft_weight
        self._loss, self._options = loss, options
        self._compare = functools.partial(SOFT_LOSSES[loss], **options)
        self._batchwise, self._labelled = loss in BATCHWISE, loss in LABELLED
        wanted = read_hints(hints)
        models = judged(teacher, student, wanted)
        self._teacher = Teacher(models, unique(hint.teacher for hint in wanted))
        self._hinted = []
        if wanted:
            self._hinted = make_hinted(wanted, plain(student), plain(models[0]))
        self.built = True

    @property
    def student(self) -> keras.Model:
        """The network that learns."""
        return self.network

    @property
    def state(self) -> list[tf.Variable]:
        """What a training changes beside the optimiser: adapters of hints come last."""
        return [*super().state, *(w for layer in self._hinted for w in layer.weights)]

    @property
    def jit_pays(self) -> bool:
        """Whether the step is faster compiled with XLA, on a CPU."""
        return super().jit_pays and all(map(is_dense, self._teacher.models))

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Takes one step.

        Args:
            data: This replica's batch.

        Returns:
            Means since the epoch began: loss; soft, without its factors; with labels,
            hard (nats) and accuracy; with hints, hints; agreement, the share of
            examples where student and teacher choose the same class (of attributes: of
            those they see alike); and the student's own metrics.
        """
        images, labels, stored = self._unpack(data)
        lesson = self._teacher.ask(images) if stored is None else (stored, {})
        return self.learn(
            functools.partial(self._weigh, images, labels, *lesson, training=True)
        )

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Measures one batch, and updates no weight.

        Args:
            data: As in `train_step`.

        Returns:
            As `train_step`.
        """
        images, labels, stored = self._unpack(data)
        lesson = self._teacher.ask(images) if stored is None else (stored, {})
        each, told = self._weigh(images, labels, *lesson, training=False)
        return self.report_test(each, told)

    def save(self, filepath: Any, *args: Any, **options: Any) -> None:
        """Saves student, teachers and adapters, see keras.Model.save.

        Args:
            filepath: A .keras file.
            *args: As there.
            **options: As there.

        Raises:
            ValueError: If it is none: of a SavedModel Keras brings no trainer back.
        """
        check_keras_file(filepath, "student")
        super().save(filepath, *args, **options)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments.

        Raises:
            ValueError: If one of them is a function, which no file can hold.
        """
        if self.after_update is not None:
            raise ValueError(
                "after_update: got a function, which a file cannot hold: save .student "
                "instead, or the weights by save_weights"
            )
        write = keras.saving.serialize_keras_object
        models = [write(model) for model in self._teacher.models]
        return {
            "student": write(self.student),
            "teacher": models or None,
            "loss": self._loss,
            "temperature": self.temperature,
            "soft_weight": self.soft_weight,
            "hints": [asdict(layer.hint) for layer in self._hinted],
            "l2_decay": self.l2_decay,
            **self._options,
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: Any = None
    ) -> Distiller:
        """Makes a distiller of these arguments; weights are still to be loaded.

        Args:
            config: What `get_config` returns.
            custom_objects: Classes by name, for the layers of student and teachers.

        Returns:
            The distiller.
        """
        read = functools.partial(
            keras.saving.deserialize_keras_object, custom_objects=custom_objects
        )
        models = config["teacher"] and [read(model) for model in config["teacher"]]
        hints = [Hint(**hint) for hint in config["hints"]]
        given = {"student": read(config["student"]), "teacher": models, "hints": hints}
        made = cls(**{**config, **given})
        made._teacher.is_blank = True
        return made

    def save_own_variables(self, store: Store) -> None:
        """Writes the teachers' weights into a file of Keras; see keras.Model.

        Args:
            store: Where they go.
        """
        self._teacher.save(store)

    def load_own_variables(self, store: Store) -> None:
        """Takes the teachers' weights from a file of Keras; see keras.Model.

        Args:
            store: Where they are.

        Raises:
            ValueError: If this distiller has teachers, and the file has others.
        """
        self._teacher.load(store)

    def _unpack(self, data: Any) -> Batch:
        """Tells the parts of a batch.

        Returns:
            Images, and what there is of labels and stored logits.

        Raises:
            ValueError: If they are not what the settings need.
        """
        parts = list(data) if isinstance(data, tuple | list) else [data]
        count, stored = len(parts), None
        # One attribute has stored logits [n, 1].
        weights = [[1], []] if self._loss != "attributes" else [[]]
        if count > 2 and parts[-1].shape[1:] in weights:
            raise ValueError(
                "batch: got weights of its examples, expected none: a distiller takes "
                "neither sample_weight nor class_weight"
            )
        if not self._teacher.models:
            stored = parts.pop()
        if len(parts) not in {1, 2} or (stored is not None and not _is_float(stored)):
            expected = "images, labels" + ", logits" * (stored is not None)
            raise ValueError(
                f"batch: got {count} parts, expected {expected}; logits are floats, "
                "and come where teacher is None"
            )
        images, labels = (parts + [None])[:2]
        if labels is None and (self.soft_weight < 1 or self._labelled):
            raise ValueError(
                "batch: got no labels, expected int [n]: they can only be left out "
                f"with soft_weight=1 and a loss other than {', '.join(LABELLED)}"
            )
        if labels is None:
            return images, labels, stored
        if self._loss != "attributes":
            return images, losses.as_classes(labels), stored
        if labels.shape.rank != 2:
            raise ValueError(
                f"labels: got shape {labels.shape}, expected [n, attributes] for the "
                "loss 'attributes'"
            )
        return images, labels, stored

    def _weigh(
        self,
        images: tf.Tensor,
        labels: tf.Tensor | None,
        wisdom: tf.Tensor,
        their_taps: dict[str, tf.Tensor],
        training: bool,
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Compares the student with its teacher and with the labels.

        Returns:
            The loss of each example [n] without penalties, and its parts.
        """
        logits, taps = self._run(images, training)
        wisdom = self._as_one(wisdom, logits)
        told = {"soft": self._soft(logits, wisdom, labels)}
        each = self.soft_weight * self.temperature**2 * told["soft"]
        if labels is not None:
            told["hard"] = hard_loss(logits, labels)
            each += (1 - self.soft_weight) * told["hard"]
            told["accuracy"] = is_right(logits, labels)
        if self._hinted:
            told["hints"] = tf.add_n([
                layer(taps[layer.hint.student], their_taps[layer.hint.teacher])
                for layer in self._hinted
            ])
            each += tf.cast(told["hints"], each.dtype)
        chosen = tf.argmax(wisdom, axis=-1)
        if self._loss == "attributes":
            chosen = tf.cast(wisdom > 0, tf.int32)
        told["agreement"] = is_right(logits, chosen)
        return each, {name: told[name] for name in self.TOLD if name in told}

    def _run(
        self, images: tf.Tensor, training: bool
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        if not self._hinted:
            return self.call(images, training=training), {}
        paths = unique(layer.hint.student for layer in self._hinted)
        run = functools.partial(call_tapped, self.network)
        if plain(self.network) is not self.network:
            run = self.network.call_tapped
        outputs, taps = run(images, paths, training)
        return losses.as_logits(outputs, self._softmax), taps

    def _as_one(self, wisdom: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        """Returns the logits of all teachers together [n, classes].

        Raises:
            ValueError: If they are not of the student's classes.
        """
        if wisdom.shape[-1] != logits.shape[-1]:
            raise ValueError(
                f"logits of the teacher: got {wisdom.shape[-1]} classes, expected "
                f"{logits.shape[-1]}, those of the student"
            )
        wisdom = tf.cast(wisdom, logits.dtype)
        return wisdom if wisdom.shape.rank == 2 else mix(wisdom, self.temperature)

    def _soft(
        self, logits: tf.Tensor, wisdom: tf.Tensor, labels: tf.Tensor | None
    ) -> tf.Tensor:
        if self._labelled:
            return self._compare(logits, wisdom, self.temperature, labels=labels)
        compare = functools.partial(self._compare, temperature=self.temperature)
        if self._batchwise:
            return over_whole_batch(compare, logits, wisdom)
        return compare(logits, wisdom)


def _is_float(values: tf.Tensor) -> bool:
    return values.dtype.is_floating and values.shape.rank in {2, 3}


def _check_settings(
    loss: str, temperature: float, soft_weight: float, options: dict[str, Any]
) -> None:
    """Judges numbers and names.

    Raises:
        ValueError: For the first that is unfit.
    """
    if not isinstance(loss, str) or loss not in SOFT_LOSSES:
        raise ValueError(
            f"loss: got {loss!r}, expected one of {', '.join(SOFT_LOSSES)}"
        )
    check_above({"temperature": temperature})
    check_share({"soft_weight": soft_weight})
    known = [
        name
        for name, parameter in inspect.signature(SOFT_LOSSES[loss]).parameters.items()
        if parameter.default is not parameter.empty
    ]
    for name, value in options.items():
        if name not in known:
            raise ValueError(
                f"{name}: no option of loss {loss!r}, expected "
                f"{', '.join(known) or 'none'}"
            )
        check_from({name: value})
