"""The suite datafree: who takes part, and that all do the same."""

import dataclasses

import numpy as np
import pytest

from experiments.benchmarks import datafree, datafree_jobs
from experiments.benchmarks.config import SUITES, BenchmarkConfig
from experiments.benchmarks.race import Sample, Timed

TINY = BenchmarkConfig(suite="datafree", rounds=1, steps=2, torch=False)


def test_lines_have_the_bars_of_the_best_torch_and_of_the_best_products():
    config = dataclasses.replace(TINY, torch=True)
    names = [one.name for one in datafree.contestants("lenet", config)]
    assert len(set(names)) == 2 + 2 * len(config.torch_threads)
    seconds = dict(zip(names, (1.0, 0.9, 2.5, 0.5, 2.1, 0.7), strict=True))
    timed = {n: Timed(n, {}, [Sample(s, s)], {}) for n, s in seconds.items()}
    lines = datafree.lines_of("lenet", timed)
    assert [line.wall.value for line in lines] == pytest.approx([1 / 2.1, 2])
    assert [line.met for line in lines] == ["yes", "no"]
    alone = [one.name for one in datafree.contestants("lenet", TINY)]
    assert alone == names[:2]
    assert len(datafree.lines_of("lenet", {n: timed[n] for n in alone})) == 1
    assert "datafree" in SUITES


def test_moments_are_the_same_and_those_of_numpy(monkeypatch):
    monkeypatch.setattr(datafree_jobs, "UNITS", 7)
    monkeypatch.setattr(datafree_jobs, "BATCH", 150)
    ours = datafree_jobs.moments_by_batch(TINY).run()
    theirs = datafree_jobs.moments_by_image(TINY).run()
    covariance = np.cov(datafree_jobs.activations().T, ddof=0)
    for told in (ours, theirs):
        assert told["trace"] == pytest.approx(np.trace(covariance), rel=1e-4)
        assert told["corner"] == pytest.approx(covariance[0, -1], rel=1e-3)


def test_products_are_those_of_the_layers():
    network = datafree_jobs.make_network("lenet")
    assert datafree_jobs.products(network, 2) == [
        *((2 * 28 * 28, 25, 6), (2 * 10 * 10, 6 * 25, 16)),
        *((2, 400, 120), (2, 120, 84), (2, 84, 10)),
    ]
    macs = sum(rows * a * b for rows, a, b in datafree_jobs.products(network))
    assert datafree_jobs.flops(network) == 4 * macs


def channels_first(kernel):
    return np.transpose(kernel, [3, 2, 0, 1]) if kernel.ndim == 4 else kernel.T


def copy_into(twin, network, name, as_tensor):
    """Gives PyTorch's twin the same weights."""
    weights = list(network.get_weights())
    if name == "lenet":
        # Keras flattens height, width, channels; PyTorch channels first.
        dense = weights[4].reshape(5, 5, 16, -1)
        weights[4] = dense.transpose(2, 0, 1, 3).reshape(400, -1)
    arranged = [channels_first(w) if w.ndim > 1 else w for w in weights]
    state = dict(
        zip(twin.state_dict(), map(np.ascontiguousarray, arranged), strict=True)
    )
    twin.load_state_dict({key: as_tensor(each) for key, each in state.items()})


@pytest.mark.parametrize(
    "name", [pytest.param("hinton1200", marks=pytest.mark.slow), "lenet"]
)
def test_torch_has_the_same_loss(name):
    torch = pytest.importorskip("torch")
    from experiments.benchmarks import torch_datafree_jobs as theirs

    reconstructor, targets = datafree_jobs.prepared(name, n=10)
    twin = theirs.make_network(name)
    copy_into(twin, reconstructor.network, name, torch.from_numpy)
    pixels = reconstructor.images.numpy().transpose(0, 3, 1, 2).copy()
    taps = theirs.run_tapped(twin, torch.from_numpy(pixels))
    records = reconstructor.aim.records
    scaled, aims = [], []
    for tap, path in zip(taps, records.layers, strict=True):
        scaled.append(tap / records.scales[path])
        aim = targets[path].numpy().reshape(10, *records.shapes[path])
        aim = np.moveaxis(aim, -1, 1).copy()
        aims.append(torch.from_numpy(aim))
    with torch.no_grad():
        expected = float(theirs.apart(scaled, aims).mean())
    assert reconstructor.run(targets, 1)[0] == pytest.approx(expected, rel=1e-4)
