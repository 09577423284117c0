"""What the whole chain predicts for given images, in memory that does not grow."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from network_pruning.evaluation.uncertainty import Uncertainty, entropy
from network_pruning.losses import classes_of, cross_entropy
from network_pruning.posterior.sound import check_sound, is_sound

CHUNK = 2000
"""Images at once."""
FLOOR = 1e-300


class Ensemble(tf.Module):
    """Means over the chain's draws: of the prediction, and of its entropy.

    Attributes:
        name: Of the images.
        every: Steps of the chain from one draw that counts to the next.
        trace: (step, NLL of the draw, NLL of the mean so far), in nats, for each that
            counted; empty without labels, and no part of TensorFlow's checkpoints.
    """

    def __init__(
        self,
        name: str,
        images: npt.NDArray[np.float32],
        labels: npt.NDArray[Any] | None = None,
        *,
        every: int = 100,
    ) -> None:
        """Keeps the images.

        Args:
            name: Of them, for files.
            images: [n, h, w, c].
            labels: int [n] or [n, 1]; with them the chain's NLL is traced.
            every: From 1.

        Raises:
            ValueError: If there is nothing to predict, or `every` or labels are unfit.
        """
        if every < 1 or not len(images):
            raise ValueError(
                f"ensemble {name!r}: got every={every} and {len(images)} images, "
                "expected at least 1 of each"
            )
        super().__init__()
        self.every = every
        # Lists of numbers are nothing that TensorFlow could keep in a checkpoint.
        self._told = SimpleNamespace(name=name, trace=[])
        self._images = tf.constant(images)
        self._labels = None if labels is None else classes_of(labels, len(images))
        self._teacher: Any = None
        self._take: Any = None

    @property
    def name(self) -> str:
        """Of the images."""
        return self._told.name

    @property
    def trace(self) -> list[tuple[float, float, float]]:
        """What each draw that counted has told."""
        return self._told.trace

    def join(self, teacher: Callable[[tf.Tensor], tf.Tensor], classes: int) -> None:
        """Makes the sums.

        Args:
            teacher: Images -> log-probabilities of the chain's position.
            classes: Of the teacher.
        """
        cases = len(self._images)
        self._teacher = tf.function(teacher)
        self._probabilities = _sum([cases, classes], f"{self.name}_probabilities")
        self._entropies = _sum([cases], f"{self.name}_entropies")
        self._count = _sum([], f"{self.name}_draws")
        self._take = tf.function(self._take_in)

    def look(self, step: int) -> None:
        """Takes the chain's position into the means.

        Args:
            step: Of the chain.

        Raises:
            DivergedError: If its predictions are no numbers; the means stay.
        """
        starts = range(0, len(self._images), CHUNK)
        parts = [self._teacher(self._images[s : s + CHUNK]) for s in starts]
        said = tf.concat(parts, axis=0)
        check_sound(is_sound(said), step)
        measured = self._take(said)
        if self._labels is not None:
            now, mean = (float(nll) for nll in measured)
            self.trace.append((step, now, mean))

    def _take_in(self, logs: tf.Tensor) -> list[tf.Tensor]:
        """Adds a draw to the sums.

        Returns:
            Of labelled images, the NLL of the draw and that of the mean so far.
        """
        logs = tf.cast(logs, tf.float64)
        p = tf.exp(logs)
        total = self._probabilities.assign_add(p)
        plogp = tf.math.multiply_no_nan(logs, p)
        self._entropies.assign_add(-tf.reduce_sum(plogp, axis=1))
        count = self._count.assign_add(1)
        if self._labels is None:
            return []
        mean = tf.math.log(total / count + FLOOR)
        both = [cross_entropy(z, self._labels) for z in (logs, mean)]
        return [tf.reduce_mean(each) for each in both]

    @property
    def draws(self) -> int:
        """How many positions were taken in."""
        return int(self._count)

    @property
    def log_probabilities(self) -> npt.NDArray[np.float64]:
        """The logarithm of the mean prediction [n, classes]; also its logits.

        Raises:
            ValueError: If no position was taken in.
        """
        return np.log(self._mean(self._probabilities) + FLOOR)

    @property
    def uncertainty(self) -> Uncertainty:
        """Total and expected data uncertainty of each image, in nats."""
        data = self._mean(self._entropies)
        return Uncertainty(entropy(self.log_probabilities), data)

    def _mean(self, total: tf.Variable) -> npt.NDArray[np.float64]:
        if not self.draws:
            raise ValueError(
                f"ensemble {self.name!r} holds no draw, expected a chain longer than "
                f"its burn-in and {self.every} more steps"
            )
        return total.numpy() / self.draws

    @property
    def state(self) -> list[tf.Variable]:
        """The sums."""
        return [self._probabilities, self._entropies, self._count]


def _sum(shape: list[int], name: str) -> tf.Variable:
    return tf.Variable(tf.zeros(shape, tf.float64), trainable=False, name=name)
