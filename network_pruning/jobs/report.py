"""What a finished sweep leaves to look at: tables, figures, report.md, TensorBoard."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tf_keras as keras

from network_pruning.configs import SweepConfig
from network_pruning.evaluation import figures
from network_pruning.evaluation.rows import (
    KINDS,
    LatencyRow,
    Row,
    grid,
    sparsities,
    write_table,
)
from network_pruning.evaluation.tables import markdown_table, results
from network_pruning.graph import leaf_layers
from network_pruning.jobs import cells
from network_pruning.jobs.boards import show_sweep
from network_pruning.jobs.manifest import command
from network_pruning.jobs.prunable import idle
from network_pruning.jobs.sweep import Measured, make_cutter, which_epoch
from network_pruning.jobs.trainings import Training
from network_pruning.runs import RunDir
from network_pruning.types import Dataset

COSTS = {
    "Parameters": "params",
    "MACs": "macs",
    "Bytes, .keras gzipped": "gzip_bytes",
}


def write(
    config: SweepConfig,
    data: Dataset,
    trainings: Mapping[int, Training],
    measured: Measured,
    run: RunDir,
) -> None:
    """Writes everything that is derived from the rows and the trainings."""
    rows = measured.ordered()
    header, lines = results(rows)
    run.write_text("results.csv", write_table(header, lines))
    _curves(trainings, run)
    _sweep_figures(rows, list(measured.latencies.values()), run)
    _histograms(config, data, trainings, rows, run)
    shown = sorted((run.path / "figures").glob("*.png"))
    show_sweep(run.path / "tensorboard", rows, config.as_dict(), shown)
    run.write_text("report.md", _report(config, data, trainings, rows, run))


def _curves(trainings: Mapping[int, Training], run: RunDir) -> None:
    histories = [training.history for training in trainings.values()]
    keys = histories[0][0]
    longest = max(map(len, histories))
    curves = {
        key: np.array([
            [epoch[key] for epoch in history] + [np.nan] * (longest - len(history))
            for history in histories
        ])
        for key in keys
    }
    run.write("figures/loss_accuracy.png", lambda p: figures.training_curves(curves, p))
    header = ["seed", "epoch", *keys]
    lines = [
        [str(seed), str(number), *(repr(epoch[key]) for key in keys)]
        for seed, training in trainings.items()
        for number, epoch in enumerate(training.history, start=1)
    ]
    run.write_text("history.csv", write_table(header, lines))


def _by_kind(rows: Sequence[Row], field: str) -> dict[str, npt.NDArray[np.float64]]:
    return {kind: grid(rows, kind, field) for kind in KINDS}


def _sweep_figures(
    rows: Sequence[Row], latencies: Sequence[LatencyRow], run: RunDir
) -> None:
    loss, accuracy = _by_kind(rows, "loss"), _by_kind(rows, "accuracy")
    run.write(
        "figures/pruned_loss_accuracy.png",
        lambda p: figures.pruned_loss_accuracy(sparsities(rows), loss, accuracy, p),
    )
    costs: dict[str, Any] = {
        label: _by_kind(rows, field) for label, field in COSTS.items()
    }
    timed = {kind: _spread_over(rows, latencies, kind) for kind in KINDS}
    costs["LiteRT latency, one image (µs)"] = timed
    run.write(
        "figures/accuracy_cost.png", lambda p: figures.tradeoff(accuracy, costs, p)
    )


def _spread_over(
    rows: Sequence[Row], latencies: Sequence[LatencyRow], kind: str
) -> npt.NDArray[np.float64]:
    """Returns the latency at each sparsity of the rows [1, sparsities]."""
    known = {
        latency.sparsity: latency.litert_median_us
        for latency in latencies
        if latency.kind == kind
    }
    return np.array([[known.get(k, np.nan) for k in sparsities(rows)]])


def _histograms(
    config: SweepConfig,
    data: Dataset,
    trainings: Mapping[int, Training],
    rows: Sequence[Row],
    run: RunDir,
) -> None:
    """Draws the kernels of the first seed at each sparsity, and both films."""
    seed = config.seeds[0]
    kinds = (
        ("weight", "pruned_weights", "l1", figures.weight_histograms),
        ("unit", "pruned_units", "l2", figures.unit_histograms),
    )
    cutter: cells.Cutter | None = None
    for kind, stem, norm, draw in kinds:
        frames = []
        for k in sparsities(rows):
            name = f"figures/{stem}_{norm}_k={k}.png"
            frames.append(run.path / name)
            if not run.exists(name):
                if cutter is None:
                    cutter = make_cutter(config, data, trainings[seed], run, seed)
                kernels = cutter.kernels(kind, k)
                run.write(name, functools.partial(draw, kernels, k))
        run.write(f"figures/{stem}.gif", functools.partial(figures.gif, frames))


def _report(
    config: SweepConfig,
    data: Dataset,
    trainings: Mapping[int, Training],
    rows: Sequence[Row],
    run: RunDir,
) -> str:
    network = next(iter(trainings.values())).load(run, which_epoch(config))
    layers = ", ".join(path for path, layer in leaf_layers(network) if layer.weights)
    return (
        "\n\n".join([
            f"# {config.run_id()}",
            f"    {command(config)}",
            _facts(config, data, network, layers),
            "## Pruned",
            _caption(config),
            markdown_table(rows),
            *(
                f"Nothing was pruned of one kind: {line}."
                for line in idle(network, config.kinds)
            ),
            "![Test loss and accuracy by sparsity](figures/pruned_loss_accuracy.png)",
            "![Accuracy against cost](figures/accuracy_cost.png)",
            "## Trained",
            _chosen(config, trainings),
            "![Training curves](figures/loss_accuracy.png)",
            "## Kernels",
            "![Weights that remain](figures/pruned_weights.gif)",
            "![Norms of the units](figures/pruned_units.gif)",
            "## Files",
            _FILES,
        ])
        + "\n"
    )


_FILES = """\
- results.csv: one row a sparsity, means and sds over seeds; rows.csv: one a network.
- latency.csv: LiteRT and TensorFlow times of the first seed's networks.
- networks/: the shrunk networks, as .keras and .tflite (float32 and int8); they load
  without this project: `tf_keras.models.load_model(path, compile=False)`.
