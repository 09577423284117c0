"""What uncertainties are good for: to find strangers, and to rank the familiar."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from experiments.gpeds import calibration, distill, networks
from experiments.gpeds.baselines import Baselines
from experiments.gpeds.config import GpedConfig
from experiments.gpeds.networks import Build
from experiments.gpeds.rows import read
from experiments.gpeds.sets import Sets
from experiments.gpeds.words import stranger_name
from experiments.grids import text
from network_pruning.evaluation import uncertainty
from network_pruning.posterior import expectations
from network_pruning.runs import RunDir
from network_pruning.types import FloatArray

Scores = dict[str, FloatArray]
"""Kind of uncertainty (total, knowledge) -> of each image [n], nats."""
RESULTS = "results.csv"


@dataclass(frozen=True)
class Said:
    """What a contender says of one set.

    Attributes:
        log_probabilities: Of its mean prediction [n, classes]; None if it has none.
        scores: Its uncertainties.
    """

    log_probabilities: FloatArray | None
    scores: Scores


@dataclass(frozen=True)
class Found:
    """How well one score tells strangers from the test images.

    Attributes:
        outside: Name of the out-of-distribution set.
        contender: Whose uncertainty: ensemble, a student's name, or a baseline.
        kind: total or knowledge.
        auroc: Strangers are the positives, here and below.
        aupr: Average precision.
        fpr95: Share of test images flagged with 95 % of the strangers.
    """

    outside: str
    contender: str
    kind: str
    auroc: float
    aupr: float
    fpr95: float

    @property
    def key(self) -> tuple[str, str, str]:
        """What it is about."""
        return self.outside, self.contender, self.kind


@dataclass(frozen=True)
class Ranked:
    """How well a student ranks test images by the ensemble's uncertainty.

    Attributes:
        contender: Name of the student.
        kind: total or knowledge.
        ndcg: Mean nDCG@20 over 500 draws of 100 images.
        sd: Over the draws.
    """

    contender: str
    kind: str
    ndcg: float
    sd: float

    @property
    def key(self) -> tuple[str, str]:
        """What it is about."""
        return self.contender, self.kind


def find(config: GpedConfig, sets: Sets, build: Build) -> tuple[list[Found], RunDir]:
    """Scores test images and strangers by every contender, and writes results.csv.

    How each predicts the test images stands in calibration.csv and its figure.

    Args:
        config: Which chain.
        sets: With at least one set of strangers.
        build: `models.build`, for the baselines.

    Returns:
        The results, and their folder.

    Raises:
        ValueError: If there is no finished chain that saw them.
    """
    chain = distill.finished(config, sets)
    run = RunDir(ood_folder(config))
    baselines = Baselines(config, sets, build, run)
    inside = dict(_all_said(config, chain, baselines, "test", sets.test[0]))
    predicted = {name: said.log_probabilities for name, said in inside.items()}
    told = {name: logs for name, logs in predicted.items() if logs is not None}
    calibration.write(told, sets.test[1], run)
    found = []
    for dataset, images in sets.strangers.items():
        name = stranger_name(dataset)
        outside = _all_said(config, chain, baselines, name, images)
        for contender, said in outside:
            for kind, values in said.scores.items():
                pair = inside[contender].scores[kind], values
                rates = [f(*pair) for f in _RATES]
                found.append(Found(name, contender, kind, *rates))
    run.write_text(RESULTS, text(Found, found))
    return found, run


_RATES = (uncertainty.auroc, uncertainty.aupr, uncertainty.fpr95)


def rank(config: GpedConfig, sets: Sets) -> tuple[list[Ranked], RunDir]:
    """Ranks test images by every student, and writes results.csv.

    Args:
        config: Which chain.
        sets: Its test images are ranked.

    Returns:
        The results, and their folder.

    Raises:
        ValueError: If there is no finished chain.
    """
    chain = distill.finished(config, sets)
    truth = _of_ensemble(chain, "test").scores
    found = []
    for which in networks.wanted(config):
        said = _of_student(config, chain, which, sets.test[0])
        for kind, values in said.scores.items():
            drawn = uncertainty.ndcg_of_draws(truth[kind], values, config.seed)
            found.append(Ranked(which.name, kind, *drawn))
    if not found:
        raise ValueError(
            "target: no student tells an uncertainty, expected one that learns "
            "predictive, both, dirichlet or dark_knowledge"
        )
    run = RunDir(ranking_folder(config))
    run.write_text(RESULTS, text(Ranked, found))
    return found, run


def ood_folder(config: GpedConfig) -> Path:
    """Returns where the strangers found are, or would be."""
    return _folder(config, "ood", "members", "baseline_epochs")


def ranking_folder(config: GpedConfig) -> Path:
    """Returns where the familiar ranked are, or would be."""
    return _folder(config, "rank_uncertainty")


def _folder(config: GpedConfig, procedure: str, *fields: str) -> Path:
    place = Path(config.output_dir) / config.run_id()
    return place / f"{procedure}-{config.digest(*fields)}"


def _all_said(
    config: GpedConfig,
    chain: RunDir,
    baselines: Baselines,
    name: str,
    images: npt.NDArray[np.float32],
) -> Iterator[tuple[str, Said]]:
    """Yields every contender with what it says of one set."""
    yield "ensemble", _of_ensemble(chain, name)
    for which in networks.wanted(config):
        said = _of_student(config, chain, which, images)
        if said.scores:
            yield which.name, said
    for contender in baselines.names:
        logs = baselines.log_probabilities(contender, images)
        scores = _scores(uncertainty.of_samples(logs))
        if contender == "deterministic":
            del scores["knowledge"]  # one network has none
        yield contender, Said(uncertainty.mean_log_probabilities(logs), scores)


def _of_ensemble(chain: RunDir, name: str) -> Said:
    nothing = np.zeros(0, np.int64)
    truth = distill.truth_of(chain, name, nothing)
    return Said(truth.log_probabilities, _scores(truth.uncertainty))


def _of_student(
    config: GpedConfig,
    chain: RunDir,
    which: networks.Wanted,
    images: npt.NDArray[np.float32],
) -> Said:
    """Returns what a student tells; no scores, if it has no predictive distribution."""
    network = chain.read_model(f"students/{which.name}.keras")
    said = read(network, networks.expectation_of(config, which.target), images)
    logs = said.get(expectations.LOG_PROBABILITIES)
    if expectations.LOG_CONCENTRATIONS in said:
        concentrations = said[expectations.LOG_CONCENTRATIONS]
        return Said(logs, _scores(uncertainty.of_dirichlet(concentrations)))
    if logs is None:
        return Said(None, {})
    total = uncertainty.entropy(logs)
    if expectations.EXPECTED_ENTROPY not in said:
        return Said(logs, {"total": total})
    data = np.asarray(said[expectations.EXPECTED_ENTROPY], np.float64)
    return Said(logs, _scores(uncertainty.Uncertainty(total, data)))


def _scores(said: uncertainty.Uncertainty) -> Scores:
    return {"total": said.total, "knowledge": said.knowledge}
