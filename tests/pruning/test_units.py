from __future__ import annotations

import numpy as np
import pytest
import tf_keras as keras

from network_pruning.pruning import layer_rules, units
from network_pruning.pruning.channel_ids import ChannelIds
from tests import cases

layers = keras.layers
OUTPUTS = "its units are the model's outputs"


def summary(groups):
    def paths(members):
        return [member.path for member in members]

    return {
        g.name: (g.n_units, paths(g.producers), paths(g.followers), paths(g.consumers))
        for g in groups
    }


def chain(*inner, shape=(4,)):
    """Dense 6 named a, then the layers, then Dense 2 named b."""
    x = inputs = keras.Input(shape)
    for layer in (layers.Dense(6, name="a"), *inner, layers.Dense(2, name="b")):
        x = layer(x)
    return keras.Model(inputs, x)


def test_groups_of_a_chain():
    groups = units.find_groups(cases.normalised())
    assert summary(groups) == {
        "hidden_1": (9, ["hidden_1"], ["norm_1"], ["hidden_2"]),
        "hidden_2": (7, ["hidden_2"], ["norm_2"], ["logits"]),
    }
    assert groups.refused == [("logits", OUTPUTS)]


def test_flatten_maps_each_position_to_its_unit():
    (first, second) = units.find_groups(cases.flatten())
    (consumer,) = first.consumers
    assert consumer.path == "hidden_2"
    assert consumer.units.tolist() == list(range(5)) * 6
    assert second.consumers[0].units.tolist() == list(range(7))


def test_shared_layers_couple_what_they_read():
    groups = units.find_groups(cases.nested())
    assert summary(groups) == {
        "hidden_1": (
            6,
            ["hidden_1", "inner/hidden", "shared"],
            ["inner/norm"],
            ["inner/hidden", "shared", "tail/hidden"],
        ),
        "tail/hidden": (5, ["tail/hidden"], [], ["logits"]),
    }


def test_a_final_softmax_is_no_refusal():
    groups = units.find_groups(cases.activations())
    assert groups.refused == [("logits", OUTPUTS)]
    assert [g.name for g in groups] == [
        f"before_{name}" for name in ("relu", "leaky", "elu", "prelu", "tanh")
    ]


def test_statistics_of_the_data_are_no_refusal():
    x = inputs = keras.Input((4,))
    for layer in (layers.Normalization(name="data"), layers.Dense(3), layers.Dense(2)):
        x = layer(x)
    groups = units.find_groups(keras.Model(inputs, x))
    assert [path for path, _ in groups.refused] == ["dense_1"]


class Doubled(layers.Dense):
    pass


def odd(x):
    return x


@pytest.mark.parametrize(
    ("layer", "at_fault", "reason"),
    [
        (lambda: layers.Softmax(name="odd"), "odd", "softmax mixes channels"),
        (lambda: layers.Activation("softmax", name="odd"), "odd", "softmax mixes"),
        (lambda: layers.Activation(odd, name="odd"), "odd", "odd is not known"),
        (lambda: layers.LayerNormalization(name="odd"), "odd", "statistics run over"),
        (lambda: layers.LSTM(4, name="odd"), "odd", "register_layer_rule"),
        (lambda: layers.BatchNormalization(1, name="odd"), "odd", "axis"),
        (lambda: layers.Flatten("channels_first", name="odd"), "odd", "channels_first"),
        (lambda: layers.PReLU(shared_axes=[2], name="odd"), "odd", "shared over"),
        (lambda: layers.Dropout(0.1, (None, 3, 6), name="odd"), "odd", "noise_shape"),
        (lambda: layers.Rescaling([1.0] * 6, name="odd"), "odd", "list by channel"),
        (lambda: layers.Normalization(name="odd"), "odd", "belong to the data"),
        (lambda: Doubled(6, name="odd"), "odd", "no rule for .*Doubled"),
    ],
)
def test_what_is_not_understood_is_refused_and_the_rest_is_cut(layer, at_fault, reason):
    model = chain(layer(), layers.Dense(5, name="next"), shape=(3, 4))
    groups = units.find_groups(model)
    refused = dict(groups.refused)
    assert refused.keys() == {at_fault, "a", "b"}
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(refused[at_fault])
    assert refused["a"] == f"its units reach 'odd': {refused[at_fault]}"
    assert summary(groups) == {"next": (5, ["next"], [], ["b"])}


def test_softmax_units_cannot_be_cut_but_what_they_read_can():
    model = chain(layers.Dense(5, "softmax", name="odd"))
    groups = units.find_groups(model)
    assert summary(groups) == {"a": (6, ["a"], [], ["odd"])}
    assert groups.refused[0] == ("odd", "its activation softmax mixes channels")


def test_what_is_added_is_cut_together():
    inputs = keras.Input((4,))
    a, b = layers.Dense(3, name="a")(inputs), layers.Dense(3, name="b")(inputs)
    x = layers.Dense(5, name="next")(layers.Add(name="add")([a, b]))
    groups = units.find_groups(keras.Model(inputs, layers.Dense(2, name="out")(x)))
    assert summary(groups) == {
        "a": (3, ["a", "b"], [], ["next"]),
        "next": (5, ["next"], [], ["out"]),
    }
    assert groups.refused == [("out", OUTPUTS)]


