from __future__ import annotations

import numpy as np
import pytest
import tf_keras as keras

import network_pruning as npr
from network_pruning import graph
from network_pruning.pruning import units, weights
from tests import cases

layers = keras.layers


def test_the_output_layers_are_never_pruned():
    masks = weights.weight_masks(cases.randomise(cases.nested()), 0.5)
    assert list(masks) == [
        *("hidden_1/kernel", "inner/hidden/kernel", "shared/kernel"),
        "tail/hidden/kernel",
    ]
    x = inputs = keras.Input((4,))
    x = layers.Dense(3, name="hidden")(x)
    heads = [layers.Dense(2, name=name)(x) for name in ("left", "right")]
    model = keras.Model(inputs, [layers.Softmax()(heads[0]), heads[1]])
    assert list(weights.weight_masks(model, 0.5)) == ["hidden/kernel"]


def test_a_layer_that_is_head_and_hidden_is_a_head():
    inputs = keras.Input((4,))
    both = layers.Dense(4, name="both")(inputs)
    out = layers.Dense(2, name="out")(both)
    assert not weights.weight_masks(keras.Model(inputs, [both, out]), 0.5)


def test_masks_by_layer_keep_the_largest_magnitudes():
    model = cases.randomise(cases.plain())
    masks = weights.weight_masks(model, 0.75)
    for path, mask in masks.items():
        kernel = np.abs(model.get_layer(path.split("/")[0]).kernel.numpy())
        assert mask.sum() == kernel.size // 4
        assert kernel[mask].min() >= kernel[~mask].max()


def test_global_masks_share_a_threshold():
    model = cases.randomise(cases.plain())
    big = model.get_layer("hidden_2").kernel
    big.assign(100 * big)
    masks = weights.weight_masks(model, 0.9, "global")
    kernels = {p: np.abs(k) for p, k in weights.hidden_kernels(model).items()}
    total = sum(k.size for k in kernels.values())
    assert sum(m.sum() for m in masks.values()) == total - int(0.9 * total)
    assert [masks[p].sum() for p in ("hidden_1/kernel", "hidden_3/kernel")] == [1, 1]
    with pytest.raises(ValueError, match="scope: got 'all'"):
        weights.weight_masks(model, 0.5, "all")


def test_pruned_copy_has_the_zeros_and_nothing_else_changed(case):
    before = graph.fingerprint(case)
    masks = weights.weight_masks(case, 0.6)
    sparse = weights.prune_weights(case, 0.6)
    assert graph.fingerprint(case) == before
    old, new = dict(graph.leaf_layers(case)), dict(graph.leaf_layers(sparse))
    for path, layer in old.items():
        for a, b in zip(layer.weights, new[path].weights, strict=True):
            name = a.name.rpartition("/")[2].partition(":")[0]
            assert np.array_equal(a * masks.get(f"{path}/{name}", 1.0), b)
    shares = weights.achieved_sparsity(sparse)
    assert shares == {p: 1 - m.sum() / m.size for p, m in masks.items()}


def test_given_masks():
    model = cases.randomise(cases.plain())
    mask = np.arange(120).reshape(12, 10) % 3 == 0
    sparse = weights.prune_weights(model, masks={"hidden_2/kernel": mask})
    assert np.array_equal(sparse.get_layer("hidden_2").kernel != 0, mask)
    assert graph.fingerprint(weights.prune_weights(model, 0)) == graph.fingerprint(
        model
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "exactly one"),
        ({"sparsity": 0.5, "masks": {}}, "exactly one"),
        ({"sparsity": 1}, "sparsity: got 1"),
        ({"masks": {"x/kernel": np.ones(2, bool)}}, "mask of 'x/kernel': .*no such"),
        ({"masks": {"flatten/kernel": np.ones(2, bool)}}, "no such kernel"),
        ({"masks": {"hidden_2/kernel": np.ones(2, bool)}}, r"\[2\], expected \[12, 10"),
    ],
)
def test_bad_requests(options, message):
    with pytest.raises(ValueError, match=message):
        weights.prune_weights(cases.plain(), **options)


