"""Stochastic gradient Hamiltonian Monte Carlo."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

from network_pruning.posterior.samplers import noise as noises
from network_pruning.posterior.samplers import step_sizes
from network_pruning.posterior.samplers.sampler import Sampler, size_like
from network_pruning.ranges import check_share

if TYPE_CHECKING:
    from tensorflow import Tensor

    from network_pruning.posterior.samplers.sampler import Tensors


def sghmc(
    step_size: step_sizes.StepSize,
    *,
    friction: float = 0.1,
    prior_precision: float = 1.0,
    noise: noises.Kind = "gaussian",
) -> Sampler:
    """Returns SGHMC.

    v <- (1 - friction) * v - eta * (N * dL/dtheta + tau * theta)
    + sqrt(2 * friction * eta) * noise; theta <- theta + v. T. Chen, E. Fox, C.
    Guestrin, "Stochastic Gradient Hamiltonian Monte Carlo", ICML 2014, equation 15 with
    no estimate of the gradients' own noise. Friction 1 is SGLD of step size 2 * eta.

    Args:
        step_size: eta; a number, or a function of the step.
        friction: Share of the momentum lost in a step, in (0, 1].
        prior_precision: tau.
        noise: gaussian or two_point.

    Returns:
        The sampler; its state is the momentum, at first zero.

    Raises:
        ValueError: If a number is out of range.
    """
    step_sizes.check("step_size", step_size)
    check_share({"friction": friction}, low="(")

    def init(theta: Tensors) -> Tensors:
        return [tf.zeros_like(weight) for weight in theta]

    def move(
        theta: Tensors, forces: Tensors, state: Tensors, step: Tensor, unit: Tensors
    ) -> tuple[Tensors, Tensors]:
        moved, momenta = [], []
        for weight, force, v, each in zip(theta, forces, state, unit, strict=True):
            eta = size_like(step_size, step, weight)
            kick = tf.sqrt(2 * friction * eta) * each
            momenta.append((1 - friction) * v - eta * force + kick)
            moved.append(weight + momenta[-1])
        return moved, momenta

    return Sampler(init, move, prior_precision, noise)
