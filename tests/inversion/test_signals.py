"""What is looked at of activations, by slow loops."""

import numpy as np
import tensorflow as tf

from network_pruning.inversion import signals


def test_layers_are_joined_scaled_in_the_order_of_the_scales():
    generator = np.random.default_rng(0)
    taps = {
        "a": generator.normal(size=(3, 2, 2, 2)),
        "b": generator.normal(size=(3, 5)),
    }
    joined = signals.joined(taps, {"b": 2.0, "a": 0.5})
    flat = taps["a"].reshape(3, 8)
    np.testing.assert_allclose(joined, np.hstack([taps["b"] / 2, flat / 0.5]))


def test_a_signal_is_rectified_before_it_is_pooled():
    maps = np.array([[[[1.0], [-1.0]], [[3.0], [-5.0]]]])
    taps = {"maps": tf.constant(maps), "units": tf.constant([[-2.0, 4.0]], tf.float64)}
    found = signals.signal(taps, {"maps": 2.0, "units": 4.0}, [(1, 2), ()])
    np.testing.assert_allclose(found, [[1.0, 0.0, 0.0, 1.0]])


def test_pooling_to_a_grid_averages_cells():
    maps = np.random.default_rng(1).random((2, 4, 6, 3))
    means = maps.reshape(2, 2, 2, 3, 2, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(signals.pooled(tf.constant(maps), (2, 3)), means)
    row = maps[:, 0]
    halves = row.reshape(2, 2, 3, 3).mean(axis=2)
    np.testing.assert_allclose(signals.pooled(tf.constant(row), (2,)), halves)
    assert signals.pooled(maps, (4, 6)) is maps


def test_cells_that_cut_places_take_their_share():
    maps = tf.constant([[[3.0], [6.0], [9.0]]])
    found = signals.pooled(maps, (2,))
    np.testing.assert_allclose(found[0, :, 0], [(3 + 6 / 2) / 1.5, (6 / 2 + 9) / 1.5])
