"""Group lasso: presses all that enters a unit towards zero at once, its bias included.

R = weight * sum over the units of ||incoming weights and bias||_2. The units are those
that could be cut (`find_groups`), so that outputs are never pressed. Gradient steps on
the penalty come near zero and seldom reach it; the proximal step reaches it exactly. M.
Yuan, Y. Lin, "Model Selection and Estimation in Regression with Grouped Variables",
Journal of the Royal Statistical Society B 68, 2006.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from network_pruning.pruning import masks as arithmetic
from network_pruning.pruning.channel_ids import IntArray
from network_pruning.pruning.layer_rules import RULES
from network_pruning.pruning.units import UnitGroup, find_groups
from network_pruning.ranges import check_from
from network_pruning.types import BoolArray

Rate = float | Callable[[], Any]
"""Of the optimiser: a number, or what returns it within the traced step."""


@dataclass(frozen=True)
class _Part:
    """One weight of a producer.

    Attributes:
        weight: Kernel or bias.
        out: Its axis of output channels.
        units: Unit of each channel [width], -1 for none.
    """

    weight: tf.Variable
    out: int
    units: IntArray

    def squares(self, n_units: int) -> tf.Tensor:
        """Returns the sum of the squares that enter each unit [n_units]."""
        others = [i for i in range(self.weight.shape.rank) if i != self.out]
        sums = tf.reduce_sum(tf.square(self.weight), axis=others)
        return tf.math.unsorted_segment_sum(sums, tf.constant(self.units), n_units)

    def scale(self, factors: tf.Tensor) -> None:
        """Multiplies what enters each unit by its factor [n_units]."""
        own = tf.gather(factors, tf.constant(np.maximum(self.units, 0)))
        own = tf.where(tf.constant(self.units >= 0), own, tf.ones_like(own))
        shape = [1] * self.weight.shape.rank
        shape[self.out] = -1
        self.weight.assign(self.weight * tf.reshape(own, shape))


class GroupLasso:
    """The norms of a network's units, a penalty on them, and its proximal step.

    Attributes:
        weight: Of the penalty, lambda.
        groups: The units, as `find_groups` finds them.
    """

    def __init__(self, model: keras.Model, weight: float) -> None:
        """Finds the units.

        Args:
            model: Functional or Sequential; its own variables are read and moved.
            weight: From 0.

        Raises:
            ValueError: If the weight is negative, or the model has no unit to cut.
        """
        check_from({"weight": weight})
        self.weight = weight
        self.groups = find_groups(model)
        if not self.groups:
            raise ValueError(
                f"model {model.name!r} has no unit that could be cut, expected at "
                "least one hidden layer"
            )
        self._parts = {group.name: _parts(group) for group in self.groups}

    def norms(self) -> dict[str, tf.Tensor]:
        """Returns the norm of all that enters each unit [n_units], by group."""
        return {group.name: _root(self._squares(group)) for group in self.groups}

    def penalty(self) -> tf.Tensor:
        """Returns weight * sum of the norms; for `model.add_loss`."""
        sums = [tf.reduce_sum(norms) for norms in self.norms().values()]
        return self.weight * tf.add_n(sums)

    def proximal(self, rate: Rate) -> Callable[[keras.Model], None]:
        """Returns the step that follows each gradient step on the loss alone.

        Every unit is scaled by max(0, 1 - rate * weight / norm): block soft-threshold,
        the proximal map of rate * R. A unit whose norm is below rate * weight becomes
        exactly zero.

        Args:
            rate: Of the optimiser that took the gradient step.

        Returns:
            What a trainer calls as `after_update`.
        """

        def shrink_norms(model: keras.Model) -> None:
            del model
            threshold = tf.cast(rate() if callable(rate) else rate, tf.float32)
            for group in self.groups:
                norms = _root(self._squares(group))
                least = threshold * self.weight
                # max keeps the division finite; such units become zero all the same.
                factors = tf.nn.relu(1 - least / tf.maximum(norms, 1e-30))
                for part in self._parts[group.name]:
                    part.scale(factors)

        return shrink_norms

    def alive(self, threshold: float = 0.0) -> dict[str, BoolArray]:
        """Returns which units stay: masks for `gate` and `shrink`.

        Args:
            threshold: A unit goes if its norm is at most this.

        Returns:
            Bool [n_units] by group; of each layer the strongest unit stays in any case.
        """
        kept = {}
        for group in self.groups:
            norms = self.norms()[group.name].numpy()
            parts = group.parts() or (np.ones(group.n_units, bool),)
            forced = arithmetic.best_of_each(norms, parts)
            kept[group.name] = (norms > threshold) | forced
        return kept

    def _squares(self, group: UnitGroup) -> tf.Tensor:
        parts = self._parts[group.name]
        return tf.add_n([part.squares(group.n_units) for part in parts])


def _root(squares: tf.Tensor) -> tf.Tensor:
    """Returns square roots whose gradient at zero is zero."""
    some = squares > 0
    roots = tf.sqrt(tf.where(some, squares, tf.ones_like(squares)))
    return tf.where(some, roots, tf.zeros_like(roots))


def _parts(group: UnitGroup) -> list[_Part]:
    """Returns the kernels and biases of a group's producers."""
    found = []
    for member in group.producers:
        rule = RULES[type(member.layer)]
        for attribute in (*rule.kernels, "bias"):
            weight = getattr(member.layer, attribute, None)
            if weight is not None:
                axes = rule.weight_axes[attribute]
                out = weight.shape.rank - len(axes) + axes.index("out")
                found.append(_Part(weight, out, member.units))
    return found
