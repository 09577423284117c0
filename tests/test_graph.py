from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from network_pruning import graph
from network_pruning.evaluation.cost import cost_card
from network_pruning.pruning.units import find_groups
from tests import cases


def as_it_is(call, args, kwargs):
    return call.layer(*args, **kwargs)


def test_replay_computes_what_the_model_does(case):
    x = cases.examples(case)
    replayed = graph.replay(case, x, as_it_is)
    assert np.array_equal(cases.flat(replayed), cases.flat(case(x)))


def test_replay_leaves_the_graph_alone(case):
    before = [len(layer._inbound_nodes) for _, layer in graph.leaf_layers(case)]
    graph.replay(case, cases.examples(case), as_it_is)
    assert before == [len(la._inbound_nodes) for _, la in graph.leaf_layers(case)]


def test_paths_and_call_numbers_of_nested_models():
    calls = []

    def note(call, args, kwargs):
        calls.append((call.path, call.index, kwargs))
        return args[0]

    graph.replay(cases.nested(), "x", note, prefix="top/")
    frozen = {"training": False}
    assert calls == [
        ("top/hidden_1", 0, {}),
        ("top/inner/relu", 0, {}),
        ("top/inner/hidden", 0, {}),
        ("top/inner/norm", 0, {}),
        ("top/inner/relu", 1, {}),
        ("top/inner/hidden", 1, {}),
        ("top/inner/norm", 1, frozen),
        ("top/shared", 0, {}),
        ("top/shared", 1, {}),
        ("top/tail/hidden", 0, {}),
        ("top/tail/dropout", 0, {}),
        ("top/logits", 0, {}),
    ]


def test_frozen_training_reaches_the_layers_of_a_nested_model():
    inner = keras.Sequential([keras.layers.Dropout(0.5, input_shape=(50,))])
    inputs = keras.Input((50,))
    model = keras.Model(inputs, inner(inputs, training=True))
    out = graph.replay(model, tf.ones((4, 50)), as_it_is).numpy()
    assert set(np.unique(out)) == {0.0, 2.0}


def test_enter_replaces_the_call_of_a_nested_model():
    entered = []

    def enter(call, args, kwargs, descend):
        entered.append((call.path, call.index))
        return descend(args[0])

    model = cases.nested()
    graph.replay(model, "x", lambda call, a, k: a[0], enter=enter)
    assert entered == [("inner", 0), ("inner", 1), ("tail", 0)]


def test_several_inputs_and_outputs_keep_their_structure():
    a, b = keras.Input((2,), name="a"), keras.Input((2,), name="b")
    total = keras.layers.Add()([a, b])
    model = keras.Model({"b": b, "a": a}, {"sum": total, "a": a})
    x = {"a": tf.ones((1, 2)), "b": 2 * tf.ones((1, 2))}
    out = graph.replay(model, x, as_it_is)
    assert {k: v.numpy().tolist() for k, v in out.items()} == {
        "a": [[1, 1]],
        "sum": [[3, 3]],
    }


def test_leaf_layers_in_graph_order():
    paths = [path for path, _ in graph.leaf_layers(cases.nested())]
    assert paths == [
        *("hidden_1", "inner/relu", "inner/hidden", "inner/norm", "shared"),
        *("tail/hidden", "tail/dropout", "logits"),
    ]


def test_fingerprint_survives_saving(case, tmp_path):
    case.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert graph.fingerprint(loaded) == graph.fingerprint(case)
    assert len(graph.fingerprint(case)) == 64


def test_fingerprint_sees_weights_settings_and_wiring():
    model = cases.normalised()
    first = graph.fingerprint(model)
    model.get_layer("dropout_2").rate = 0.4
    settings = graph.fingerprint(model)
    weight = model.get_layer("norm_2").moving_mean
    weight.assign(weight + 1)
    weights = graph.fingerprint(model)
    assert len({first, settings, weights}) == 3
    a = keras.Input((2,), name="a")
    b = keras.layers.ReLU(name="b")(a)
    c = keras.layers.ELU(name="c")(b)
    subtract = [keras.layers.Subtract(name="s")(pair) for pair in ([b, c], [c, b])]
    one, other = (keras.Model(a, out) for out in subtract)
    assert graph.fingerprint(one) != graph.fingerprint(other)


def test_fingerprint_forgets_training():
    model = cases.normalised()
    before = graph.fingerprint(model)
    model.compile("sgd", "mse")
    model.trainable = False
    assert graph.fingerprint(model) == before


class Subclassed(keras.Model):
    def call(self, x):
        return x


def keras3_model():
    base = type("Functional", (), {"__module__": "keras.src.models.functional"})
    return base()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Subclassed, r"subclassed Subclassed.*keras.Model\(inputs, outputs\)"),
        (lambda: keras.Sequential([keras.layers.Dense(2)]), "has no graph yet"),
        (keras3_model, "Keras 3 object.*tf_keras"),
        (lambda: keras.layers.Dense(2), "got Dense, expected a tf_keras model"),
    ],
)
def test_what_has_no_graph_is_refused_with_the_remedy(make, message):
    with pytest.raises(ValueError, match=message) as error:
        graph.leaf_layers(make())
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=message):
        graph.replay(make(), 1, as_it_is)
    with pytest.raises(ValueError, match=message):
        find_groups(make())
    with pytest.raises(ValueError, match=message):
        cost_card(make())
