from __future__ import annotations

import json

import numpy as np

from network_pruning.evaluation.cost import count_params
from network_pruning.evaluation.macs import count_macs
from network_pruning.graph import leaf_layers
from network_pruning.pruning.plan import plan
from network_pruning.pruning.surgery import shrink
from network_pruning.pruning.units import find_groups
from tests import cases


def test_the_plan_is_what_shrink_does(case):
    masks = cases.random_masks(find_groups(case))
    planned, small = plan(case, masks), shrink(case, masks)
    assert planned.params == (count_params(case), count_params(small))
    assert planned.macs == (count_macs(case), count_macs(small))
    shapes = {
        f"{path}/{weight.name.rpartition('/')[2].partition(':')[0]}": weight.shape
        for path, layer in leaf_layers(small)
        for weight in layer.weights
    }
    assert planned.tensors
    assert all(tuple(shapes[t.path]) == t.after != t.before for t in planned.tensors)
    json.dumps(planned.as_dict())


def test_the_plan_as_text():
    model = cases.residual()
    text = str(plan(model, {"block_1a": np.arange(5) < 2}))
    lines = [line.split() for line in text.splitlines()]
    assert ["block_1a", "5", "2", "block_1a", "block_1b"] in lines
    assert "block_1a/kernel 3 x 3 x 6 x 5 3 x 3 x 6 x 2".split() in lines
    assert "not cut: logits: its units are the model's outputs" in text
    assert "parameters: " in text
    assert "MACs: " in text
