"""Streamed moments against numpy, and draws against the laws they come from."""

import numpy as np
import pytest

from network_pruning.inversion import moments
from network_pruning.inversion.moments import FORMS, Law


def slow_moments(vectors):
    """Mean and population covariance, one vector at a time (Welford)."""
    mean = np.zeros(vectors.shape[1])
    scatter = np.zeros((vectors.shape[1],) * 2)
    for count, vector in enumerate(vectors, start=1):
        before = vector - mean
        mean += before / count
        scatter += np.outer(before, vector - mean)
    return mean, scatter / len(vectors)


def stream(vectors, form, cuts=(3, 4, 90), keep=None):
    batches = np.split(vectors, cuts)
    taken = moments.of_batch(batches[0], form)
    for batch in batches[1:]:
        taken = moments.merge(taken, moments.of_batch(batch, form), keep)
    return taken


def covariance(law):
    return law.factor @ law.factor.T + np.diag(law.residual)


@pytest.fixture
def vectors():
    generator = np.random.default_rng(0)
    mixed = generator.normal(size=(200, 12)) @ generator.normal(size=(12, 12))
    return mixed + 5


def test_a_stream_has_the_moments_of_the_whole(vectors):
    taken = stream(vectors, "full")
    mean, expected = slow_moments(vectors)
    np.testing.assert_allclose(taken.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(taken.scatter / 200, expected, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(expected, np.cov(vectors.T, ddof=0), atol=1e-10)
    np.testing.assert_allclose(taken.variance, vectors.var(axis=0), rtol=1e-10)
    assert taken.count == 200


@pytest.mark.parametrize("form", FORMS)
def test_two_halves_merge_into_the_whole_whatever_the_order(vectors, form):
    whole = moments.of_batch(vectors, form)
    one, other = (moments.of_batch(half, form) for half in np.split(vectors, [37]))
    for merged in (moments.merge(one, other), moments.merge(other, one)):
        np.testing.assert_allclose(merged.mean, whole.mean)
        np.testing.assert_allclose(merged.squares, whole.squares)
        if form == "lowrank":
            np.testing.assert_allclose(
                merged.rows.T @ merged.rows, whole.rows.T @ whole.rows, atol=1e-9
            )


def test_float32_streams_are_summed_in_float64(vectors):
    taken = stream(vectors.astype(np.float32), "full")
    assert taken.scatter.dtype == taken.mean.dtype == np.float64
    error = taken.scatter / 200 - np.cov(vectors.T, ddof=0)
    assert np.abs(error).max() < 1e-5 * np.abs(taken.scatter / 200).max()


@pytest.mark.parametrize("shape", [(9, 30), (30, 9)])
def test_compressed_rows_are_the_best_of_their_rank(shape):
    rows = np.random.default_rng(1).normal(size=shape)
    kept = moments.compressed(rows, 4)
    _, values, vectors = np.linalg.svd(rows)
    best = (vectors[:4].T * values[:4] ** 2) @ vectors[:4]
    np.testing.assert_allclose(kept.T @ kept, best, atol=1e-9)
    assert kept.shape == (4, shape[1])


def test_a_stream_of_low_rank_is_held_exactly_by_few_rows():
    generator = np.random.default_rng(2)
    vectors = generator.normal(size=(400, 5)) @ generator.normal(size=(5, 50)) + 3
    taken = stream(vectors, "lowrank", range(20, 400, 20), keep=6)
    assert len(taken.rows) <= 2 * 6
    law = moments.law_of(taken, "lowrank", 5)
    np.testing.assert_allclose(covariance(law), np.cov(vectors.T, ddof=0), atol=1e-8)
    assert law.residual.max() < 1e-8


def test_given_up_rows_cost_little_where_the_spectrum_falls():
    generator = np.random.default_rng(3)
    falling = generator.normal(size=(1000, 80)) * 0.9 ** np.arange(80)
    vectors = falling @ np.linalg.qr(generator.normal(size=(80, 80)))[0]
    keep = moments.SPARE * 10
    taken = stream(vectors, "lowrank", range(50, 1000, 50), keep)
    exact = np.cov(vectors.T, ddof=0)
    values, axes = np.linalg.eigh(exact)
    best = (axes[:, -10:] * values[-10:]) @ axes[:, -10:].T
    law = moments.law_of(taken, "lowrank", 10)
    lost = np.linalg.norm(law.factor @ law.factor.T - best) / np.linalg.norm(best)
    assert lost < 0.01
    np.testing.assert_allclose(np.diag(covariance(law)), np.diag(exact))


def test_forms_keep_what_they_say(vectors):
    exact = np.cov(vectors.T, ddof=0)
    values, axes = np.linalg.eigh(exact)
    laws = {f: moments.law_of(stream(vectors, f), f, rank=3) for f in FORMS}
    np.testing.assert_allclose(covariance(laws["full"]), exact, atol=1e-9)
    leading = laws["lowrank"].factor @ laws["lowrank"].factor.T
    expected = (axes[:, -3:] * values[-3:]) @ axes[:, -3:].T
    np.testing.assert_allclose(leading, expected, atol=1e-9)
    np.testing.assert_allclose(np.diag(covariance(laws["lowrank"])), np.diag(exact))
    np.testing.assert_allclose(covariance(laws["diag"]), np.diag(np.diag(exact)))
    assert not covariance(laws["mean"]).any()
    for law in laws.values():
        np.testing.assert_allclose(law.mean, vectors.mean(axis=0))


def test_a_singular_covariance_has_a_factor():
    generator = np.random.default_rng(4)
    vectors = generator.normal(size=(300, 4)) @ generator.normal(size=(4, 20))
    taken = moments.of_batch(vectors.astype(np.float32), "full")
    assert np.linalg.eigvalsh(taken.scatter).min() < 0
    law = moments.law_of(taken, "full", 150)
    assert law.factor.shape == (20, 4)
    expected = np.cov(vectors.T, ddof=0)
    np.testing.assert_allclose(covariance(law), expected, atol=1e-5 * expected.max())


def test_an_example_alone_has_no_spread():
    taken = moments.of_batch(np.arange(4.0)[None], "full")
    law = moments.law_of(taken, "full", 2)
    assert law.factor.shape == (4, 0)
    drawn = moments.sample(law, 3, np.random.default_rng(0))
    np.testing.assert_array_equal(drawn, np.tile(np.arange(4.0), (3, 1)))


def test_long_vectors_are_held_by_rows(monkeypatch):
    monkeypatch.setattr(moments, "LARGEST_MATRIX", 11)
    vectors = np.random.default_rng(5).normal(size=(40, 12))
    taken = stream(vectors, "full", (15,))
    assert taken.scatter is None
    law = moments.law_of(taken, "full", rank=3)
    assert law.factor.shape == (12, 3)
    np.testing.assert_allclose(np.diag(covariance(law)), vectors.var(axis=0))


def relative_error(drawn, expected):
    got = np.cov(drawn.T, ddof=0)
    return np.linalg.norm(got - expected) / np.linalg.norm(expected)


def test_draws_have_the_covariance_of_their_law():
    target = np.array([[1.0, 0.5], [0.5, 2.0]])
    law = Law(np.array([3.0, -1.0]), np.linalg.cholesky(target), np.zeros(2))
    generator = np.random.default_rng(6)
    drawn = moments.sample(law, 200_000, generator)
    assert relative_error(drawn, target) < 0.02
    np.testing.assert_allclose(drawn.mean(axis=0), law.mean, atol=0.02)
    # The published code drew z M with the covariance for M, and earlier z L.
    z = generator.standard_normal((200_000, 2))
    assert relative_error(z @ target, target) > 0.5
    assert relative_error(z @ law.factor, target) > 0.1


def test_draws_have_what_the_factor_leaves_out():
    generator = np.random.default_rng(7)
    factor, residual = generator.normal(size=(5, 2)), generator.random(5)
    law = Law(np.zeros(5, np.float32), factor.astype(np.float32), residual)
    drawn = moments.sample(law, 100_000, generator)
    assert drawn.dtype == np.float32
    assert relative_error(drawn, factor @ factor.T + np.diag(residual)) < 0.02


def test_a_marginal_law_is_a_part():
    generator = np.random.default_rng(8)
    law = Law(*(generator.random(s) for s in ((3, 6), (3, 6, 4), (3, 6))))
    part = law.part(1, 4)
    assert (part.mean.shape, part.factor.shape) == ((3, 3), (3, 3, 4))
    np.testing.assert_array_equal(part.factor, law.factor[:, 1:4])
    np.testing.assert_array_equal(part.residual, law.residual[:, 1:4])
