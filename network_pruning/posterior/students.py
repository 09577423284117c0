"""Students of a chain, and the lessons they take together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from network_pruning import losses
from network_pruning.classifiers import check_classifier, ends_linear
from network_pruning.posterior import expectations, streams
from network_pruning.posterior.sound import check_sound, is_sound
from network_pruning.ranges import check_from, check_whole
from network_pruning.replicas import share_of_mean, share_of_sum
from network_pruning.training import AfterUpdate, DivergedError, is_dense

LogProbabilities = Callable[[tf.Tensor], tf.Tensor]


class Student(tf.Module):
    """A small network that learns one posterior expectation from a chain.

    Attributes:
        model: Images -> linear outputs, as many as the expectation wants.
        expectation: What it learns, and how its outputs are read.
        estimator: us, from the last draw; uo, from the mean over all draws that met the
            case, kept for every case of the pool: memory of cases * values.
        thin: Steps of the chain from one lesson to the next.
        steps: Its own steps in one lesson, each on other cases.
        batch_size: Cases of a step.
        input_noise: Standard deviation of the noise on the pixels of each case, which
            the teacher sees, too; us alone, as means belong to cases.
        optimizer: Its own, or None for a copy of the one that `compile` is given.
        after_update: Called with the model inside the traced step, after each update.
        name: Of the model.
    """

    def __init__(
        self,
        model: keras.Model,
        expectation: str | expectations.Expectation | Callable[..., Any] = "predictive",
        estimator: str = "us",
        *,
        thin: int = 100,
        steps: int = 1,
        batch_size: int = 100,
        input_noise: float = 0.0,
        optimizer: Any = None,
        after_update: AfterUpdate | None = None,
    ) -> None:
        """Judges the settings.

        Args:
            model: See the attributes; they explain the others, too.
            expectation: By name (predictive, entropy, both, variance, dirichlet), an
                `Expectation`, or any function of log-probabilities [n, classes].
            estimator: us or uo.
            thin: From 1.
            steps: From 1.
            batch_size: From 1.
            input_noise: From 0.
            optimizer: A Keras optimiser that no other student has, or its name.
            after_update: Holds masks, or takes a proximal step.

        Raises:
            ValueError: If a setting is unfit.
        """
        super().__init__()
        check_classifier(model)
        expectations.check_estimator(estimator)
        if not ends_linear(model):
            raise ValueError(
                f"student {model.name!r} ends in an activation, expected linear "
                "outputs (activation=None): they are read by its expectation"
            )
        if not model.trainable_weights:
            raise ValueError(
                f"student {model.name!r} has no weight that could learn, expected "
                "trainable ones: model.trainable = True"
            )
        check_whole({"thin": thin, "steps": steps, "batch_size": batch_size}, 1)
        check_from({"input_noise": input_noise})
        if input_noise and estimator == "uo":
            raise ValueError(
                f"input_noise: got {input_noise} with the estimator uo, expected 0: "
                "means belong to fixed cases"
            )
        self.model = model
        self.expectation = expectations.get(expectation)
        self.estimator = estimator
        self.thin, self.steps, self.batch_size = thin, steps, batch_size
        self.input_noise = input_noise
        self._brings_own = optimizer is not None
        self.optimizer: Any = None
        if self._brings_own:
            self.optimizer = checked_optimizer(optimizer)
        self.after_update = after_update
        self.tracker = keras.metrics.Mean(f"{self.name}_loss")
        self._means: Any = None
        self._counts: Any = None
        self._update: Any = None
        # Named here, so that TensorFlow's checkpoints hold them.
        self._generators = _generators(model)

    @property
    def is_ready(self) -> bool:
        """Whether it has an optimiser."""
        return self._update is not None

    @property
    def name(self) -> str:
        """Of the model."""
        return self.model.name

    @property
    def lesson_key(self) -> tuple[Any, ...]:
        """What students must have in common to share draws and cases."""
        return self.thin, self.steps, self.batch_size, self.input_noise

    def join(self, classes: int, cases: int) -> None:
        """Makes what the student keeps for each case.

        Args:
            classes: Of the teacher.
            cases: Of the pool.

        Raises:
            ValueError: If its head does not fit what it is to learn, or that is no
                values of each case.
        """
        width = self.model.outputs[0].shape[-1]
        values = self.expectation.check(width, classes, self.name)
        streams.check_batch("batch_size", self.batch_size, cases)
        if self.estimator == "us":
            return
        self._means = _kept([cases, values], tf.float32, f"{self.name}_means")
        self._counts = _kept([cases], tf.int32, f"{self.name}_counts")

    def follow(self, rate: float) -> None:
        """Takes on the learning rate of the optimiser that its own is a copy of."""
        if not self._brings_own:
            self.optimizer.learning_rate = rate

    def start(self, optimizer: Any, jit: bool | None = None) -> None:
        """Gives the student its optimiser.

        Args:
            optimizer: What `compile` was given; copied if the student has none.
            jit: Whether to compile its step, on one device; None does if it is dense.
        """
        if not self._brings_own:
            config = optimizer.get_config()
            self.optimizer = type(optimizer).from_config(config)
        self.optimizer.build(self.model.trainable_variables)
        if not _is_alone():
            self._update = self._descend  # replicas meet in it, in the lesson's graph
            return
        jit = is_dense(self.model) if jit is None else jit
        self._update = tf.function(self._descend, jit_compile=jit)

    def learn(
        self, images: tf.Tensor, rows: tf.Tensor, log_probabilities: tf.Tensor
    ) -> None:
        """Takes one step.

        Args:
            images: Of the cases, noise included.
            rows: Of the cases in the pool [n].
            log_probabilities: What the chain says of them [n, classes].
        """
        target = self.expectation.target(log_probabilities)
        if self._means is not None:
            counts = tf.gather(self._counts, rows)
            kept = tf.gather(self._means, rows)
            target = expectations.running_mean(kept, counts, target)
            self._means.scatter_update(tf.IndexedSlices(target, rows))
            self._counts.scatter_update(tf.IndexedSlices(counts + 1, rows))
        self.tracker.update_state(self._update(images, target))

    def _descend(self, images: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
        """Returns the loss of each case [n] before the step."""
        weights = self.model.trainable_variables
        with tf.GradientTape() as tape:
            outputs = losses.full_precision(self.model(images, training=True))
            each = self.expectation.loss(tf.cast(target, outputs.dtype), outputs)
            penalties = tf.cast(share_of_sum(self.model.losses), each.dtype)
            loss = share_of_mean(each) + penalties
        self.optimizer.minimize(loss, weights, tape=tape)
        if self.after_update is not None:
            self.after_update(self.model)
        return each

    @property
    def means(self) -> list[tf.Variable]:
        """Means [cases, values] and how many values each is of [cases]; [] for us."""
        return [] if self._means is None else [self._means, self._counts]

    @property
    def state(self) -> dict[str, list[tf.Variable]]:
        """All that its next step depends on, by kind."""
        return {
            "weights": list(self.model.weights),
            "optimizer": list(self.optimizer.variables),
            "means": self.means,
            "generators": [generator.state for generator in self._generators],
        }


def _is_alone() -> bool:
    return tf.distribute.get_strategy().num_replicas_in_sync == 1


def _kept(shape: list[int], dtype: Any, name: str) -> tf.Variable:
    # Every replica computes the same means.
    return tf.Variable(
        tf.zeros(shape, dtype),
        trainable=False,
        name=name,
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )


def checked_optimizer(given: Any) -> Any:
    """Returns a Keras optimiser.

    Raises:
        ValueError: If it is none that this Keras builds.
    """
    optimizer = keras.optimizers.get(given)
    if not hasattr(optimizer, "build"):
        raise ValueError(
            f"optimizer: got {type(optimizer).__module__}.{type(optimizer).__name__}, "
            "expected one of tf_keras.optimizers outside legacy"
        )
    return optimizer


def _generators(model: keras.Model) -> list[tf.random.Generator]:
    """Returns those of the random layers (Dropout ...) that have one."""
    sources = [
        getattr(layer, "_random_generator", None) for layer in model._flatten_layers()
    ]
    found = [getattr(source, "_generator", None) for source in sources]
    return [generator for generator in found if generator is not None]


class StudentDivergedError(DivergedError):
    """The loss of a student is no longer a number; the chain is as it was."""


Visit = tuple[tf.Tensor, tf.Tensor, tf.Tensor]
"""Images, their rows in the pool, and the chain's log-probabilities of them."""


