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


def test_squares_are_those_of_probabilities():
    logits = np.array([[1.0, 2.0, -1.0], [400.0, 0.0, 0.0]])
    found = losses.squares(tf.constant(logits), tf.constant([2, 0]))
    p = np.exp(logits[0]) / np.exp(logits[0]).sum()
    expected = (p[0] ** 2 + p[1] ** 2 + (1 - p[2]) ** 2) / 3
    np.testing.assert_allclose(found, [expected, 0], atol=1e-12)


def test_attributes_have_a_two_way_cross_entropy_each():
    rng = np.random.default_rng(0)
    logits, labels = 3 * rng.normal(size=(6, 4)), rng.integers(0, 2, (6, 4))
    p = 1 / (1 + np.exp(-logits))
    expected = -np.log(np.where(labels, p, 1 - p)).mean(axis=1)
    found = losses.attributes_cross_entropy(
        tf.constant(logits), tf.constant(labels, tf.uint8)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_probabilities_of_half_precision_have_finite_logits():
    found = losses.as_logits(tf.constant([[0.0, 1.0]], tf.float16), True)
    assert found.dtype == tf.float32
    np.testing.assert_allclose(found, [[-87.3, 0.0]], atol=0.1)


def test_a_total_is_of_the_highest_precision():
    assert losses.total([]).numpy() == 0
    half, double = tf.constant(1.0, tf.float16), tf.constant(2.0, tf.float64)
    assert losses.total([half]).dtype == tf.float32
    assert losses.total([half, double]).numpy() == np.float64(3.0)
