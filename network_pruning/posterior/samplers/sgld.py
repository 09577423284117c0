"""Stochastic gradient Langevin dynamics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

from network_pruning.posterior.samplers import noise as noises
from network_pruning.posterior.samplers import step_sizes
from network_pruning.posterior.samplers.sampler import Sampler, size_like, stateless

if TYPE_CHECKING:
    from tensorflow import Tensor

    from network_pruning.posterior.samplers.sampler import Tensors


def sgld(
    step_size: step_sizes.StepSize,
    *,
    prior_precision: float = 1.0,
    noise: noises.Kind = "gaussian",
) -> Sampler:
    """Returns SGLD.

    theta <- theta - eta / 2 * (N * dL/dtheta + tau * theta) + sqrt(eta) * noise. M.
    Welling, Y. W. Teh, "Bayesian Learning via Stochastic Gradient Langevin Dynamics",
    ICML 2011, equation 4.

    Args:
        step_size: eta; a number, or a function of the step such as
            `step_sizes.decaying`.
        prior_precision: tau.
        noise: gaussian, or two_point, which is far cheaper.

    Returns:
        The sampler; it has no state.

    Raises:
        ValueError: If a number is out of range.
    """
    step_sizes.check("step_size", step_size)

    def move(
        theta: Tensors, forces: Tensors, state: Tensors, step: Tensor, unit: Tensors
    ) -> tuple[Tensors, Tensors]:
        moved = []
        for weight, force, each in zip(theta, forces, unit, strict=True):
            eta = size_like(step_size, step, weight)
            moved.append(weight - eta / 2 * force + tf.sqrt(eta) * each)
        return moved, state

    return Sampler(stateless, move, prior_precision, noise)
