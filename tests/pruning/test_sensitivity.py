from __future__ import annotations

import numpy as np

from network_pruning.pruning.criteria import score_units
from network_pruning.pruning.masks import keep_largest
from network_pruning.pruning.sensitivity import masked_hits, sensitivity
from network_pruning.pruning.surgery import shrink
from network_pruning.pruning.units import find_groups
from tests import cases


def slow(model, data, masks):
    logits = shrink(model, masks).predict(data.x_valid, verbose=0)
    return np.mean(logits.argmax(axis=1) == data.y_valid)


def judged(name):
    model = cases.randomise(cases.CASES[name]())
    data = cases.dataset(model)
    data.x_valid = cases.examples(model, 40)
    data.y_valid = np.asarray(model(data.x_valid)).argmax(axis=1)
    return model, data


def test_curves_are_those_of_shrunk_networks():
    model, data = judged("convolutions")
    scores = score_units(model, "l1")
    curves = sensitivity(model, scores, data, ratios=(0.0, 0.5, 0.8))
    assert list(curves) == ["c1", "c3", "c5"]
    for name, found in scores.items():
        expected = [
            slow(model, data, {name: keep_largest(found.values, ratio)})
            for ratio in (0.0, 0.5, 0.8)
        ]
        assert curves[name].tolist() == expected
        assert expected[0] == 1.0
    assert min(curve[-1] for curve in curves.values()) < 1.0


def test_hits_of_any_masks():
    model, data = judged("residual")
    hits = masked_hits(model, data)
    for seed in range(3):
        masks = cases.random_masks(find_groups(model), seed)
        assert hits(masks) == round(40 * slow(model, data, masks))
