"""The chain: walked, watched, and gone on with wherever it was stopped."""

from __future__ import annotations

import csv
import io
import logging
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tf_keras as keras
from tqdm import tqdm

from experiments.gpeds import networks, rows
from experiments.gpeds.config import GpedConfig
from experiments.gpeds.networks import Build
from experiments.gpeds.sets import Sets
from experiments.gpeds.words import stranger_name
from experiments.grids import text
from network_pruning.posterior import checkpoints
from network_pruning.posterior.chain_folders import CONFIG, DONE, RECORDED, TEACHER
from network_pruning.posterior.chains import ResidentChain
from network_pruning.posterior.distiller import PosteriorDistiller
from network_pruning.posterior.ensembles import Ensemble
from network_pruning.posterior.recorded import Recorder, position_files
from network_pruning.posterior.students import StudentDivergedError
from network_pruning.runs import RunDir
from network_pruning.training import DivergedError

log = logging.getLogger(__name__)

STATE, RESULTS, TRACE = "chain.npz", "results.csv", "trace.csv"
ENSEMBLES = "ensembles.npz"
AT_ONCE = 1_000
"""Steps between looks at the clock."""
SAVE_SECONDS = 60.0


def folder_of(config: GpedConfig) -> Path:
    """Returns where the chain of a config is, or would be."""
    run = Path(config.output_dir) / config.run_id()
    return run / f"distill-{config.digest()}"


def distill(config: GpedConfig, sets: Sets, build: Build) -> RunDir:
    """Walks the chain with its students, to the end.

    Args:
        config: How.
        sets: On what.
        build: `models.build`.

    Returns:
        The folder: students, ensembles, recorded positions, results.csv, trace.csv.

    Raises:
        ValueError: If the folder holds a chain of other data.
        DivergedError: If the chain blows up; the last good state stays on disk.
    """
    run = RunDir(folder_of(config))
    if run.exists(DONE):
        check_data(run, sets)
        if (lost := _lost(run)) is None:
            return run
        log.info("%s is gone from %s: made again", lost, run.path)
    keras.backend.experimental.enable_tf_random_generator()
    run.write_json(CONFIG, config.as_dict())
    distiller = _make(config, sets, build)
    if config.recorded:
        every = config.records_every
        distiller.watchers.append(Recorder(distiller, run, RECORDED, every))
    checkpoints.restore(distiller, run, STATE, sets.fingerprint)
    chain = ResidentChain(distiller, *sets.train, config.batch_size)
    walk(chain, distiller, config.steps, run, sets.fingerprint)
    _finish(config, sets, distiller, run)
    return run


def check_data(run: RunDir, sets: Sets) -> None:
    """Judges whether a finished chain is of these images.

    Raises:
        ValueError: If it is not.
    """
    if run.read_json(DONE)["data"] != sets.fingerprint:
        raise ValueError(
            f"{run.path} holds a chain of other images than these (the dataset has "
            "changed): give this one another --run_name"
        )


def _make(config: GpedConfig, sets: Sets, build: Build) -> PosteriorDistiller:
    every = config.draws_every
    ensembles = [Ensemble("test", sets.test[0], every=every)]
    if len(sets.valid[0]):
        ensembles.append(Ensemble("valid", *sets.valid, every=every))
    for name, images in sets.strangers.items():
        ensembles.append(Ensemble(stranger_name(name), images, every=every))
    students = networks.chain_students(config, sets, build)
    teacher = networks.teacher_of(config, sets, build)
    return networks.distiller_of(
        config, sets, teacher, students, ensembles, config.burnt
    )


def walk(
    chain: ResidentChain,
    distiller: PosteriorDistiller,
    steps: int,
    run: RunDir,
    identity: str,
) -> None:
    """Takes what steps are left, saving from time to time.

    Args:
        chain: Where it stands.
        distiller: Of the chain.
        steps: In all.
        run: Where the state and TensorBoard's files go.
        identity: Kept with the state.

    Raises:
        DivergedError: With what is kept.
        StudentDivergedError: Of a student; what was saved before is kept.
    """
    saved, board = (
        time.monotonic(),
        tf.summary.create_file_writer(str(run.path / "tensorboard")),
    )
    options: dict[str, Any] = {"unit": "step", "total": steps, "initial": chain.steps}
    with tqdm(desc="chain", disable=None, **options) as bar:
        while chain.steps < steps:
            here = chain.steps
            try:
                told = chain.advance(min(AT_ONCE - here % AT_ONCE, steps - here))
            except StudentDivergedError:
                raise  # What was saved last still has a student that knew something.
            except DivergedError as error:
                checkpoints.save(distiller, run, STATE, identity)
                where = run.path / STATE
                raise DivergedError(f"{error}; it is kept in {where}") from None
            bar.update(chain.steps - here)
            _show(board, told, distiller, chain.steps)
            if time.monotonic() - saved > SAVE_SECONDS or chain.steps == steps:
                checkpoints.save(distiller, run, STATE, identity)
                saved = time.monotonic()