def test_kernels_without_a_rule_are_named(caplog):
    class Other(layers.Dense):
        pass

    x = inputs = keras.Input((4,))
    for layer in (Other(3, name="other"), layers.Dense(3, name="a"), layers.Dense(2)):
        x = layer(x)
    assert list(weights.weight_masks(keras.Model(inputs, x), 0.5)) == ["a/kernel"]
    assert (
        "other: its weights are not pruned, there is no rule for Other" in caplog.text
    )


def test_unit_masks_zero_columns_and_keep_rows():
    model = cases.randomise(cases.plain())
    keep = np.arange(10) % 2 == 0
    masks = weights.unit_weight_masks(model, {"hidden_2": keep})
    assert np.array_equal(masks["hidden_2/kernel"], np.tile(keep, (12, 1)))
    assert masks["hidden_3/kernel"].all()
    assert "logits/kernel" not in masks


def test_zeroed_columns_are_the_gate_where_there_are_no_biases():
    from network_pruning.pruning.gates import gate

    model = cases.randomise(cases.plain())
    masks = cases.random_masks(units.find_groups(model))
    zeroed = weights.prune_weights(model, masks=weights.unit_weight_masks(model, masks))
    x = cases.examples(model)
    assert np.allclose(zeroed(x), gate(model, masks)(x), atol=1e-6)


def penalised():
    x = inputs = keras.Input((5,))
    for i, width in enumerate((7, 6)):
        x = layers.Dense(
            width,
            kernel_regularizer=keras.regularizers.L1L2(1e-3, 1e-2),
            bias_regularizer="l2",
            name=f"hidden_{i}",
        )(x)
        x = layers.BatchNormalization(gamma_regularizer="l1", beta_regularizer="l2")(x)
        x = layers.PReLU(alpha_regularizer="l1")(x)
    return keras.Model(inputs, layers.Dense(2, name="logits")(x))


@pytest.mark.parametrize("build", [penalised, cases.normalised, cases.plain])
def test_penalty_of_nothing_masked_is_kerass_own(build):
    model = cases.randomise(build())
    own = float(sum(model.losses))
    assert np.isclose(weights.masked_penalty(model, {}), own, rtol=1e-6)
    full = {p: np.ones_like(m) for p, m in weights.weight_masks(model, 0).items()}
    assert np.isclose(weights.masked_penalty(model, full), own, rtol=1e-6)


def test_penalty_of_masked_kernels_is_that_of_the_pruned_network():
    model = cases.randomise(penalised())
    masks = weights.weight_masks(model, 0.7)
    pruned = weights.prune_weights(model, masks=masks)
    expected = float(sum(pruned.losses))
    assert np.isclose(weights.masked_penalty(model, masks), expected, rtol=1e-6)
    removed = [k[~masks[p]] for p, k in weights.hidden_kernels(model).items()]
    saved = sum(1e-3 * abs(w).sum() + 1e-2 * (w**2).sum() for w in removed)
    assert np.isclose(float(sum(model.losses)) - expected, saved, rtol=1e-4)


class Residual(layers.Layer):
    """A custom layer that holds others."""

    def __init__(self, width, **options):
        super().__init__(**options)
        self.inside = layers.Dense(width, "relu", name="inside")

    def call(self, x):
        return x + self.inside(x)


class Subclassed(keras.Model):
    def __init__(self, blocks=("block", "block")):
        super().__init__(name="mine")
        self.stem = layers.Conv2D(6, 3, name="stem")
        self.norm = layers.BatchNormalization(name="norm")
        self.blocks = [Residual(6, name=name) for name in blocks]
        self.tail = keras.Sequential([layers.Flatten(), layers.Dense(3)], name="tail")
        self.again = self.stem
        self.memory = layers.LSTM(2, name="memory")

    def call(self, x):
        x = self.norm(self.stem(x))
        for block in self.blocks:
            x = block(x)
        return self.tail(x) + self.memory(x[:, 0])[:, :1]


