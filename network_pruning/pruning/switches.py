"""Learns how much a frozen network needs each unit: switches that share out a sum of 1.

K. Adamczewski, M. Park, "Dirichlet Pruning for Convolutional Neural Networks",
AISTATS 2021. A switch multiplies its unit where the consumers read it; only the law of
the switches is fitted, by the evidence lower bound.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tf_keras as keras

from network_pruning import losses
from network_pruning.classifiers import check_classifier, ends_in_softmax
from network_pruning.pruning.gates import gate
from network_pruning.pruning.switch_laws import SwitchLaw
from network_pruning.pruning.units import UnitGroup
from network_pruning.replicas import share_of_mean, share_of_sum
from network_pruning.training import check_finite
from network_pruning.types import Dataset


class SwitchedModel(keras.Model):
    """A network at rest whose units are multiplied by switches; they alone learn.

    Loss = mean cross entropy + kl_weight * KL(law || prior), summed over groups. The
    network runs in inference mode (no dropout, moving statistics), its weights are none
    of `trainable_weights`, and its regularisers add nothing.

    Attributes:
        network: The original; no weight of it moves, no flag of it is touched.
        law: Of the switches of every group.
        thetas: Its parameters by group name.
    """

    def __init__(
        self,
        network: keras.Model,
        groups: Sequence[UnitGroup],
        law: SwitchLaw,
        kl_weight: float = 0.1,
        rescale: bool = False,
        seed: int = 0,
    ) -> None:
        """Puts switches on groups of a network.

        Args:
            network: Ends in logits.
            groups: Those of its groups that get switches; the others stay as they are.
            law: Of the switches.
            kl_weight: Multiplies the KL in nats. 1 / examples is the evidence lower
                bound, and without effect; 0.1 acts, 1 is too strong.
            rescale: Whether to multiply by n_units * s, which is 1 in the beginning,
                instead of s: the loss then starts low, and little presses.
            seed: Of the draws; step t draws by (seed, t).

        Raises:
            ValueError: If the network gives no single row of logits an image.
        """
        check_classifier(network)
        super().__init__(name=f"switched_{network.name}")
        self.network = network
        self.law = law
        self.thetas: Mapping[str, tf.Variable] = {
            group.name: self.add_weight(
                name=f"theta_{group.name}",
                shape=law.start(group.n_units).shape,
                initializer=keras.initializers.Constant(law.start(group.n_units)),
            )
            for group in groups
        }
        self._kl_weight = kl_weight
        self._rescale = rescale
        self._seed = seed
        self._gated, self._softmax = gate(network), ends_in_softmax(network)
        # Trackers count all replicas already; Keras would add up what each says.
        self.distribute_reduction_method = "first"
        self._trackers = {
            name: keras.metrics.Mean(name) for name in ("loss", "cross_entropy", "kl")
        }

    @property
    def trainable_weights(self) -> list[tf.Variable]:
        """The parameters of the switches, and nothing of the network."""
        return list(self.thetas.values())

    @property
    def non_trainable_weights(self) -> list[tf.Variable]:
        """All weights of the network."""
        return self.network.weights

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The means that Keras resets at each epoch."""
        return list(self._trackers.values())

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Returns the logits with every switch at its mean."""
        del training
        masks = {n: self._scaled(self.law.mean(t)) for n, t in self.thetas.items()}
        return self._logits(inputs, masks)

    def logits(self, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Computes logits, averaged over draws of the switches for each image.

        Args:
            images: [n, ...].
            seed: Two whole numbers.

        Returns:
            [n, classes].
        """
        images = tf.convert_to_tensor(images)
        drawn = {
            name: self._scaled(self.law.switches(theta, _named(seed, name)))
            for name, theta in self.thetas.items()
        }
        n, samples = tf.shape(images)[0], max(self.law.samples, 1)
        if samples == 1:
            masks = {name: s[0] for name, s in drawn.items()}
            return self._logits(images, masks)
        # Row s * n + i holds draw s of image i, of images and masks alike.
        tiled = tf.tile(images, [samples] + [1] * (images.shape.rank - 1))
        masks = {name: tf.repeat(s, n, axis=0) for name, s in drawn.items()}
        logits = self._logits(tiled, masks)
        return tf.reduce_mean(tf.reshape(logits, [samples, n, logits.shape[-1]]), 0)

    def _logits(self, images: tf.Tensor, masks: Any) -> tf.Tensor:
        outputs = self._gated(images, training=False, masks=masks)
        return losses.as_logits(outputs, self._softmax)

    def train_step(self, data: tuple[tf.Tensor, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Takes one step.

        Args:
            data: Images [n, ...] and labels int [n].

        Returns:
            Means since the epoch began: loss, cross_entropy and kl (nats).
        """
        images, labels = data
        step = tf.cast(self.optimizer.iterations, tf.int64)
        seed = tf.stack([tf.constant(self._seed, tf.int64), step])
        with tf.GradientTape() as tape:
            each = losses.cross_entropy(self.logits(images, seed), labels)
            kl = tf.add_n([self.law.kl(tf.convert_to_tensor(t)) for t in self._free()])
            penalty = self._kl_weight * kl
            loss = share_of_mean(each) + share_of_sum([penalty])
        self.optimizer.minimize(loss, self._free(), tape=tape)
        self._trackers["loss"].update_state(each + penalty)
        self._trackers["cross_entropy"].update_state(each)
        self._trackers["kl"].update_state(kl)
        return {name: tracker.result() for name, tracker in self._trackers.items()}

    def _free(self) -> list[tf.Variable]:
        return list(self.thetas.values())

    def _scaled(self, switches: tf.Tensor) -> tf.Tensor:
        return switches * switches.shape[-1] if self._rescale else switches


def _named(seed: tf.Tensor, name: str) -> tf.Tensor:
    """Returns a seed that depends on a group's name, not on its place."""
    number = zlib.crc32(name.encode()) & 0x7FFFFFFF
    return tf.random.experimental.stateless_fold_in(seed, number)


@dataclass(frozen=True)
class Posterior:
    """What was learnt about the switches of one group.

    Attributes:
        law: Their law.
        theta: Its parameters, float64.
        examples: Examples sent forward and backward to learn it, each draw counted;
            of groups that learnt together, this group's part.
    """

    law: SwitchLaw
    theta: npt.NDArray[np.float64]
    examples: int

    def mean(self) -> npt.NDArray[np.float64]:
        """Returns E[s], [n_units]."""
        return self.law.mean(tf.constant(self.theta)).numpy()

    def covariance(self) -> npt.NDArray[np.float64]:
        """Returns Cov[s], [n_units, n_units], in closed form."""
        return self.law.covariance(tf.constant(self.theta)).numpy()

    def sampled_covariance(
        self, samples: int = 10000, seed: int = 0
    ) -> npt.NDArray[np.float64]:
        """Estimates Cov[s] from draws, to stand beside the closed form.

        Args:
            samples: How many.
            seed: Of the draws.

        Returns:
            [n_units, n_units].
        """
        drawn = self.law.sample(
            tf.constant(self.theta), samples, tf.constant([seed, 0])
        )
        return np.atleast_2d(np.cov(drawn.numpy(), rowvar=False))


def learn_switches(
    network: keras.Model,
    groups: Sequence[UnitGroup],
    data: Dataset,
    law: SwitchLaw,
    *,
    seed: int = 0,
    steps: int = 300,
    learning_rate: float = 0.05,
    batch_size: int = 100,
    kl_weight: float = 0.1,
    rescale: bool = False,
    jointly: bool = False,
) -> dict[str, Posterior]:
    """Fits the switches of a network with Adam.

    Args:
        network: Ends in logits; it stays bit-identical.
        groups: Those that get switches.
        data: Its training split is read.
        law: Of the switches.
        seed: Of the order of the examples, and of the draws.
        steps: Of training, for each group; epochs follow each other as needed.
        learning_rate: Of Adam.
        batch_size: Examples in a step.
        kl_weight: See `SwitchedModel`.
        rescale: See `SwitchedModel`.
        jointly: Whether all groups have switches at once, and learn together; else one
            group after the other, the rest of the network whole.

    Returns:
        By group name.

    Raises:
        ValueError: If a number is out of range.
        DivergedError: If the loss stops being finite.
    """
    _check(steps=steps, batch_size=batch_size, learning_rate=learning_rate)
    if not kl_weight >= 0:
        raise ValueError(f"kl_weight: got {kl_weight!r}, expected 0 or more.")
    found = {}
    parts = [list(groups)] if jointly and groups else [[group] for group in groups]
    for part in parts:
        model = SwitchedModel(network, part, law, kl_weight, rescale, seed)
        model.compile(keras.optimizers.Adam(learning_rate))
        seen = _fit(model, data, steps, batch_size, seed) * max(law.samples, 1)
        for i, (name, theta) in enumerate(model.thetas.items()):
            mine = (seen + len(part) - 1 - i) // len(part)
            found[name] = Posterior(law, theta.numpy().astype(np.float64), mine)
    return found


def _fit(
    model: SwitchedModel, data: Dataset, steps: int, batch_size: int, seed: int
) -> int:
    """Returns the examples seen in `steps` steps, an epoch in one traced function."""
    model.optimizer.build(model.trainable_weights)

    # A loop over the dataset itself would be built anew at every epoch.
    @tf.function
    def run(batches: Any, count: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        seen, loss = tf.constant(0), tf.constant(0.0)
        for _ in tf.range(count):
            images, labels = next(batches)
            loss = model.train_step((images, labels))["loss"]
            seen += tf.shape(images)[0]
        return seen, loss

    total, done, epoch, traced = 0, 0, 0, None
    in_epoch = -(-data.size("train") // batch_size)
    while done < steps:
        count = min(in_epoch, steps - done)
        batches = iter(data.batches("train", batch_size, seed=[seed, epoch]))
        # Traced once by hand, so that TensorFlow does not warn when many groups follow.
        traced = traced or run.get_concrete_function(batches, tf.constant(count))
        seen, loss = traced(batches, tf.constant(count))
        done, total, epoch = done + count, total + int(seen), epoch + 1
        check_finite(float(loss), done)
    return total


def _check(**numbers: Any) -> None:
    for name, value in numbers.items():
        whole = name != "learning_rate"
        if not value > 0 or (whole and not isinstance(value, int)):
            kind = "integer" if whole else "number"
            raise ValueError(f"{name}: got {value!r}, expected a positive {kind}.")