def test_layers_called_with_several_tensors_are_refused():
    inputs = keras.Input((4,))
    a, b = layers.Dense(3, name="a")(inputs), layers.Dense(3, name="b")(inputs)
    x = layers.Dense(5, name="next")(layers.Dot(1, name="dot")([a, b]))
    groups = units.find_groups(keras.Model(inputs, layers.Dense(2, name="out")(x)))
    assert [path for path, _ in groups.refused] == ["dot", "a", "b", "out"]
    assert [group.name for group in groups] == ["next"]


def test_groups_of_a_residual_network():
    groups = units.find_groups(cases.residual())
    block = ["block_2b", "project", "block_3"]
    norms = ["block_2b_norm", "block_3_norm"]
    assert summary(groups) == {
        "stem": (
            6,
            ["stem", "block_1b"],
            ["stem_norm", "block_1b_norm"],
            ["block_1a", "block_2a", "project"],
        ),
        "block_1a": (5, ["block_1a"], ["block_1a_norm"], ["block_1b"]),
        "block_2a": (4, ["block_2a"], ["block_2a_norm"], ["block_2b"]),
        "block_2b": (12, block, norms, ["block_3", "logits"]),
    }
    assert groups.refused == [("logits", OUTPUTS)]


def test_concatenation_keeps_offsets():
    groups = units.find_groups(cases.dense_block())
    assert len(groups) == 1
    (group,) = groups
    assert group.n_units == 10
    maps = {member.path: member.units.tolist() for member in group.producers}
    assert maps == {
        "stem": [0, 1, 2, 3],
        "grow_0": [4, 5, 6],
        "grow_1": [7, 8, 9],
        "beside": list(range(10)),
    }
    assert [part.sum() for part in group.parts()] == [4, 3, 3]


def test_groups_of_a_convolution_are_cut_alike():
    groups = units.find_groups(cases.grouped())
    sizes = {group.name: group.n_units for group in groups}
    assert sizes == {"first": 3, "grouped": 4, "up": 5, "last": 4}
    first = groups[0].producers[0]
    assert first.units.tolist() == [0, 1, 2, 0, 1, 2]


def test_a_layer_that_feeds_itself_from_the_input_is_tied_to_it():
    inputs = keras.Input((4,))
    shared = layers.Dense(4, name="shared")
    x = layers.Dense(2, name="out")(shared(shared(inputs)))
    groups = units.find_groups(keras.Model(inputs, x))
    assert groups == []
    assert groups.refused[0] == ("shared", "its units are tied to the model's inputs")


def test_a_rule_can_be_taught(monkeypatch):
    monkeypatch.setattr(layer_rules, "RULES", dict(layer_rules.RULES))
    dense = layer_rules.RULES[layers.Dense]
    layer_rules.register_layer_rule(Doubled, dense)
    groups = units.find_groups(chain(Doubled(5, name="odd")))
    assert [group.name for group in groups] == ["a", "odd"]
    for given in ((3, dense), (layers.Embedding, "x")):
        with pytest.raises(ValueError, match="expected a class of layers and a LayerR"):
            layer_rules.register_layer_rule(*given)
    with pytest.raises(ValueError, match="Doubled has a rule already"):
        layer_rules.register_layer_rule(Doubled, dense)


def test_united_ids_match_a_slow_union():
    generator = np.random.default_rng(0)
    for _ in range(30):
        ids = ChannelIds()
        numbers = ids.fresh(20)
        pairs = generator.integers(0, 20, (generator.integers(0, 15), 2))
        sets = {int(i): {int(i)} for i in numbers}
        for a, b in pairs:
            union = sets[a] | sets[b]
            sets.update(dict.fromkeys(union, union))
        ids.unite(pairs[:, 0], pairs[:, 1])
        assert ids.labels().tolist() == [min(sets[int(i)]) for i in numbers]


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ({"nobody": np.ones(9, bool)}, "got the group 'nobody', expected one of"),
        ({"hidden_1": np.ones(8, bool)}, r"got bool \[8\], expected bool \[9\]"),
        ({"hidden_1": np.ones(9)}, r"got float64 \[9\], expected bool"),
        ({"hidden_1": np.zeros(9, bool)}, "keeps none of 9 units"),
    ],
)
def test_bad_masks(masks, message):
    groups = units.find_groups(cases.normalised())
    with pytest.raises(ValueError, match=message) as error:
        groups.vector(masks)
    assert "\n" not in str(error.value)


def test_vector_keeps_what_is_not_named():
    groups = units.find_groups(cases.normalised())
    vector = groups.vector({"hidden_2": np.arange(7) == 3})
    assert vector.tolist() == [True] * 10 + [i == 3 for i in range(7)]


@pytest.mark.parametrize("masks", [None, [], np.ones(3, bool)])
def test_masks_are_by_group_name(masks):
    with pytest.raises(ValueError, match="masks: got .*, expected bool .* by group"):
        units.find_groups(cases.plain()).vector(masks)
