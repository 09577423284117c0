import os

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from models import build
from network_pruning.evaluation import tflite
from tests import cases

X = np.random.default_rng(0).random((60, 8, 8, 1), np.float32)


def network(widths=(20, 10), **options):
    keras.utils.set_random_seed(0)
    return build("mlp", (8, 8, 1), 4, widths=widths, **options)


def convolution():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(4, 3, activation="relu")(inputs)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.MaxPooling2D()(x)
    x = keras.layers.Dropout(0.5)(x)
    return keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(x)))


@pytest.mark.parametrize("make", [network, convolution])
def test_float32_computes_what_the_model_computes(make):
    model = make()
    got = tflite.run(tflite.to_tflite(model), X)
    np.testing.assert_allclose(got, model(X).numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_is_converted_in_float32(policy):
    with cases.precision(policy):
        x = inputs = keras.Input((8, 8, 2))
        x = keras.layers.RandomTranslation(0.5, 0.5)(x)  # In training alone.
        x = keras.layers.Conv2D(4, 3)(x)
        x = tf.nn.relu(keras.layers.BatchNormalization()(x)) * 0.5
        inner = keras.Sequential([keras.layers.Conv2D(3, 2)], name="inner")
        x = keras.layers.Flatten()(inner(x))
        x = keras.layers.Dense(3, dtype="float32")(x)
    model = cases.randomise(keras.Model(inputs, x))
    images = cases.examples(model)
    expected = model(images, training=False)
    for options, far in (({}, 0.1), ({"int8": True, "representative": images}, 0.5)):
        content = tflite.to_tflite(model, **options)
        np.testing.assert_allclose(tflite.run(content, images), expected, atol=far)


def test_the_reason_is_said_in_one_line_wherever_it_comes_from():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)], name="my net")
    with pytest.raises(ValueError, match="my net: no LiteRT form: ValueError: 'my"):
        tflite.to_tflite(model)


def test_int8_is_near_takes_floats_and_is_smaller():
    model = network(widths=(200, 100))
    small = tflite.to_tflite(model, int8=True, representative=X)
    got, expected = tflite.run(small, X), model(X).numpy()
    assert got.dtype == np.float32
    assert 0 < np.abs(got - expected).max() < 0.05 * np.abs(expected).max()
    assert len(small) < 0.4 * len(tflite.to_tflite(model))


def test_the_same_model_gives_the_same_bytes():
    model = network()
    assert tflite.to_tflite(model) == tflite.to_tflite(model)
    first = tflite.to_tflite(model, True, X)
    assert first == tflite.to_tflite(model, True, X)


@pytest.mark.parametrize("options", [{}, {"int8": True, "representative": X}])
def test_zeros_do_not_make_the_file_smaller(options):
    model = network()
    dense = len(tflite.to_tflite(model, **options))
    model.set_weights([w * (np.abs(w) > 0.1) for w in model.get_weights()])
    assert len(tflite.to_tflite(model, **options)) == dense


def test_equal_kernels_of_one_shape_are_stored_once():
    """Why a size may not be carried over to other weights unseen."""
    model = network(widths=(30, 30, 30))
    different = len(tflite.to_tflite(model))
    model.set_weights([np.full_like(w, 0.5) for w in model.get_weights()])
    assert len(tflite.to_tflite(model)) < different - 30 * 30 * 4 + 500


def test_an_int8_file_with_a_dead_activation_runs_all_the_same():
    model = network(widths=(3, 1))
    weights = model.get_weights()
    weights[1] = -np.abs(weights[1])
    weights[0] = np.abs(weights[0])
    model.set_weights(weights)
    content = tflite.to_tflite(model, int8=True, representative=X)
    np.testing.assert_allclose(tflite.run(content, X[:3]), np.zeros((3, 4)), atol=1e-6)


def test_nothing_is_said(capfd, caplog):
    tflite.run(tflite.to_tflite(network(), True, X), X[:1])
    captured = capfd.readouterr()
    assert captured.err == captured.out == ""
    assert not caplog.records


def test_stderr_works_again_afterwards(capfd):
    tflite.to_tflite(network())
    os.write(2, b"still here")
    assert capfd.readouterr().err == "still here"


@pytest.mark.parametrize("representative", [None, X[:0]])
def test_int8_without_examples_is_refused(representative):
    with pytest.raises(ValueError, match="representative"):
        tflite.to_tflite(network(), int8=True, representative=representative)


def test_several_inputs_are_refused():
    a, b = keras.Input((2,)), keras.Input((2,))
    with pytest.raises(ValueError, match="2 inputs"):
        tflite.to_tflite(keras.Model([a, b], a + b))


def test_what_litert_cannot_express_is_refused_in_one_line():
    inputs = keras.Input((4,))
    outputs = keras.layers.Lambda(lambda x: tf.math.igamma(x, x))(inputs)
    with pytest.raises(ValueError, match="no LiteRT form") as error:
        tflite.to_tflite(keras.Model(inputs, outputs))
    assert "\n" not in str(error.value)


def test_a_truncated_file_is_refused():
    with pytest.raises(ValueError):
        tflite.run(tflite.to_tflite(network())[:100], X)


@pytest.mark.parametrize(
    "layer",
    [keras.layers.LSTM(3), keras.layers.Bidirectional(keras.layers.GRU(3))],
)
def test_recurrence_is_quantised_by_nobody(layer):
    inputs = keras.Input((6, 4))
    model = keras.Model(inputs, keras.layers.Dense(2)(layer(inputs)))
    assert len(tflite.to_tflite(model)) > 500
    examples = np.zeros((4, 6, 4), np.float32)
    with pytest.raises(ValueError, match="no int8 form for the recurrent"):
        tflite.to_tflite(model, int8=True, representative=examples)
