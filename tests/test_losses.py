import numpy as np
import pytest
import tensorflow as tf

from network_pruning import losses


def test_cross_entropy_is_one_value_for_each_example():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(7, 4)), rng.integers(0, 4, 7)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = [-np.log(p[i, label]) for i, label in enumerate(labels)]
    got = losses.cross_entropy(tf.constant(logits), tf.constant(labels)).numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_cross_entropy_stays_finite_where_the_probability_underflows():
    got = losses.cross_entropy(tf.constant([[0.0, 1000.0]]), tf.constant([0]))
    assert got.numpy()[0] == pytest.approx(1000.0)
