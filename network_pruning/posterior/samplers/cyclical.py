"""Cyclical SGLD: large steps that find a mode, small ones that draw from it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import tensorflow as tf

from network_pruning.posterior.samplers import noise as noises
from network_pruning.posterior.samplers import step_sizes
from network_pruning.posterior.samplers.sampler import Sampler, stateless
from network_pruning.ranges import check_share, check_whole

if TYPE_CHECKING:
    from tensorflow import Tensor

    from network_pruning.posterior.samplers.sampler import Tensors


def cyclical_sgld(
    step_size: float,
    *,
    cycle: int,
    exploring: float = 0.8,
    prior_precision: float = 1.0,
    noise: noises.Kind = "gaussian",
) -> Sampler:
    """Returns SGLD whose step size falls from its highest to zero, again and again.

    eta_t = step_size / 2 * (1 + cos(pi * r_t)), r_t = (t mod cycle) / cycle; while
    r_t < exploring the chain descends without noise, after that it is SGLD, and only
    then are its positions draws. R. Zhang et al., "Cyclical Stochastic Gradient MCMC
    for Bayesian Deep Learning", ICLR 2020, equation 1 and algorithm 1.

    Args:
        step_size: Highest eta.
        cycle: Steps of one.
        exploring: Share of a cycle without noise, in [0, 1).
        prior_precision: tau.
        noise: gaussian or two_point.

    Returns:
        The sampler; it has no state.

    Raises:
        ValueError: If a number is out of range.
    """
    step_sizes.check("step_size", step_size)
    check_whole({"cycle": cycle}, 1)
    check_share({"exploring": exploring}, high=")")
    quiet = math.ceil(exploring * cycle - 1e-9)
    if quiet >= cycle:
        raise ValueError(
            f"exploring: got {exploring} of a cycle of {cycle}, expected a step at "
            "least that is left to draw"
        )

    def move(
        theta: Tensors, forces: Tensors, state: Tensors, step: Tensor, unit: Tensors
    ) -> tuple[Tensors, Tensors]:
        place = step % cycle
        share = tf.cast(place, tf.float32) / cycle
        size = step_size / 2 * (1 + tf.cos(math.pi * share))
        moved = []
        for weight, force, each in zip(theta, forces, unit, strict=True):
            eta = tf.cast(size, weight.dtype)
            kick = tf.where(place < quiet, tf.zeros_like(eta), tf.sqrt(eta))
            moved.append(weight - eta / 2 * force + kick * each)
        return moved, state

    def is_draw(step: int) -> bool:
        return step % cycle >= quiet

    return Sampler(stateless, move, prior_precision, noise, is_draw, period=cycle)
