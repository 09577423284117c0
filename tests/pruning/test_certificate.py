from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import tf_keras as keras

from network_pruning.pruning import certificate, surgery, units
from network_pruning.pruning.layer_rules import RULES
from tests import cases


@pytest.fixture
def cut(case):
    """A network, its masks (two units kept of each group) and the shrunk network."""
    masks = cases.edge_masks(units.find_groups(case), kept=2)
    return case, masks, surgery.shrink(case, masks)


def certify(cut, n=16):
    return certificate.certify(*cut, cases.examples(cut[0], n))


def test_a_cut_passes(cut):
    proof = certify(cut)
    assert proof.ok
    assert proof.require() is proof
    assert 0 <= proof.max_rel_diff <= 1e-6
    assert proof.n_inputs == 16
    json.dumps(dataclasses.asdict(proof))


def swap_channels(weight, axis):
    value = weight.numpy()
    weight.assign(np.take(value, [1, 0, *range(2, value.shape[axis])], axis))


def weights_of(model):
    return [w for w in model.weights if w.shape.rank >= 1]


def test_two_channels_swapped_fail(cut):
    small = cut[2]
    tried = 0
    for weight in weights_of(small):
        for axis, width in enumerate(weight.shape):
            kept = weight.numpy()
            if width < 2:
                continue
            swap_channels(weight, axis)
            proof = certify(cut, 4)
            assert not proof.ok
            assert not proof.weights_equal
            assert proof.where.rpartition("/")[2] in weight.name
            weight.assign(kept)
            tried += 1
    assert tried >= 5
    assert certify(cut, 4).ok


def test_one_weight_moved_fails(cut):
    for weight in weights_of(cut[2]):
        kept = weight.numpy()
        moved = kept.copy()
        moved.flat[-1] += 1e-3
        weight.assign(moved)
        with pytest.raises(certificate.CertificateError, match="is no slice of"):
            certify(cut, 4).require()
        weight.assign(kept)


