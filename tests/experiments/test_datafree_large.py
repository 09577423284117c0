"""One real step of every procedure at 224 pixels, in the published large networks."""

import numpy as np
import pytest

from data.arrays import ArrayDataset
from experiments import datafree
from experiments.datafrees import found, prunings
from experiments.datafrees.config import PROCEDURES, STUDENTS, DatafreeConfig
from models import alex, vgg

PIXELS = (224, 224, 3)
NETWORKS = {
    "alex": (alex.build, {"width": 0.125}),
    "alex_half": (alex.build, {"width": 0.0625}),
    "vgg19": (vgg.build, {"depth": 19, "width": 0.125}),
    "vgg16": (vgg.build, {"depth": 16, "width": 0.125}),
}
"""An eighth of all widths: 224 pixels cost enough."""
LAST_CONVOLUTION = {"alex": "c5", "vgg19": "c5_4"}
FLAGS = {
    **{"epochs": 1, "train_batch_size": 4, "test_batch_size": 4, "images": 2},
    **{"steps": 1, "batch": 4, "rank": 3, "criteria": ("taylor",), "compared": 4},
    "optimization_objective": "all_layers",
}
SPLITS = {"train": 8, "valid": 4, "test": 4}


def build(name, shape, classes, **options):
    make, width = NETWORKS[name]
    return make(shape, classes, **width, **options)


@pytest.fixture(scope="module")
def pictures():
    draw = np.random.default_rng(0)
    splits = {
        split: (draw.random((n, *PIXELS), np.float32), np.arange(n) % 2)
        for split, n in SPLITS.items()
    }
    return ArrayDataset("pictures", splits, num_classes=2)


@pytest.mark.slow
@pytest.mark.parametrize("teacher", ["alex", "vgg19"])
def test_every_procedure_at_224_pixels(tmp_path, pictures, teacher):
    layers = LAST_CONVOLUTION[teacher], "f6", "f7", "logits"
    config = DatafreeConfig(
        summary_folder=str(tmp_path), model=teacher, layers=layers, **FLAGS
    )
    stages = datafree.run(config, lambda name, **options: pictures, build)
    assert [stage.procedure for stage in stages] == list(PROCEDURES)
    made = {stage.procedure: stage for stage in stages}
    network = made["train"].run.read_model(found.TEACHER)
    assert network.input_shape == (None, *PIXELS)
    student = made["distill"].run.read_model(found.TEACHER)
    built = build(STUDENTS[teacher], PIXELS, 2)
    assert student.count_params() == built.count_params() < network.count_params()
    assert 0 <= made["prune"].made["taylor"][f"{prunings.MADE}, retrained"] <= 1
