"""Two ways to cut, one result; the property test over random chains."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from network_pruning import graph
from network_pruning.pruning.certificate import certify
from network_pruning.pruning.criteria import score_units
from network_pruning.pruning.gates import gate
from network_pruning.pruning.selection import keep_units
from network_pruning.pruning.surgery import shrink
from network_pruning.pruning.units import find_groups
from tests import cases

layers = keras.layers


def close(a, b):
    a, b = cases.flat(a), cases.flat(b)
    return np.abs(a - b).max() <= 1e-5 * np.abs(a).max()


def same(a, b):
    return np.array_equal(cases.flat(a), cases.flat(b))


def setup(model):
    return cases.random_masks(find_groups(model)), cases.examples(model)


def test_gated_is_shrunk(case):
    masks, x = setup(case)
    masked, small = gate(case, masks), shrink(case, masks)
    assert close(masked(x), small(x))
    assert not close(masked(x), case(x))
    certify(case, masks, small, x).require()


def test_gate_silences_units_where_they_are_read():
    model = cases.randomise(cases.normalised())
    x = cases.examples(model)
    masks = {"hidden_2": np.arange(7) != 2}
    names = [layer.name for layer in model.layers]
    features = x
    for name in names[1 : names.index("logits")]:
        features = model.get_layer(name)(features)
    by_hand = model.get_layer("logits")(features * masks["hidden_2"].astype("f4"))
    assert np.array_equal(gate(model, masks)(x), by_hand)
    kernel = model.get_layer("hidden_2").kernel
    kernel.assign(kernel * masks["hidden_2"].astype("f4"))
    assert not close(model(x), by_hand)


def test_gate_shares_weights_and_leaves_the_network_alone(case):
    masks, x = setup(case)
    before = graph.fingerprint(case), cases.flat(case(x))
    nodes = [len(layer._inbound_nodes) for _, layer in graph.leaf_layers(case)]
    masked = gate(case, masks)
    masked(x)
    assert {id(w) for w in masked.weights} == {id(w) for w in case.weights}
    assert nodes == [len(la._inbound_nodes) for _, la in graph.leaf_layers(case)]
    assert graph.fingerprint(case) == before[0]
    assert same(case(x), before[1])


def test_masks_as_inputs(case):
    masks, x = setup(case)
    expected = gate(case, masks)(x)
    masked = gate(case)
    assert same(masked(x, masks=masks), expected)
    assert same(masked([x, masks]), expected)
    assert same(masked([x, list(masks.values())]), expected)
    assert same(masked(x, masks={}), case(x))
    floats = {name: mask.astype("float32") for name, mask in masks.items()}
    assert same(masked(x, masks=floats), expected)


def test_each_example_has_a_mask_of_its_own(case):
    groups = find_groups(case)
    x, masked = cases.examples(case, 5), gate(case)
    each = [cases.random_masks(groups, seed) for seed in range(5)]
    for dtype in (bool, "float32"):
        together = {g.name: np.stack([m[g.name] for m in each]) for g in groups}
        got = masked(x, masks={n: m.astype(dtype) for n, m in together.items()})
        for i, masks in enumerate(each):
            one = slice(i, i + 1)
            alone = masked(cases.rows(x, one), masks=masks)
            assert close(cases.rows(got, one), alone)
    name = groups[0].name
    mixed = {**each[0], name: np.stack([m[name] for m in each])}
    one = slice(0, 1)
    alone = masked(cases.rows(x, one), masks=each[0])
    assert close(cases.rows(masked(x, masks=mixed), one), alone)


def test_one_trace_for_all_masks():
    model = cases.randomise(cases.normalised())
    x, masked = cases.examples(model), gate(model)
    traces = []

    @tf.function
    def run(x, masks):
        traces.append(1)
        return masked([x, masks])

    for seed in range(3):
        masks = cases.random_masks(find_groups(model), seed)
        tensors = {name: tf.constant(mask) for name, mask in masks.items()}
        assert close(run(x, tensors), shrink(model, masks)(x))
    assert len(traces) == 1


def test_gradients_reach_float_masks():
    model = cases.randomise(cases.plain())
    x, masked = cases.examples(model), gate(model)
    ones = {g.name: tf.ones(g.n_units) for g in find_groups(model)}
    with tf.GradientTape() as tape:
        tape.watch(ones)
        total = tf.reduce_sum(masked(x, masks=ones))
    gradient = tape.gradient(total, ones)["hidden_1"].numpy()
    step = 1e-2
    for unit in range(3):
        moved = np.ones(12, "f4")
        moved[unit] += step
        up = tf.reduce_sum(masked(x, masks={**ones, "hidden_1": tf.constant(moved)}))
        slope = (up - total) / step
        assert np.isclose(slope, gradient[unit], rtol=2e-2, atol=1e-3)


@pytest.mark.parametrize("dtype", [bool, np.float32])
def test_a_cut_unit_that_overflows_does_no_harm(dtype):
    model = cases.randomise(cases.plain())
    kernel = model.get_layer("hidden_1").kernel
    broken = kernel.numpy()
    broken[:, 3] = np.inf
    kernel.assign(broken)
    masks = {"hidden_1": (np.arange(12) != 3).astype(dtype)}
    x = cases.examples(model)
    assert np.isfinite(gate(model)(x, masks=masks)).all()


def test_gated_trains_and_dropout_stays_active():
    model = cases.randomise(cases.normalised())
    masks, x = setup(model)
    masked = gate(model, masks)
    assert not np.array_equal(masked(x, training=True), masked(x, training=True))
    before = model.get_layer("logits").kernel.numpy()
    masked.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    masked.fit(x, np.zeros(len(x)), verbose=0)
    assert not np.array_equal(before, model.get_layer("logits").kernel)
    assert close(masked(x), shrink(model, masks)(x))


def test_normalisers_go_on_seeing_the_cut_units():
    model, twin = (cases.randomise(cases.flatten()) for _ in range(2))
    masks, x = setup(model)
    gate(model, masks)(x, training=True)
    twin(x, training=True)
    moved = model.get_layer("norm").moving_mean
    assert np.array_equal(moved, twin.get_layer("norm").moving_mean)


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ({"x": np.ones(3, bool)}, "got the group 'x'"),
        ({"hidden_1": np.ones(3, bool)}, r"got \(3,\), expected \[9\]"),
        ([np.ones(9, bool)], "got a list of 1, expected one mask for each of the 2"),
        ({"hidden_1": np.ones(9, bool), "hidden_2": np.ones(7)}, "all bool or all of"),
    ],
)
def test_bad_mask_tensors(masks, message):
    model = cases.normalised()
    with pytest.raises(ValueError, match=message):
        gate(model)(cases.examples(model), masks=masks)


def test_fixed_masks_take_no_others():
    model = cases.normalised()
    masks, x = setup(model)
    with pytest.raises(ValueError, match="gated with fixed ones"):
        gate(model, masks)(x, masks=masks)


def test_bad_masks_are_refused_before_anything_is_built():
    model = cases.normalised()
    with pytest.raises(ValueError, match="expected one of"):
        shrink(model, {"x": np.ones(3, bool)})
    with pytest.raises(ValueError, match="keeps none"):
        gate(model, {"hidden_1": np.zeros(9, bool)})


def test_nothing_cut_is_a_copy(case):
    copy = shrink(case, {})
    assert graph.fingerprint(copy) == graph.fingerprint(case)
    assert not {id(w) for w in copy.weights} & {id(w) for w in case.weights}


def test_widths_slices_and_names():
    model = cases.randomise(cases.flatten())
    masks = {"hidden_1": np.arange(5) > 2, "hidden_2": np.arange(7) < 3}
    small = shrink(model, masks)
    assert type(small) is keras.Model or type(small).__name__ == "Functional"
    assert [la.name for la in small.layers] == [la.name for la in model.layers]
    assert small.name == model.name
    kernel = model.get_layer("hidden_2").kernel.numpy()
    rows = [6 * [False, False, False, True, True]][0]
    assert np.array_equal(small.get_layer("hidden_2").kernel, kernel[rows][:, :3])
    norm, old = small.get_layer("norm"), model.get_layer("norm")
    assert np.array_equal(norm.moving_variance, old.moving_variance[3:])
    assert small.get_layer("hidden_1").kernel.shape == (4, 2)


def test_shared_and_nested_layers_stay_shared_and_nested():
    model = cases.randomise(cases.nested())
    masks, _ = setup(model)
    small = shrink(model, masks)
    assert [path for path, _ in graph.leaf_layers(small)] == [
        path for path, _ in graph.leaf_layers(model)
    ]
    width = int(masks["hidden_1"].sum())
    assert small.get_layer("inner").input_shape == (None, width)
    assert len(small.weights) == len(model.weights)


def test_settings_of_layers_survive():
    model = cases.normalised()
    model.get_layer("norm_1").trainable = False
    masks, _ = setup(model)
    small = shrink(model, masks)
    for layer in small.layers[1:]:
        old = model.get_layer(layer.name).get_config()
        new = layer.get_config()
        changed = {key for key in new if new[key] != old[key]}
        assert changed <= {"units"}


def test_adapted_statistics_are_copied():
    inputs = keras.Input((4, 4, 3))
    norm = layers.Normalization()
    x = 50 * cases.examples(keras.Model(inputs, norm(inputs)))
    norm.adapt(x)
    y = layers.Conv2D(5, 3, name="conv")(norm(inputs))
    model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(y)))
    assert same(shrink(model, {})(x), model(x))
    masks = {"conv": np.arange(5) < 3}
    certify(model, masks, shrink(model, masks), x).require()


@keras.utils.register_keras_serializable("tests")
class Subclassed(keras.Model):
    def __init__(self, **options):
        super().__init__(**options)
        self.inside = layers.Dense(4, name="inside")

    def call(self, x):
        return tf.nn.relu(self.inside(x))

    def get_config(self):
        return {"name": self.name}


def test_a_subclassed_part_is_refused_and_the_rest_is_cut():
    inputs = keras.Input((5,))
    x = layers.Dense(8, "relu", name="first")(inputs)
    x = Subclassed(name="part")(layers.Dense(6, name="second")(x))
    model = cases.randomise(keras.Model(inputs, layers.Dense(3, name="logits")(x)))
    groups = find_groups(model)
    assert [group.name for group in groups] == ["first"]
    assert groups.refused[0][0] == "part"
    assert "Subclassed (register_layer_rule teaches one)" in groups.refused[0][1]
    masks, x = setup(model)
    small = shrink(model, masks)
    assert close(gate(model, masks)(x), small(x))
    certify(model, masks, small, x).require()


class Scaled(layers.Layer):
    def __init__(self, factor, **options):
        super().__init__(**options)
        self.factor = factor

    def call(self, x):
        return x * self.factor(x)


class Forgetful(Scaled):
    def get_config(self):
        return {"name": self.name}


@pytest.mark.parametrize("layer_class", [Scaled, Forgetful])
def test_a_layer_with_an_incomplete_config_is_named(layer_class):
    x = inputs = keras.Input((4,))
    x = layer_class(tf.reduce_mean, name="odd")(layers.Dense(3)(x))
    model = keras.Model(inputs, layers.Dense(2)(x))
    with pytest.raises(ValueError, match=r"layer 'odd' \(\w+\) cannot be made again"):
        shrink(model, {})


def test_arrays_to_begin_with_do_not_keep_a_cut_network_from_loading(tmp_path):
    array = keras.initializers.Constant(np.arange(12.0).reshape(4, 3))
    x = inputs = keras.Input((4,))
    x = layers.Dense(
        3,
        kernel_initializer=array,
        bias_initializer=keras.initializers.Constant([1.0, 2.0, 3.0]),
        name="hidden",
    )(x)
    x = layers.Dense(2, bias_initializer=keras.initializers.Constant(0.5))(x)
    model = keras.Model(inputs, x)
    small = shrink(model, {"hidden": np.array([True, False, True])})
    small.save(tmp_path / "small.keras")
    loaded = keras.models.load_model(tmp_path / "small.keras")
    examples = cases.examples(model)
    assert np.array_equal(loaded(examples), small(examples))
    assert loaded.layers[-1].bias_initializer.value == 0.5


@keras.saving.register_keras_serializable("tests")
def ones_like_mine(shape, dtype=None):
    return tf.ones(shape, dtype)


@pytest.mark.filterwarnings("ignore:The `keras.initializers.serialize")
def test_functions_that_begin_weights_are_kept():
    inputs = keras.Input((4,))
    x = layers.Dense(3, kernel_initializer=ones_like_mine, name="hidden")(inputs)
    model = keras.Model(inputs, layers.Dense(2)(x))
    small = shrink(model, {"hidden": np.array([True, False, True])})
    assert small.get_layer("hidden").kernel_initializer is ones_like_mine


@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`")
def test_a_lambda_for_an_activation_is_kept_and_the_rest_is_cut():
    x = inputs = keras.Input((4,))
    x = layers.Dense(5, activation=lambda t: t * t, name="odd")(x)
    x = layers.Dense(6, "relu", name="hidden")(x)
    model = keras.Model(inputs, layers.Dense(2)(x))
    masks = {"hidden": np.arange(6) < 2}
    small = shrink(model, masks)
    examples = cases.examples(model)
    assert certify(model, masks, small, examples).ok
    assert [group.name for group in find_groups(model)] == ["hidden"]


@pytest.mark.parametrize(
    "join", [tf.add_n, lambda x: tf.image.resize(x[0] + x[1], [8, 8])]
)
def test_operators_that_take_lists_are_cut(join):
    x = inputs = keras.Input((4, 4, 2))
    branches = [layers.Conv2D(5, 3, padding="same", name=n)(x) for n in ("a", "b")]
    x = layers.Conv2D(3, 1)(join(branches))
    model = cases.randomise(keras.Model(inputs, x))
    (group,) = find_groups(model)
    masks = {group.name: np.arange(5) < 2}
    examples = cases.examples(model)
    assert certify(model, masks, shrink(model, masks), examples).ok
    assert close(gate(model)(examples, masks=masks), shrink(model, masks)(examples))


def _squeezed_and_excited(x):
    summary = layers.Dense(5, "sigmoid")(tf.reduce_mean(x, [1, 2]))
    return x * summary[:, None, tf.newaxis, :]


@pytest.mark.parametrize(
    "operation",
    [
        _squeezed_and_excited,
        lambda x: tf.squeeze(tf.nn.max_pool2d(x, [1, 4, 4, 1], 4, "SAME"), [1, 2]),
        lambda x: tf.nn.avg_pool2d(x, 2, 2, "VALID"),
        lambda x: tf.math.erf(x)[:, -1, 1:],
        lambda x: x[..., 0, :][:, :, None],
        lambda x: tf.reduce_min(x, 1) + tf.math.reduce_std(x, 2),
    ],
)
def test_operators_that_keep_channels_are_cut_through(operation):
    x = inputs = keras.Input((4, 4, 2))
    x = layers.Conv2D(5, 3, padding="same", name="conv")(x)
    model = keras.Model(inputs, layers.Dense(3)(operation(x)))
    model = cases.randomise(model)
    groups = find_groups(model)
    assert groups[0].name == "conv"
    masks = {group.name: np.arange(5) < 2 for group in groups}
    assert certify(model, masks, shrink(model, masks), cases.examples(model)).ok


@pytest.mark.parametrize(
    ("operation", "reason"),
    [
        (lambda x: x[..., 0], "slices the channel axis"),
        (lambda x: x[:, :, :, 2:5, ...], "slices the channel axis"),
        (
            lambda x: tf.nn.max_pool(x, [1, 1, 1, 2], [1, 1, 1, 1], "SAME"),
            "pools channels",
        ),
        (
            lambda x: tf.nn.avg_pool(x, 1, strides=[1, 1, 1, 2], padding="SAME"),
            "pools channels",
        ),
        (lambda x: x[:, 1, 1, 2:], "slices the channel axis"),
        (lambda x: x[:, :, :, :, None], "moves the channel axis"),
        (lambda x: tf.reshape(tf.squeeze(x), [-1, 80]), "names no axis"),
        (lambda x: tf.squeeze(x[:, :1], [1, 3]), "takes the channel axis away"),
        (lambda x: tf.nn.bias_add(x, [1.0] * 5), "constant by channel"),
    ],
)
def test_operators_that_move_channels_are_refused(operation, reason):
    x = inputs = keras.Input((4, 4, 2))
    width = 1 if "axis away" in reason else 5
    x = layers.Conv2D(width, 3, padding="same", name="conv")(x)
    model = keras.Model(inputs, layers.Dense(3)(operation(x)))
    groups = find_groups(model)
    assert "conv" not in [group.name for group in groups]
    assert reason in dict(groups.refused)["conv"]


def test_two_layers_of_one_path_are_refused():
    x = inputs = keras.Input((4,))
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="b")], name="a")
    x = layers.Dense(3, name="a/b")(inner(x))
    model = keras.Model(inputs, layers.Dense(2)(x))
    with pytest.raises(ValueError, match="2 layers have the path 'a/b', names behind"):
        find_groups(model)


def test_a_wrong_rule_is_named(monkeypatch):
    from network_pruning.pruning.layer_rules import RULES, LayerRule

    wrong = LayerRule("follower", weight_axes={"gamma": ("in",)})
    monkeypatch.setitem(RULES, layers.BatchNormalization, wrong)
    model = cases.normalised()
    with pytest.raises(ValueError, match="mend the rule of BatchNormalization"):
        shrink(model, {"hidden_1": np.arange(9) < 4})


LOAD = """
import sys
import numpy as np, tf_keras as keras
model = keras.models.load_model(sys.argv[1])
x = np.load(sys.argv[2])
np.save(sys.argv[3], model(x).numpy())
assert not any(name.startswith("network_pruning") for name in sys.modules)
"""


@pytest.mark.slow
def test_shrunk_loads_where_the_project_is_not_installed(tmp_path):
    model = cases.randomise(cases.nested())
    masks, x = setup(model)
    small = shrink(model, masks)
    small.save(tmp_path / "small.keras")
    np.save(tmp_path / "x.npy", x)
    paths = [str(tmp_path / n) for n in ("small.keras", "x.npy", "y.npy")]
    subprocess.run([sys.executable, "-c", LOAD, *paths], check=True, cwd=tmp_path)
    assert np.array_equal(np.load(tmp_path / "y.npy"), small(x))


ACTIVATIONS = ["linear", "relu", "sigmoid", "tanh", "gelu", "softplus", "elu"]
between = st.sampled_from(["norm", "dropout", "leaky", "sigmoid", "prelu"])
block = st.tuples(
    st.integers(1, 9), st.sampled_from(ACTIVATIONS), st.booleans(), st.lists(between)
)


def between_layer(kind):
    return {
        "norm": layers.BatchNormalization,
        "dropout": lambda: layers.Dropout(0.5),
        "leaky": layers.LeakyReLU,
        "sigmoid": lambda: layers.Activation("sigmoid"),
        "prelu": layers.PReLU,
    }[kind]()


def random_chain(shape, blocks, flatten_at):
    x = inputs = keras.Input(shape)
    for i, (width, activation, bias, rest) in enumerate(blocks):
        if i == flatten_at:
            x = layers.Flatten()(x)
        x = layers.Dense(width, activation, use_bias=bias)(x)
        for kind in rest[:3]:
            x = between_layer(kind)(x)
    return keras.Model(inputs, layers.Dense(3)(x))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    shape=st.sampled_from([(5,), (3, 4), (2, 3, 2)]),
    blocks=st.lists(block, min_size=1, max_size=4),
    flatten_at=st.integers(0, 4),
    seed=st.integers(0, 1000),
)
def test_random_chains(shape, blocks, flatten_at, seed):
    keras.backend.clear_session()
    model = cases.randomise(random_chain(shape, blocks, flatten_at), seed)
    groups = find_groups(model)
    assert [g.n_units for g in groups] == [width for width, *_ in blocks]
    masks = cases.random_masks(groups, seed)
    x, small = cases.examples(model, seed=seed), shrink(model, masks)
    proof = certify(model, masks, small, x)
    assert proof.ok, proof
    masked = gate(model, masks)(x)
    assert np.abs(masked - small(x)).max() <= 1e-5 * np.abs(masked).max()


def test_renormalisation_and_layers_that_do_nothing_are_cut():
    x = inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(6, 3, name="first")(x)
    x = layers.BatchNormalization(renorm=True)(x)
    x = layers.Identity()(layers.ReLU()(x))
    x = layers.Conv2D(5, 3, name="second")(x)
    outputs = layers.Dense(3)(layers.GlobalAveragePooling2D()(x))
    model = cases.randomise(keras.Model(inputs, outputs))
    masks = keep_units(score_units(model, "l2"), sparsity=0.5)
    small = shrink(model, masks)
    assert small.get_layer("first").filters == 3
    certify(model, masks, small, cases.examples(model)).require()
