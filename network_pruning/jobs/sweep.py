"""The main job: train once per seed, prune over k, measure every network.

Each cell (seed, k, kind) is measured once and appended to rows.csv; a command typed
again computes only the cells that are missing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import tf_keras as keras
from tqdm import tqdm

from network_pruning.configs import SweepConfig
from network_pruning.evaluation import metrics
from network_pruning.evaluation.cost import CostCard, Exports, cost_card, export
from network_pruning.evaluation.predict import predict_split
from network_pruning.evaluation.rows import (
    LatencyRow,
    Row,
    read_latency,
    read_rows,
    write_latency,
    write_rows,
)
from network_pruning.flags import is_model_file
from network_pruning.graph import fingerprint
from network_pruning.jobs import cells
from network_pruning.jobs.boards import TrainingBoard
from network_pruning.jobs.devices import is_chief
from network_pruning.jobs.fit import fit
from network_pruning.jobs.plans import retraining_plan, training_plan, weights_plan
from network_pruning.jobs.proofs import proof_images
from network_pruning.jobs.rankings import Ranking, ask, images_mark
from network_pruning.jobs.trainings import Training, finished
from network_pruning.pruning import gradual
from network_pruning.runs import DamagedFile, RunDir
from network_pruning.types import Dataset, Scores

log = logging.getLogger(__name__)

Key = tuple[int, float, str]
AnyRow = TypeVar("AnyRow", Row, LatencyRow)


@dataclass
class Measured:
    """The rows of a run, on disk after each addition."""

    run: RunDir
    rows: dict[Key, Row] = field(default_factory=dict)
    latencies: dict[Key, LatencyRow] = field(default_factory=dict)

    @classmethod
    def load(cls, run: RunDir) -> Measured:
        """Reads what a run has measured so far.

        Returns:
            Its rows.

        Raises:
            DamagedFile: If a file is not what was written.
        """
        measured = cls(run)
        if run.exists("rows.csv"):
            rows = _read(run, "rows.csv", read_rows)
            measured.rows = {_key(row): row for row in rows}
        if run.exists("latency.csv"):
            latencies = _read(run, "latency.csv", read_latency)
            measured.latencies = {_key(row): row for row in latencies}
        return measured

    def add(self, row: Row, latency: LatencyRow | None) -> None:
        """Keeps one network's numbers; the row last, as it marks the cell done."""
        if latency is not None:
            self.latencies[_key(latency)] = latency
            ordered = [self.latencies[key] for key in sorted(self.latencies)]
            self.run.write_text("latency.csv", write_latency(ordered))
        self.rows[_key(row)] = row
        self.run.write_text("rows.csv", write_rows(self.ordered()))

    def has(self, key: Key, timed: bool) -> bool:
        """Returns whether a cell needs nothing more.

        What has no LiteRT form is not timed.
        """
        if key not in self.rows:
            return False
        timeless = self.rows[key].tflite_bytes is None
        return key in self.latencies or timeless or not timed

    def ordered(self) -> list[Row]:
        """Returns the rows by seed, sparsity and kind."""
        return [self.rows[key] for key in sorted(self.rows)]


def _read(run: RunDir, name: str, read: Callable[[str], list[AnyRow]]) -> list[AnyRow]:
    try:
        return read(run.read_text(name))
    except ValueError as error:
        raise run.damaged(name, str(error)) from None


def _key(row: Row | LatencyRow) -> Key:
    return row.seed, row.sparsity, row.kind


def train_all(
    config: SweepConfig,
    data: Dataset,
    make_network: Callable[[], keras.Model],
    run: RunDir,
) -> dict[int, Training]:
    """Trains one network for each seed, shares another run's, or takes up its own.

    Args:
        config: The training fields count.
        data: Train and valid splits are used.
        make_network: Builds the untrained network.
        run: Where the trainings lie, in checkpoints/.

    Returns:
        The finished trainings by seed.
    """
    return {
        seed: _train(config, data, make_network, run, seed) for seed in config.seeds
    }


def _train(
    config: SweepConfig,
    data: Dataset,
    make_network: Callable[[], keras.Model],
    run: RunDir,
    seed: int,
) -> Training:
    folder = f"checkpoints/seed={seed}"
    identity = f"{config.digest('training')}-{data.fingerprint[:16]}"
    if is_model_file(config.model):
        identity += f"-{fingerprint(make_network())[:16]}"
    if not config.force_train and is_chief(config.distribute):
        _share(config, run, folder, identity)
    board = run.path / "tensorboard" / f"seed={seed}"
    return fit(
        make_network,
        data,
        training_plan(config, seed),
        run,
        folder,
        identity=identity,
        on_epoch=TrainingBoard(board, config.epochs),
    )


def _share(config: SweepConfig, run: RunDir, folder: str, identity: str) -> None:
    """Copies a finished training with the same settings from another run."""
    if run.exists(f"{folder}/training.json") or run.exists(f"{folder}/state.npz"):
        return
    # Without the hidden folders: those of runs that are being made again.
    for found in sorted(Path(config.output_dir).glob(f"[!.]*/{folder}/training.json")):
        other = RunDir(found.parents[2])
        # A damaged neighbour is its own run's to report.
        with contextlib.suppress(DamagedFile):
            training = finished(other, folder)
            if training is None or training.identity != identity:
                continue
            log.info("training of %s taken from %s", folder, other.path)
            curves = f"tensorboard/{found.parent.name}"
            if other.exists(curves) and not run.exists(curves):
                run.adopt(other.path / curves, curves)
            run.adopt(found.parent, folder)
            return


