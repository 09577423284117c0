"""Architectures of students, sought by NSGA-II on one recorded chain.

A batch is trained at once: all its students share the teacher's draws. Any number of
processes may search in one run folder, on one machine or on several that share it: each
trains other batches, and goes on with those that a killed one has left.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path

import tf_keras as keras

from experiments.gpeds import distill, networks, rows
from experiments.gpeds.batches import CLAIMS, Batch, Batches
from experiments.gpeds.config import GpedConfig
from experiments.gpeds.figures import draw_front
from experiments.gpeds.lessons import Record
from experiments.gpeds.networks import Build, Wanted
from experiments.gpeds.sets import Sets
from experiments.grids import text
from network_pruning.evaluation.cost import count_params
from network_pruning.evaluation.macs import count_macs
from network_pruning.jobs.boards import show_curves
from network_pruning.runs import RunDir, lock

log = logging.getLogger(__name__)

FIELDS = ("population", "search_updates", "search_target")
RESULTS, FIGURE = "results.csv", "front.png"
PATIENCE = 5.0
"""Seconds between looks at what other processes train."""


@dataclass(frozen=True)
class Tried:
    """One architecture.

    Attributes:
        number: Of the trial.
        factor_1: On its channels, or first width.
        factor_2: On its dense units, or second width.
        error: On the held-out images: NLL, or the entropy's mean absolute error; nats.
        params: Trainable parameters.
        macs: Of one image.
        front: 1 if no other is at least as good in all three and better in one.
    """

    number: int
    factor_1: float
    factor_2: float
    error: float
    params: int
    macs: int
    front: int

    @property
    def key(self) -> tuple[int]:
        """What it is about."""
        return (self.number,)


def search(config: GpedConfig, sets: Sets, build: Build) -> tuple[list[Tried], RunDir]:
    """Tries architectures, and writes results.csv and front.png.

    Args:
        config: How many.
        sets: Architectures are judged on its held-out images.
        build: `models.build`.

    Returns:
        What was tried, and the folder.

    Raises:
        ValueError: If nothing is held out, or there is no finished chain with recorded
            positions.
    """
    if not len(sets.valid[0]):
        raise ValueError(
            "num_valid: got 0, expected held-out images, as in --num_valid=5000: the "
            "search selects on them"
        )
    keras.backend.experimental.enable_tf_random_generator()
    record = Record(config, sets, build)
    place = Path(config.output_dir) / config.run_id()
    run = RunDir(place / f"search-{config.digest(*FIELDS)}")
    batches = Batches(config, run)
    truth = distill.truth_of(record.chain, "valid", sets.valid[1])
    waits = False
    while not batches.are_told():
        with batches.claim() as batch:
            if batch is not None:
                values = _train(config, sets, build, record, batch, run, truth)
                batches.tell(batch, values)
                run.remove(f"{batch.name}.npz")
                continue
        if not waits:
            log.info("other processes train what remains of the search: waiting")
        waits = True
        time.sleep(PATIENCE)
    tried = _tried(batches)
    with lock(run.path / CLAIMS / "report.lock", wait=True):
        _report(config, tried, run)
    return tried, run


def _report(config: GpedConfig, tried: list[Tried], run: RunDir) -> None:
    run.write_text(RESULTS, text(Tried, tried))
    run.write(FIGURE, lambda path: draw_front(tried, config.search_target, path))
    told = {
        f"search/{name}": [(each.number, getattr(each, name)) for each in tried]
        for name in ("error", "params", "macs")
    }
    show_curves(run.path / "tensorboard", told, [run.path / FIGURE])


def _train(
    config: GpedConfig,
    sets: Sets,
    build: Build,
    record: Record,
    batch: Batch,
    run: RunDir,
    truth: rows.Truth,
) -> list[tuple[float, float, float]]:
    """Lets a batch learn side by side.

    Returns:
        Error, parameters and MACs of each.
    """
    models = [
        network_of(config, sets, build, factors, place)
        for place, factors in enumerate(batch.factors)
    ]
    which = Wanted(config.search_target, "uo")
    students = [
        networks.student_of(
            config,
            which,
            model,
            thin=1,
            steps=1,
            input_noise=0.0,
            optimizer=keras.optimizers.Adam(config.student_learning_rate),
        )
        for model in models
    ]
    record.teach(students, config.search_updates, run, f"{batch.name}.npz")
    return [
        (
            _error(config, model, sets, truth),
            float(count_params(model)),
            float(count_macs(model) or 0),
        )
        for model in models
    ]


def network_of(
    config: GpedConfig,
    sets: Sets,
    build: Build,
    factors: tuple[float, float],
    place: int,
) -> keras.Model:
    """Returns an untrained network of these factors, named by its place in its batch.

    Two of a batch may be alike.
    """
    which = Wanted(config.search_target, "uo", factors)
    network = networks.network_of(config, sets, build, which)
    return keras.Model(network.inputs, network.outputs, name=f"student-{place}")


def _error(
    config: GpedConfig, model: keras.Model, sets: Sets, truth: rows.Truth
) -> float:
    expectation = networks.expectation_of(config, config.search_target)
    row = rows.student_row("search", model, expectation, sets.valid[0], truth)
    return row.nll if config.search_target == "predictive" else row.entropy_mae


def _tried(batches: Batches) -> list[Tried]:
    front = batches.front()
    return [
        Tried(
            trial.number,
            trial.params["factor_1"],
            trial.params["factor_2"],
            trial.values[0],
            int(trial.values[1]),
            int(trial.values[2]),
            int(trial.number in front),
        )
        for trial in batches.told()
    ]