def _show(
    board: Any, told: dict[str, float], distiller: PosteriorDistiller, step: int
) -> None:
    with board.as_default(step=step):
        for name, value in told.items():
            if not math.isnan(value):
                tf.summary.scalar(f"chain/{name}", value)
        for ensemble in distiller.ensembles:
            if ensemble.trace:
                _, now, whole = ensemble.trace[-1]
                tf.summary.scalar(f"{ensemble.name}/nll of the position", now)
                tf.summary.scalar(f"{ensemble.name}/nll of the ensemble", whole)
    board.flush()


def _finish(
    config: GpedConfig, sets: Sets, distiller: PosteriorDistiller, run: RunDir
) -> None:
    """Writes what others read, and marks the chain as done."""
    arrays: dict[str, Any] = {}
    for ensemble in distiller.ensembles:
        arrays[f"{ensemble.name}/log_probabilities"] = ensemble.log_probabilities
        arrays[f"{ensemble.name}/data"] = ensemble.uncertainty.data
        arrays[f"{ensemble.name}/draws"] = np.array(ensemble.draws)
    run.write_arrays(ENSEMBLES, arrays)
    run.write_model(TEACHER, distiller.teacher)
    for student in distiller.students:
        run.write_model(f"students/{student.name}.keras", student.model)
    truth = truth_of(run, "test", sets.test[1])
    measured = [rows.teacher_row(distiller.teacher, truth)]
    for student in distiller.students:
        expectation, model = student.expectation, student.model
        row = rows.student_row("student", model, expectation, sets.test[0], truth)
        measured.append(row)
    run.write_text(RESULTS, text(rows.Row, measured))
    run.write_text(TRACE, trace_text(distiller.ensembles))
    names = [student.name for student in distiller.students]
    done: dict[str, Any] = {"data": sets.fingerprint, "steps": config.steps}
    done |= {"students": names, RECORDED: len(position_files(run, RECORDED))}
    if run.exists(DONE):  # What was lost since then counts as left.
        done |= {RECORDED: run.read_json(DONE).get(RECORDED, done[RECORDED])}
    run.write_json(DONE, done)


def _lost(run: RunDir) -> str | None:
    """Returns a file that a finished chain has left and that is no longer there."""
    names = run.read_json(DONE).get("students", [])
    students = [f"students/{name}.keras" for name in names]
    left = [TEACHER, ENSEMBLES, RESULTS, TRACE, *students]
    return next((name for name in left if not run.exists(name)), None)


def truth_of(run: RunDir, split: str, labels: Any) -> rows.Truth:
    """Returns what a finished chain says of a split.

    Raises:
        ValueError: If it was not watched on it.
    """
    arrays = run.read_arrays(ENSEMBLES)
    if f"{split}/data" not in arrays:
        raise ValueError(
            f"{run.path} says nothing of {split}: distil again with it, as in "
            f"--procedure=distill --ood={split} or --num_valid=5000"
        )
    return rows.Truth(
        arrays[f"{split}/log_probabilities"],
        arrays[f"{split}/data"],
        labels,
        int(arrays[f"{split}/draws"]),
    )


def finished(config: GpedConfig, sets: Sets) -> RunDir:
    """Returns the folder of a finished chain.

    Raises:
        ValueError: If there is none, or a file of it is gone, with the command that
            makes it.
    """
    folder = folder_of(config)
    if not (folder / DONE).exists():
        raise ValueError(
            f"{folder} holds no finished chain: run the same command with "
            "--procedure=distill first"
        )
    run = RunDir(folder)
    check_data(run, sets)
    if lost := _lost(run):
        raise ValueError(
            f"{folder} has lost {lost}: the same command with --procedure=distill "
            "makes it again"
        )
    return run


def trace_text(ensembles: list[Ensemble]) -> str:
    """Returns the traces of ensembles as csv."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["split", "step", "nll", "ensemble_nll"])
    for ensemble in ensembles:
        writer.writerows([ensemble.name, int(s), a, b] for s, a, b in ensemble.trace)
    return out.getvalue()


def read_trace(run: RunDir, split: str) -> npt.NDArray[np.float64]:
    """Returns the trace of a finished chain on a split.

    Returns:
        Step, NLL of the position, NLL of the mean so far [draws, 3].
    """
    lines = list(csv.reader(io.StringIO(run.read_text(TRACE))))
    rows = [line[1:] for line in lines[1:] if line[0] == split]
    return np.array(rows, np.float64).reshape(-1, 3)
