"""k-means on activations, against loops."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import tensorflow as tf

from network_pruning.clustering import kmeans
from tests.clustering import twins


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def normal(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("kind", kmeans.KINDS)
@pytest.mark.parametrize("shape", [(3, 4, 5, 2), (3, 7)])
def test_rows_are_laid_out_as_loops_lay_them(rng, kind, shape):
    activation = normal(rng, *shape)
    rows = kmeans.embed(tf.constant(activation), kind)
    np.testing.assert_array_equal(rows, twins.embed(activation, kind))
    assert kmeans.width((None, *shape[1:]), kind) == rows.shape[1]


def test_width_is_not_settled_where_places_are_not():
    shape = (None, None, None, 8)
    assert kmeans.width(shape, "spatial") == 8
    assert kmeans.width(shape, "sample") is None
    assert kmeans.width(shape, "channel") is None


@pytest.mark.parametrize("piece", [None, 40])
def test_each_row_goes_to_its_nearest_centre(rng, monkeypatch, piece):
    if piece:
        monkeypatch.setattr(kmeans, "PIECE", piece)
    rows, centres = normal(rng, 23, 6), normal(rng, 5, 6)
    found = kmeans.assign(tf.constant(rows), tf.constant(centres))
    np.testing.assert_array_equal(found, twins.assign(rows, centres))


def test_a_batch_of_unknown_size_is_assigned_in_pieces(rng, monkeypatch):
    monkeypatch.setattr(kmeans, "PIECE", 40)
    assign = tf.function(
        kmeans.assign,
        input_signature=[tf.TensorSpec([None, 6]), tf.TensorSpec([5, 6])],
    )
    centres = normal(rng, 5, 6)
    for count in (0, 1, 8, 23):
        rows = normal(rng, count, 6)
        np.testing.assert_array_equal(
            assign(rows, centres), twins.assign(rows, centres)
        )


@pytest.mark.parametrize("count", [0, 1, 9, 24])
def test_many_rows_are_added_up_in_halves(rng, monkeypatch, count):
    rows = normal(rng, count, 3)
    clusters = rng.integers(0, 4, count).astype(np.int32)
    monkeypatch.setattr(kmeans, "MANY", 9)
    unknown = [tf.TensorSpec([None, 3]), tf.TensorSpec([None], tf.int32)]
    add_up = functools.partial(kmeans.totals, k=4)
    for totals in (add_up, tf.function(add_up, input_signature=unknown)):
        found = totals(tf.constant(rows), tf.constant(clusters))
        expected = [rows[clusters == z].sum(axis=0) for z in range(4)]
        np.testing.assert_allclose(found[0], expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(found[1], np.bincount(clusters, minlength=4))


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.1, 0.9])
def test_centres_move_as_the_loops_move_them(rng, momentum, legacy):
    rows, centres = normal(rng, 12, 4), normal(rng, 7, 4)
    clusters = np.array([0, 1, 1, 2, 2, 2, 5, 5, 5, 5, 0, 0], np.int32)
    sums, counts = kmeans.totals(tf.constant(rows), tf.constant(clusters), 7)
    np.testing.assert_array_equal(counts, [3, 2, 3, 0, 0, 4, 0])
    moved = kmeans.move(tf.constant(centres), sums, counts, momentum, legacy).numpy()
    expected = twins.move(centres, rows, clusters, momentum, legacy)
    np.testing.assert_allclose(moved, expected, rtol=1e-5, atol=1e-6)
    left = momentum * centres if legacy else centres
    np.testing.assert_allclose(moved[[3, 4, 6]], left[[3, 4, 6]], rtol=1e-6)


def test_the_regulariser_is_half_the_squared_distance(rng):
    rows, centres = normal(rng, 9, 4), normal(rng, 3, 4)
    clusters = twins.assign(rows, centres).astype(np.int32)
    with tf.GradientTape() as tape:
        x, mu = tf.constant(rows), tf.constant(centres)
        tape.watch([x, mu])
        loss = kmeans.regulariser(x, mu, clusters, 0.3)
    expected = twins.regulariser(rows, centres, clusters, 0.3)
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    gradient, none = tape.gradient(loss, [x, mu])
    np.testing.assert_allclose(gradient, 0.3 * (rows - centres[clusters]), rtol=1e-5)
    assert none is None
    assert float(kmeans.regulariser(centres[clusters], centres, clusters, 1.0)) == 0


def test_alternating_steps_lower_the_regulariser(rng):
    rows = tf.constant(normal(rng, 60, 3))
    centres = rows[:5]
    losses = []
    for _ in range(6):
        clusters = kmeans.assign(rows, centres)
        losses.append(float(kmeans.regulariser(rows, centres, clusters, 1.0)))
        centres = kmeans.move(centres, *kmeans.totals(rows, clusters, 5), 0.0)
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.8 * losses[0]


def test_distances_are_to_the_nearest_centre_that_counts(rng):
    rows, centres = normal(rng, 8, 3), normal(rng, 4, 3)
    alive = np.array([True, False, True, False])
    found = kmeans.squared_distances(tf.constant(rows), tf.constant(centres), alive)
    expected = [min(twins.squared(row, c) for c in centres[alive]) for row in rows]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    none = kmeans.squared_distances(
        tf.constant(rows), tf.constant(centres), np.zeros(4, bool)
    )
    assert np.isinf(none).all()


@pytest.mark.parametrize(
    ("uniform", "index"), [(0.0, 1), (0.24, 1), (0.25, 3), (0.999999, 3)]
)
def test_an_index_is_picked_by_its_weight(uniform, index):
    weights = tf.constant([0.0, 1.0, 0.0, 3.0, 0.0])
    assert int(kmeans.pick(weights, tf.constant(uniform))) == index


def test_indices_are_picked_in_proportion(rng):
    weights = np.array([1, 0, 2, 5], np.float32)
    uniforms = rng.random(4000).astype(np.float32)
    pick = functools.partial(kmeans.pick, tf.constant(weights))
    picked = tf.function(tf.map_fn)(pick, uniforms, fn_output_signature=tf.int32)
    shares = np.bincount(picked, minlength=4) / 4000
    np.testing.assert_allclose(shares, weights / 8, atol=0.03)


@pytest.mark.parametrize("starved", [[1, 0, 1, 0, 1], [1, 1, 1, 1, 1], [0] * 5])
def test_starved_centres_become_rows_as_the_loops_draw_them(rng, starved):
    rows, centres = normal(rng, 20, 3), normal(rng, 5, 3)
    starved, valid = np.array(starved, bool), rng.random(20) < 0.7
    uniforms = rng.random(5).astype(np.float32)
    placed, drawn = kmeans.redraw(centres, starved, rows, valid, uniforms)
    expected, count = twins.redraw(centres, starved, rows, valid, uniforms)
    np.testing.assert_array_equal(placed, expected)
    assert int(drawn) == count == starved.sum()
    new = placed.numpy()[starved]
    assert all((rows[valid] == row).all(axis=1).any() for row in new)
    assert len(np.unique(new, axis=0)) == len(new)


def test_no_more_centres_are_drawn_than_there_are_different_rows():
    rows = np.repeat([[1.0, 0.0], [0.0, 2.0]], 5, axis=0).astype(np.float32)
    centres = np.full((4, 2), 9, np.float32)
    everyone, valid = np.ones(4, bool), np.ones(10, bool)
    uniforms = np.full(4, 0.5, np.float32)
    placed, drawn = kmeans.redraw(centres, everyone, rows, valid, uniforms)
    assert int(drawn) == 2
    assert sorted(map(tuple, placed.numpy()[:2])) == [(0, 2), (1, 0)]
    np.testing.assert_array_equal(placed[2:], centres[2:])
