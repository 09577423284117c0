"""The cells of a comparison: one network, ranked by one contender, cut one way."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import tf_keras as keras
from tqdm import tqdm

from experiments.grids import Grid
from experiments.rankings.presets import (
    BASELINES,
    CONTENDERS,
    RANDOM,
    SCRATCH_LONG,
    Preset,
)
from network_pruning.evaluation import metrics
from network_pruning.evaluation.cost import count_params
from network_pruning.evaluation.macs import count_macs
from network_pruning.evaluation.predict import predict_split
from network_pruning.graph import fingerprint
from network_pruning.jobs.fit import fit
from network_pruning.jobs.plans import FitPlan
from network_pruning.jobs.proofs import proof_images
from network_pruning.jobs.rankings import Asked, Ranking, ask
from network_pruning.jobs.trainings import Training, finished
from network_pruning.pruning.certificate import certify
from network_pruning.pruning.criteria import score_units
from network_pruning.pruning.selection import keep_units
from network_pruning.pruning.surgery import shrink
from network_pruning.pruning.units import find_groups
from network_pruning.runs import RunDir, lock
from network_pruning.types import BoolArray, Dataset, Price, Scores

log = logging.getLogger(__name__)

BEFORE, AFTER, DENSE = "before", "retrained", "dense"
PROOF_IMAGES = 64
"""A table proves many cuts."""
MONITOR = "val_accuracy"
"""What chooses the epoch of a retraining."""


Key = tuple[int, str, str, str, int]
"""Seed, contender, kept, stage, draw."""


@dataclass(frozen=True)
class Cell:
    """One measured network.

    Attributes:
        seed: Of the dense network.
        contender: Label.
        kept: "8-9-36-17", or "macs:0.5"; "all" of the dense network.
        stage: before, retrained or dense.
        draw: Of a random cut; else 0.
        accuracy: On the test split, in [0, 1].
        valid_accuracy: On the validation split.
        params: Trainable parameters.
        macs: Of one example.
        forward: Examples the ranking sent forward.
        backward: And backward.
        seconds: The ranking took.
        epochs: Of the retraining.
    """

    seed: int
    contender: str
    kept: str
    stage: str
    draw: int
    accuracy: float
    valid_accuracy: float
    params: int
    macs: int
    forward: int = 0
    backward: int = 0
    seconds: float = 0.0
    epochs: int = 0

    @property
    def key(self) -> Key:
        """What it is about."""
        return self.seed, self.contender, self.kept, self.stage, self.draw


class Comparison:
    """Makes the cells of a preset, those that are missing; processes may share it."""

    def __init__(
        self,
        preset: Preset,
        data: Dataset,
        training_runs: Sequence[RunDir],
        run: RunDir,
    ) -> None:
        """Takes up what there is.

        Args:
            preset: The protocol.
            data: Cells are measured on its test split, chosen on valid.
            training_runs: Main jobs that may have trained the dense networks.
            run: Folder of the comparison.
        """
        self.preset, self.data, self.run = preset, data, run
        self.training_runs = training_runs
        self.grid = Grid(Cell, run)

    @property
    def cells(self) -> dict[Key, Cell]:
        """The cells there are, by key."""
        return self.grid.cells()

    def dense(self, seed: int) -> keras.Model:
        """Returns a dense network.

        Raises:
            ValueError: If it is not trained.
        """
        found = self._trained(seed)
        if found is None:
            raise ValueError(
                f"{self.training_runs[0].path} holds no finished training of seed "
                f"{seed}: run --procedure=train first"
            )
        run, training = found
        return training.load(run, "val_loss")

    def _trained(self, seed: int) -> tuple[RunDir, Training] | None:
        one = self.preset.dense_seed
        name = f"checkpoints/seed={seed if one is None else one}"
        for run in self.training_runs:
            if training := finished(run, name):
                return run, training
        return None

    def ranking(self, seed: int, label: str, network: keras.Model) -> Ranking:
        """Returns a contender's ranking of a network, made once."""
        name = f"rankings/seed={seed}/{label}.npz"
        with lock(self.run.path / "claims" / f"rankings-{seed}.lock", wait=True):
            if self.run.exists(name):
                known = Ranking.load(self.run, name)
                where = str(self.run.path / name)
                known.check(fingerprint(network), self.data.fingerprint, where)
                return known
            ranking = self._rank(seed, label, network)
            ranking.save(self.run, name)
            return ranking

    def _rank(self, seed: int, label: str, network: keras.Model) -> Ranking:
        contender = CONTENDERS[label]
        return ask(
            network,
            contender.criterion,
            contender.options,
            seed,
            self.data,
            self.data.fingerprint,
        )

    def rank(self) -> None:
        """Ranks every dense network by every contender."""
        for seed in self.preset.seeds:
            network = self.dense(seed)
            bar = tqdm(self.preset.contenders, desc=f"rank, seed {seed}", disable=None)
            for label in bar:
                self.ranking(seed, label, network)

    def prune(self) -> None:
        """Measures every cut before retraining, and the dense networks."""
        for seed in self.preset.seeds:
            network = self.dense(seed)
            self._measure_dense(seed, network)
            cuts = list(self._cuts())
            for label, kept, draw in tqdm(cuts, desc=f"cut, seed {seed}", disable=None):
                key = (seed, label, kept, BEFORE, draw)
                with self.grid.claim(key) as mine:
                    if mine:
                        ranking = self._drawn(seed, label, draw, network)
                        small = self._cut(network, ranking.scores, kept, draw)
                        self._measure(key, small, ranking)

    def retrain(self) -> None:
        """Retrains cuts and baselines, and measures them."""
        todo = [
            (seed, label, kept)
            for kept in self.preset.widths()
            for label in self.preset.retrained
            for seed in self.preset.seeds
        ]
        for seed, label, kept in tqdm(todo, desc="retrain", disable=None):
            key = (seed, label, kept, AFTER, 0)
            with self.grid.claim(key) as mine:
                if mine:
                    self._retrain(key)

    def adopt(self, published: Iterable[Cell]) -> None:
        """Takes cells over that were made elsewhere, in an earlier sitting.

        Args:
            published: Of this protocol. Where a seed's dense network was trained here
                too, they count only if it does exactly what it did there.
        """
        by_seed: dict[int, dict[Key, Cell]] = {}
        for cell in published:
            by_seed.setdefault(cell.seed, {})[cell.key] = cell
        for seed, theirs in by_seed.items():
            if self._trained(seed) is not None:
                self._measure_dense(seed, self.dense(seed))
            dense = _dense_key(seed)
            if self.cells.get(dense, theirs.get(dense)) == theirs.get(dense):
                self.grid.adopt(theirs.values())
            else:
                log.info("seed %d: another dense network, cells made anew", seed)

    def _measure_dense(self, seed: int, network: keras.Model) -> None:
        with self.grid.claim(_dense_key(seed)) as mine:
            if mine:
                self._measure(_dense_key(seed), network)

    def _retrain(self, key: Key) -> None:
        seed, label, kept, _, _ = key
        plan = self._plan(seed, label)
        folder = f"retrained/seed={seed}/{label}/{kept}".replace(" ", "_")

        def make() -> keras.Model:
            network = self.dense(seed)
            if label not in BASELINES:
                scores = self._drawn(seed, label, 0, network).scores
                return self._cut(network, scores, kept, 0)
            # The same widths, weights as at the start of a training.
            scores = self._drawn(seed, RANDOM, 0, network).scores
            small = self._cut(network, scores, kept, 0)
            keras.utils.set_random_seed(seed)
            return keras.models.clone_model(small)

        training = fit(make, self.data, plan, self.run, folder)
        network = training.load(self.run, MONITOR)
        self._measure(key, network, epochs=plan.epochs)

    def _plan(self, seed: int, label: str) -> FitPlan:
        fields = dict(self.preset.retraining)
        if label == SCRATCH_LONG:
            fields["epochs"] += self.preset.config("unused").epochs
        return FitPlan(**fields, seed=seed, schedule="cosine", monitor=MONITOR)

    def _cuts(self) -> Iterator[tuple[str, str, int]]:
        for kept in self.preset.widths():
            for label in self.preset.contenders:
                draws = self.preset.draws if label == RANDOM else 1
                yield from ((label, kept, draw) for draw in range(draws))

    def _drawn(self, seed: int, label: str, draw: int, network: keras.Model) -> Ranking:
        if label != RANDOM or draw == 0:
            return self.ranking(seed, label, network)
        number = self.preset.draws * seed + draw
        scores = score_units(network, RANDOM, seed=10_000 + number)
        return Ranking(Asked("", RANDOM, {}, number), scores)

    def _cut(
        self, network: keras.Model, scores: dict[str, Scores], kept: str, draw: int
    ) -> keras.Model:
        masks = self._masks(network, scores, kept)
        small = shrink(network, masks)
        if draw == 0:
            images = proof_images(self.data, PROOF_IMAGES)
            certify(network, masks, small, images).require()
        return small

    def _masks(
        self, network: keras.Model, scores: dict[str, Scores], kept: str
    ) -> dict[str, BoolArray]:
        if not self.preset.keeps:
            return keep_units(scores, budget=self.preset.budget, model=network)
        names = [group.name for group in find_groups(network)]
        counts = dict(zip(names, map(int, kept.split("-")), strict=True))
        return keep_units(scores, keep=counts)

    def _measure(
        self,
        key: Key,
        network: keras.Model,
        ranking: Ranking | None = None,
        epochs: int = 0,
    ) -> None:
        test, valid = (
            metrics.accuracy(*predict_split(network, self.data, split))
            for split in ("test", "valid")
        )
        price = Price() if ranking is None else ranking.price
        cell = Cell(
            *key,
            test,
            valid,
            count_params(network),
            count_macs(network) or 0,
            price.forward,
            price.backward,
            price.seconds,
            epochs,
        )
        self.grid.put(cell)


def _dense_key(seed: int) -> Key:
    return seed, "none", "all", DENSE, 0
