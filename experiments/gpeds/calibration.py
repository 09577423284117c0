"""Whether those who predict are as often right as they say: a table and a diagram."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from experiments.gpeds import distill, networks, rows
from experiments.gpeds.config import GpedConfig
from experiments.gpeds.sets import Labels, Sets
from experiments.grids import text
from network_pruning.evaluation import figures, metrics
from network_pruning.jobs.boards import show_curves
from network_pruning.posterior import expectations
from network_pruning.runs import RunDir
from network_pruning.types import FloatArray

RESULTS, FIGURE = "calibration.csv", "figures/reliability.png"
BOARD = "tensorboard/calibration"


@dataclass(frozen=True)
class Calibrated:
    """How one contender predicts the test images.

    Attributes:
        contender: ensemble, a student's name, or a baseline.
        nll: Mean, in nats.
        accuracy: In [0, 1].
        ece: 15 bins.
        brier: Over all classes.
    """

    contender: str
    nll: float
    accuracy: float
    ece: float
    brier: float

    @property
    def key(self) -> tuple[str]:
        """What it is about."""
        return (self.contender,)


def of_chain(config: GpedConfig, sets: Sets, chain: RunDir) -> dict[str, FloatArray]:
    """Returns what a chain and its students predict of the test images, as logits.

    Args:
        config: Whose students.
        sets: Its test images.
        chain: Folder of the finished chain.

    Returns:
        [n, classes] by name; students without a predictive distribution are left out.
    """
    truth = distill.truth_of(chain, "test", sets.test[1])
    said = {"ensemble": truth.log_probabilities}
    for which in networks.wanted(config):
        network = chain.read_model(f"students/{which.name}.keras")
        expectation = networks.expectation_of(config, which.target)
        told = rows.read(network, expectation, sets.test[0])
        if expectations.LOG_PROBABILITIES in told:
            said[which.name] = told[expectations.LOG_PROBABILITIES]
    return said


def write(said: Mapping[str, FloatArray], labels: Labels, run: RunDir) -> Path:
    """Writes calibration.csv, the reliability diagram, and both for TensorBoard.

    Args:
        said: Logits of the test images [n, classes] by contender.
        labels: [n].
        run: Where.

    Returns:
        The diagram.
    """
    found = [
        Calibrated(name, **rows.judged(logits, labels)) for name, logits in said.items()
    ]
    run.write_text(RESULTS, text(Calibrated, found))
    curves = {name: metrics.reliability(z, labels) for name, z in said.items()}
    path = run.write(FIGURE, lambda path: figures.reliability(curves, path))
    told = {f"ece/{one.contender}": [(0, one.ece)] for one in found}
    show_curves(run.path / BOARD, told, [path])
    return path
