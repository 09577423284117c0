"""A trainer with a loss of its own."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from network_pruning import losses
from network_pruning.training import Trainer, is_right


class SquaresTrainer(Trainer):
    """Teaches with squares of probabilities less labels."""

    def train_step(self, data: tuple[tf.Tensor, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Takes one step.

        Args:
            data: See `Trainer`.

        Returns:
            Likewise; the loss is the mean of the squares.
        """
        return self.learn(lambda: self._weigh(*data, training=True))

    def test_step(self, data: tuple[tf.Tensor, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Measures one batch.

        Args:
            data: See `Trainer`.

        Returns:
            Likewise.
        """
        each, told = self._weigh(*data, training=False)
        return self.report_test(each, told)

    def _weigh(
        self, images: tf.Tensor, labels: tf.Tensor, training: bool
    ) -> tuple[tf.Tensor, dict[str, Any]]:
        logits = self.call(images, training=training)
        told = {
            "cross_entropy": losses.cross_entropy(logits, labels),
            "accuracy": is_right(logits, labels),
        }
        return losses.squares(logits, labels), told