PATHS = ["stem", "block/inside", "block/inside_3", "tail/dense"]


@pytest.fixture
def subclassed():
    model = Subclassed()
    model(np.zeros((1, 5, 5, 2), "f4"))
    return cases.randomise(model)


def test_a_subclassed_model_is_pruned_where_its_kernels_are(subclassed, caplog):
    whole = {id(w): w.numpy() for w in subclassed.weights}
    masks = npr.weight_masks(subclassed, 0.75)
    assert list(masks) == [f"{path}/kernel" for path in PATHS]
    assert "no rule for LSTMCell" in caplog.text
    del masks["tail/dense/kernel"]
    assert npr.prune_weights(subclassed, masks=masks, into=subclassed) is subclassed
    pruned = [subclassed.stem, *(block.inside for block in subclassed.blocks)]
    changed = {id(layer.kernel) for layer in pruned}
    for weight in subclassed.weights:
        old = whole[id(weight)]
        if id(weight) in changed:
            assert np.count_nonzero(weight) == weight.numpy().size // 4
            assert set(weight.numpy().ravel()) <= {0.0, *old.ravel()}
        else:
            assert np.array_equal(weight, old)


def test_a_functional_model_is_pruned_in_place_like_its_copy():
    model = cases.randomise(cases.convolutions())
    copy = weights.prune_weights(model, 0.5)
    assert weights.prune_weights(model, 0.5, into=model) is model
    assert graph.fingerprint(model) == graph.fingerprint(copy)


def test_subclassed_models_are_not_copied(subclassed):
    with pytest.raises(ValueError, match="no copy can be made: pass into=model"):
        npr.prune_weights(subclassed, 0.5)
    with pytest.raises(ValueError, match="no weights yet: call it on a batch first"):
        npr.weight_masks(Subclassed(), 0.5)


def test_a_sequential_without_a_graph_is_refused():
    model = keras.Sequential([layers.Dense(4), layers.Dense(3)])
    with pytest.raises(ValueError, match="has no graph yet: begin it with keras.Input"):
        npr.prune_weights(model, 0.5)


def test_the_remedy_for_subclassed_models_works():
    subclassed = Subclassed(blocks=("block", "other"))
    with pytest.raises(ValueError, match=r"keras.Model\(x, model.call\(x\)\)"):
        npr.shrink(subclassed, {})
    x = keras.Input((5, 5, 2))
    model = keras.Model(x, subclassed.call(x))
    images = cases.examples(model)
    assert np.array_equal(model(images), subclassed(images))
    assert {"block", "other", "memory"} <= {
        path for path, _ in npr.find_groups(model).refused
    }


def test_into_another_model_is_refused():
    model = cases.plain()
    groups = units.find_groups(model)
    small = npr.shrink(model, cases.edge_masks(groups, kept=2))
    with pytest.raises(ValueError, match=r"into: got .*what an earlier call returned"):
        npr.prune_weights(model, 0.5, into=small)
    with pytest.raises(ValueError, match="into: got no such kernel for"):
        npr.prune_weights(model, 0.5, into=cases.convolutions())


def test_a_sparsity_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="sparsity: got '0.5', expected a share"):
        npr.prune_weights(cases.convolutions(), "0.5")


def test_penalties_of_a_recurrent_layer_count():
    x = inputs = keras.Input((4, 3))
    x = layers.LSTM(5, kernel_regularizer="l2", recurrent_regularizer="l1")(x)
    model = keras.Model(inputs, layers.Dense(2)(x))
    expected = float(sum(model.losses))
    assert expected > 0
    assert np.isclose(weights.masked_penalty(model, {}), expected, rtol=1e-6)
