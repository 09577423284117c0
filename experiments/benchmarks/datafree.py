"""Suite datafree: images made from records, and how records are taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from experiments.benchmarks import machine
from experiments.benchmarks.config import BenchmarkConfig
from experiments.benchmarks.race import Contestant, Timed, race
from experiments.benchmarks.sweep import best_of
from experiments.benchmarks.table import Bar, Line, compare, csv_text, markdown
from network_pruning.runs import RunDir

NETWORKS: Mapping[str, tuple[int, int, int]] = {
    "hinton1200": (28, 28, 1),
    "lenet": (32, 32, 1),
}
"""Teachers, and the images that they take."""
IMAGES = 500
"""Moved at once."""
LEARNING_RATE = 0.05
UNITS, VECTORS = 1200, 400
"""Length and number of the activations whose moments are taken."""
OURS, TORCH, FLOOR = "ours", "PyTorch eager", "matrix products alone"
RECORDS, BY_IMAGE = "moments, ours", "moments, image by image"
TORCH_BAR, FLOOR_BAR = Bar(0.5), Bar(1.5)
RECORDS_BAR = Bar(0.1)


def run(config: BenchmarkConfig) -> str:
    """Races all contestants, writes datafree.csv and datafree.md.

    Returns:
        The text of datafree.md.
    """
    load = machine.load_average()
    lines: list[Line] = []
    speeds: dict[str, str] = {}
    for network in NETWORKS:
        timed = race(contestants(network, config), config, network)
        lines += lines_of(network, timed)
        speeds |= {
            f"{network}, {name}": f"{IMAGES * config.steps / one.wall:,.0f}"
            for name, one in timed.items()
        }
    lines.append(records_line(race(recorders(), config, "records")))
    facts = {
        "images": f"{IMAGES} moved at once by all layers' targets, Adam and clipping, "
        f"{config.steps} steps a round",
        "image-steps a second": "; ".join(
            f"{name}: {speed}" for name, speed in speeds.items()
        ),
        "records": f"mean and covariance of {VECTORS} activations of {UNITS} units",
        "rounds": "contestants in turns, each in a process of its own, warm; medians, "
        "and the smallest and largest ratio of one round",
    }
    text = (
        "# Benchmark: datafree\n\n"
        + machine.header(config, load, facts)
        + "\nRatio = ours / peer; cpu = seconds of all threads together.\n\n"
        + markdown(lines)
    )
    folder = RunDir(config.output_dir)
    folder.write_text("datafree.csv", csv_text(lines))
    folder.write_text("datafree.md", text)
    return text


def contestants(network: str, config: BenchmarkConfig) -> list[Contestant]:
    """Returns who makes images from a network, and who multiplies as much."""
    asked = {"name": network}
    found = [
        Contestant(OURS, "datafree_jobs:images", asked),
        Contestant(f"{FLOOR}, NumPy", "datafree_jobs:floor", asked),
    ]
    for threads in config.torch_threads if config.torch else ():
        own = {**asked, "threads": threads}
        name = f"{threads} threads"
        found += [
            Contestant(f"{TORCH}, {name}", "torch_datafree_jobs:images", own),
            Contestant(f"{FLOOR}, PyTorch, {name}", "torch_datafree_jobs:floor", own),
        ]
    return found


def lines_of(network: str, timed: Mapping[str, Timed]) -> list[Line]:
    """Returns our steps against PyTorch's best and against the fastest products.

    Args:
        network: By name.
        timed: By name of the contestant.
    """
    lines = []
    for peer, bar in ((TORCH, TORCH_BAR), (FLOOR, FLOOR_BAR)):
        peers = [one for name, one in timed.items() if name.startswith(peer)]
        if peers:
            best = best_of(peers)
            what = f"images of {network}: {best.name}"
            note = "the best of its settings"
            ours = timed[OURS].samples
            lines.append(compare(what, ours, best.samples, bar, note))
    return lines


def recorders() -> Sequence[Contestant]:
    """Returns who takes the moments of a stream of activations."""
    return (
        Contestant(RECORDS, "datafree_jobs:moments_by_batch"),
        Contestant(BY_IMAGE, "datafree_jobs:moments_by_image"),
    )


def records_line(timed: Mapping[str, Timed]) -> Line:
    """Returns our moments against those that are taken image by image."""
    ours, peer = timed[RECORDS].samples, timed[BY_IMAGE].samples
    return compare(f"records: {BY_IMAGE}", ours, peer, RECORDS_BAR)
