"""Samplers: single steps by hand, and laws on Gaussians whose posterior is known."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from network_pruning.posterior.samplers import noise, step_sizes
from network_pruning.posterior.samplers.cyclical import cyclical_sgld
from network_pruning.posterior.samplers.sghmc import sghmc
from network_pruning.posterior.samplers.sgld import sgld

CHAINS = 10_000
"""Independent chains, the entries of one weight."""
CASES, TAU, RATE, FRICTION = 8, 2.0, 0.05, 0.3
PRECISION = CASES + TAU
X = np.linspace(-1.0, 3.0, CASES)
SAMPLERS = {
    "sgld": lambda kind: sgld(RATE, prior_precision=TAU, noise=kind),
    "sghmc": lambda kind: sghmc(
        RATE / 10, friction=FRICTION, prior_precision=TAU, noise=kind
    ),
}


def stationary_variance(name):
    """Returns the chain's own variance, its step size included, solved exactly."""
    if name == "sgld":
        return RATE / (1 - (1 - RATE * PRECISION / 2) ** 2)
    eta = RATE / 10
    keep, force = 1 - FRICTION, eta * PRECISION
    # (theta, v) <- A (theta, v) + b z, as the new v is added to theta.
    a = np.array([[1 - force, keep], [-force, keep]])
    b = np.sqrt(2 * FRICTION * eta) * np.ones(2)
    flat = np.linalg.solve(np.eye(4) - np.kron(a, a), np.outer(b, b).ravel())
    return flat[0]


def walk(sampler, steps, rows=None, theta=None, seed=3):
    """Chains on the mean of X under N(x | theta, 1), L the mean over a minibatch."""

    @tf.function
    def run(theta, state):
        for step in tf.range(steps):
            cases = tf.constant(X, tf.float32)
            if rows is not None:
                shape = [CHAINS, rows]
                drawn = tf.random.stateless_uniform(
                    shape, tf.stack([9, step]), 0, CASES, tf.int32
                )
                mean = tf.reduce_mean(tf.gather(cases, drawn), axis=1)
            else:
                mean = tf.reduce_mean(cases)
            drawn = sampler.draw_noise([[CHAINS]], tf.stack([seed, step]))
            position, state = sampler.update(
                [theta], [theta - mean], state, step, drawn, CASES
            )
            theta = position[0]
        return theta

    theta = tf.zeros([CHAINS]) if theta is None else theta
    return run(theta, sampler.init([theta])).numpy().astype(float)


@pytest.mark.parametrize("kind", noise.KINDS)
@pytest.mark.parametrize("name", SAMPLERS)
def test_the_law_on_a_gaussian(name, kind):
    theta = walk(SAMPLERS[name](kind), 120 if name == "sgld" else 300)
    variance = stationary_variance(name)
    assert abs(variance * PRECISION - 1) < 0.15, "the step size alone should matter"
    mean = X.sum() / PRECISION
    assert theta.mean() == pytest.approx(mean, abs=4 * np.sqrt(variance / CHAINS))
    assert theta.var() == pytest.approx(variance, rel=4 * np.sqrt(2 / CHAINS))


def test_minibatches_keep_the_mean_and_add_their_own_noise():
    rows = 2
    theta = walk(SAMPLERS["sgld"]("two_point"), 120, rows)
    # Drawn with replacement: N times the batch mean has the variance N^2 var(X) / M.
    extra = (RATE / 2 * CASES) ** 2 * X.var() / rows
    variance = (RATE + extra) / (1 - (1 - RATE * PRECISION / 2) ** 2)
    assert theta.var() == pytest.approx(variance, rel=4 * np.sqrt(2 / CHAINS))
    mean = X.sum() / PRECISION
    assert theta.mean() == pytest.approx(mean, abs=4 * np.sqrt(variance / CHAINS))


def test_same_seed_same_chain():
    sampler = SAMPLERS["sgld"]("gaussian")
    first = walk(sampler, 3)
    np.testing.assert_array_equal(first, walk(sampler, 3))
    assert (first != walk(sampler, 3, seed=4)).all()


THETA = [np.array([[1.0, -2.0], [0.5, 3.0]]), np.array([4.0])]
GRADIENTS = [np.array([[0.1, 0.2], [-0.3, 0.0]]), np.array([1.0])]


def by_hand(sampler, state, step):
    """Takes one step, and also returns the noise it took."""
    theta = [tf.constant(value) for value in THETA]
    drawn = sampler.draw_noise([v.shape for v in theta], tf.constant([1, 2]))
    unit = noise.shape_noise(sampler.noise, drawn, [v.shape for v in THETA])
    unit = [each.numpy().astype(float) for each in unit]
    gradients = [tf.constant(value) for value in GRADIENTS]
    after, state = sampler.update(theta, gradients, state, step, drawn, data_size=50)
    return [v.numpy() for v in after], [v.numpy() for v in state], unit


@pytest.mark.parametrize("kind", noise.KINDS)
def test_one_step_of_sgld(kind):
    # eta / 2 = .005; N dL + tau theta of the first weight: 50 * .1 + 2 * 1 = 7.
    sampler = sgld(0.01, prior_precision=2.0, noise=kind)
    after, state, unit = by_hand(sampler, [], tf.constant(0))
    assert state == []
    drift = [[[0.965, -2.03], [0.57, 2.97]], [3.71]]
    for got, expected, each in zip(after, drift, unit, strict=True):
        np.testing.assert_allclose(got, np.array(expected) + 0.1 * each, rtol=1e-6)


