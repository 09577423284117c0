"""Gradients by the block against those that TensorFlow computes."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from hypothesis import given, settings
from hypothesis import strategies as st

from network_pruning.inversion.convolutions import (
    block_of,
    convolved,
    gradients_by_block,
)

layers = keras.layers


def pulled_back(compute, x, upstream_seed=2):
    """Returns what a function gives, and its gradient for a random upstream."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = compute(x)
    upstream = np.random.default_rng(upstream_seed).normal(size=y.shape)
    return y, tape.gradient(y, x, tf.constant(upstream, tf.float32))


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(7, 12), st.integers(7, 12)),
    reach=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    channels=st.integers(1, 9),
    filters=st.integers(1, 3),
    padding=st.sampled_from(["valid", "same"]),
)
def test_gradients_are_those_of_tensorflow(size, reach, channels, filters, padding):
    generator = np.random.default_rng(0)
    x = tf.constant(generator.normal(size=(2, *size, channels)), tf.float32)
    shape = (*reach, channels, filters)
    kernel = tf.constant(generator.normal(size=shape), tf.float32)

    y, found = pulled_back(lambda x: convolved(x, kernel, padding), x)
    plain, expected = pulled_back(
        lambda x: tf.nn.conv2d(x, kernel, 1, padding.upper()), x
    )
    np.testing.assert_array_equal(y, plain)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_a_pixel_by_hand():
    # Of a row of three pixels and a kernel of two, the middle one is read twice.
    x = tf.constant([[[[1.0], [2.0], [3.0]]]])
    kernel = tf.reshape(tf.constant([10.0, 100.0]), [1, 2, 1, 1])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = convolved(x, kernel, "valid")
    np.testing.assert_array_equal(tf.squeeze(y), [210, 320])
    np.testing.assert_array_equal(tf.squeeze(tape.gradient(y, x)), [10, 110, 100])


@pytest.mark.parametrize(
    ("channels", "block"),
    [(1, (4, 4)), (2, (2, 4)), (3, (2, 2)), (4, (2, 2)), (8, (1, 2)), (9, (1, 1))],
)
def test_blocks_fill_a_vector(channels, block):
    assert block_of(channels) == block


def network():
    keras.utils.set_random_seed(0)
    return keras.Sequential([
        layers.Input((9, 9, 1)),
        layers.Conv2D(4, 3, activation="relu", padding="same", name="fits"),
        layers.MaxPooling2D(),
        layers.Conv2D(8, 3, strides=2, padding="same", name="strided"),
        layers.Conv2D(8, 2, groups=2, name="grouped"),
        layers.SeparableConv2D(3, 1, name="separable"),
        layers.Flatten(),
        layers.Dense(3),
    ])


def test_a_network_computes_what_it_did_and_is_left_as_it_was():
    model = network()
    x = tf.constant(np.random.default_rng(0).normal(size=(5, 9, 9, 1)), tf.float32)
    plain, expected = pulled_back(model, x)
    calls = []

    def by_block(x):
        with gradients_by_block(model):
            calls.append([name for name in model_layers(model) if swapped(model, name)])
            return model(x)

    y, found = pulled_back(by_block, x)
    np.testing.assert_array_equal(y, plain)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert calls == [["fits"]]
    assert not any(swapped(model, name) for name in model_layers(model))


def model_layers(model):
    return [layer.name for layer in model.layers]


def swapped(model, name):
    return "convolution_op" in vars(model.get_layer(name))


def test_an_error_leaves_the_network_as_it_was():
    model = network()
    with pytest.raises(RuntimeError), gradients_by_block(model):
        raise RuntimeError
    assert not any(swapped(model, name) for name in model_layers(model))


def test_places_that_are_not_known_are_convolved_as_ever():
    kernel = tf.ones([3, 3, 1, 2])

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 1])])
    def gradient(x):
        return tf.gradients(convolved(x, kernel, "same"), x)[0]

    x = tf.ones([1, 4, 5, 1])
    _, expected = pulled_back(lambda x: tf.nn.conv2d(x, kernel, 1, "SAME"), x)
    assert gradient(x).shape == expected.shape


def test_a_frozen_kernel_may_be_a_variable_in_a_graph():
    kernel = tf.Variable(tf.ones([3, 3, 1, 2]))

    @tf.function
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = convolved(x, kernel, "valid")
        return tape.gradient(y, x)

    # How many of the 2 x 2 windows, with two filters each, read a pixel.
    expected = 2 * np.outer([1, 2, 2, 1], [1, 2, 2, 1])
    np.testing.assert_array_equal(tf.squeeze(gradient(tf.ones([1, 4, 4, 1]))), expected)
