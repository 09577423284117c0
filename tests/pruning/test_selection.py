from __future__ import annotations

import numpy as np
import pytest

from network_pruning.evaluation.cost import count_params
from network_pruning.evaluation.macs import count_macs
from network_pruning.pruning import selection
from network_pruning.pruning.criteria import score_units
from network_pruning.pruning.surgery import shrink
from network_pruning.pruning.units import find_groups
from network_pruning.pruning.widths import Widths
from network_pruning.types import Scores
from tests import cases


def kept(masks):
    return {name: np.flatnonzero(mask).tolist() for name, mask in masks.items()}


def scored(**values):
    return {name: Scores(np.array(v, float)) for name, v in values.items()}


SCORES = scored(a=[1, 2, 3, 4], b=[40, 30, 20, 10, 20, 0])


def test_keep_by_layer():
    assert kept(selection.keep_units(SCORES, sparsity=0.5)) == {
        "a": [2, 3],
        "b": [0, 1, 2],
    }


def test_keep_globally_compares_relative_scores():
    masks = selection.keep_units(SCORES, sparsity=0.5, scope="global")
    relative = np.concatenate([s.values / s.values.mean() for s in SCORES.values()])
    assert kept(masks) == {"a": [2, 3], "b": [0, 1, 2]}
    assert np.sort(relative)[-5] == relative[6]
    masks = selection.keep_units(SCORES, sparsity=0.9, scope="global")
    assert kept(masks) == {"a": [3], "b": [0]}


def test_keep_rounds_up_as_far_as_there_are_units():
    masks = selection.keep_units(SCORES, sparsity=0.6, round_to=4)
    assert kept(masks) == {"a": [0, 1, 2, 3], "b": [0, 1, 2, 4]}
    masks = selection.keep_units(SCORES, sparsity=0.1, round_to=4)
    assert kept(masks)["b"] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_a_share_that_removes_nothing_is_told(caplog, scope):
    masks = selection.keep_units(SCORES, sparsity=0.1, scope=scope, round_to=8)
    assert all(mask.all() for mask in masks.values())
    assert caplog.messages == [
        "sparsity 0.1 with round_to 8 removes nothing, every unit stays."
    ]
    caplog.clear()
    selection.keep_units(SCORES, sparsity=0.0, scope=scope)
    selection.keep_units(SCORES, sparsity=0.5, scope=scope)
    assert not caplog.messages


def test_at_least_one_unit_stays():
    masks = selection.keep_units(SCORES, sparsity=0.999)
    assert kept(masks) == {"a": [3], "b": [0]}


def test_keep_given_counts():
    assert kept(selection.keep_units(SCORES, keep={"b": 2})) == {
        "a": [0, 1, 2, 3],
        "b": [0, 1],
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "exactly one"),
        ({"sparsity": 0.5, "keep": {"a": 1}}, "exactly one"),
        ({"sparsity": 1.0}, "sparsity: got 1.0"),
        ({"sparsity": "0.5"}, "sparsity: got '0.5', expected a share"),
        ({"sparsity": 0.5, "scope": "net"}, "scope: got 'net'"),
        ({"sparsity": 0.5, "round_to": 0}, "round_to: got 0"),
        ({"keep": {"a": 1}, "round_to": 8}, "round_to: got 8"),
        ({"keep": {"c": 1}}, "got the group 'c', expected one of"),
        ({"keep": {"a": 0}}, "got 0 for group 'a', expected 1 to 4"),
        ({"keep": {"a": 5}}, "got 5 for group 'a', expected 1 to 4"),
        ({"keep": {"a": 2.5}}, "got 2.5 for group 'a', expected 1 to 4"),
        ({"sparsity": 0.5, "round_to": 1.5}, "round_to: got 1.5"),
    ],
)
def test_bad_choices(options, message):
    with pytest.raises(ValueError, match=message):
        selection.keep_units(SCORES, **options)