- checkpoints/: the trained networks (best by each monitor, and the last epoch).
- tensorboard/: `tensorboard --logdir=` this folder."""


def _facts(
    config: SweepConfig, data: Dataset, network: keras.Model, layers: str
) -> str:
    sizes = ", ".join(f"{data.size(s)} {s}" for s in ("train", "valid", "test"))
    return (
        f"{data.name}: {sizes} images. {config.model}: {network.count_params():,} "
        f"parameters in {layers}. Seeds {', '.join(map(str, config.seeds))}."
    )


def _caption(config: SweepConfig) -> str:
    how = (
        f"retrained for {config.finetune_epochs} epochs after each cut"
        if config.finetune_epochs
        else "one shot, nothing retrained"
    )
    return (
        f"Test split, {how}; scope {config.scope}, units ranked by {config.criterion}. "
        "k is the fraction removed, loss is cross entropy (nats) plus the penalty of "
        "the masked kernels, ± one sd over seeds. The output layer is never pruned."
    )


def _chosen(config: SweepConfig, trainings: Mapping[int, Training]) -> str:
    lines = ["| seed | epoch pruned | validation loss | validation accuracy |"]
    lines.append("|---:|---:|---:|---:|")
    for seed, training in trainings.items():
        epoch = training.chosen(which_epoch(config))
        numbers = training.history[epoch]
        which = f"{epoch + 1} of {len(training.history)}"
        if training.epochs == 0:
            which = "as it was given"
        lines.append(
            f"| {seed} | {which} "
            f"| {numbers['val_loss']:.4f} | {numbers['val_accuracy']:.4f} |"
        )
    return "\n".join(lines)
