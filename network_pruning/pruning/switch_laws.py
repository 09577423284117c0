"""What may be believed about the switches of a group: laws on a simplex. No Keras.

A law turns one tensor of free parameters, theta, into switches s [n_units] that sum to
1. It is fitted by network_pruning/pruning/switches.py.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from network_pruning.pruning import dirichlet

if TYPE_CHECKING:
    from tensorflow import Tensor

START = float(np.log1p(np.exp(-1.0)))
"""Concentration before the first step, softplus(-1): below 1, so that units compete."""

FLOOR = 1e-6
"""Added to every concentration: none becomes zero, whatever theta is."""


@dataclass(frozen=True)
class SwitchLaw(ABC):
    """A law of switches.

    Attributes:
        samples: Draws a training step takes; 0: it takes the mean instead.
    """

    samples: int = 0

    def __post_init__(self) -> None:
        """Refuses what is no number of samples.

        Raises:
            ValueError: If samples is no whole number or below 0.
        """
        if not isinstance(self.samples, int) or self.samples < 0:
            raise ValueError(
                f"samples: got {self.samples!r}, expected a number of draws, or 0 for "
                "the mean."
            )

    def switches(self, theta: Tensor, seed: Tensor) -> Tensor:
        """Returns what a training step multiplies by: [samples, n], or the mean [1, n].

        Args:
            theta: Parameters.
            seed: Two whole numbers.
        """
        if not self.samples:
            return self.mean(theta)[None]
        return self.sample(theta, self.samples, seed)

    @abstractmethod
    def start(self, n: int) -> npt.NDArray[np.float32]:
        """Returns theta before the first step, for n units: every mean is 1/n."""

    @abstractmethod
    def mean(self, theta: Tensor) -> Tensor:
        """Returns E[s], [n]."""

    @abstractmethod
    def covariance(self, theta: Tensor) -> Tensor:
        """Returns Cov[s], [n, n], in closed form."""

    @abstractmethod
    def sample(self, theta: Tensor, samples: int, seed: Tensor) -> Tensor:
        """Returns draws of s, [samples, n]; gradients reach theta."""

    @abstractmethod
    def kl(self, theta: Tensor) -> Tensor:
        """Returns the KL from the prior in nats, a scalar."""


@dataclass(frozen=True)
class _WithPrior(SwitchLaw):
    """A law with a prior, the symmetric Dirichlet.

    Attributes:
        alpha0: Its concentration; below 1 it prefers few switches.
    """

    alpha0: float = 0.5

    def __post_init__(self) -> None:
        """Refuses what is no concentration.

        Raises:
            ValueError: If alpha0 is not positive, or samples is out of range.
        """
        super().__post_init__()
        if not self.alpha0 > 0:
            raise ValueError(
                f"alpha0: got {self.alpha0!r}, expected a positive number, below 1 for "
                "few strong switches."
            )


class Dirichlet(_WithPrior):
    """s ~ Dir(phi), phi = softplus(theta); theta [n]."""

    def start(self, n: int) -> npt.NDArray[np.float32]:
        """Returns theta before the first step."""
        return _inverse_softplus(np.full(n, START))

    def mean(self, theta: Tensor) -> Tensor:
        """Returns E[s]."""
        return dirichlet.mean(_positive(theta))

    def covariance(self, theta: Tensor) -> Tensor:
        """Returns Cov[s]."""
        return dirichlet.covariance(_positive(theta))

    def sample(self, theta: Tensor, samples: int, seed: Tensor) -> Tensor:
        """Returns draws of s."""
        return dirichlet.sample(_positive(theta), samples, seed)

    def kl(self, theta: Tensor) -> Tensor:
        """Returns KL(Dir(phi) || Dir(alpha0 ... alpha0))."""
        phi = _positive(theta)
        return dirichlet.kl(phi, tf.fill(tf.shape(phi), _as(self.alpha0, phi)))


class GeneralisedDirichlet(_WithPrior):
    """s by breaking a stick, a and b = softplus(theta); theta [2, n - 1].

    It depends on the order of the units; it starts at a Dirichlet, as its prior is one.
    """

    def start(self, n: int) -> npt.NDArray[np.float32]:
        """Returns theta before the first step."""
        return _inverse_softplus(START * _symmetric(n))

    def mean(self, theta: Tensor) -> Tensor:
        """Returns E[s]."""
        return dirichlet.stick_mean(*_sticks(theta))

    def covariance(self, theta: Tensor) -> Tensor:
        """Returns Cov[s]."""
        return dirichlet.stick_covariance(*_sticks(theta))

    def sample(self, theta: Tensor, samples: int, seed: Tensor) -> Tensor:
        """Returns draws of s."""
        return dirichlet.stick_sample(*_sticks(theta), samples, seed)

    def kl(self, theta: Tensor) -> Tensor:
        """Returns the sum of the KLs of the Betas."""
        prior = _as(self.alpha0 * _symmetric(theta.shape[1] + 1), theta)
        return dirichlet.stick_kl(*_sticks(theta), *tf.unstack(prior))


class Softmax(SwitchLaw):
    """s = softmax(theta), certain; theta [n]. It has no prior."""

    def start(self, n: int) -> npt.NDArray[np.float32]:
        """Returns theta before the first step."""
        return np.zeros(n, np.float32)

    def mean(self, theta: Tensor) -> Tensor:
        """Returns s."""
        return tf.nn.softmax(theta)

    def covariance(self, theta: Tensor) -> Tensor:
        """Returns zeros."""
        return tf.zeros([theta.shape[0]] * 2, theta.dtype)

    def sample(self, theta: Tensor, samples: int, seed: Tensor) -> Tensor:
        """Returns s, repeated."""
        del seed
        return tf.repeat(self.mean(theta)[None], samples, axis=0)

    def kl(self, theta: Tensor) -> Tensor:
        """Returns 0."""
        return tf.zeros([], theta.dtype)


def _positive(theta: Tensor) -> Tensor:
    return tf.math.softplus(theta) + _as(FLOOR, theta)


def _sticks(theta: Tensor) -> tuple[Tensor, Tensor]:
    a, b = tf.unstack(_positive(theta))
    return a, b


def _symmetric(n: int) -> npt.NDArray[np.float64]:
    """Returns a and b [2, n - 1] of the Dirichlet of n ones."""
    return np.stack([np.ones(n - 1), np.arange(n - 1.0, 0, -1)])


def _inverse_softplus(y: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    return (y + np.log(-np.expm1(-y))).astype(np.float32)


def _as(value: float | npt.NDArray[np.float64], like: Tensor) -> Tensor:
    return tf.cast(value, like.dtype)
