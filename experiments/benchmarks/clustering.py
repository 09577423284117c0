"""Suite clustering: what clustered and distilled steps cost beside the plain step.

A part races contestants that train the same network and tells its lines and facts; a
further part is a function and a line in `PARTS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from experiments.benchmarks import machine
from experiments.benchmarks.config import BenchmarkConfig
from experiments.benchmarks.race import Contestant, Timed, race
from experiments.benchmarks.sweep import best_of
from experiments.benchmarks.table import Bar, Line, compare, csv_text, markdown
from network_pruning.runs import RunDir

PLAIN = "the student's plain step"
STORED = "ours, stored outputs"
ASKED = "the teacher asked in every step"
TORCH = "PyTorch eager, stored outputs"
PLAIN_BAR = Bar(1.15)
TORCH_BAR = Bar(1.0)
PLAIN_TEACHER = "the plain step"
KEPT, WHOLE = "all layers but the first", "all five layers"
KINDS = ("sample", "spatial", "channel")
CLUSTERED_BARS = {KEPT: Bar(1.25), WHOLE: Bar(1.8)}
TORCH_CLUSTERED = "PyTorch eager"
CLUSTERS, WEIGHT, OLD_SHARE = 100, 0.5, 0.1
BATCH_SIZE = 100
TEMPERATURE, SOFT_WEIGHT = 5.0, 0.9
LEARNING_RATE, MOMENTUM = 1e-3, 0.9
PIXELS, CLASSES = (32, 32, 3), 10
TEACHER, STUDENT = (32, 32, 64), (32, 16, 32)
"""Filters of the three convolutions of the networks called quick."""


@dataclass(frozen=True)
class Part:
    """What one part adds to the table.

    Attributes:
        lines: Comparisons.
        facts: Lines of the header.
    """

    lines: Sequence[Line]
    facts: Mapping[str, str]


def run(config: BenchmarkConfig) -> str:
    """Races all contestants, writes clustering.csv and clustering.md.

    Returns:
        The text of clustering.md.
    """
    load = machine.load_average()
    parts = [part(config) for part in PARTS]
    lines = [line for part in parts for line in part.lines]
    facts = {
        "data": f"random images 32x32x3, batch {BATCH_SIZE}, {config.steps} steps a "
        "round; speed does not depend on them",
        "optimiser": f"SGD {LEARNING_RATE:g}, momentum {MOMENTUM:g}",
        **{name: text for part in parts for name, text in part.facts.items()},
        "rounds": "contestants in turns, each in a process of its own, warm; medians, "
        "and the smallest and largest ratio of one round",
    }
    text = (
        "# Benchmark: clustering\n\n"
        + machine.header(config, load, facts)
        + "\nRatio = ours / peer; cpu = seconds of all threads together.\n\n"
        + markdown(lines)
    )
    folder = RunDir(config.output_dir)
    folder.write_text("clustering.csv", csv_text(lines))
    folder.write_text("clustering.md", text)
    return text


def distillation_part(config: BenchmarkConfig) -> Part:
    """Races a student's steps.

    Returns:
        Its lines, and what the header must say.
    """
    timed = race(distillation_contestants(config), config, "distillation")
    sizes = {f"{one.facts['params']:,}" for one in timed.values()}
    facts = {
        "distillation": f"kd at temperature {TEMPERATURE:g}, soft weight "
        f"{SOFT_WEIGHT:g}; student {_text(STUDENT)} filters, {' and '.join(sizes)} "
        f"parameters; teacher {_text(TEACHER)} filters",
        "threads": "; ".join(
            f"{n}: {one.facts['threads']}" for n, one in timed.items()
        ),
    }
    return Part(distillation_lines(timed), facts)


def clustering_part(config: BenchmarkConfig) -> Part:
    """Races steps with clusters of each kind against the plain step.

    Returns:
        Its lines, and what the header must say.
    """
    timed = race(clustering_contestants(config), config, "clustering")
    facts = {
        "clustering": f"K {CLUSTERS}, weight {WEIGHT:g}, share of the old centre "
        f"{OLD_SHARE:g}; network {_text(TEACHER)} filters",
        "threads of clustering": "; ".join(
            f"{n}: {one.facts['threads']}" for n, one in timed.items()
        ),
    }
    return Part(clustering_lines(timed), facts)


PARTS: tuple[Callable[[BenchmarkConfig], Part], ...] = (
    clustering_part,
    distillation_part,
)


def clustering_contestants(config: BenchmarkConfig) -> list[Contestant]:
    """Returns who trains the teacher's network."""
    found = [Contestant(PLAIN_TEACHER, "clustering_jobs:plain", {"filters": TEACHER})]
    for kind in KINDS:
        for layers in CLUSTERED_BARS:
            name, asked = f"{kind}, {layers}", {"kind": kind, "first": layers == WHOLE}
            found.append(Contestant(name, "clustering_jobs:clustered", asked))
            if config.torch and layers == KEPT:
                job = "torch_clustering_jobs:clustered"
                found += [
                    Contestant(
                        f"{TORCH_CLUSTERED}, {name}, {n} threads",
                        job,
                        {**asked, "threads": n},
                    )
                    for n in config.torch_threads
                ]
    return found


def clustering_lines(timed: Mapping[str, Timed]) -> list[Line]:
    """Returns our clustered steps against the plain step, and against PyTorch's best.

    Args:
        timed: By name of the contestant.
    """
    lines = []
    for kind in KINDS:
        for layers, bar in CLUSTERED_BARS.items():
            name = f"{kind}, {layers}"
            ours, plain = timed[name].samples, timed[PLAIN_TEACHER].samples
            lines.append(compare(f"clustered step: {name}: plain", ours, plain, bar))
            torches = [
                one
                for each, one in timed.items()
                if each.startswith(f"{TORCH_CLUSTERED}, {name}")
            ]
            if torches:
                peer = best_of(torches)
                what = f"clustered step: {peer.name}"
                note = "its best thread setting"
                lines.append(compare(what, ours, peer.samples, TORCH_BAR, note))
    return lines


def distillation_contestants(config: BenchmarkConfig) -> list[Contestant]:
    """Returns who trains a student."""
    found = [
        Contestant(STORED, "clustering_jobs:distilled", {"stored": True}),
        Contestant(PLAIN, "clustering_jobs:plain"),
        Contestant(ASKED, "clustering_jobs:distilled", {"stored": False}),
    ]
    if config.torch:
        job = "torch_clustering_jobs:distilled"
        found += [
            Contestant(_torch(n), job, {"threads": n}) for n in config.torch_threads
        ]
    return found


def distillation_lines(timed: Mapping[str, Timed]) -> list[Line]:
    """Returns our step with stored outputs against each peer's."""
    torches = [one for name, one in timed.items() if name.startswith(TORCH)]
    bars = {PLAIN: (PLAIN_BAR, "")}
    if torches:
        bars[best_of(torches).name] = (TORCH_BAR, "its best thread setting")
    return [
        compare(
            f"distillation step: {name}",
            timed[STORED].samples,
            peer.samples,
            *bars.get(name, (None, "")),
        )
        for name, peer in timed.items()
        if name != STORED
    ]


def _torch(threads: int) -> str:
    return f"{TORCH}, {threads} thread{'s' * (threads > 1)}"


def _text(filters: Sequence[int]) -> str:
    return "-".join(map(str, filters))
