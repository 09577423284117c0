"""A Monte Carlo teacher, and students that learn its posterior expectations online.

The teacher's weights walk through the posterior; every so many steps each student
learns from the position the walk has come to, and no position is kept. M. Vadera, B.
Jalaian, B. Marlin, "Generalized Bayesian Posterior Expectation Distillation for Deep
Neural Networks", UAI 2020, algorithm 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
import tf_keras as keras

from network_pruning import losses
from network_pruning.classifiers import check_classifier, ends_in_softmax
from network_pruning.posterior import streams
from network_pruning.posterior.checks import check_students, check_teacher
from network_pruning.posterior.ensembles import Ensemble
from network_pruning.posterior.samplers.sampler import Sampler
from network_pruning.posterior.students import (
    Lesson,
    Student,
    checked_optimizer,
    gather_lessons,
)
from network_pruning.ranges import check_whole
from network_pruning.replicas import assign_all, share_of_mean, summed
from network_pruning.training import DivergedError, check_no_loss

HALF_SCALE = 1024.0
"""Of the loss in float16: smaller gradients would vanish, and they are times N."""
BLOWN_UP = 20.0
"""A minibatch's NLL is so many times that of knowing nothing: the step is too large."""


CHECKPOINT = (
    "the chain with all it needs to go on by tf.train.Checkpoint(model=distiller) or "
    "keras.callbacks.BackupAndRestore"
)


class Watcher(Protocol):
    """Looks at the chain every so many steps after its burn-in."""

    every: int

    def look(self, step: int) -> None:
        """Looks at the position after so many steps."""
        ...


