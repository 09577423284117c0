"""Whether a chain has forgotten its start: several of them, from other starts.

They walk on the same images with other seeds, without students, and are compared by the
NLL of their positions on the held-out images, as split R-hat does.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from experiments.gpeds import distill, networks
from experiments.gpeds.config import GpedConfig
from experiments.gpeds.figures import draw_traces
from experiments.gpeds.networks import Build
from experiments.gpeds.sets import Sets
from experiments.gpeds.words import LEAST_DRAWS
from experiments.grids import text
from network_pruning.evaluation.uncertainty import split_rhat
from network_pruning.jobs.boards import show_curves
from network_pruning.posterior import checkpoints
from network_pruning.posterior.chains import ResidentChain
from network_pruning.posterior.ensembles import Ensemble
from network_pruning.runs import RunDir

Trace = npt.NDArray[np.float64]
"""[draws, (step, NLL of the position, NLL of the mean so far)], held-out images."""
RESULTS, FIGURE = "chains.csv", "figures/traces.png"
SPLIT = "valid"
POINTS = 100
"""Of the curve of R-hat, at most."""


@dataclass(frozen=True)
class Walked:
    """One chain, on the held-out images.

    Attributes:
        chain: 0 is the one that students learn from.
        seed: Of its start, its minibatches and its noise.
        draws: In the means.
        nll: Mean over its positions, nats.
        sd: Of these.
        ensemble_nll: Of its mean prediction.
    """

    chain: int
    seed: int
    draws: int
    nll: float
    sd: float
    ensemble_nll: float

    @property
    def key(self) -> tuple[int]:
        """What it is about."""
        return (self.chain,)


@dataclass(frozen=True)
class Diagnosis:
    """What the chains say of each other.

    Attributes:
        chains: In their order.
        rhat: Split R-hat of the NLL of their positions; nan where it never varies.
    """

    chains: list[Walked]
    rhat: float


def diagnose(
    config: GpedConfig, sets: Sets, build: Build, run: RunDir
) -> Diagnosis | None:
    """Walks further chains, and compares all of them.

    Writes chains.csv, a figure and the curve of R-hat for TensorBoard.

    Args:
        config: How many.
        sets: On what.
        build: `models.build`.
        run: Folder of the finished first chain.

    Returns:
        The diagnosis, or None where nothing is held out, or there are too few draws.

    Raises:
        DivergedError: If a chain blows up; the last good state stays on disk.
    """
    if not len(sets.valid[0]) or config.draws < LEAST_DRAWS:
        return None
    traces = [distill.read_trace(run, SPLIT)]
    for number in range(1, config.chains):
        traces.append(_walk(config, sets, build, run, number))
    chains = [_summary(config, number, trace) for number, trace in enumerate(traces)]
    nlls = np.stack([trace[:, 1] for trace in traces])
    run.write_text(RESULTS, text(Walked, chains))
    run.write(FIGURE, lambda path: draw_traces(traces, path))
    curve = _curve(traces[0][:, 0], nlls)
    figures = [run.path / FIGURE]
    show_curves(run.path / "tensorboard/chains", {"chains/split R-hat": curve}, figures)
    return Diagnosis(chains, split_rhat(nlls))


def seed_of(seed: int, number: int) -> int:
    """Returns the seed of a chain; the first keeps the experiment's."""
    if not number:
        return seed
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0] >> 1)


def _walk(
    config: GpedConfig, sets: Sets, build: Build, run: RunDir, number: int
) -> Trace:
    """Walks a further chain to its end, going on where it was stopped.

    Returns:
        Its trace.
    """
    part = RunDir(run.path / f"chains/{number}")
    if not part.exists(distill.DONE):
        other = dataclasses.replace(config, seed=seed_of(config.seed, number))
        teacher = networks.teacher_of(other, sets, build)
        watched = [Ensemble(SPLIT, *sets.valid, every=config.draws_every)]
        walker = networks.distiller_of(other, sets, teacher, [], watched, config.burnt)
        checkpoints.restore(walker, part, distill.STATE, sets.fingerprint)
        chain = ResidentChain(walker, *sets.train, config.batch_size)
        distill.walk(chain, walker, config.steps, part, sets.fingerprint)
        part.write_text(distill.TRACE, distill.trace_text(watched))
        part.write_json(distill.DONE, {"seed": other.seed, "steps": config.steps})
    return distill.read_trace(part, SPLIT)


def _summary(config: GpedConfig, number: int, trace: Trace) -> Walked:
    _, nll, ensemble = trace.T
    sd = float(nll.std(ddof=1))
    return Walked(
        number,
        seed_of(config.seed, number),
        len(trace),
        float(nll.mean()),
        sd,
        float(ensemble[-1]),
    )


def _curve(steps: Trace, nlls: Trace) -> list[tuple[int, float]]:
    """Returns (step, R-hat of all up to it), evenly spread."""
    ends = np.linspace(LEAST_DRAWS, len(steps), POINTS).astype(int)
    return [
        (int(steps[end - 1]), split_rhat(nlls[:, :end]))
        for end in dict.fromkeys(ends.tolist())
    ]
