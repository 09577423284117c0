"""The cells of the table: one student, from its teacher to its accuracy."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tf_keras as keras
from tqdm import tqdm

from experiments.datafrees import found, inversions, lessons, looks, prunings
from experiments.datafrees.config import DatafreeConfig
from experiments.datafrees.presets import (
    CLASS_MEANS,
    DISTILLED,
    FORMS,
    LEAKAGE,
    NOISE,
    PRUNE,
    STUDENT,
    TEACHER,
    Pair,
)
from experiments.grids import Grid
from experiments.stages import GIT, Chain, Stage
from network_pruning.evaluation import metrics
from network_pruning.evaluation.predict import predict_split
from network_pruning.inversion import shards
from network_pruning.inversion.recipe import SCOPES
from network_pruning.inversion.records import ActivationRecords
from network_pruning.runs import RunDir, lock
from network_pruning.types import Dataset

Key = tuple[str, str, str, int]
"""Objective or baseline, initialisation, form of the records, seed."""
Procedure = Callable[[DatafreeConfig, Chain, found.Load, found.Build], Stage]
FINDINGS = "findings"
"""Their folder in the table's."""
Images = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Cell:
    """One measured network.

    Attributes:
        objective: That its images were made by, or a baseline.
        init: How teacher and student started.
        form: Of the records; none of a baseline.
        seed: Of every step, the teacher's training included.
        accuracy: On the test split, of true labels, in [0, 1].
        valid_accuracy: On the real validation split, which chooses among forms.
        teacher_accuracy: The teacher's, on the test split.
        agreement: Share of the test split where both choose the same class.
        record_bytes: Size of the parts of the records that the objective reads.
        images: Made, of which a tenth validates; or real ones that were learnt.
        seconds: What making the images and teaching the student took.
    """

    objective: str
    init: str
    form: str
    seed: int
    accuracy: float
    valid_accuracy: float
    teacher_accuracy: float
    agreement: float
    record_bytes: int
    images: int
    seconds: float

    @property
    def key(self) -> Key:
        """What it is about."""
        return self.objective, self.init, self.form, self.seed


@dataclass(frozen=True)
class Finding:
    """What a further procedure says of the images that a cell's student learns from.

    Attributes:
        procedure: Its name.
        seed: Of every step.
        numbers: By name, as JSON.
    """

    procedure: str
    seed: int
    numbers: str

    @property
    def key(self) -> tuple[str, int]:
        """What it is about."""
        return self.procedure, self.seed


class Table:
    """Makes the cells of a pair, those that are missing; processes may share it."""

    def __init__(
        self, pair: Pair, run: RunDir, load: found.Load, build: found.Build
    ) -> None:
        """Takes up what there is.

        Args:
            pair: Whose.
            run: Folder of the cells, and of the runs that they come from.
            load: `data.load`.
            build: `models.build`.
        """
        self.pair, self.run = pair, run
        self.grid = Grid(Cell, run)
        self.findings = Grid(Finding, RunDir(run.path / FINDINGS))
        self._load, self._build = load, build

    @property
    def cells(self) -> dict[Key, Cell]:
        """The cells there are, by key."""
        return self.grid.cells()

    def fill(self, wanted: Iterable[Key]) -> None:
        """Makes cells that are neither there nor claimed by another process."""
        for key in tqdm(wanted, desc="cells", unit="cell", disable=None):
            with self.grid.claim(key) as mine:
                if mine:
                    self.grid.put(_Making(self, key).cell())

    def look_further(self, wanted: Iterable[tuple[str, int]]) -> None:
        """Makes findings that are neither there nor claimed by another process.

        Args:
            wanted: Procedure and seed of each.
        """
        objective = self.pair.objectives[0]
        form = self.pair.forms(objective)[0]
        for procedure, seed in wanted:
            with self.findings.claim((procedure, seed)) as mine:
                if mine:
                    making = _Making(self, (objective, self.pair.inits[0], form, seed))
                    self.findings.put(making.finding(procedure))

    def real(self, config: DatafreeConfig) -> Dataset:
        """Returns the images that the teacher has seen."""
        return found.load_real(self.pair.dataset, config, self._load)

    def step(self, procedure: Procedure, config: DatafreeConfig, chain: Chain) -> Stage:
        """Takes a step of data-free compression.

        Returns:
            It, finished.
        """
        return procedure(config, chain, self._load, self._build)

    def teacher(self, config: DatafreeConfig, chain: Chain) -> keras.Model:
        """Returns the teacher that the flags name."""
        return found.find_teacher(config, chain, self._build).network