class PosteriorDistiller(keras.Model):
    """Walks a network through the posterior and teaches students on the way.

    `compile` gives the students their optimiser, `fit` takes one step of the chain for
    each batch; `chains.ResidentChain` does the same faster for data in memory.

    Attributes:
        teacher: The network whose weights are the chain's position: images -> logits
            or probabilities [n, classes]. Dropout is off; BatchNormalization keeps the
            moments it has.
        students: Who learns.
        sampler: How the chain moves.
        data_size: N, the number of cases that the posterior is of.
        burn_in: Steps before the first that counts.
        steps: Variable: steps taken.
        watchers: Lessons, ensembles and whatever else looks at the chain; more may be
            appended.
    """

    def __init__(
        self,
        teacher: keras.Model,
        students: Sequence[Student],
        sampler: Sampler,
        data_size: int,
        *,
        pool: Any = None,
        ensembles: Sequence[Ensemble] = (),
        burn_in: int = 0,
        seed: int = 0,
    ) -> None:
        """Puts all in place.

        Args:
            teacher: See the attributes; they explain the others, too.
            students: With different names; may be none.
            sampler: Such as `sgld(4e-6, prior_precision=10)`.
            data_size: From 1.
            pool: Images that students learn on [cases, h, w, c], no labels needed.
            ensembles: Images whose predictions are averaged along the chain.
            burn_in: From 0.
            seed: Of all that is drawn but for random layers of students.

        Raises:
            ValueError: If something does not fit, with what does.
        """
        super().__init__(name="posterior_distiller")
        check_classifier(teacher)
        streams.check_seed(seed)
        check_whole({"data_size": data_size}, 1)
        check_whole({"burn_in": burn_in})
        check_teacher(teacher)
        check_students(teacher, students, pool)
        self.teacher, self.sampler = teacher, sampler
        self.students = list(students)
        self.models = [student.model for student in students]  # tracked by Keras
        self.ensembles = list(ensembles)
        self.data_size, self.burn_in, self.seed = data_size, burn_in, seed
        self._softmax = ends_in_softmax(teacher)
        kinds = {layer.compute_dtype for layer in teacher._flatten_layers()}
        self._scale = HALF_SCALE if "float16" in kinds else 1.0
        self.classes = int(teacher.outputs[0].shape[-1])
        self.distribute_reduction_method = "first"
        self.tracker = keras.metrics.Mean("nll")
        self.steps = tf.Variable(
            0,
            trainable=False,
            dtype=tf.int64,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )
        weights = teacher.trainable_variables
        self._shapes = [weight.shape.as_list() for weight in weights]
        start = sampler.init([tf.convert_to_tensor(weight) for weight in weights])
        self._state = [tf.Variable(value, trainable=False) for value in start]
        self.lessons = self._gather(pool)
        self.watchers: list[Watcher] = [*self.lessons, *self.ensembles]
        for ensemble in self.ensembles:
            ensemble.join(self.log_probabilities, self.classes)
        self.built = True

    def _gather(self, pool: Any) -> list[Lesson]:
        if not self.students:
            return []
        cases = tf.convert_to_tensor(pool)
        for student in self.students:
            student.join(self.classes, cases.shape[0])
        return gather_lessons(self.students, self.log_probabilities, cases, self.seed)

    @property
    def position(self) -> list[tf.Variable]:
        """Where the chain stands: weights, the sampler's own state, steps taken."""
        return [*self.teacher.trainable_variables, *self._state, self.steps]

    def compile(
        self, optimizer: Any = "adam", jit_compile: bool | None = None, **options: Any
    ) -> None:
        """Gives every student without an optimiser a copy of this one.

        Args:
            optimizer: Keras optimiser, or its name.
            jit_compile: Whether to compile the students' steps; None does for dense
                students on one device.
            **options: Of `keras.Model.compile`. With steps_per_execution=H one traced
                call takes H steps of the chain.

        Raises:
            ValueError: If students would miss their turn, or every draw; for losses and
                metrics; or for an optimiser that this Keras does not build.
        """
        check_no_loss(self, **options)
        at_once = options.get("steps_per_execution") or 1
        check_whole({"steps_per_execution": at_once}, 1)
        super().compile(optimizer=checked_optimizer(optimizer), **options)
        self._at_once = at_once
        for watcher in self.watchers:
            self._check_draws(watcher)
            if watcher.every % at_once or self.burn_in % at_once:
                raise ValueError(
                    f"steps_per_execution: got {at_once}, expected a divisor of "
                    f"burn_in ({self.burn_in}) and of every thin ({watcher.every})"
                )
        self._rate = _number(self.optimizer.learning_rate)
        for student in self.students:
            student.start(self.optimizer, jit_compile)

    def _hand_on_rate(self) -> None:
        """Gives students a learning rate that a callback has given to the optimiser."""
        rate = _number(self.optimizer.learning_rate)
        if rate != self._rate:
            self._rate = rate
            for student in self.students:
                student.follow(rate)

    def _check_draws(self, watcher: Watcher) -> None:
        """Judges whether a watcher would ever see a draw.

        Raises:
            ValueError: If all its turns lie where the sampler does not draw.
        """
        every, period = watcher.every, self.sampler.period
        # After so many turns they come to the same places of the sampler's cycle.
        count = period // math.gcd(every, period)
        turns = (self.burn_in + every * number for number in range(1, count + 1))
        if not any(self.sampler.is_draw(turn - 1) for turn in turns):
            raise ValueError(
                f"thin: got {watcher.every}, from step {self.burn_in} on, where the "
                "sampler never draws, expected turns in the part of its cycle that is "
                "not exploring: another thin or burn_in"
            )

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The means that Keras resets at each epoch."""
        return [self.tracker, *(student.tracker for student in self.students)]

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Returns the logits of the chain's position."""
        del training
        outputs = losses.full_precision(self.teacher(inputs, training=False))
        return losses.as_logits(outputs, self._softmax)

    def get_metrics_result(self) -> dict[str, Any]:
        """Returns what an epoch is told by, see `told`."""
        return {"nll": self.tracker.result(), **self.told()}

    def log_probabilities(self, images: tf.Tensor) -> tf.Tensor:
        """Returns log p(y | x, theta) at the chain's position [n, classes]."""
        return tf.nn.log_softmax(self.call(images))

    def nll(self, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """Returns the NLL of each case [n] at the chain's position."""
        return losses.cross_entropy(self.call(images), labels)

    def draw_noise(self, step: tf.Tensor) -> tf.Tensor:
        """Returns the draw behind the noise of a step, counted from 0."""
        pair = streams.seed_of(self.seed, streams.NOISE, step)
        return self.sampler.draw_noise(self._shapes, pair)

    def walk(self, images: tf.Tensor, labels: tf.Tensor, drawn: tf.Tensor) -> tf.Tensor:
        """Takes one step of the chain.

        Args:
            images: This replica's part of a minibatch.
            labels: int [n].
            drawn: What `draw_noise` gave; the same on every replica.

        Returns:
            NLL of each case [n], before the step.
        """
        weights = self.teacher.trainable_variables
        with tf.GradientTape() as tape:
            each = self.nll(images, labels)
            scaled = share_of_mean(each) * self._scale
        # Tensors of zeros, too, for weights that the outputs do not depend on.
        scaled_by = tape.gradient(
            scaled, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        whole = map(tf.convert_to_tensor, scaled_by)
        gradients = summed([gradient / self._scale for gradient in whole])
        theta, state = self.sampler.update(
            [weight.read_value() for weight in weights],
            gradients,
            [value.read_value() for value in self._state],
            self.steps.read_value(),
            drawn,
            self.data_size,
        )
        assign_all([*weights, *self._state], [*theta, *state])
        self.steps.assign_add(1)
        return each

    def train_step(self, data: tuple[tf.Tensor, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Takes one step of the chain; students have their turn between the steps.

        Args:
            data: This replica's images [n, h, w, c] and labels int [n] or [n, 1].

        Returns:
            Mean NLL of the minibatches since the epoch began.
        """
        images, labels = _parts(data)
        drawn = self.draw_noise(self.steps.read_value())
        self.tracker.update_state(self.walk(images, labels, drawn))
        return {"nll": self.tracker.result()}

    def make_train_function(self, force: bool = False) -> Callable[[Any], Any]:
        """Returns what `fit` calls: steps of the chain, then whoever has a turn."""
        known: Any = self.train_function
        if known is not None and not force:
            return known
        take_steps = super().make_train_function(force)

        def function(iterator: Any) -> dict[str, tf.Tensor]:
            here = int(self.steps.numpy())
            turn = self.turn_after(here)
            if turn is not None and turn < here + self._at_once:
                raise ValueError(
                    f"steps_per_execution: got one of {self._at_once} at step {here}, "
                    f"across a turn at {turn}, expected epochs of whole executions: "
                    "another batch_size, or 1"
                )
            total, count = map(_number, self.tracker.variables)
            logs = take_steps(iterator)
            step = int(self.steps.numpy())
            new_total, new_count = map(_number, self.tracker.variables)
            self.check((new_total - total) / (new_count - count), step)
            self.look(step)
            return {**logs, **self.told()}

        self.train_function: Any = function
        return function

    def save(self, filepath: Any, *args: Any, **options: Any) -> None:
        """Refuses: a walk is no model.

        Args:
            filepath: As in keras.Model.save.
            *args: As there.
            **options: As there.

        Raises:
            ValueError: With what can be kept, and how.
        """
        raise ValueError(
            f"filepath: got {filepath}, but a chain is no model: save .teacher and the "
            f"students' .model, and {CHECKPOINT}"
        )

    def save_weights(self, filepath: Any, *args: Any, **options: Any) -> None:
        """Writes a checkpoint of TensorFlow's.

        Args:
            filepath: As in keras.Model.save_weights.
            *args: As there.
            **options: As there.

        Raises:
            ValueError: Of Keras' own formats, which would leave out what students know
                of their cases.
        """
        if str(filepath).endswith((".h5", ".hdf5", ".keras")):
            raise ValueError(
                f"filepath: got {filepath}, in which means and optimisers of the "
                f"students have no place: keep {CHECKPOINT}"
            )
        super().save_weights(filepath, *args, **options)

    def test_step(self, data: tuple[tf.Tensor, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Measures the chain's position, and nobody learns.

        Args:
            data: As in `train_step`.

        Returns:
            Its mean NLL since the evaluation began.
        """
        images, labels = _parts(data)
        self.tracker.update_state(self.nll(images, labels))
        return {"nll": self.tracker.result()}

    def told(self) -> dict[str, float]:
        """Returns the students' mean losses since the epoch began; nan of no lesson."""
        trackers = [student.tracker for student in self.students]
        return {t.name: float(t.result()) if t.count > 0 else np.nan for t in trackers}

    def turn_after(self, step: int) -> int | None:
        """Returns the next step at which somebody looks; None if nobody ever does."""
        turns = [_turn_after(step, self.burn_in, w.every) for w in self.watchers]
        return min(turns, default=None)

    def look(self, step: int) -> None:
        """Gives their turn to those who have it after so many steps."""
        if step > self.burn_in and self.sampler.is_draw(step - 1):
            self._hand_on_rate()
            self.take_turns(step)

    def take_turns(self, step: int) -> None:
        """Gives their turn to those who have it, whatever the sampler says."""
        for watcher in self.watchers:
            if (step - self.burn_in) % watcher.every == 0:
                watcher.look(step)

    def check(self, nll: float, step: int) -> None:
        """Judges the NLL of a minibatch.

        Raises:
            DivergedError: If the chain has blown up.
        """
        if not nll <= BLOWN_UP * np.log(self.classes):
            raise DivergedError(
                f"the chain's NLL became {nll:.4g} at step {step}, knowing nothing has "
                f"{np.log(self.classes):.3g}: lower the step size"
            )


def _number(value: tf.Tensor | tf.Variable) -> float:
    """Returns a value, of all replicas where there are several."""
    return float(keras.backend.get_value(value))


def _parts(data: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """Tells the parts of a batch.

    Returns:
        Images, and the class of each [n].

    Raises:
        ValueError: If they are something else.
    """
    if not isinstance(data, tuple) or len(data) != 2:
        count = len(data) if isinstance(data, tuple) else 1
        raise ValueError(
            f"batch: got {count} parts, expected images and labels: neither "
            "sample_weight nor class_weight is taken"
        )
    return data[0], losses.as_classes(data[1])


def _turn_after(step: int, burn_in: int, every: int) -> int:
    passed = max(step - burn_in, 0) // every
    return burn_in + (passed + 1) * every