def test_outputs_are_compared_not_only_weights(cut, monkeypatch):
    """The same mutations, seen without looking at the weights."""
    monkeypatch.setattr(certificate, "_wrong_weight", lambda *_: None)
    weights = weights_of(cut[2])
    # A dozen, spread over the network: each is a proof of its own.
    for weight in weights[:: -(-len(weights) // 12)]:
        # Slopes of PReLU matter only where a channel is negative.
        if weight.shape[-1] < 2 or "alpha" in weight.name:
            continue
        kept = weight.numpy()
        swap_channels(weight, -1)
        proof = certify(cut)
        assert proof.weights_equal
        assert not proof.ok
        assert proof.max_abs_diff > 0
        with pytest.raises(certificate.CertificateError, match="of the maximum at"):
            proof.require()
        weight.assign(kept)


def test_other_masks_fail(case):
    groups = units.find_groups(case)
    masks = cases.edge_masks(groups, kept=2)
    other = cases.edge_masks(groups, kept=2, last=True)
    small = surgery.shrink(case, other)
    assert not certificate.certify(case, masks, small, cases.examples(case)).ok
    small = surgery.shrink(case, {})
    proof = certificate.certify(case, masks, small, cases.examples(case))
    assert not proof.ok
    assert proof.max_rel_diff == np.inf


def test_a_deep_difference_that_the_logits_hide_is_found(monkeypatch):
    monkeypatch.setattr(certificate, "_wrong_weight", lambda *_: None)
    model = cases.randomise(cases.normalised())
    last = model.get_layer("logits").kernel
    last.assign(last * 1e-9)
    small = surgery.shrink(model, {})
    swap_channels(small.get_layer("norm_1").beta, 0)
    proof = certificate.certify(model, {}, small, cases.examples(model))
    a, b = model(cases.examples(model)), small(cases.examples(model))
    assert np.abs(a - b).max() <= 1e-5 * np.abs(a).max()
    assert proof.where == "norm_1"
    assert not proof.ok


def test_silent_layers_are_equal():
    model = cases.plain()
    for weight in model.weights:
        weight.assign(weight * 0)
    small = surgery.shrink(model, {"hidden_1": np.arange(12) < 3})
    proof = certificate.certify(
        model, {"hidden_1": np.arange(12) < 3}, small, cases.examples(model)
    )
    assert proof.ok
    assert proof.max_rel_diff == 0


def test_nan_is_no_proof():
    model = cases.randomise(cases.plain())
    small = surgery.shrink(model, {})
    for network in (model, small):
        kernel = network.get_layer("logits").kernel
        kernel.assign(kernel * np.nan)
    proof = certificate.certify(model, {}, small, cases.examples(model))
    assert proof.weights_equal
    assert not proof.ok


def test_batches_see_every_example():
    model = cases.randomise(cases.plain())
    small, x = surgery.shrink(model, {}), cases.examples(model, 10)
    whole = certificate.certify(model, {}, small, x)
    parts = certificate.certify(model, {}, small, x, batch_size=3)
    assert parts.n_inputs == whole.n_inputs == 10
    x[-1] = np.nan
    assert not certificate.certify(model, {}, small, x, batch_size=3).ok


def test_no_inputs():
    model = cases.plain()
    with pytest.raises(ValueError, match="got no example"):
        certificate.certify(model, {}, model, cases.examples(model, 0))


def test_inputs_of_another_model():
    model, other = cases.plain(), cases.examples(cases.convolutions())
    with pytest.raises(ValueError, match=r"inputs: got \[\[16, .* expected \["):
        certificate.certify(model, {}, model, other)


def test_whole_numbers_are_cast_as_keras_does():
    model = cases.randomise(cases.plain())
    x = np.random.default_rng(0).integers(0, 255, (4, *model.input_shape[1:]), "uint8")
    small = surgery.shrink(model, {})
    assert certificate.certify(model, {}, small, x).require().n_inputs == 4


@pytest.mark.parametrize("batch_size", [0, -3, 2.5])
def test_batches_of_no_size(batch_size):
    model = cases.plain()
    with pytest.raises(ValueError, match=f"batch_size: got {batch_size}, expected a"):
        certificate.certify(
            model, {}, model, cases.examples(model), batch_size=batch_size
        )


def test_several_inputs():
    a, b = keras.Input((3,), name="a"), keras.Input((4,), name="b")
    dense = keras.layers.Dense
    x = dense(4, name="left")(a), dense(5, name="right")(b)
    model = keras.Model([a, b], [dense(2)(x[0]), dense(2)(x[1])])
    masks = {"left": np.arange(4) > 1, "right": np.arange(5) > 2}
    generator = np.random.default_rng(0)
    inputs = [generator.random((6, n), np.float32) for n in (3, 4)]
    small = surgery.shrink(model, masks)
    assert certificate.certify(model, masks, small, inputs).ok


UNITS = 1024


def cancelling(offset=100.0, extra=()):
    """Half of many large units cancel in what reads them, and float32 with them.

    So many that any kernel sums them in blocks: it rounds once zeros are left out.
    """
    x = inputs = keras.Input((6,))
    x = keras.layers.Dense(UNITS, bias_initializer="ones", name="large")(x)
    for layer in extra:
        x = layer(x)
    model = keras.Model(inputs, keras.layers.Dense(4, name="sum")(x))
    mask = np.arange(UNITS) % 2 == 0
    large, kernel = model.get_layer("large"), model.get_layer("sum").kernel
    large.bias.assign(offset * large.bias)
    kernel.assign(kernel - kernel.numpy()[mask].mean(axis=0))
    return model, {"large": mask}, surgery.shrink(model, {"large": mask})


def test_rounding_is_told_from_a_defect_in_double():
    cut = cancelling()
    before = [
        weight.numpy() for network in (cut[0], cut[2]) for weight in network.weights
    ]
    proof = certify(cut).require()
    assert proof.precision == "float64"
    assert proof.max_rel_diff < 1e-12
    assert proof.own_rel_diff > proof.tolerance
    after = [
        weight.numpy() for network in (cut[0], cut[2]) for weight in network.weights
    ]
    assert all(map(np.array_equal, before, after))
    assert {w.dtype.name for w in cut[0].weights + cut[2].weights} == {"float32"}
    assert certify(cancelling(offset=1.0)).precision == "float32"


def test_a_defect_as_small_as_rounding_fails_in_double(monkeypatch):
    monkeypatch.setattr(certificate, "_wrong_weight", lambda *_: None)
    cut = cancelling()
    bias = cut[2].get_layer("sum").bias
    bias.assign_add([0, 1e-4, 0, 0])
    proof = certify(cut)
    assert proof.precision == "float64"
    assert not proof.ok
    with pytest.raises(certificate.CertificateError, match=r"at 'sum' \(float64\)"):
        proof.require()


class Forgetful(keras.layers.Layer):
    """Scales by what its config does not tell."""

    scale = 1.0

    def call(self, x):
        return self.scale * x


def test_a_twin_that_forgets_something_is_not_believed(monkeypatch):
    monkeypatch.setitem(RULES, Forgetful, RULES[keras.layers.ReLU])
    cut = cancelling(extra=[Forgetful(name="forgetful")])
    assert certify(cut).precision == "float64"
    cut[0].get_layer("forgetful").scale = 1 + 1e-4
    cut[2].get_layer("forgetful").scale = 1 + 1e-4
    assert certify(cut).precision == "float32"
    assert not certify(cut).ok
