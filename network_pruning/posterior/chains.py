"""The chain over data in memory: many steps in one traced call."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from network_pruning import losses
from network_pruning.posterior import streams
from network_pruning.posterior.distiller import BLOWN_UP, PosteriorDistiller
from network_pruning.posterior.students import StudentDivergedError
from network_pruning.training import DivergedError, is_dense


class ResidentChain:
    """Runs a distiller's chain over images that lie on the device.

    Between two turns of whoever looks at the chain, all steps are one traced call. For
    dense teachers a step is compiled (jit): the update of the weights is fused with the
    noise, which is spread from random bits drawn outside.
    """

    def __init__(
        self,
        distiller: PosteriorDistiller,
        images: npt.NDArray[np.float32],
        labels: npt.NDArray[Any],
        batch_size: int = 100,
        jit: bool | None = None,
    ) -> None:
        """Puts the data in place.

        Args:
            distiller: Compiled, if it has students; on one device.
            images: That the posterior is of [n, h, w, c].
            labels: int [n] or [n, 1].
            batch_size: Of the chain's minibatches.
            jit: Whether to compile the step; None does for dense teachers.

        Raises:
            ValueError: If the batch size or the labels are unfit, the students have no
                optimiser yet, or there are several devices.
        """
        streams.check_batch("batch_size", batch_size, len(images))
        if tf.distribute.get_strategy().num_replicas_in_sync > 1:
            raise ValueError(
                "distiller: got several replicas, expected one device: under a "
                "strategy of tf.distribute, fit walks the chain"
            )
        if not all(student.is_ready for student in distiller.students):
            raise ValueError(
                "distiller: got students without an optimiser, expected that "
                "distiller.compile() was called"
            )
        self.distiller, self.batch_size = distiller, batch_size
        self._images = tf.constant(images)
        self._labels = losses.classes_of(labels, len(images))
        jit = is_dense(distiller.teacher) if jit is None else jit
        self._step = tf.function(distiller.walk, jit_compile=jit)
        self._judge = tf.function(distiller.nll, jit_compile=jit)
        self._limit = tf.constant(BLOWN_UP * np.log(distiller.classes), tf.float32)
        self._walk = tf.function(self._steps)

    @property
    def steps(self) -> int:
        """Steps that the chain has taken in all."""
        return int(self.distiller.steps.numpy())

    def advance(self, steps: int) -> dict[str, float]:
        """Goes on.

        Args:
            steps: How many to take.

        Returns:
            Mean NLL of the minibatches on the way, and the students' mean losses.

        Raises:
            DivergedError: If the chain blew up; it stands where it was at the last
                turn, or before this call.
        """
        distiller, end, nll = self.distiller, self.steps + steps, 0.0
        for metric in distiller.metrics:
            metric.reset_state()
        while (here := self.steps) < end:
            turn = min(distiller.turn_after(here) or end, end)
            nll += self._go(turn - here) * (turn - here)
        return {"nll": nll / max(steps, 1), **distiller.told()}

    def _go(self, steps: int) -> float:
        """Takes steps up to one that somebody may look at.

        Returns:
            Their mean NLL.

        Raises:
            DivergedError: If the chain blew up; it stands where it was before.
            StudentDivergedError: If a student did; the chain stands where it is.
        """
        here = self.steps
        position = [v.numpy() for v in self.distiller.position]
        total, last = self._walk(tf.constant(steps))
        try:
            self.distiller.check(float(last), self.steps)
            self.distiller.look(self.steps)
        except StudentDivergedError:
            raise
        except DivergedError as error:
            for variable, value in zip(self.distiller.position, position, strict=True):
                variable.assign(value)
            raise DivergedError(f"{error}; it stands at step {here} again") from None
        return float(total) / steps

    def _steps(self, steps: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Takes steps while they are good.

        Returns:
            The sum of the minibatches' NLLs, and that of the next one where the chain
            stands now, or the first that is too high.
        """
        total, last = tf.constant(0.0), tf.constant(0.0)
        here = self.distiller.steps.read_value()
        end = here + tf.cast(steps, here.dtype)
        drawn = self._drawn(here)
        while here < end and last <= self._limit:
            here += 1
            # A step ahead: a core that the step leaves idle for a moment draws it.
            ahead = self._drawn(here)
            last = tf.reduce_mean(self._step(*drawn))
            drawn = ahead
            total += last
        # Nobody is to learn from a position that only the next step would find broken.
        if last <= self._limit:
            last = tf.reduce_mean(self._judge(*drawn[:2]))
        return total, last

    def _drawn(self, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns images, labels and the draw of noise of a step, counted from 0."""
        rows = streams.rows_of(
            self.distiller.seed,
            streams.BATCHES,
            step,
            self.batch_size,
            self._images.shape[0],
        )
        images, labels = tf.gather(self._images, rows), tf.gather(self._labels, rows)
        return images, labels, self.distiller.draw_noise(step)
