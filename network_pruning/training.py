"""The training step that every trainer refines.

`Trainer` is an ordinary Keras model with its own train_step: compile and fit it as any
other, under any tf.distribute strategy.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from network_pruning import losses
from network_pruning.classifiers import check_not_sigmoid, ends_in_softmax
from network_pruning.optimizers import decaying
from network_pruning.ranges import check_from
from network_pruning.replicas import share_of_mean, share_of_sum

AfterUpdate = Callable[[keras.Model], None]
Judge = Callable[[], tuple[tf.Tensor, dict[str, tf.Tensor]]]
"""() -> loss of each example [n], and values [n] to be told by name."""


class DivergedError(ValueError):
    """The loss is no longer a number."""

    exit_code = 1


class Trainer(keras.Model):
    """Teaches a classifier with cross entropy on labels, plus its own penalties.

    A trainer of another kind overrides `train_step` and `test_step` with its own
    values of the examples, and leaves the rest to `learn` and `report`.

    Attributes:
        network: The model that is taught: images -> logits [n, classes], or their
            softmax.
        TOLD: Names of the means over an epoch; the first is the loss.
    """

    TOLD: tuple[str, ...] = ("loss", "cross_entropy", "accuracy")

    def __init__(
        self,
        network: keras.Model,
        after_update: AfterUpdate | None = None,
        l2_decay: float = 0.0,
    ) -> None:
        """Wraps a network.

        Args:
            network: A model that ends in logits or in a softmax. What it adds by
                add_loss is a penalty; its own metrics are told beside the trainer's.
            after_update: Called with the network, inside the traced step, after each
                update (to hold masks, to take a proximal step).
            l2_decay: l2_decay * w is added to the gradient of every kernel, and to no
                loss that is told. It is the weight decay of plain SGD.

        Raises:
            ValueError: If the network ends in a sigmoid, or the decay is no number.
        """
        check_not_sigmoid(network)
        check_from({"l2_decay": l2_decay})
        super().__init__(name="trainer")
        self.network = network
        self.l2_decay = l2_decay
        self._softmax = ends_in_softmax(network)
        self.after_update = after_update
        # Trackers count all replicas already; Keras would add up what each says.
        self.distribute_reduction_method = "first"
        # In a plain dict Keras would take their counters for weights.
        self.trackers = MappingProxyType({
            name: keras.metrics.Mean(name) for name in self.TOLD
        })

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """What Keras resets at each epoch: the means, and the network's own metrics."""
        return [*self.trackers.values(), *self._metrics_of_network()]

    @property
    def state(self) -> list[tf.Variable]:
        """What a training changes beside the optimiser: the network's weights first."""
        return list(self.network.weights)

    @property
    def jit_pays(self) -> bool:
        """Whether the step is faster compiled with XLA, on a CPU."""
        return is_dense(self.network) and getattr(self.network, "jit_pays", True)

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Returns the network's logits, in float32 at least."""
        outputs = self.network(inputs, training=training)
        return losses.as_logits(outputs, self._softmax)

    def compile(self, optimizer: Any = "rmsprop", *args: Any, **options: Any) -> None:
        """Takes the optimiser, see keras.Model.compile.

        Args:
            optimizer: Keras optimiser, or its name.
            *args: As there.
            **options: As there, but for losses and metrics.

        Raises:
            ValueError: If there are some: a trainer has its own.
        """
        check_no_loss(self, *args, **options)
        super().compile(optimizer, *args, **options)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles as a file says; Keras leaves that to whoever overrides `compile`.

        Args:
            config: What `get_compile_config` gave.
        """
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.built:
            self.optimizer.build(self.trainable_variables)

    def fit(self, *args: Any, callbacks: Any = None, **options: Any) -> Any:
        """Trains, see keras.Model.fit; a network that clusters judges every epoch.

        Args:
            *args: As there.
            callbacks: As there.
            **options: As there.

        Returns:
            The history.

        Raises:
            ValueError: If an epoch was too short for the network's clusters.
        """
        if (check := getattr(self.network, "check_begun", None)) is not None:
            callbacks = with_check(callbacks, check)
        return super().fit(*args, callbacks=callbacks, **options)

    def train_step(self, data: tuple[tf.Tensor, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Takes one step.

        Args:
            data: This replica's images [n, h, w, c] and labels int [n], or [n,
                attributes].

        Returns:
            Means since the epoch began: loss (cross entropy + penalty), cross_entropy
            (nats), accuracy; and the network's own metrics.
        """
        return self.learn(functools.partial(self._judge, *data, training=True))

    def test_step(self, data: tuple[tf.Tensor, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Measures one batch, and updates no weight.

        Args:
            data: As in `train_step`.

        Returns:
            As `train_step`.
        """
        each, told = self._judge(*data, training=False)
        return self.report_test(each, told)

    def learn(self, judge: Judge) -> dict[str, tf.Tensor]:
        """Takes one step down the mean of what `judge` computes, plus the penalties.

        Args:
            judge: Runs the network on this replica's batch; called once, on a tape.

        Returns:
            As `report`.
        """
        with tf.GradientTape() as tape:
            each, told = judge()
            penalty = self._penalty()
            shared = share_of_sum([penalty, *self._decay()])
            loss = share_of_mean(each) + tf.cast(shared, each.dtype)
        self.optimizer.minimize(loss, self.trainable_variables, tape=tape)
        if self.after_update is not None:
            self.after_update(self.network)
        return self.report(each, penalty, told)

    def report(
        self, each: tf.Tensor, penalty: tf.Tensor, told: dict[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """Adds a batch to the means.

        Args:
            each: Loss of each example [n], without the penalty.
            penalty: Scalar.
            told: Values [n] by name, out of TOLD.

        Returns:
            Means since the epoch began: loss (penalty included) and what is told; and
            the network's own metrics.
        """
        named = {self.TOLD[0]: each + tf.cast(penalty, each.dtype), **told}
        for name, values in named.items():
            self.trackers[name].update_state(values)
        means = [*map(self.trackers.get, named), *self._metrics_of_network()]
        return {metric.name: metric.result() for metric in means}

    def report_test(
        self, each: tf.Tensor, told: dict[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """Adds a batch to the means, in a test.

        Args:
            each: As in `report`.
            told: Likewise.

        Returns:
            As `report`, but for what the network measures in training alone.
        """
        found = self.report(each, self._penalty(), told)
        unmeasured: set[str] = getattr(self.network, "only_in_training", set())
        return {name: value for name, value in found.items() if name not in unmeasured}

    def _judge(
        self, images: tf.Tensor, labels: tf.Tensor, training: bool
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        logits = self.call(images, training=training)
        each = hard_loss(logits, labels)
        return each, {"cross_entropy": each, "accuracy": is_right(logits, labels)}

    def _penalty(self) -> tf.Tensor:
        return losses.total(self.network.losses)

    def _decay(self) -> list[tf.Tensor]:
        if not self.l2_decay:
            return []
        return [self.l2_decay * tf.nn.l2_loss(w) for w in decaying(self)]

    def _metrics_of_network(self) -> list[keras.metrics.Metric]:
        """Returns what the network measures as it runs: nothing that compile adds."""
        network, compiled = self.network, []
        if network._is_compiled:
            compiled = [network.compiled_loss, network.compiled_metrics]
        added = {id(metric) for part in compiled if part for metric in part.metrics}
        told = set(self.trackers)
        return [
            metric
            for metric in network.metrics
            if id(metric) not in added and metric.name not in told
        ]


def check_no_loss(trainer: keras.Model, *args: Any, **options: Any) -> None:
    """Refuses losses and metrics for a trainer that would never look at them.

    Args:
        trainer: Whose loss is its own.
        *args: What `compile` was given behind the optimiser.
        **options: Likewise, by name.

    Raises:
        ValueError: Naming the first.
    """
    given = dict(zip(_UNREAD, args, strict=False)) | options
    for name in _UNREAD:
        if given.get(name) is not None:
            raise ValueError(
                f"{name}: got {given[name]!r} in compile, expected none: "
                f"{type(trainer).__name__} has a loss and metrics of its own"
            )


_UNREAD = ("loss", "metrics", "loss_weights", "weighted_metrics")
"""Arguments of `compile` behind the optimiser, in their order."""


def check_keras_file(filepath: Any, plain: str) -> None:
    """Refuses formats from which Keras brings no trainer back.

    Args:
        filepath: Where a model that trains another is to be saved.
        plain: Attribute of it that any format holds.

    Raises:
        ValueError: If it is no .keras file.
    """
    if not str(filepath).endswith(".keras"):
        raise ValueError(
            f"filepath: got {filepath}, expected a .keras file; to serve what was "
            f"learned, save .{plain} in any format"
        )


def with_check(callbacks: Any, check: Callable[[], None]) -> Any:
    """Returns callbacks of a `fit`, and one that judges every epoch.

    Args:
        callbacks: One, several, a CallbackList or None, as `fit` takes them.
        check: Called at the end of each epoch.
    """
    own = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: check())
    if isinstance(callbacks, keras.callbacks.CallbackList):
        callbacks.append(own)  # Keras takes it as it is.
        return callbacks
    return [*(tf.nest.flatten(callbacks) if callbacks else []), own]


def hard_loss(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Computes the cross entropy of labels: classes, or attributes.

    Args:
        logits: [n, classes].
        labels: Int [n]; or 0 and 1 [n, attributes], for as many logits.

    Returns:
        Loss [n] in nats.
    """
    if labels.shape.rank == 2:
        return losses.attributes_cross_entropy(logits, labels)
    return losses.cross_entropy(logits, labels)


def is_right(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Judges predictions.

    Args:
        logits: [n, classes].
        labels: As in `hard_loss`.

    Returns:
        1 where the highest logit is the label's, else 0; of attributes the share whose
        logit is above zero just where they are present: float32 [n].
    """
    if labels.shape.rank == 2:
        right = (logits > 0) == tf.cast(labels, tf.bool)
        return tf.reduce_mean(tf.cast(right, tf.float32), axis=-1)
    found = tf.argmax(logits, axis=-1, output_type=labels.dtype)
    return tf.cast(found == labels, tf.float32)


def check_finite(loss: float, step: int) -> None:
    """Judges a loss.

    Raises:
        DivergedError: If it is NaN or infinite.
    """
    if not np.isfinite(loss):
        raise DivergedError(f"the loss became {loss} at step {step} of epoch")


def is_dense(network: keras.Model) -> bool:
    """Returns whether no layer convolves or recurs, so that jit pays on a CPU."""
    heavy = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
    return not any(
        isinstance(layer, (*heavy, keras.layers.RNN))
        for layer in network._flatten_layers()
    )


def reseed(network: keras.Model, *seed: int) -> None:
    """Starts every random layer (Dropout ...) from a seed of its own.

    Called at each epoch with the epoch's number, it makes a resumed training draw what
    an undisturbed one draws. The network must have been built under
    keras.backend.experimental.enable_tf_random_generator.

    Args:
        network: The model whose layers draw.
        *seed: Whole numbers that name the moment, say (seed, epoch).
    """
    for position, layer in enumerate(network._flatten_layers()):
        source = getattr(layer, "_random_generator", None)
        generator = getattr(source, "_generator", None)
        if generator is not None:
            drawn = np.random.default_rng([*seed, position]).integers(2**31)
            generator.reset_from_seed(int(drawn))
