import logging

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from tensorflow.python.framework.convert_to_constants import (
    convert_variables_to_constants_v2,
)

from network_pruning import keep_units, score_units, shrink
from network_pruning.evaluation.macs import count_macs
from network_pruning.pruning.widths import Widths

layers = keras.layers


@pytest.mark.parametrize(
    ("shape", "layer", "macs"),
    [
        ((5, 7), layers.Dense(3), 5 * 7 * 3),
        ((8, 6, 4), layers.Conv2D(5, 3), 6 * 4 * 9 * 4 * 5),
        ((8, 6, 4), layers.Conv2D(6, 3, strides=2, groups=2), 3 * 2 * 9 * 2 * 6),
        ((8, 6, 4), layers.Conv2D(5, 3, padding="same", dilation_rate=2), 48 * 180),
        ((9, 4), layers.Conv1D(5, 3), 7 * 3 * 4 * 5),
        ((8, 6, 4), layers.DepthwiseConv2D(3, depth_multiplier=2), 24 * 9 * 4 * 2),
        (
            (8, 6, 4),
            layers.SeparableConv2D(5, 3, depth_multiplier=2),
            24 * (9 * 8 + 8 * 5),
        ),
        ((9, 4), layers.Conv1D(6, 3, strides=2, groups=2), 4 * 3 * 2 * 6),
        ((9, 4), layers.Conv1D(5, 3, padding="causal"), 9 * 3 * 4 * 5),
        ((5, 6, 7, 4), layers.Conv3D(5, (1, 2, 3)), 5 * 5 * 5 * 6 * 4 * 5),
        ((5, 6, 7, 4), layers.Conv3D(6, 3, groups=2), 3 * 4 * 5 * 27 * 2 * 6),
        ((4, 5, 6, 7), layers.Dense(3), 4 * 5 * 6 * 7 * 3),
        ((7,), layers.Dense(3), 7 * 3),
        ((4, 3, 2), layers.Conv2DTranspose(5, 3, strides=2), 12 * 9 * 2 * 5),
        ((9, 4), layers.Conv1DTranspose(5, 3, strides=2), 9 * 3 * 4 * 5),
        ((4, 3, 2, 2), layers.Conv3DTranspose(5, 3, strides=2), 24 * 27 * 2 * 5),
        ((9, 4), layers.DepthwiseConv1D(3, strides=2), 4 * 3 * 4),
        ((8, 6, 4), layers.DepthwiseConv2D(3, strides=2, padding="same"), 12 * 9 * 4),
        (
            (9, 4),
            layers.SeparableConv1D(5, 3, strides=2, depth_multiplier=2),
            4 * (3 * 8 + 8 * 5),
        ),
        ((9, 4), layers.LocallyConnected1D(5, 3), 7 * 3 * 4 * 5),
        ((8, 6, 4), layers.LocallyConnected2D(5, 3), 24 * 9 * 4 * 5),
        (
            (8, 6, 4),
            layers.LocallyConnected2D(5, (3, 2), strides=2, implementation=2),
            3 * 3 * 6 * 4 * 5,
        ),
        (
            (8, 4),
            layers.EinsumDense("abc,cde->abde", output_shape=(None, 3, 5)),
            8 * 4 * 3 * 5,
        ),
        (
            (8, 4),
            layers.EinsumDense("...x,xy->...y", output_shape=5),
            8 * 4 * 5,
        ),
        ((8, 6, 4), layers.GroupNormalization(2), 0),
        ((8, 4), layers.LayerNormalization(), 0),
        ((8, 6, 4), layers.GlobalAveragePooling2D(), 0),
        ((8, 6, 4), layers.ZeroPadding2D(), 0),
        ((8, 6, 4), layers.BatchNormalization(), 0),
        ((8, 6, 4), layers.MaxPooling2D(), 0),
        ((6,), layers.PReLU(), 0),
        ((6,), layers.Embedding(9, 4), 0),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, layers.Layer) else None,
)
def test_macs_of_one_layer(shape, layer, macs):
    inputs = keras.Input(shape)
    assert count_macs(keras.Model(inputs, layer(inputs))) == macs


def test_macs_agree_with_tensorflows_profiler():
    inputs = keras.Input((12, 12, 3))
    x = layers.Conv2D(8, 3, use_bias=False)(inputs)
    x = layers.Conv2D(6, 3, strides=2, padding="same", use_bias=False)(x)
    outputs = layers.Dense(4, use_bias=False)(layers.Flatten()(x))
    model = keras.Model(inputs, outputs)
    traced = tf.function(lambda x: model(x, training=False)).get_concrete_function(
        tf.TensorSpec((1, 12, 12, 3))
    )
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    counted = tf.compat.v1.profiler.profile(
        convert_variables_to_constants_v2(traced).graph, options=options
    )
    assert 2 * count_macs(model) == counted.total_float_ops


def test_a_shared_layer_counts_at_each_call():
    shared = layers.Dense(4)
    inputs = keras.Input((4,))
    assert count_macs(keras.Model(inputs, shared(shared(inputs)))) == 2 * 16