class _Making:
    """One cell being made, in the run of its initialisation and seed."""

    def __init__(self, table: Table, key: Key) -> None:
        self.table, self.pair, self.key = table, table.pair, key
        self.objective, self.init, self.form, self.seed = key
        of_pair = self.pair.source_seed
        self.source_seed = self.seed if of_pair is None else of_pair
        self.name = f"{self.init}-seed={self.source_seed}"
        self.chain = Chain(table.run.path / self.name)

    def cell(self) -> Cell:
        """Makes it.

        Returns:
            The cell.
        """
        teacher = self._teacher()
        real = self.table.real(self._config())
        record_bytes = self._record() if self.objective in FORMS else 0
        started = time.perf_counter()
        network = self._learnt(teacher, real)
        seconds = time.perf_counter() - started
        judged = lessons.judge(network, real, teacher)
        return Cell(
            *self.key,
            judged["test_accuracy"],
            metrics.accuracy(*predict_split(network, real, "valid")),
            judged["teacher_test_accuracy"],
            judged["agreement"],
            record_bytes,
            self._count(real),
            round(seconds, 1),
        )

    def finding(self, procedure: str) -> Finding:
        """Makes the images, and asks a further procedure about them.

        Returns:
            What it says.
        """
        self._teacher()
        self._record()
        self._images()
        ask = {PRUNE: prunings.prune, LEAKAGE: looks.leakage}[procedure]
        made = self._own(ask, **self.pair.further[procedure]).made or {}
        numbers = dict(_flat(made))
        return Finding(procedure, self.seed, json.dumps(numbers, sort_keys=True))

    def _config(self, **flags: Any) -> DatafreeConfig:
        named = {"init": self.init, "rng_seed": self.source_seed, **flags}
        if (trained := self.pair.trained) is not None:
            named |= {
                "model_checkpoint": trained.path,
                "num_valid": trained.num_valid,
                "eval_dataset": self.pair.dataset,
            }
        return DatafreeConfig(
            summary_folder=str(self.table.run.path), run_name=self.name, **named
        )

    def _teacher(self) -> keras.Model:
        """Returns the teacher, trained here or elsewhere."""
        if self.pair.trained is None:
            return _network(self._trained(self.pair.teacher))
        return self.table.teacher(self._config(), self.chain)

    def _trained(self, model: str, **changes: Any) -> Stage:
        """Trains a network on real images.

        Returns:
            The finished step.
        """
        flags = {"dataset": self.pair.dataset, **self.pair.train, **changes}
        return self._shared(lessons.train, model=model, **flags)

    def _shared(self, procedure: Procedure, **flags: Any) -> Stage:
        """Takes a step that other cells go on from, too: one process at a time.

        Returns:
            It, finished.
        """
        path = self.table.run.path / "claims" / f"{self.name}.lock"
        with lock(path, wait=True):
            return self._own(procedure, **flags)

    def _own(self, take: Procedure, **flags: Any) -> Stage:
        return self.table.step(take, self._config(**flags), self.chain)

    def _record(self) -> int:
        """Takes records.

        Returns:
            Bytes of what the objective reads of them.
        """
        flags = {**FORMS[self.objective][self.form], **self.pair.records}
        stage = self._shared(inversions.compute_stats, **flags)
        records = ActivationRecords.load(stage.run.path / found.RECORDS)
        scope = SCOPES.get(self.objective)
        if scope is None:
            return sum(block.law.nbytes for block in records.blocks)
        spectra = [each for each in records.spectra if each.scope == scope]
        return sum(each.law.nbytes + each.basis.nbytes for each in spectra)

    def _learnt(self, teacher: keras.Model, real: Dataset) -> keras.Model:
        """Returns the network that the cell is about."""
        if self.objective == TEACHER:
            return teacher
        if self.objective == STUDENT:
            self.chain = Chain(self.chain.root)
            return _network(self._trained(self.pair.student, rng_seed=self.seed))
        if self.objective == DISTILLED:
            return self._taught(dataset=self.pair.dataset, **self.pair.train)
        if self.objective in FORMS:
            self._images()
            return self._taught(**self.pair.distill)
        folder = self.chain.root / self.objective
        make = noise if self.objective == NOISE else class_means
        images = make(real, self.pair.images["images"], self.source_seed)
        shards.keep(RunDir(folder), images, real.num_classes)
        return self._taught(dataset=str(folder), **self.pair.distill)

    def _taught(self, **flags: Any) -> keras.Model:
        named = {"student_model": self.pair.student, "rng_seed": self.seed, **flags}
        return _network(self._own(lessons.distil, procedure="distill", **named))

    def _images(self) -> None:
        flags = {"optimization_objective": self.objective, **self.pair.images}
        self._own(inversions.optimize_dataset, **flags)

    def _count(self, real: Dataset) -> int:
        if self.objective in {*FORMS, NOISE, CLASS_MEANS}:
            return self.pair.images["images"] * real.num_classes
        return real.size("train")


def _network(stage: Stage) -> keras.Model:
    return stage.run.read_model(found.TEACHER)


def _flat(made: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yields the numbers that a step tells, those of a part under its name."""
    for name, value in made.items():
        if name == GIT:
            continue
        if isinstance(value, Mapping):
            yield from ((f"{name}, {key}", float(each)) for key, each in value.items())
        else:
            yield name, float(value)


def noise(data: Dataset, n: int, seed: int) -> Images:
    """Draws images without anything on them, in the range of pixels.

    Args:
        data: Whose pixels' mean and sd they have, before they are clipped.
        n: Images of each class.
        seed: Of the draws.

    Returns:
        [n * classes, h, w, c].
    """
    shape = (n * data.num_classes, *data.input_shape)
    drawn = np.random.default_rng(seed).standard_normal(shape, np.float32)
    pixels = data.x_train
    return np.clip(pixels.mean() + pixels.std() * drawn, 0, 1).astype(np.float32)


def class_means(data: Dataset, n: int, seed: int) -> Images:
    """Returns the mean image of each class, as often as others have images.

    Args:
        data: Its training split.
        n: Images of each class.
        seed: Nothing is drawn.

    Returns:
        [n * classes, h, w, c], the classes in turns.
    """
    del seed
    classes = range(data.num_classes)
    means = [data.x_train[data.y_train == label].mean(axis=0) for label in classes]
    return np.tile(np.stack(means).astype(np.float32), (n, 1, 1, 1))