def _are_sound(visits: Sequence[Visit]) -> tf.Tensor:
    return tf.reduce_all([is_sound(said) for _, _, said in visits])


class Lesson(tf.Module):
    """Students that learn from the same draws, on the same cases.

    Attributes:
        every: Steps of the chain from one lesson to the next.
        students: Who takes part.
        visits: Student steps taken; names the cases of the next.
    """

    def __init__(
        self,
        students: Sequence[Student],
        teacher: LogProbabilities,
        pool: tf.Tensor,
        seed: int,
    ) -> None:
        """Gathers students with one `lesson_key`.

        Args:
            students: At least one.
            teacher: Images -> log-probabilities of the chain's position.
            pool: Images of all cases.
            seed: Of the cases' order and of the noise on them.
        """
        super().__init__()
        self.students = list(students)
        self.every = students[0].thin
        self._teacher, self._pool, self._seed = teacher, pool, seed
        self.visits = _kept([], tf.int64, f"visits_{self.every}")
        strategy = tf.distribute.get_strategy()
        take = self._take if _is_alone() else lambda: strategy.run(self._take)
        self._teach = tf.function(take)
        self._foresee = tf.function(lambda: _are_sound(self._next_visits()))

    def look(self, step: int) -> None:
        """Holds the lesson at the chain's position.

        Args:
            step: Of the chain.

        Raises:
            DivergedError: If the chain's predictions are no numbers; nobody has learned
                from them.
            StudentDivergedError: If a student's loss is no number.
        """
        if not _is_alone():
            check_sound(self._foresee(), step)
        check_sound(self._teach(), step)
        for student in self.students:
            if not bool(tf.math.is_finite(student.tracker.result())):
                raise StudentDivergedError(
                    f"the loss of student {student.name!r} is no number at step {step} "
                    "of the chain: lower the learning rate of its optimiser"
                )

    def _take(self) -> tf.Tensor:
        """Lets all learn, unless the chain predicts nothing.

        Returns:
            Whether it predicts something; of several replicas always True.
        """
        visits = self._next_visits()

        def learn() -> None:
            for visit in visits:
                self._visit(*visit)

        if not _is_alone():  # Replicas cannot meet in one branch of two: see `look`.
            learn()
            return tf.constant(True)
        sound = _are_sound(visits)
        tf.cond(sound, learn, lambda: None)
        return sound

    def _next_visits(self) -> list[Visit]:
        """Returns what the students will learn from at the chain's position."""
        now = self.visits.read_value()
        return [self._look_at(now + ahead) for ahead in range(self.students[0].steps)]

    def _look_at(self, visit: tf.Tensor) -> Visit:
        first = self.students[0]
        size, cases = first.batch_size, self._pool.shape[0]
        rows = streams.rows_of(self._seed, streams.CASES, visit, size, cases)
        images = tf.gather(self._pool, rows)
        if first.input_noise:
            pair = streams.seed_of(self._seed, streams.INPUTS, visit)
            noise = tf.random.stateless_normal(images.shape, pair)
            images = tf.cast(images, noise.dtype) + first.input_noise * noise
        return images, rows, self._teacher(images)

    def _visit(self, images: tf.Tensor, rows: tf.Tensor, said: tf.Tensor) -> None:
        for student in self.students:
            student.learn(images, rows, said)
        self.visits.assign_add(1)


def gather_lessons(
    students: Sequence[Student], teacher: LogProbabilities, pool: tf.Tensor, seed: int
) -> list[Lesson]:
    """Returns one lesson for each kind of student, in their order."""
    keys = dict.fromkeys(student.lesson_key for student in students)
    return [
        Lesson([s for s in students if s.lesson_key == key], teacher, pool, seed)
        for key in keys
    ]
