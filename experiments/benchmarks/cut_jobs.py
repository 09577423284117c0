"""Contestants that cut: our half of ResNet-50, and LiteRT before and after a cut."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import numpy as np
import tf_keras as keras

import models
from experiments.benchmarks.config import BenchmarkConfig
from experiments.benchmarks.worker import Ready
from network_pruning.evaluation import cost
from network_pruning.evaluation.macs import count_macs
from network_pruning.evaluation.tflite import LiteModel, to_tflite
from network_pruning.evaluation.timing import repeat
from network_pruning.pruning.criteria import score_units
from network_pruning.pruning.selection import keep_units
from network_pruning.pruning.surgery import shrink
from network_pruning.pruning.units import find_groups

CLASSES = 1000
LENET = {"c1": 8, "c3": 9, "c5": 36, "f6": 17}
"""Units the LeNet-5 keeps of 10-20-100-25: what Dirichlet pruning published."""

INVOCATIONS = 1000
SECONDS = 1.0


def cut(
    config: BenchmarkConfig,
    layout: Literal["applications", "torchvision"],
    pixels: int,
    share: float,
) -> Ready:
    """Makes the contestant that finds the groups, ranks by l1, chooses and shrinks.

    Args:
        config: Of the benchmark.
        layout: "applications": keras.applications.ResNet50; "torchvision": ours, which
            has the layers of the peer's.
        pixels: Side of the images.
        share: Of the units of each group to remove.

    Returns:
        The contestant, warm; its result is the parameters that stay.
    """
    del config
    keras.utils.set_random_seed(0)
    shape = (pixels, pixels, 3)
    if layout == "applications":
        model = keras.applications.ResNet50(weights=None, input_shape=shape)
    else:
        model = models.build("resnet50", shape, CLASSES)

    def run() -> dict[str, float]:
        groups = find_groups(model)
        scores = score_units(model, "l1", groups=groups)
        small = shrink(model, keep_units(scores, sparsity=share))
        return {"params": cost.count_params(small)}

    run()
    return Ready(run, {"groups": len(find_groups(model))})


def lenet(small: bool) -> keras.Model:
    """Returns a LeNet-5, whole or cut to 8-9-36-17."""
    keras.utils.set_random_seed(0)
    model = models.build("lenet5", (28, 28, 1), 10)
    if not small:
        return model
    return shrink(model, keep_units(score_units(model, "l1"), keep=LENET))


def resnet20(small: bool, round_to: int = 1) -> keras.Model:
    """Returns a ResNet-20 for 32x32 images, whole or cut to half its MACs.

    Args:
        small: Whether it is cut.
        round_to: Units of each group are a multiple of it.

    Returns:
        The network, untrained.
    """
    keras.utils.set_random_seed(0)
    model = models.build("resnet20", (32, 32, 3), 10)
    if not small:
        return model
    scores = score_units(model, "l1")
    half = {"macs": 0.5}
    masks = keep_units(scores, budget=half, model=model, round_to=round_to)
    return shrink(model, masks)


NETWORKS: dict[str, Callable[[bool], keras.Model]] = {
    "LeNet-5, 10-20-100-25 to 8-9-36-17": lenet,
    "ResNet-20, half the MACs": resnet20,
    "ResNet-20, half the MACs, widths in fours": partial(resnet20, round_to=4),
}
"""What is cut -> its maker."""


def litert(config: BenchmarkConfig, network: str, small: bool, threads: int) -> Ready:
    """Makes the contestant that runs a float32 LiteRT file at batch 1.

    Args:
        config: Of the benchmark.
        network: One of `NETWORKS`.
        small: Whether it is cut.
        threads: Of LiteRT.

    Returns:
        The contestant, whose result says how long one invocation took: median and 90th
        percentile of at least `INVOCATIONS` that last at least `SECONDS`.
    """
    del config
    model = NETWORKS[network](small)
    lite = LiteModel(to_tflite(model), threads)
    shape = (1, *model.inputs[0].shape[1:])
    lite.set(np.random.default_rng(0).random(shape, np.float32))

    def run() -> dict[str, float]:
        times = repeat(lite.invoke, INVOCATIONS, SECONDS)
        return {
            "median us": float(np.median(times)) * 1e6,
            "p90 us": float(np.percentile(times, 90)) * 1e6,
            "runs": len(times),
        }

    macs, params = count_macs(model), cost.count_params(model)
    return Ready(run, {"macs": macs, "params": params, "threads": threads})
