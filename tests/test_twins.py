import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from network_pruning import graph, twins
from tests import cases


def run(model, inputs, apply):
    return graph.replay(model, tf.nest.map_structure(tf.constant, inputs), apply)


def in_double(model, inputs):
    doubled = twins.in_precision(inputs, tf.float64)
    return run(model, doubled, twins.Twins())


def test_twins_compute_the_network_in_double(case):
    x = cases.examples(case)
    if case.name == "volumes":  # TensorFlow has no MaxPool3D in double.
        with pytest.raises(tf.errors.InvalidArgumentError, match="double"):
            in_double(case, x)
        return
    before = graph.fingerprint(case)
    doubled = in_double(case, x)
    assert {tensor.dtype for tensor in tf.nest.flatten(doubled)} == {tf.float64}
    single, double = cases.flat(case(x)), cases.flat(doubled)
    assert np.abs(single - double).max() <= 1e-5 * np.abs(double).max()
    assert graph.fingerprint(case) == before


def test_layers_equal_their_twins(case):
    x = cases.examples(case)
    checked = run(case, x, twins.check_twins)
    assert np.array_equal(cases.flat(checked), cases.flat(case(x)))


def test_arithmetic_is_double():
    """1 + 2^-40 is no float32."""
    inputs = keras.Input((1,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs) + tf.ones(1))
    model.layers[1].kernel.assign([[2.0**-40]])
    assert model(np.ones((1, 1), "f4")).numpy() == 1
    assert in_double(model, np.ones((1, 1), "f4")).numpy() == 1 + 2.0**-40


def test_mixed_precision_and_casts():
    x = inputs = keras.Input((8, 8, 2))
    x = keras.layers.Conv2D(8, 3, dtype="mixed_float16")(x)
    x = keras.layers.BatchNormalization(dtype="mixed_float16")(tf.nn.relu(x) * 0.5)
    x = keras.layers.GlobalAveragePooling2D(dtype="float32")(tf.cast(x, tf.float32))
    model = cases.randomise(keras.Model(inputs, keras.layers.Dense(3)(x)))
    x = cases.examples(model)
    doubled = in_double(model, x)
    assert doubled.dtype == tf.float64
    assert np.allclose(doubled, model(x), atol=1e-2)


class Changed(keras.layers.Layer):
    def call(self, x):
        return x + getattr(self, "shift", 0.0)


def test_a_layer_that_is_more_than_its_config():
    inputs = keras.Input((3,))
    model = keras.Model(inputs, Changed(name="changed")(inputs))
    run(model, cases.examples(model), twins.check_twins)
    model.get_layer("changed").shift = 1e-4
    with pytest.raises(twins.NoTwin, match="changed"):
        run(model, cases.examples(model), twins.check_twins)
