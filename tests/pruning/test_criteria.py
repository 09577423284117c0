from __future__ import annotations

from inspect import signature

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from network_pruning import graph
from network_pruning.pruning import criteria
from network_pruning.pruning.units import find_groups
from tests import cases


def kernel(model, name):
    return model.get_layer(name).kernel.numpy().astype(float)


def test_norms_of_columns():
    model = cases.randomise(cases.normalised())
    w = kernel(model, "hidden_2")
    l1, l2 = (criteria.score_units(model, name)["hidden_2"] for name in ("l1", "l2"))
    assert np.allclose(l1.values, [sum(abs(v) for v in col) for col in w.T], rtol=1e-12)
    assert np.allclose(l2.values, [sum(col**2) ** 0.5 for col in w.T], rtol=1e-12)
    assert l2.values.dtype == np.float64
    assert l2.standard_error is None


def test_integer_weights_by_hand():
    model = cases.plain()
    layer = model.get_layer("hidden_3")
    layer.kernel.assign(np.outer([3, 4] + 8 * [0], np.arange(8)))
    scores = criteria.score_units(model, "l2")["hidden_3"].values
    assert scores.tolist() == [5.0 * i for i in range(8)]
    scores = criteria.score_units(model, "l1")["hidden_3"].values
    assert scores.tolist() == [7.0 * i for i in range(8)]


def test_a_unit_of_several_producers_counts_all_of_them():
    model = cases.randomise(cases.nested())
    parts = [kernel(model, "hidden_1"), kernel(model, "shared")]
    parts.append(kernel(model.get_layer("inner"), "hidden"))
    expected = np.sqrt(sum((part**2).sum(axis=0) for part in parts))
    scores = criteria.score_units(model, "l2")
    assert list(scores) == ["hidden_1", "tail/hidden"]
    assert np.allclose(scores["hidden_1"].values, expected, rtol=1e-12)


def test_random_depends_on_seed_and_name_alone():
    model = cases.plain()
    groups = find_groups(model)

    def draw(seed, chosen=groups):
        return criteria.score_units(model, "random", groups=chosen, seed=seed)

    first = draw(0)
    assert np.array_equal(first["hidden_2"].values, draw(0)["hidden_2"].values)
    alone = draw(0, groups[1:2])
    assert list(alone) == ["hidden_2"]
    assert np.array_equal(first["hidden_2"].values, alone["hidden_2"].values)
    assert not np.array_equal(first["hidden_2"].values, draw(1)["hidden_2"].values)
    assert first["hidden_1"].values[0] != first["hidden_2"].values[0]


NO_DATA = ("l1", "l2", "random", "batch_norm", "fpgm")
QUICK = {
    "combined": {"of": ("fisher", "l2"), "options": {"fisher": {"images": 20}}},
    **dict.fromkeys(("apoz", "mean_activation", "taylor", "fisher"), {"images": 20}),
    **dict.fromkeys(
        ("dirichlet", "generalised_dirichlet", "softmax_switch"),
        {"steps": 3, "batch_size": 16, "jointly": True},
    ),
}


GAMES = {"shapley", "partial", "leave_one_out", "oracle"}
"""Judged by coalitions: see test_coalition_criteria.py."""


@pytest.mark.parametrize("build", ["normalised", "convolutions", "residual", "mobile"])
@pytest.mark.parametrize("name", sorted(set(criteria.CRITERIA) - GAMES))
def test_every_criterion_scores_every_unit(name, build):
    check_scores(name, cases.randomise(cases.CASES[build]()))


@pytest.mark.slow
@pytest.mark.parametrize("build", ["nested", "dense_block", "grouped", "volumes"])
@pytest.mark.parametrize("name", sorted(set(criteria.CRITERIA) - GAMES))
def test_every_criterion_scores_every_unit_of_odd_networks(name, build):
    check_scores(name, cases.randomise(cases.CASES[build]()))


