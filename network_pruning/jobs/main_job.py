"""From flags to a finished run folder."""

from __future__ import annotations

import functools
import logging
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tf_keras as keras

from network_pruning.configs import SweepConfig, differences
from network_pruning.evaluation.rows import Row
from network_pruning.evaluation.tables import terminal_table
from network_pruning.jobs import report, sweep
from network_pruning.jobs.devices import (
    check_same,
    dismiss_workers,
    explaining_lost_workers,
    is_chief,
    make_strategy,
)
from network_pruning.jobs.manifest import write_manifest
from network_pruning.jobs.prunable import check_prunable
from network_pruning.jobs.trainings import Training
from network_pruning.runs import RunDir, hold_run, replace_run, retrain_folder
from network_pruning.types import Dataset
from network_pruning.views import rescaled

log = logging.getLogger(__name__)

MADE = ("checkpoints", "rows.csv", "scores", "finetune")
"""What makes a folder one of certain settings."""


def run(
    config: SweepConfig,
    load_data: Callable[..., Any],
    build_model: Callable[..., keras.Model],
) -> list[Row]:
    """Trains, sweeps and reports, going on where an earlier process stopped.

    Args:
        config: What is asked for.
        load_data: `data.load`.
        build_model: `models.build`.

    Returns:
        The rows of the run.
    """
    final = Path(config.output_dir) / config.run_id()
    if not is_chief(config.distribute):
        return _follow(config, load_data, build_model)
    with hold_run(final):
        run_dir = RunDir(retrain_folder(final) if config.force_train else final)
        claim(run_dir, config)
        data, trainings = _train(config, load_data, build_model, run_dir)
        measured = sweep.measure_all(config, data, trainings, run_dir)
        rows = measured.ordered()
        report.write(config, data, trainings, measured, run_dir)
        write_manifest(run_dir, config, data)
        if config.force_train:
            replace_run(final)
    print(terminal_table(rows))
    print(f"\nrun folder: {final}\ntensorboard --logdir={final}")
    return rows


def claim(run_dir: RunDir, config: SweepConfig) -> None:
    """Makes a folder this config's own.

    A folder in which nothing was made yet, as a missing dataset leaves it, is free.

    Raises:
        ValueError: If it holds a run of other settings.
    """
    ours = config.as_dict()
    if run_dir.exists("config.json") and any(map(run_dir.exists, MADE)):
        changed = differences(ours, run_dir.read_json("config.json"))
        if changed:
            raise ValueError(
                f"{run_dir.path} holds a run of other settings ({'; '.join(changed)}): "
                "give this one another --experiment_id, or the settings of that one"
            )
    run_dir.write_json("config.json", ours)


def _follow(
    config: SweepConfig,
    load_data: Callable[..., Any],
    build_model: Callable[..., keras.Model],
) -> list[Row]:
    """Does the part of a worker that is not the chief: trains, keeps nothing.

    Returns:
        No rows.
    """
    with tempfile.TemporaryDirectory() as scratch:
        _train(config, load_data, build_model, RunDir(scratch))
    return []


def _train(
    config: SweepConfig,
    load_data: Callable[..., Any],
    build_model: Callable[..., keras.Model],
    run_dir: RunDir,
) -> tuple[Dataset, dict[int, Training]]:
    """Does what all workers do together.

    Returns:
        The data, and the trainings by seed.
    """
    with explaining_lost_workers(config.distribute):
        make_strategy(config.distribute)
        data = _load(config, load_data)
        make_network = _network_maker(config, data, build_model)
        check_prunable(make_network(), config.kinds)
        settings = config.digest("training", "rows")
        check_same(config.distribute, f"{settings} {data.fingerprint}")
        trainings = sweep.train_all(config, data, make_network, run_dir)
        dismiss_workers(config.distribute)
    return data, trainings


def _load(config: SweepConfig, load_data: Callable[..., Any]) -> Dataset:
    size: Any = config.image_size
    data = load_data(
        config.dataset, num_valid=config.num_valid, split=config.split, image_size=size
    )
    if data.multi_label:
        raise ValueError(
            f"dataset {data.name} has several labels an image, the sweep learns one: "
            "choose a set with one class an image"
        )
    return rescaled(data, *config.input_range)


def _network_maker(
    config: SweepConfig, data: Dataset, build_model: Callable[..., keras.Model]
) -> Callable[[], keras.Model]:
    shape, classes = data.input_shape, data.num_classes
    options = config.network_options()
    return functools.partial(build_model, config.model, shape, classes, **options)
