"""From flags to a finished run folder."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tf_keras as keras

from network_pruning.configs import SweepConfig, differences
from network_pruning.evaluation.rows import Row
from network_pruning.evaluation.tables import terminal_table
from network_pruning.jobs import report, sweep
from network_pruning.jobs.devices import is_chief
from network_pruning.jobs.manifest import write_manifest
from network_pruning.runs import RunDir, recover_run, replace_run
from network_pruning.types import Dataset

log = logging.getLogger(__name__)

MLP_OPTIONS = ("widths", "use_bias", "activation", "batch_norm", "dropout")


def run(
    config: SweepConfig,
    load_data: Callable[..., Dataset],
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
    recover_run(final)
    retrain = config.force_train and final.exists()
    folder = final.with_name(f".{final.name}.retrain") if retrain else final
    if not is_chief(config.distribute):
        return _follow(config, load_data, build_model, folder)
    run_dir = RunDir(folder)
    with run_dir.lock():
        claim(run_dir, config)
        data = _load(config, load_data)
        make_network = _network_maker(config, data, build_model)
        trainings = sweep.train_all(config, data, make_network, run_dir)
        measured = sweep.measure_all(config, data, trainings, run_dir)
        rows = measured.ordered()
        report.write(config, data, trainings, measured, run_dir)
        write_manifest(run_dir, config, data)
        if retrain:
            replace_run(folder, final)
    print(terminal_table(rows))
    print(f"\nrun folder: {final}\ntensorboard --logdir={final}")
    return rows


def claim(run_dir: RunDir, config: SweepConfig) -> None:
    """Makes a folder this config's own.

    Raises:
        ValueError: If it holds a run of other settings.
    """
    ours = config.as_dict()
    if run_dir.exists("config.json"):
        changed = differences(ours, run_dir.read_json("config.json"))
        if changed:
            raise ValueError(
                f"{run_dir.path} holds a run of other settings ({'; '.join(changed)}): "
                "give this one another --experiment_id, or the settings of that one"
            )
    run_dir.write_json("config.json", ours)


def _follow(
    config: SweepConfig,
    load_data: Callable[..., Dataset],
    build_model: Callable[..., keras.Model],
    folder: Path,
) -> list[Row]:
    """The part of a worker that is not the chief: it trains and writes nothing."""
    data = _load(config, load_data)
    make_network = _network_maker(config, data, build_model)
    sweep.train_all(config, data, make_network, RunDir(folder))
    return []


def _load(config: SweepConfig, load_data: Callable[..., Dataset]) -> Dataset:
    size: Any = config.image_size
    data = load_data(
        config.dataset, num_valid=config.num_valid, split=config.split, image_size=size
    )
    if data.multi_label:
        raise ValueError(
            f"dataset {data.name} has several labels an image, the sweep learns one: "
            "choose a set with one class an image"
        )
    return data


def _network_maker(
    config: SweepConfig, data: Dataset, build_model: Callable[..., keras.Model]
) -> Callable[[], keras.Model]:
    return functools.partial(
        build_model,
        config.model,
        data.input_shape,
        data.num_classes,
        l1=config.l1_reg,
        l2=config.l2_reg,
        **{name: getattr(config, name) for name in MLP_OPTIONS},
    )