def measure_all(
    config: SweepConfig,
    data: Dataset,
    trainings: dict[int, Training],
    run: RunDir,
) -> Measured:
    """Fills the cells of a sweep that are missing.

    Args:
        config: Which cells are wanted, and how they are cut.
        data: The test split is read once for each cell.
        trainings: By seed.
        run: Where the rows lie.

    Returns:
        Every row of the run.
    """
    measured = Measured.load(run)
    wanted = [
        (seed, k, kind)
        for seed in config.seeds
        for k in config.k_vals
        for kind in config.kinds
    ]
    missing = [key for key in wanted if not measured.has(key, _is_timed(config, key))]
    cutters: dict[int, cells.Cutter] = {}
    for key in tqdm(missing, desc="sweep", unit="network", disable=None):
        seed = key[0]
        if seed not in cutters:
            training = trainings[seed]
            cutters = {seed: make_cutter(config, data, training, run, seed)}
        measured.add(*_measure(config, data, cutters[seed], run, key))
    return measured


def make_cutter(
    config: SweepConfig, data: Dataset, training: Training, run: RunDir, seed: int
) -> cells.Cutter:
    """Returns what cuts a training's network.

    Its units are ranked once: scores/seed=<seed>.npz keeps what --criterion says.
    """

    def rank(dense: keras.Model) -> dict[str, Scores]:
        name = f"scores/seed={seed}.npz"
        if run.exists(name):
            return Ranking.load(run, name).scores
        images = images_mark(data, config.input_range)
        options = config.score_options()
        ranking = ask(dense, config.criterion, options, seed, data, images)
        ranking.save(run, name)
        return ranking.scores

    dense = training.load(run, which_epoch(config))
    return cells.Cutter(dense, config.scope, rank)


def which_epoch(config: SweepConfig) -> str:
    """Returns which file of a training is pruned: val_loss, val_accuracy or last."""
    return config.monitor if config.keep_best else "last"


def _measure(
    config: SweepConfig, data: Dataset, cutter: cells.Cutter, run: RunDir, key: Key
) -> tuple[Row, LatencyRow | None]:
    _, k, kind = key
    if kind == "weight":
        cut = cutter.weights(k)
    else:
        cut = cutter.units(k, proof_images(data))
    one_shot = None
    if config.finetune_epochs:
        logits, labels = predict_split(cut.network, data, "test")
        one_shot = metrics.accuracy(logits, labels)
        cut = _retrain(config, data, cutter.dense, cut, run, key)
    exports = export(cut.network, data)
    if kind == "unit" or config.finetune_epochs:
        _deliver(exports, run, key)
    timed = _is_timed(config, key)
    card = cost_card(cut.network, data, latency=timed, exports=exports)
    return _rows(key, cut, card, one_shot)


def _is_timed(config: SweepConfig, key: Key) -> bool:
    """Returns whether a cell has a latency: shapes decide it, so one seed tells it."""
    return key[0] == config.seeds[0]


def _deliver(exports: Exports, run: RunDir, key: Key) -> None:
    """Writes the files of a pruned network."""
    seed, k, kind = key
    name = f"networks/seed={seed}/{kind}-k={k}"
    run.write_bytes(f"{name}.keras", exports.keras)
    for content, ending in (
        (exports.tflite, ".tflite"),
        (exports.tflite_int8, ".int8.tflite"),
    ):
        if content is not None:
            run.write_bytes(name + ending, content)


def _rows(
    key: Key, cut: cells.Cut, card: CostCard, one_shot: float | None
) -> tuple[Row, LatencyRow | None]:
    carried = {
        field.name: getattr(card, field.name)
        for field in dataclasses.fields(card)
        if field.name != "latency"
    }
    row = Row(
        *key,
        loss=carried["cross_entropy"] + cut.penalty,
        achieved_sparsity=cut.achieved,
        certificate=cut.certificate,
        accuracy_one_shot=one_shot,
        **carried,
    )
    if card.latency is None:
        return row, None
    return row, LatencyRow(*key, **dataclasses.asdict(card.latency))


def _retrain(
    config: SweepConfig,
    data: Dataset,
    dense: keras.Model,
    cut: cells.Cut,
    run: RunDir,
    key: Key,
) -> cells.Cut:
    seed, k, kind = key
    folder = f"finetune/seed={seed}/{kind}-k={k}"
    if kind == "weight":
        plan = weights_plan(config, seed)
        steps = plan.steps(data.size("train"))
        training = fit(
            lambda: cells.retrainable_weights(dense, k, steps),
            data,
            plan,
            run,
            folder,
            after_update=gradual.advance,
            # Epochs before the schedule's end are looked at too.
            export=functools.partial(gradual.strip, check=False),
        )
    else:
        plan = retraining_plan(config, seed)
        training = fit(lambda: cut.network, data, plan, run, folder)
    network = training.load(run, which_epoch(config))
    achieved = cells.zeros(network) if kind == "weight" else cut.achieved
    penalty = cells.penalty_of(network)
    return cells.Cut(network, achieved, penalty, cut.certificate)
