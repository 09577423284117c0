import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from network_pruning import graph
from network_pruning.pruning import static_calls
from network_pruning.pruning.surgery import shrink
from network_pruning.pruning.units import find_groups
from tests import cases

layers = keras.layers


def facts(model):
    """Returns what a trace would have settled, of every call and weight."""
    calls = []

    def listen(call, args, kwargs):
        outputs = tf.nest.flatten(call.node.outputs)
        calls.append((
            call.path,
            [
                (tuple(x.shape), x.dtype, getattr(x, "_keras_mask", None))
                for x in outputs
            ],
            sorted(call.node.call_kwargs),
            call.layer._saved_model_inputs_spec is not None,
        ))
        return call.node.outputs

    graph.replay(model, model._nested_inputs, listen)
    names = [(w.name, tuple(w.shape), w.dtype) for w in model.weights]
    return calls, names, model.get_config()


@pytest.mark.parametrize("name", cases.CASES)
def test_network_is_the_traced_one(monkeypatch, name):
    model = cases.randomise(cases.CASES[name]())
    masks = cases.random_masks(find_groups(model))
    keras.backend.clear_session()
    small = shrink(model, masks)
    monkeypatch.setattr(static_calls, "STATIC", frozenset())
    keras.backend.clear_session()
    assert facts(small) == facts(shrink(model, masks))


def static(layer, *shapes, dtype="float32", **kwargs):
    inputs = [keras.Input(shape, dtype=dtype) for shape in shapes]
    inputs = inputs if len(inputs) > 1 else inputs[0]
    return static_calls._is_static(layer, (inputs,), kwargs)


def test_what_a_layer_cannot_say_is_traced():
    class Mine(layers.Dense):
        pass

    assert static(layers.Dense(3, "relu"), (4,))
    assert not static(Mine(3), (4,))
    assert not static(layers.Dense(3, tf.nn.crelu), (4,))
    assert not static(layers.Dense(3, activity_regularizer="l2"), (4,))
    assert not static(layers.Dense(3), (4,), dtype="int32")
    assert not static(layers.Dense(3, dtype="mixed_float16"), (4,))
    assert not static(layers.Dropout(0.5), (4,), training=True)
    assert not static(layers.Add(), (4,), (2, 4))
    masked = layers.Masking()(keras.Input((3, 4)))
    assert not static_calls._is_static(layers.Dense(3), (masked,), {})


@pytest.mark.parametrize(
    "layer",
    [
        layers.Conv2D(3, (3, 2), (2, 1), "valid", dilation_rate=1),
        layers.Conv2D(3, 3, padding="same", strides=2),
        layers.DepthwiseConv2D(3, depth_multiplier=2),
        layers.AveragePooling2D(2, padding="same"),
        layers.MaxPooling2D((3, 2), strides=1),
        layers.ZeroPadding2D(((1, 0), (2, 3))),
        layers.GlobalMaxPooling2D(keepdims=True),
        layers.GlobalAveragePooling2D(),
        layers.Flatten(),
        layers.Dropout(0.5),
    ],
    ids=lambda layer: type(layer).__name__,
)
@pytest.mark.parametrize("side", [None, 9])
def test_shapes_are_those_of_a_call(layer, side):
    again = type(layer).from_config(layer.get_config())
    inputs = keras.Input((side, 7, 4))
    assert static_calls._is_static(again, (inputs,), {})
    told = static_calls.call(again, (inputs,), {})
    assert told.shape == layer(inputs).shape
    assert static_calls._TRACE not in vars(again)


def test_weights_are_made_with_the_values_given():
    made = layers.Conv2D(3, 2), layers.BatchNormalization(trainable=False)
    for layer in made:
        twin = type(layer).from_config(layer.get_config())
        twin.build((None, 5, 5, 2))
        values = [np.full(w.shape, i + 1, "f4") for i, w in enumerate(twin.weights)]
        rest = [*values, np.zeros(7)]
        static_calls.call(layer, (keras.Input((5, 5, 2)),), {}, rest)
        assert all(map(np.array_equal, layer.get_weights(), values))
        assert [value.shape for value in rest] == [(7,)]
        assert static_calls._ADD not in vars(layer)


def test_values_are_left_where_they_do_not_fit_or_a_layer_is_traced():
    for layer in (layers.Dense(3), layers.Conv1D(3, 2)):
        values = [np.zeros((9, 9))]
        static_calls.call(layer, (keras.Input((5, 2)),), {}, values)
        assert len(values) == 1
        assert np.any(layer.kernel)


def test_unfit_inputs_are_refused_as_by_a_call():
    layer = layers.Conv2D(3, 3)
    with pytest.raises(ValueError, match="incompatible"):
        static_calls.call(layer, (keras.Input((5,)),), {})
    assert static_calls._TRACE not in vars(layer)
    static_calls.call(layer, (keras.Input((5, 5, 2)),), {})
    assert np.shape(layer(np.ones((2, 4, 4, 2)))) == (2, 2, 2, 3)
    with pytest.raises(ValueError, match="calling layer"):
        static_calls.call(layer, (keras.Input((5, 5, 4)),), {})
