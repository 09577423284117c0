"""Training over data that lies on the device: whole epochs in one traced function.

Much faster than `fit` for networks whose step is short.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from network_pruning.augmentation import Augment, batch_seeds
from network_pruning.training import Trainer, check_finite


class ResidentLoop:
    """Runs epochs of a trainer's step in one traced function.

    All examples are held as tensors; a step gathers its batch from them. For dense
    networks the step is compiled (jit): forward, backward and the optimiser's update
    become a few fused kernels, where the optimiser is most of the saving.
    """

    def __init__(
        self,
        trainer: Trainer,
        images: npt.NDArray[np.float32],
        labels: npt.NDArray[np.int64],
        batch_size: int,
        jit: bool,
        augment: Augment | None = None,
        targets: npt.NDArray[np.float32] | None = None,
    ) -> None:
        """Puts the data in place.

        Args:
            trainer: Compiled with an optimiser.
            images: All training images [n, h, w, c].
            labels: Their labels [n].
            batch_size: Examples in a step.
            jit: Whether to compile the step with XLA (slower for convolutions on CPU).
            augment: Changes the images of each batch, before the step.
            targets: What else the step takes, behind images and labels: a row for each
                example [n, ...].
        """
        trainer.optimizer.build(trainer.trainable_variables)
        self.trainer = trainer
        self.batch_size = batch_size
        self.augment = augment
        columns = [images, labels] if targets is None else [images, labels, targets]
        self._columns = [tf.constant(column) for column in columns]
        self._step = tf.function(trainer.train_step, jit_compile=jit)
        self._run = tf.function(self._steps)

    def epoch(
        self, order: npt.NDArray[np.integer[Any]], seed: Sequence[int] = (0,)
    ) -> dict[str, float]:
        """Trains on every example once.

        Args:
            order: A permutation of the examples; batches are consecutive pieces.
            seed: Names the epoch, for what augments its batches.

        Returns:
            The trainer's means over the epoch.

        Raises:
            DivergedError: If the loss stops being finite; no step is taken after that.
        """
        for tracker in self.trainer.metrics:
            tracker.reset_state()
        full = len(order) // self.batch_size * self.batch_size
        pieces = order[:full].reshape(-1, self.batch_size), order[full:].reshape(1, -1)
        seeds = batch_seeds(seed, -(-len(order) // self.batch_size))
        done, logs = 0, {}
        for piece in pieces:
            if piece.size:
                pairs = tf.constant(seeds[done : done + len(piece)])
                count, logs = self._run(tf.constant(piece, tf.int32), pairs)
                done += int(count)
                check_finite(float(logs["loss"]), done)
        return {name: float(value) for name, value in logs.items()}

    def _steps(
        self, batches: tf.Tensor, pairs: tf.Tensor
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Returns the number of steps taken and the means after the last."""
        logs = self._take(batches[0], pairs[0])
        step = tf.constant(1)
        while step < tf.shape(batches)[0] and tf.math.is_finite(logs["loss"]):
            logs = self._take(batches[step], pairs[step])
            step += 1
        return step, logs

    def _take(self, rows: tf.Tensor, pair: tf.Tensor) -> dict[str, tf.Tensor]:
        images, *rest = [tf.gather(column, rows) for column in self._columns]
        if self.augment is not None:
            images = self.augment(images, pair)
        return self._step((images, *rest))