def test_a_shared_convolution_counts_by_the_size_it_meets():
    shared = layers.Conv2D(4, 3, padding="same")
    inputs = keras.Input((8, 6, 4))
    x = layers.MaxPooling2D()(shared(inputs))
    model = keras.Model(inputs, shared(shared(x)))
    assert count_macs(model) == 9 * 4 * 4 * (8 * 6 + 2 * 4 * 3)


def test_channels_first_counts_the_same():
    first = {"data_format": "channels_first"}
    inputs = keras.Input((3, 8, 6))
    x = layers.ZeroPadding2D(1, **first)(inputs)
    x = layers.Conv2D(4, 3, **first)(x)
    x = layers.DepthwiseConv2D(3, **first)(x)
    x = layers.Conv2DTranspose(5, 3, **first)(x)
    x = layers.LocallyConnected2D(2, 3, implementation=2, **first)(x)
    convolutions = 48 * 9 * 3 * 4 + 24 * 9 * 4 + 24 * 9 * 4 * 5
    assert count_macs(keras.Model(inputs, x)) == convolutions + 24 * 9 * 5 * 2


def test_models_nested_twice_count_at_each_call():
    core = keras.Sequential([keras.Input((4,)), layers.Dense(4)])
    inputs = keras.Input((4,))
    middle = keras.Model(inputs, layers.Dense(4)(core(core(inputs))))
    inputs = keras.Input((4,))
    model = keras.Model(inputs, middle(core(middle(inputs))))
    assert count_macs(model) == (3 + 1 + 3) * 16


@pytest.mark.parametrize(
    "product",
    [
        layers.Dot(1),
        layers.Attention(),
        lambda pair: tf.matmul(pair[0], pair[1], transpose_b=True),
        lambda pair: tf.einsum("nij,nkj->nik", *pair),
        lambda pair: tf.nn.conv1d(pair[0], tf.ones((3, 3, 2)), 1, "SAME"),
    ],
    ids=["Dot", "Attention", "matmul", "einsum", "conv"],
)
def test_tensors_multiplied_with_each_other_give_none(product, caplog):
    inputs = keras.Input((4, 3))
    model = keras.Model(inputs, product([layers.Dense(3)(inputs), inputs]))
    assert count_macs(model) is None
    assert "no rule for" in caplog.text


def test_elementwise_operators_count_nothing():
    inputs = keras.Input((4, 3))
    x = layers.Multiply()([2.0 * inputs + 1.0, tf.convert_to_tensor(inputs)])
    model = keras.Model(inputs, layers.Dense(2)(x[:, :2]))
    assert count_macs(model) == 2 * 3 * 2


def test_a_nested_model_counts_at_each_call():
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(4)])
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(2)(inner(inner(inputs))))
    assert count_macs(model) == 2 * 16 + 8


def test_an_unknown_layer_with_weights_gives_none_and_its_name(caplog):
    inputs = keras.Input((5, 3))
    outputs = layers.Dense(2)(layers.LSTM(4, name="memory")(inputs))
    with caplog.at_level(logging.WARNING):
        assert count_macs(keras.Model(inputs, outputs)) is None
    assert "memory (LSTM)" in caplog.text


def test_a_subclass_does_not_inherit_a_rule(caplog):
    class Twice(layers.Dense):
        def call(self, x):
            return super().call(x) + super().call(x)

    inputs = keras.Input((3,))
    assert count_macs(keras.Model(inputs, Twice(2)(inputs))) is None
    assert "Twice" in caplog.text


def test_an_open_shape_gives_none(caplog):
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, layers.Conv2D(2, 3, name="first")(inputs))
    assert count_macs(model) is None
    assert "first has open shapes" in caplog.text


def open_inside(inputs):
    """A part of open height and width, called on images and on their quarters."""
    part_inputs = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, padding="same", name="c1")(part_inputs)
    x = layers.DepthwiseConv2D(3, name="depthwise")(tf.nn.relu(x))
    part = keras.Model(part_inputs, layers.Conv2D(3, 1, name="c2")(x), name="part")
    once, again = part(inputs), part(layers.AveragePooling2D()(inputs))
    ends = [layers.GlobalAveragePooling2D()(x) for x in (once, again)]
    return keras.Model(inputs, layers.Dense(5, name="d")(layers.Concatenate()(ends)))


def test_a_part_of_open_shape_counts_by_what_it_is_called_on():
    model = open_inside(keras.Input((8, 12, 3)))
    at = {
        (h, w): 27 * 4 * h * w + (9 * 4 + 4 * 3) * (h - 2) * (w - 2)
        for h, w in ((8, 12), (4, 6))
    }
    assert count_macs(model) == sum(at.values()) + 6 * 5
    widths = Widths(model)
    half = {"part/c1": np.arange(4) < 2}
    assert widths.macs(half) == sum(at.values()) // 2 + 6 * 5
    scores = score_units(model, "l1")
    masks = keep_units(scores, budget={"macs": 0.6}, model=model)
    assert widths.macs(masks) <= 0.6 * widths.macs({})
    assert count_macs(shrink(model, masks)) == widths.macs(masks)


def test_a_network_open_outside_stays_without_a_number(caplog):
    assert count_macs(open_inside(keras.Input((None, 12, 3)))) is None
    assert "part/c1 has open shapes" in caplog.text
