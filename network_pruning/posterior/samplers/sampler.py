"""What every sampler is: pure functions of lists of tensors, one tensor a weight.

The chain's energy is U(theta) = N * L(theta) + tau / 2 * |theta|^2: L is the mean
negative log likelihood of the N cases, tau the precision of the prior N(0, 1 / tau),
biases included; exp(-U) is the posterior but for a constant. The gradient of L over a
minibatch of M cases, times N, estimates that of the sum over all cases: it is the
(N / M) * sum of the published formulas.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import tensorflow as tf

from network_pruning.posterior.samplers import noise as noises
from network_pruning.posterior.samplers import step_sizes

if TYPE_CHECKING:
    from tensorflow import Tensor

    Tensors = list[Tensor]
    Init = Callable[[Tensors], Tensors]
    Move = Callable[
        [Tensors, Tensors, Tensors, Tensor, Tensors], tuple[Tensors, Tensors]
    ]


def always(step: int) -> bool:
    """Returns True: every position of the chain is a draw."""
    del step
    return True


@dataclass(frozen=True)
class Sampler:
    """A Markov chain whose law tends to the posterior as its step size goes to zero.

    Attributes:
        init: theta -> state, tensors that the chain keeps beside its position.
        move: (theta, dU/dtheta, state, step from 0, noise of variance 1) -> theta and
            state after the step.
        prior_precision: tau.
        noise: gaussian or two_point, see `noise.draw`.
        is_draw: Step from 0 -> whether the position after it is a draw from the
            posterior; students learn from draws alone.
        period: Steps after which `is_draw` says the same again.
    """

    init: Init
    move: Move
    prior_precision: float
    noise: noises.Kind
    is_draw: Callable[[int], bool] = always
    period: int = 100_000

    def __post_init__(self) -> None:
        """Judges what all samplers have in common.

        Raises:
            ValueError: If the prior precision is negative or the noise is unknown.
        """
        noises.check_kind(self.noise)
        if not 0 <= self.prior_precision < float("inf"):
            raise ValueError(
                f"prior_precision: got {self.prior_precision}, expected a number of 0 "
                "or more, 0 for a flat prior"
            )

    def draw_noise(self, shapes: Sequence[Sequence[int]], seed: Tensor) -> Tensor:
        """Returns the draw behind the noise of one step, see `noise.draw`."""
        return noises.draw(self.noise, shapes, seed)

    def update(
        self,
        theta: Tensors,
        gradients: Tensors,
        state: Tensors,
        step: Tensor,
        drawn: Tensor,
        data_size: float,
    ) -> tuple[Tensors, Tensors]:
        """Takes one step.

        Args:
            theta: Position, one float tensor a weight.
            gradients: dL/dtheta, L the MEAN negative log likelihood of a minibatch.
            state: What `init` or the last step gave.
            step: int, from 0.
            drawn: What `draw_noise` gave for the shapes of theta.
            data_size: N, the number of cases the posterior is of.

        Returns:
            Position and state after it.
        """
        forces = [
            data_size * gradient + self.prior_precision * weight
            for weight, gradient in zip(theta, gradients, strict=True)
        ]
        shapes = [weight.shape.as_list() for weight in theta]
        unit = [
            tf.cast(each, weight.dtype)
            for each, weight in zip(
                noises.shape_noise(self.noise, drawn, shapes), theta, strict=True
            )
        ]
        return self.move(theta, forces, state, step, unit)


def stateless(theta: Tensors) -> Tensors:
    """Returns the state of a chain that has none."""
    del theta
    return []


def size_like(step_size: step_sizes.StepSize, step: Tensor, weight: Tensor) -> Tensor:
    """Returns the step size of a step in the precision of a weight."""
    return tf.cast(step_sizes.at(step_size, step), weight.dtype)
