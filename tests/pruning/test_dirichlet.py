"""Closed forms against scipy, numpy and many draws."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from network_pruning.pruning import dirichlet, switch_laws

PHI = np.array([0.3, 1.0, 2.5, 0.05])
A, B = np.array([0.4, 2.0, 1.0, 3.0]), np.array([2.0, 0.7, 1.5, 0.9])
SEED = tf.constant([3, 5])


def t(values):
    return tf.constant(values, tf.float64)


def draw_sticks(n=400_000):
    v = np.random.default_rng(0).beta(A, B, (n, A.size))
    v = np.concatenate([v, np.ones((n, 1))], axis=1)
    rest = np.cumprod(1 - v, axis=1)[:, :-1]
    return v * np.concatenate([np.ones((n, 1)), rest], axis=1)


def test_mean_and_covariance_are_scipys():
    law = stats.dirichlet(PHI)
    assert np.allclose(dirichlet.mean(t(PHI)), law.mean())
    assert np.allclose(dirichlet.covariance(t(PHI)), law.cov())


def test_kl_is_zero_at_equality_and_what_draws_say():
    prior = np.array([0.5, 0.5, 2.0, 1.0])
    assert abs(float(dirichlet.kl(t(PHI), t(PHI)))) < 1e-12
    phi = np.array([0.8, 1.0, 2.5, 3.0])
    s = np.random.default_rng(0).dirichlet(phi, 200_000)
    ratio = stats.dirichlet(phi).logpdf(s.T) - stats.dirichlet(prior).logpdf(s.T)
    error = ratio.std() / np.sqrt(ratio.size)
    assert abs(float(dirichlet.kl(t(phi), t(prior))) - ratio.mean()) < 4 * error


def test_kl_of_two_parts_by_integration():
    grid = (np.arange(100_000) + 0.5) / 100_000
    p, q = stats.beta(2.5, 1.7), stats.beta(1.2, 3.0)
    expected = np.mean(p.pdf(grid) * (p.logpdf(grid) - q.logpdf(grid)))
    got = dirichlet.kl(t([2.5, 1.7]), t([1.2, 3.0]))
    assert np.isclose(float(got), expected, rtol=1e-5)
    pair = dirichlet.stick_kl(t([2.5] * 2), t([1.7] * 2), t([1.2] * 2), t([3.0] * 2))
    assert np.isclose(float(pair), 2 * expected, rtol=1e-5)


def test_kl_gradient_is_the_slope():
    phi, prior, step = t(PHI), t([0.5] * 4), 1e-6
    with tf.GradientTape() as tape:
        tape.watch(phi)
        value = dirichlet.kl(phi, prior)
    slopes = [
        (dirichlet.kl(phi + step * row, prior) - value) / step for row in np.eye(4)
    ]
    assert np.allclose(tape.gradient(value, phi), slopes, rtol=1e-3)


def test_a_broken_stick_has_the_closed_moments():
    s = draw_sticks()
    assert np.allclose(dirichlet.stick_mean(t(A), t(B)), s.mean(axis=0), atol=2e-3)
    covariance = dirichlet.stick_covariance(t(A), t(B)).numpy()
    assert np.allclose(covariance, np.cov(s.T), atol=5e-4)
    assert np.allclose(covariance.sum(axis=0), 0, atol=1e-12)


def test_switches_of_a_broken_stick_may_vary_together():
    covariance = dirichlet.stick_covariance(t([1.0, 50.0]), t([1.0, 50.0])).numpy()
    assert covariance[1, 2] > 0 > dirichlet.covariance(t(PHI)).numpy()[1, 2]


def test_a_dirichlet_is_a_broken_stick():
    def sticks(phi):
        return t(phi[:-1]), t(np.cumsum(phi[::-1])[::-1][1:])

    prior = np.full(4, 0.5)
    assert np.allclose(dirichlet.stick_mean(*sticks(PHI)), dirichlet.mean(t(PHI)))
    covariance = dirichlet.stick_covariance(*sticks(PHI))
    assert np.allclose(covariance, dirichlet.covariance(t(PHI)), atol=1e-14)
    kl = dirichlet.stick_kl(*sticks(PHI), *sticks(prior))
    assert np.isclose(float(kl), float(dirichlet.kl(t(PHI), t(prior))))


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_draws_have_the_closed_moments(dtype):
    phi, a, b = (tf.constant(x, dtype) for x in (PHI, A, B))
    cases = [
        (dirichlet.sample(phi, 100_000, SEED), stats.dirichlet(PHI).cov()),
        (
            dirichlet.stick_sample(a, b, 100_000, SEED),
            dirichlet.stick_covariance(t(A), t(B)),
        ),
    ]
    for drawn, covariance in cases:
        drawn = drawn.numpy().astype(float)
        assert np.allclose(drawn.sum(axis=1), 1, atol=1e-5)
        assert np.allclose(np.cov(drawn.T), covariance, atol=3e-3)


def test_draws_follow_their_seed():
    one = dirichlet.sample(t(PHI), 5, SEED)
    assert np.array_equal(one, dirichlet.sample(t(PHI), 5, SEED))
    assert not np.array_equal(one, dirichlet.sample(t(PHI), 5, SEED + 1))


def test_tiny_concentrations_draw_numbers():
    phi = tf.fill([20], 1e-3)
    with tf.GradientTape() as tape:
        tape.watch(phi)
        drawn = dirichlet.sample(phi, 50, SEED)
        first = tf.reduce_sum(drawn[:, 0])
    assert np.isfinite(drawn).all()
    assert np.isfinite(tape.gradient(first, phi)).all()


@pytest.mark.parametrize("law", ["dirichlet", "sticks"])
def test_gradients_through_draws_are_those_of_the_mean(law):
    """E of the pathwise gradient = gradient of E[s]; and of E[s^2], by differences."""

    def sticks(p):
        return p[:2], p[2:]

    start, draw, mean, covariance = {
        "dirichlet": (
            PHI[:3] + 0.2,
            dirichlet.sample,
            dirichlet.mean,
            dirichlet.covariance,
        ),
        "sticks": (
            np.concatenate([A[:2], B[:2]]),
            lambda p, n, seed: dirichlet.stick_sample(*sticks(p), n, seed),
            lambda p: dirichlet.stick_mean(*sticks(p)),
            lambda p: dirichlet.stick_covariance(*sticks(p)),
        ),
    }[law]

    def second(p):
        return covariance(p)[0, 0] + mean(p)[0] ** 2

    p = t(start)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(p)
        s = draw(p, 200_000, SEED)
        first, square = tf.reduce_mean(s[:, 1]), tf.reduce_mean(s[:, 0] ** 2)
    step = 1e-5
    for value, closed in ((first, lambda p: mean(p)[1]), (square, second)):
        slopes = [
            float(closed(p + step * row) - closed(p - step * row)) / (2 * step)
            for row in np.eye(start.size)
        ]
        assert np.allclose(tape.gradient(value, p), slopes, atol=3e-3)


LAWS = [
    switch_laws.Dirichlet(),
    switch_laws.GeneralisedDirichlet(samples=2),
    switch_laws.Softmax(),
]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: type(law).__name__)
@pytest.mark.parametrize("n", [1, 2, 7])
def test_every_law_starts_fair(law, n):
    theta = tf.constant(law.start(n))
    assert np.allclose(law.mean(theta), np.full(n, 1 / n), atol=1e-5)
    assert law.covariance(theta).shape == (n, n)
    switches = law.switches(theta, SEED)
    assert switches.shape == (max(law.samples, 1), n)
    assert np.allclose(tf.reduce_sum(switches, axis=1), 1, atol=1e-5)
    assert law.sample(theta, 3, SEED).shape == (3, n)
    assert np.isfinite(float(law.kl(theta)))


def test_the_prior_itself_has_no_kl():
    for kind in (switch_laws.Dirichlet, switch_laws.GeneralisedDirichlet):
        law = kind(alpha0=switch_laws.START)
        assert abs(float(law.kl(tf.constant(law.start(6))))) < 1e-4


def test_laws_refuse():
    with pytest.raises(ValueError, match="alpha0: got 0, expected a positive"):
        switch_laws.Dirichlet(alpha0=0)
    with pytest.raises(ValueError, match="samples: got -1"):
        switch_laws.Softmax(samples=-1)