def check_scores(name, case):
    groups = find_groups(case)
    if name == "batch_norm":
        groups = [g for g in groups if norms(g)]
    before = graph.fingerprint(case)
    data = None if name in NO_DATA else cases.dataset(case)
    options = QUICK.get(name, {})
    scores = criteria.score_units(case, name, data, groups, **options)
    sizes = {group.name: group.n_units for group in groups}
    assert {n: s.values.size for n, s in scores.items()} == sizes
    assert all(s.values.dtype == np.float64 for s in scores.values())
    assert all(np.isfinite(s.values).all() for s in scores.values())
    assert all(s.price.seconds > 0 for s in scores.values())
    if data is None:
        assert all(s.price.forward == 0 for s in scores.values())
    else:
        assert sum(s.price.forward for s in scores.values()) >= 20
    assert graph.fingerprint(case) == before


def norms(group):
    return [f for f in group.followers if hasattr(f.layer, "gamma")]


@pytest.mark.parametrize("name", [n for n in criteria.CRITERIA if n not in NO_DATA])
def test_a_criterion_without_its_data(name):
    with pytest.raises(ValueError, match="got data=None: pass a Dataset"):
        criteria.score_units(cases.plain(), name, **QUICK.get(name, {}))


def test_unknown_names():
    model = cases.plain()
    with pytest.raises(ValueError, match="l1, l2, .* Did you mean 'random'"):
        criteria.score_units(model, "randon")
    with pytest.raises(ValueError, match="option 'samples', expected none"):
        criteria.score_units(model, "l2", samples=3)


@pytest.mark.parametrize(
    ("name", "option", "value", "expected"),
    [
        ("shapley", "samples", "many", "a whole number"),
        ("shapley", "images", None, "a whole number"),
        ("shapley", "kept", 3, "a count by name"),
        ("shapley", "tolerance", "x", "a number"),
        ("dirichlet", "steps", 2.5, "a whole number"),
        ("dirichlet", "jointly", "yes", "True or False"),
        ("oracle", "size", "x", "a whole number"),
        ("taylor", "form", 3, "text"),
        ("combined", "of", 3, "names"),
        ("combined", "options", {"l2": 3}, "options by name"),
    ],
)
def test_an_option_of_another_kind_is_said(name, option, value, expected):
    with pytest.raises(ValueError, match=f"{option}: got .*, expected {expected}"):
        criteria.score_units(cases.plain(), name, **{option: value})


def test_the_defaults_are_of_the_kind_that_is_asked_for():
    model = cases.plain()
    for name, function in criteria.CRITERIA.items():
        given = {p.name: p.default for p in signature(function).parameters.values()}
        options = dict(list(given.items())[4:])
        if name in NO_DATA:
            continue
        with pytest.raises(ValueError, match="got data=None"):
            criteria.score_units(model, name, **options)


@pytest.mark.parametrize(
    "data", [(np.zeros((2, 4)), np.zeros(2)), "digits", tf.data.Dataset.range(3)]
)
def test_data_of_another_kind_are_said(data):
    with pytest.raises(ValueError, match=r"data: got .*, expected a Dataset.*\.npz"):
        criteria.score_units(cases.plain(), "fisher", data)


@pytest.mark.parametrize("name", ["fisher", "taylor", "dirichlet", "shapley"])
def test_several_outputs_are_said_where_one_is_needed(name):
    one = cases.plain()
    two = keras.Model(one.inputs, [one.output, one.layers[-2].output])
    with pytest.raises(ValueError, match="got outputs .*, expected one of logits"):
        criteria.score_units(two, name, cases.dataset(one))
    assert criteria.score_units(two, "l2")


def test_groups_of_another_model_are_refused():
    ours, theirs = cases.normalised(), cases.normalised()
    with pytest.raises(ValueError, match="is of another model than"):
        criteria.score_units(ours, "l2", groups=find_groups(theirs))
