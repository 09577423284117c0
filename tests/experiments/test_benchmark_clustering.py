"""The suite clustering: who takes part, and that all do the same."""

import csv
import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from experiments.benchmarks import clustering, clustering_jobs
from experiments.benchmarks.config import BenchmarkConfig
from experiments.benchmarks.race import Sample, Timed
from network_pruning.clustering.clusters import Clustering, Clusters

TINY = BenchmarkConfig(suite="clustering", rounds=1, steps=2, torch=False)
PARAMS = 61_562
"""Of the student: 32, 16, 32 filters."""


def timed(name, wall):
    return Timed(name, {}, [Sample(wall, wall)], {})


def test_lines_have_the_bars_of_the_plain_step_and_of_the_best_torch():
    config = dataclasses.replace(TINY, torch=True)
    names = [one.name for one in clustering.distillation_contestants(config)]
    seconds = dict(zip(names, (1.1, 1.0, 2.0, 3.0, 1.05), strict=True))
    lines = clustering.distillation_lines({n: timed(n, s) for n, s in seconds.items()})
    assert [line.met for line in lines] == ["yes", "", "", "no"]
    assert [one.name for one in clustering.distillation_contestants(TINY)] == names[:3]


def test_our_steps_teach_a_student_of_the_size_that_is_said():
    ready = clustering_jobs.distilled(TINY, stored=True)
    assert ready.facts["params"] == PARAMS
    assert set(ready.run()) == {"loss", "soft", "hard", "accuracy", "agreement"}


def test_torch_does_the_same():
    torch = pytest.importorskip("torch")
    from experiments.benchmarks import torch_clustering_jobs as theirs

    ready = theirs.distilled(TINY, threads=1)
    assert ready.facts["params"] == PARAMS
    assert np.isfinite(ready.run()["loss"])
    network, twin = clustering_jobs.quick((2, 3, 4)), theirs.quick((2, 3, 4))
    kernels = [np.transpose(w, [3, 2, 0, 1]) for w in network.get_weights()[:6:2]]
    dense, last = (network.get_weights()[i] for i in (6, 8))
    # Keras flattens height, width, channels; PyTorch channels first.
    dense = dense.reshape(4, 4, 4, 64).transpose(3, 2, 0, 1).reshape(64, -1)
    state = dict(zip(twin.state_dict(), twin.state_dict().values(), strict=True))
    weights = iter([*kernels, dense, last.T])
    for name in state:
        new = next(weights) if name.endswith("weight") else np.zeros(state[name].shape)
        state[name] = torch.tensor(np.ascontiguousarray(new), dtype=torch.float32)
    twin.load_state_dict(state)
    images, labels = clustering_jobs.examples(TINY)
    images, labels = images[:5], labels[:5]
    with torch.no_grad():
        found = twin(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
    logits = network(images).numpy()
    np.testing.assert_allclose(found, logits, atol=1e-5)
    stored = np.random.default_rng(0).normal(size=(5, 10)).astype(np.float32)
    trainer = clustering_jobs.Distiller(network, None, "kd", 5.0, 0.9)
    batch = tuple(map(tf.constant, (images, labels, stored)))
    ours = float(trainer.test_step(batch)["loss"])
    loss = theirs.loss_of(found, torch.from_numpy(stored), torch.from_numpy(labels))
    assert ours == pytest.approx(float(loss), rel=1e-5)


def test_clustered_steps_have_the_bars_of_the_layers_they_cluster():
    config = dataclasses.replace(TINY, torch=True)
    names = [one.name for one in clustering.clustering_contestants(config)]
    assert len(names) == len(set(names)) == 1 + 3 * (2 + 2)
    seconds = {name: 1.2 if clustering.KEPT in name else 1.7 for name in names}
    seconds[clustering.PLAIN_TEACHER] = 1.0
    found = {name: timed(name, wall) for name, wall in seconds.items()}
    lines = clustering.clustering_lines(found)
    assert [line.met for line in lines] == ["yes"] * 9
    assert len(clustering.clustering_contestants(TINY)) == 7


@pytest.mark.parametrize("kind", clustering.KINDS)
def test_torch_clusters_the_same(kind):
    torch = pytest.importorskip("torch")
    from experiments.benchmarks import torch_clustering_jobs as theirs

    rng = np.random.default_rng(0)
    activation = rng.normal(size=(6, 5, 4, 8)).astype(np.float32)
    layer = Clusters(
        Clustering(kind, 3, clustering.WEIGHT, clustering.OLD_SHARE),
        (None, *activation.shape[1:]),
        "conv",
    )
    layer(activation)
    old = layer.centres.numpy()
    layer(activation + 1)
    tap = torch.from_numpy((activation + 1).transpose(0, 3, 1, 2).copy())
    rows = theirs.rows_of(tap, kind)
    if kind == "sample":
        # PyTorch flattens channels first.
        old = old.reshape(3, 5, 4, 8).transpose(0, 3, 1, 2).reshape(3, -1)
    loss, moved = theirs.pull(rows, torch.from_numpy(old.copy()))
    assert float(layer.losses[0]) == pytest.approx(float(loss), rel=1e-4)
    expected = layer.centres.numpy()
    np.testing.assert_allclose(np.sort(moved.numpy()), np.sort(expected), atol=1e-4)


@pytest.mark.slow
def test_clustered_contestants_take_their_steps():
    pytest.importorskip("torch")
    from experiments.benchmarks import torch_clustering_jobs as theirs

    ready = clustering_jobs.clustered(TINY, "spatial", first=False)
    told = ready.run()
    assert sum(name.endswith("_regulariser") for name in told) == 4
    assert ready.facts["params"] > 145_578
    assert np.isfinite(theirs.clustered(TINY, "spatial", False, 1).run()["loss"])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_suite_writes_its_tables(tmp_path, monkeypatch):
    monkeypatch.setattr(clustering, "KINDS", ("spatial",))  # A process for each.
    config = dataclasses.replace(TINY, output_dir=str(tmp_path))
    text = clustering.run(config)
    with open(tmp_path / "clustering.csv", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    assert [row["what"] for row in rows if row["what"][0] == "d"] == [
        f"distillation step: {name}" for name in (clustering.PLAIN, clustering.ASKED)
    ]
    assert "61,562 parameters" in text