def test_counts_without_building_are_those_of_the_shrunk_network(case):
    widths = Widths(case)
    assert widths.params({}) == count_params(case)
    assert widths.macs({}) == count_macs(case)
    for seed in range(3):
        masks = cases.random_masks(find_groups(case), seed)
        small = shrink(case, masks)
        assert widths.params(masks) == count_params(small)
        assert widths.macs(masks) == count_macs(small)


@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize("cost", ["macs", "params"])
def test_a_budget_is_met_and_used(case, scope, cost):
    scores = score_units(case, "l2")
    widths = Widths(case)
    count = getattr(widths, cost)
    masks = selection.keep_units(scores, model=case, budget={cost: 0.7}, scope=scope)
    assert count(masks) <= 0.7 * count({})
    kept = sum(mask.sum() for mask in masks.values())
    total = sum(mask.size for mask in masks.values())
    for step in range(selection.STEPS):
        more = selection.keep_units(
            scores, sparsity=step / selection.STEPS, scope=scope
        )
        if sum(mask.sum() for mask in more.values()) <= kept:
            break
        if step % 50 == 0:
            assert count(more) > 0.7 * count({})
    assert kept < total


def test_several_budgets_hold_together():
    model = cases.randomise(cases.convolutions())
    budget = {"macs": 0.9, "params": 0.3}
    masks = selection.keep_units(score_units(model, "l2"), model=model, budget=budget)
    widths = Widths(model)
    assert widths.params(masks) <= 0.3 * widths.params({})
    assert widths.macs(masks) <= 0.9 * widths.macs({})


def test_a_budget_of_bytes():
    model = cases.randomise(cases.convolutions())
    masks = selection.keep_units(
        score_units(model, "l2"), model=model, budget={"bytes": 0.9}
    )
    assert count_params(shrink(model, masks)) < count_params(model)


def test_budgets_that_cannot_be_met():
    model = cases.convolutions()
    scores = score_units(model, "l2")
    with pytest.raises(ValueError, match="of the dense macs remains .allowed 0.0001"):
        selection.keep_units(scores, model=model, budget={"macs": 1e-4})
    for budget, message in (
        ({"flops": 0.5}, "got 'flops', expected one of params, macs"),
        ({"macs": 1.5}, "got macs:1.5, expected the share"),
        ({}, "got none, expected one such as macs:0.5"),
    ):
        with pytest.raises(ValueError, match=message):
            selection.keep_units(scores, model=model, budget=budget)
    with pytest.raises(ValueError, match="without its model"):
        selection.keep_units(scores, budget={"macs": 0.5})


def test_no_layer_is_emptied():
    groups = find_groups(cases.dense_block())
    (group,) = groups
    values = np.arange(10.0)
    scores = {group.name: Scores(values, parts=group.parts())}
    for scope in ("layer", "global"):
        masks = selection.keep_units(scores, sparsity=0.8, scope=scope)
        assert np.flatnonzero(masks[group.name]).tolist() == [3, 6, 9]
    masks = selection.keep_units(scores, keep={group.name: 4})
    assert np.flatnonzero(masks[group.name]).tolist() == [3, 6, 8, 9]
    groups.vector(masks)


def test_values_alone_are_no_scores():
    values = {name: score.values for name, score in SCORES.items()}
    with pytest.raises(ValueError, match="scores: got ndarray for 'a'"):
        selection.keep_units(values, sparsity=0.5)


def test_a_frozen_network_is_cut_to_its_budget():
    model = cases.plain()
    scores = score_units(model, "l1")
    expected = selection.keep_units(scores, budget={"params": 0.5}, model=model)
    model.trainable = False
    found = selection.keep_units(scores, budget={"params": 0.5}, model=model)
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
    assert not all(mask.all() for mask in found.values())


def test_what_is_no_budget_is_refused():
    model = cases.plain()
    scores = score_units(model, "l2")
    for budget, message in (
        (0.5, "budget: got 0.5, expected shares by cost, as in {'macs': 0.5}"),
        ({"macs": "0.5"}, "budget: got macs:0.5, expected the share that may remain"),
    ):
        with pytest.raises(ValueError, match=message):
            selection.keep_units(scores, budget=budget, model=model)