def test_one_step_of_sghmc():
    sampler = sghmc(0.01, friction=0.2, prior_precision=2.0)
    momenta = [tf.fill(v.shape, tf.constant(0.5, tf.float64)) for v in THETA]
    after, state, unit = by_hand(sampler, momenta, tf.constant(0))
    assert [v.numpy().any() for v in sampler.init(momenta)] == [False, False]
    # .8 * .5 - .01 * 7 = .33 for the first weight.
    moved = [[[0.33, 0.34], [0.54, 0.34]], [-0.18]]
    kick = np.sqrt(2 * 0.2 * 0.01)
    for got, v, expected, each, old in zip(
        after, state, moved, unit, THETA, strict=True
    ):
        np.testing.assert_allclose(v, np.array(expected) + kick * each, rtol=1e-6)
        np.testing.assert_allclose(got, old + v, rtol=1e-6)


def test_sghmc_with_all_friction_is_sgld_of_twice_the_step():
    momenta = [tf.constant(value) for value in THETA]
    whole, _, _ = by_hand(sghmc(0.01, friction=1.0), momenta, tf.constant(0))
    twin, _, _ = by_hand(sgld(0.02), [], tf.constant(0))
    for got, expected in zip(whole, twin, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-6)


@pytest.mark.parametrize(("step", "size", "draws"), [(0, 0.02, 0), (15, 0.01, 1)])
def test_one_step_of_the_cycles(step, size, draws):
    sampler = cyclical_sgld(0.02, cycle=10, exploring=0.5, prior_precision=2.0)
    after, _, unit = by_hand(sampler, [], tf.constant(step))
    forces = [50 * g + 2 * v for g, v in zip(GRADIENTS, THETA, strict=True)]
    for got, old, force, each in zip(after, THETA, forces, unit, strict=True):
        expected = old - size / 2 * force + draws * np.sqrt(size) * each
        np.testing.assert_allclose(got, expected, rtol=1e-6)
    assert sampler.is_draw(step) == bool(draws)


def test_draws_of_a_cycle_are_those_after_the_exploration():
    sampler = cyclical_sgld(0.02, cycle=5, exploring=0.6)
    assert [sampler.is_draw(t) for t in range(10)] == [*[False] * 3, *[True] * 2] * 2
    assert all(sgld(0.1).is_draw(t) for t in range(3))


def test_decaying_steps():
    size = step_sizes.decaying(0.1, offset=4.0, power=1.0)
    sizes = [float(step_sizes.at(size, tf.constant(t))) for t in (0, 4, 12)]
    np.testing.assert_allclose(sizes, [0.1, 0.05, 0.025], rtol=1e-6)
    after, _, unit = by_hand(sgld(size), [], tf.constant(4))
    expected = 4.0 - 0.025 * (50 * 1.0 + 4.0) + np.sqrt(0.05) * unit[1]
    np.testing.assert_allclose(after[1], expected, rtol=1e-6)


SHAPES = [[100, 70], [5], [3, 4, 2, 33], []]


@pytest.mark.parametrize(("jit", "kind"), [(False, "gaussian"), (True, "two_point")])
def test_noise_has_mean_0_variance_1_and_no_pattern(kind, jit):
    def make(seed):
        drawn = noise.draw(kind, SHAPES, seed)
        return noise.shape_noise(kind, drawn, SHAPES)

    make = tf.function(make, jit_compile=jit)
    parts = [part.numpy() for part in make(tf.constant([4, 5]))]
    assert [list(part.shape) for part in parts] == SHAPES
    for part, again in zip(parts, make(tf.constant([4, 5])), strict=True):
        np.testing.assert_array_equal(part, again)
    assert (parts[0] != make(tf.constant([4, 6]))[0].numpy()).mean() > 0.4
    values = np.concatenate([part.ravel() for part in parts]).astype(float)
    if kind == "two_point":
        assert set(values) == {-1.0, 1.0}
    assert abs(values.mean()) < 4 / np.sqrt(values.size)
    assert values.var() == pytest.approx(1, abs=4 * np.sqrt(2 / values.size))
    grid = parts[0].astype(float)
    for other in (grid[1:], grid[32:], grid[:, 1:], grid[33:, 1:]):
        same = grid[: len(other), : other.shape[1]]
        assert abs((same * other).mean()) < 4 / np.sqrt(other.size)


def test_words_are_the_same_inside_and_outside_of_a_compiled_function():
    seed = tf.constant([1, 2])
    compiled = tf.function(noise.draw, jit_compile=True)("two_point", SHAPES, seed)
    np.testing.assert_array_equal(noise.draw("two_point", SHAPES, seed), compiled)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sgld(0.0), "step_size: got 0.0, expected a number above 0"),
        (lambda: sgld(np.inf), "step_size"),
        (lambda: sgld(1.0, prior_precision=-1.0), "prior_precision: got -1.0"),
        (lambda: sgld(1.0, noise="uniform"), "noise: got 'uniform', expected one of"),
        (lambda: sghmc(-1.0), "step_size"),
        (lambda: sghmc(1.0, friction=0.0), r"friction: got 0.0, expected .* \(0,1\]"),
        (lambda: cyclical_sgld(1.0, cycle=0), "cycle: got 0"),
        (lambda: cyclical_sgld(1.0, cycle=5, exploring=1.0), "exploring: got 1.0"),
        (lambda: cyclical_sgld(1.0, cycle=5, exploring=0.9), "a step at least that"),
        (lambda: step_sizes.decaying(1.0, 0.0), "offset: got 0.0"),
        (lambda: step_sizes.decaying(1.0, 1.0, 0.5), r"power: got 0.5, .*\(0.5, 1\]"),
    ],
)
def test_bad_settings_are_said(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_sampler_is_a_value():
    sampler = sgld(0.1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        sampler.noise = "two_point"
