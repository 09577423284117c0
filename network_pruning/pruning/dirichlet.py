"""Dirichlet and generalised Dirichlet laws of points on a simplex. No Keras.

Everything is differentiable, in the float type of the parameters. The generalised
Dirichlet breaks a stick: V_i ~ Beta(a_i, b_i) for i = 1 .. n-1, and V_n = 1;
s_i = V_i * prod_{j<i} (1 - V_j). It is the Dirichlet where b_i = a_{i+1} + b_{i+1}.
R. Connor, J. Mosimann, "Concepts of Independence for Proportions with a Generalization
of the Dirichlet Distribution", 1969. Its covariances may be positive, those of a
Dirichlet never are; but it depends on the order of the parts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

if TYPE_CHECKING:
    from tensorflow import Tensor


def mean(phi: Tensor) -> Tensor:
    """Returns E[s_i] = phi_i / sum phi.

    Args:
        phi: Concentrations [..., n], positive.

    Returns:
        [..., n].
    """
    return phi / tf.reduce_sum(phi, axis=-1, keepdims=True)


def covariance(phi: Tensor) -> Tensor:
    """Returns Cov[s_i, s_j] = (m_i [i = j] - m_i m_j) / (sum phi + 1), m the mean.

    Args:
        phi: Concentrations [n], positive.

    Returns:
        [n, n].
    """
    m = mean(phi)
    return (tf.linalg.diag(m) - _outer(m, m)) / (tf.reduce_sum(phi) + 1)


def kl(phi: Tensor, alpha: Tensor) -> Tensor:
    """Computes KL(Dir(phi) || Dir(alpha)).

    log G(sum phi) - log G(sum alpha) - sum log G(phi_i) + sum log G(alpha_i)
    + sum (phi_i - alpha_i) (digamma(phi_i) - digamma(sum phi)).

    Args:
        phi: Concentrations [..., n], positive.
        alpha: Those of the prior, of the same shape.

    Returns:
        Nats [...].
    """
    total = tf.reduce_sum(phi, axis=-1)
    weights = tf.math.digamma(phi) - tf.math.digamma(total)[..., None]
    terms = tf.math.lgamma(alpha) - tf.math.lgamma(phi) + (phi - alpha) * weights
    ends = tf.math.lgamma(total) - tf.math.lgamma(tf.reduce_sum(alpha, axis=-1))
    return ends + tf.reduce_sum(terms, axis=-1)


def sample(phi: Tensor, samples: int, seed: Tensor) -> Tensor:
    """Draws s = g / sum g, g_i ~ Gamma(phi_i, 1); gradients reach phi.

    Args:
        phi: Concentrations [n], positive.
        samples: How many.
        seed: Two whole numbers; the same ones draw the same points.

    Returns:
        [samples, n], rows sum to 1.
    """
    return tf.nn.softmax(_log_gamma(phi, samples, seed))


def stick_mean(a: Tensor, b: Tensor) -> Tensor:
    """Returns E[s_i] = m_i prod_{j<i} (1 - m_j), m_i = a_i / (a_i + b_i), m_n = 1.

    Args:
        a: First parameters [n - 1], positive.
        b: Second parameters [n - 1], positive.

    Returns:
        [n].
    """
    return tf.exp(_broken(tf.math.log(a / (a + b)), tf.math.log(b / (a + b))))


def stick_covariance(a: Tensor, b: Tensor) -> Tensor:
    """Computes the covariance of a generalised Dirichlet in closed form.

    The V_j are independent, so that with R_i = prod_{j<i} E[(1 - V_j)^2]
    E[s_i^2] = R_i E[V_i^2], and for i < k
    E[s_i s_k] = R_i E[V_i (1 - V_i)] E[V_k] prod_{i<j<k} E[1 - V_j].

    Args:
        a: First parameters [n - 1], positive.
        b: Second parameters [n - 1], positive.

    Returns:
        [n, n].
    """
    total = a + b
    pairs = total * (total + 1)
    reach = _before(tf.math.log(b * (b + 1) / pairs))
    one = tf.ones(1, a.dtype)
    log_square = reach + tf.math.log(tf.concat([a * (a + 1) / pairs, one], 0))
    m = stick_mean(a, b)
    # Logarithms: what is left of a stick after many breaks may underflow.
    log_left = tf.cumsum(tf.math.log(b / total))
    first = tf.exp(reach[:-1] + tf.math.log(a * b / pairs) - log_left)
    products = _outer(tf.concat([first, 0 * one], 0), m)
    above = products - tf.linalg.band_part(products, -1, 0)
    second = tf.linalg.diag(tf.exp(log_square)) + above + tf.transpose(above)
    return second - _outer(m, m)


def stick_kl(a: Tensor, b: Tensor, a0: Tensor, b0: Tensor) -> Tensor:
    """Computes the KL of products of Betas: sum of KL(Beta(a, b) || Beta(a0, b0)).

    A Beta is a Dirichlet of two parts. The points s and the breaks V determine each
    other, so it is the KL of the two generalised Dirichlets too.

    Args:
        a: First parameters [n - 1], positive.
        b: Second parameters [n - 1], positive.
        a0: First parameters of the prior [n - 1].
        b0: Second parameters of the prior [n - 1].

    Returns:
        Nats, a scalar.
    """
    return tf.reduce_sum(kl(tf.stack([a, b], -1), tf.stack([a0, b0], -1)))


def stick_sample(a: Tensor, b: Tensor, samples: int, seed: Tensor) -> Tensor:
    """Breaks sticks, V = g / (g + h) of two Gammas; gradients reach a and b.

    Args:
        a: First parameters [n - 1], positive.
        b: Second parameters [n - 1], positive.
        samples: How many.
        seed: Two whole numbers; the same ones draw the same points.

    Returns:
        [samples, n], rows sum to 1.
    """
    log_g, log_h = tf.split(_log_gamma(tf.concat([a, b], 0), samples, seed), 2, axis=1)
    both = tf.reduce_logsumexp(tf.stack([log_g, log_h]), axis=0)
    return tf.exp(_broken(log_g - both, log_h - both))


def _log_gamma(alpha: Tensor, samples: int, seed: Tensor) -> Tensor:
    """Returns log g [samples, n], g ~ Gamma(alpha, 1).

    g = h * u^(1/alpha), h ~ Gamma(alpha + 1, 1), u uniform: of a small alpha, g itself
    would underflow to zero. The gradient is implicit through h (M. Figurnov et al.,
    "Implicit Reparameterization Gradients", 2018) and explicit through the power.
    """
    shape = [samples, alpha.shape[-1]]
    seeds = tf.random.experimental.stateless_split(seed, 2)
    h = tf.random.stateless_gamma(shape, seeds[0], alpha=alpha + 1, dtype=alpha.dtype)
    tiny = alpha.dtype.as_numpy_dtype(1e-30)
    u = tf.random.stateless_uniform(shape, seeds[1], minval=tiny, dtype=alpha.dtype)
    return tf.math.log(h) + tf.math.log(u) / alpha


def _broken(log_v: Tensor, log_rest: Tensor) -> Tensor:
    """Returns log s [..., n] from log V and log (1 - V) [..., n - 1]."""
    last = tf.zeros_like(tf.reduce_sum(log_v, axis=-1, keepdims=True))
    return tf.concat([log_v, last], -1) + _before(log_rest)


def _before(values: Tensor) -> Tensor:
    """Returns the sum of what stands before each place: [..., n - 1] -> [..., n]."""
    none = tf.zeros_like(tf.reduce_sum(values, axis=-1, keepdims=True))
    return tf.concat([none, tf.cumsum(values, axis=-1)], -1)


def _outer(a: Tensor, b: Tensor) -> Tensor:
    return a[:, None] * b
