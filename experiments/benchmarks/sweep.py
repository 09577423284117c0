"""Suite sweep: a training epoch, and the evaluations of a whole sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments.benchmarks import machine
from experiments.benchmarks.config import BATCH_SIZE, LEARNING_RATE, BenchmarkConfig
from experiments.benchmarks.floor_jobs import sizes, step_flops
from experiments.benchmarks.race import Contestant, Timed, race
from experiments.benchmarks.table import (
    Bar,
    Line,
    compare,
    csv_text,
    markdown,
    markdown_of,
)
from network_pruning.runs import RunDir

OURS, FIT = "ours", "Keras fit"
TORCH = "PyTorch eager"
FLOOR = "matrix products alone"
EVALUATE = "Keras clone + compile + evaluate"
BATCHES = 32, 2000
FIT_BAR = Bar(0.70, cpu=True)
TORCH_BAR = Bar(0.50)
EVALUATE_BAR = Bar(1 / 6, text="1/6")
EXTRA_ROUNDS = 1
"""Rounds of the long contestants that no bar depends on."""
SWEEP_ROUNDS = 3
"""Rounds of the evaluations, at most: each is 24 networks long already."""


def run(config: BenchmarkConfig) -> str:
    """Races all contestants, writes sweep.csv and sweep.md.

    Returns:
        The text of sweep.md.
    """
    load = machine.load_average()
    epochs = race(epoch_contestants(config), config, "training epoch")
    sweeps = race(sweep_contestants(), config, "evaluations")
    lines = [*epoch_lines(epochs, config), *sweep_lines(sweeps, config)]
    facts = {
        "data": f"random images 28x28: {config.epoch_images} for an epoch, "
        f"{config.test_images} for an evaluation; speed does not depend on them",
        "network": f"mlp {'-'.join(map(str, sizes(config)))}, no biases; "
        f"batch {BATCH_SIZE}, Adam {LEARNING_RATE:g}",
        "pruned network": "untrained" if config.run is None else Path(config.run).name,
        "threads": "; ".join(_threads(timed) for timed in epochs.values()),
        "rounds": "contestants in turns, each in a process of its own, warm; medians, "
        "and the smallest and largest ratio of one round",
    }
    text = (
        "# Benchmark: sweep\n\n"
        + machine.header(config, load, facts)
        + "\nRatio = ours / peer; cpu = seconds of all threads together.\n\n"
        + markdown(lines)
        + "\nRate of the matrix products of a step, alone (the floor):\n\n"
        + markdown_of(("library", "GFLOP/s"), _rates(epochs))
    )
    folder = RunDir(config.output_dir)
    folder.write_text("sweep.csv", csv_text(lines))
    folder.write_text("sweep.md", text)
    return text


def epoch_contestants(config: BenchmarkConfig) -> list[Contestant]:
    """Returns who trains an epoch, and who only multiplies."""
    found = [
        Contestant(OURS, "keras_jobs:our_epoch"),
        Contestant(FIT, "keras_jobs:plain_fit"),
        Contestant(_floor("TensorFlow"), "floor_jobs:with_tensorflow"),
        Contestant(_floor("NumPy"), "floor_jobs:with_numpy"),
    ]
    if not config.torch:
        return found
    most = {"threads": max(config.torch_threads)}
    job, multiply = "torch_jobs:epoch", "floor_jobs:with_torch"
    return [
        *found,
        *(
            Contestant(_floor_torch(n), multiply, {"threads": n})
            for n in config.torch_threads
        ),
        *(Contestant(_torch(n), job, {"threads": n}) for n in config.torch_threads),
        Contestant(f"{TORCH}, DataLoader", job, most | {"loader": True}, EXTRA_ROUNDS),
        Contestant(f"{TORCH}, fused Adam", job, most | {"fused": True}, EXTRA_ROUNDS),
    ]


def sweep_contestants() -> list[Contestant]:
    """Returns who evaluates a sweep; only the default batch has a bar."""
    job = "keras_jobs:cloned_sweep"
    small, large = BATCHES
    return [
        Contestant(OURS, "keras_jobs:our_sweep", rounds=SWEEP_ROUNDS),
        Contestant(_evaluate(small), job, {"batch_size": small}, SWEEP_ROUNDS),
        Contestant(_evaluate(large), job, {"batch_size": large}, EXTRA_ROUNDS),
    ]


def epoch_lines(timed: Mapping[str, Timed], config: BenchmarkConfig) -> list[Line]:
    """Returns our epoch against each peer's, and against the floor."""
    ours = timed[OURS]
    compiling = ours.facts["first epoch s"] - ours.wall
    note = f"our first epoch compiles: {compiling:.1f} s more"
    lines = [_line("epoch", ours, timed[FIT], FIT_BAR, note)]
    if config.torch:
        best = best_of([timed[_torch(n)] for n in config.torch_threads])
        lines.append(_line("epoch", ours, best, TORCH_BAR, "its best thread setting"))
        others = [peer for name, peer in timed.items() if name.startswith(TORCH)]
        lines += [_line("epoch", ours, peer) for peer in others if peer is not best]
    epoch_flops = step_flops(sizes(config), config.epoch_images)
    for peer in _floors(timed):
        whole = peer.times(epoch_flops / peer.facts["flops"])
        lines.append(_line("epoch", ours, whole, note="ours over the floor"))
    return lines


def sweep_lines(timed: Mapping[str, Timed], config: BenchmarkConfig) -> list[Line]:
    """Returns our evaluations against Keras'."""
    ours = timed[OURS]
    what = f"{len(config.k_vals)} k x weight, unit"
    lines = []
    for batch, bar in zip(BATCHES, (EVALUATE_BAR, None), strict=True):
        peer = timed[_evaluate(batch)]
        note = f"largest difference of an accuracy {disagreement(ours, peer):.4f}"
        lines.append(_line(what, ours, peer, bar, note))
    return lines


def best_of(timed: Sequence[Timed]) -> Timed:
    """Returns the contestant with the lowest median on the clock."""
    return min(timed, key=lambda each: each.wall)


def disagreement(ours: Timed, peer: Timed) -> float:
    """Returns the largest difference between two contestants' accuracies."""
    return max(
        abs(value - peer.result[name])
        for name, value in ours.result.items()
        if name.startswith("accuracy")
    )


def _line(
    what: str, ours: Timed, peer: Timed, bar: Bar | None = None, note: str = ""
) -> Line:
    return compare(f"{what}: {peer.name}", ours.samples, peer.samples, bar, note)


def _torch(threads: int) -> str:
    return f"{TORCH}, {_count(threads)}"


def _floor_torch(threads: int) -> str:
    return _floor(f"PyTorch, {_count(threads)}")


def _count(threads: int) -> str:
    return f"{threads} thread{'s' * (threads > 1)}"


def _floor(library: str) -> str:
    return f"{FLOOR}, {library}"


def _floors(timed: Mapping[str, Timed]) -> list[Timed]:
    return [peer for name, peer in timed.items() if name.startswith(FLOOR)]


def _evaluate(batch: int) -> str:
    return f"{EVALUATE}, batch {batch}"


def _threads(timed: Timed) -> str:
    return f"{timed.name}: {timed.facts.get('threads', 'default')}"


def _rates(timed: Mapping[str, Timed]) -> list[list[str]]:
    return [
        [
            peer.name.removeprefix(f"{FLOOR}, "),
            f"{peer.facts['flops'] / peer.wall / 1e9:.0f}",
        ]
        for peer in _floors(timed)
    ]
