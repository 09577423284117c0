"""Suite ranking: Shapley values, the cut of a ResNet-50, and what a cut gains."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.benchmarks import machine
from experiments.benchmarks.config import BenchmarkConfig
from experiments.benchmarks.race import Contestant, Sample, Timed, race
from experiments.benchmarks.table import (
    Bar,
    Line,
    compare,
    csv_text,
    markdown,
    markdown_of,
)
from network_pruning.runs import RunDir

OURS = "ours"
PREDICT, FUNCTION = "shap + predict", "shap + tf.function"
L1_REG = f"{FUNCTION}, default l1_reg"
SHAP_ROUNDS = 2
"""Rounds of shap, at most: with predict each is minutes long."""
EXTRA_ROUNDS = 1
SHAPLEY_BAR = Bar(1 / 20, text="1/20")
LENETS = {"10-20-100-25": (10, 20, 100, 25), "20-50-500-25": (20, 50, 500, 25)}
CONVOLUTIONS = ("c1", "c3")
COALITIONS = 1000
"""Of which the table shows the seconds."""

PIXELS, SHARE = 224, 0.5
TORCH = "Torch-Pruning"
LAYOUTS = {"applications": "keras.applications", "torchvision": "torchvision's layout"}
CUT_BAR = Bar(0.50)

LITERT_NETWORKS = (
    "LeNet-5, 10-20-100-25 to 8-9-36-17",
    "ResNet-20, half the MACs",
    "ResNet-20, half the MACs, widths in fours",
)
"""Keys of `cut_jobs.NETWORKS`."""
LITERT_THREADS = 1
LITERT_SHARE = 0.7
"""Of the MAC ratio that the speed-up should reach."""
INVOCATIONS = 1000
"""Of which the table shows the seconds."""


@dataclass(frozen=True)
class Part:
    """What one part adds to the table.

    Attributes:
        lines: Comparisons.
        facts: Lines of the header.
        tables: Further tables, in Markdown.
    """

    lines: Sequence[Line]
    facts: Mapping[str, str]
    tables: str = ""


def run(config: BenchmarkConfig) -> str:
    """Races all contestants, writes ranking.csv and ranking.md.

    Returns:
        The text of ranking.md.
    """
    load = machine.load_average()
    runners = {"shapley": shapley_part, "cut": cut_part, "litert": litert_part}
    parts = [part(config) for name, part in runners.items() if name in config.parts]
    lines = [line for part in parts for line in part.lines]
    facts = {name: text for part in parts for name, text in part.facts.items()}
    facts["rounds"] = (
        "contestants in turns, each in a process of its own, warm; medians, and the "
        "smallest and largest ratio of one round"
    )
    text = (
        "# Benchmark: ranking\n\n"
        + machine.header(config, load, facts | _absent(config))
        + "\nRatio = ours / peer; cpu = seconds of all threads together.\n\n"
        + markdown(lines)
        + "".join(part.tables for part in parts)
    )
    folder = RunDir(config.output_dir)
    folder.write_text("ranking.csv", csv_text(lines))
    folder.write_text("ranking.md", text)
    return text


def _absent(config: BenchmarkConfig) -> dict[str, str]:
    peers = {"shapley": (config.shap, "shap"), "cut": (config.torch, TORCH)}
    names = [
        name
        for part, (takes_part, name) in peers.items()
        if part in config.parts and not takes_part
    ]
    return {"left out": ", ".join(names)} if names else {}


def shapley_part(config: BenchmarkConfig) -> Part:
    """Races estimates of the Shapley values of LeNet's convolutions.

    Returns:
        Its lines, and what the header must say.
    """
    # Not above: `--help` and flag errors need no TensorFlow.
    from experiments.benchmarks import shapley_jobs

    lines: list[Line] = []
    rows: list[list[str]] = []
    accuracies, gaps = [], []
    with tempfile.TemporaryDirectory() as folder:
        for name, widths in LENETS.items():
            path = Path(folder) / f"{name}.keras"
            accuracies.append(f"{name}: {shapley_jobs.train(path, widths):.3f}")
            for group in CONVOLUTIONS:
                truth = shapley_jobs.reference(str(path), group, config.images)
                who = shapley_contestants(str(path), group, config)
                timed = race(who, config, f"{name} {group}")
                what = f"{name} {group}"
                gaps.append(largest_gap(timed, truth))
                lines += shapley_lines(what, timed)
                rows += rate_rows(what, timed, truth)
    facts = {
        "Shapley values": f"of the units of LeNet-5's convolutions, {config.coalitions}"
        f" coalitions asked for; value: minus mean cross entropy on {config.images} of "
        "scikit-learn's digits at 28x28, which did not train the network (accuracy "
        f"{', '.join(accuracies)})",
        "timed, ours": "shapley.kernel on a new Coalitions: reading the graph, tracing "
        "and what coalitions have in common included; nothing kept from before",
        "timed, shap": "KernelExplainer and shap_values; the masked network was made "
        f"and traced before; predict at batch {shapley_jobs.PREDICT_BATCH}",
        "same game": f"four coalitions differ from gate() by {max(gaps):.1e} nats at "
        "most, for every contestant",
    }
    return Part(lines, facts, _rates(rows))


def shapley_contestants(
    path: str, group: str, config: BenchmarkConfig
) -> list[Contestant]:
    """Returns who estimates the values of one group."""
    task = {"path": path, "group": group}
    found = [Contestant(OURS, "shapley_jobs:ours", task)]
    if not config.shap:
        return found
    job = "shapley_jobs:with_shap"
    function = task | {"forward": "function", "l1_reg": False}
    return [
        *found,
        Contestant(PREDICT, job, function | {"forward": "predict"}, SHAP_ROUNDS),
        Contestant(FUNCTION, job, function, SHAP_ROUNDS),
        Contestant(L1_REG, job, function | {"l1_reg": True}, EXTRA_ROUNDS),
    ]


def shapley_lines(what: str, timed: Mapping[str, Timed]) -> list[Line]:
    """Returns our seconds for a thousand coalitions against each peer's.

    Only coalitions that were evaluated count: ours draws some twice.
    """
    ours = _per_coalition(timed[OURS])
    lines = []
    for name, peer in timed.items():
        if name != OURS:
            bar = SHAPLEY_BAR if name == PREDICT else None
            samples = _per_coalition(peer)
            title = f"{COALITIONS} coalitions of {what}: {name}"
            gain = _median(samples) / _median(ours[: len(samples)])
            lines.append(compare(title, ours, samples, bar, f"{gain:.1f} times faster"))
    return lines


def _per_coalition(timed: Timed) -> list[Sample]:
    factors = [COALITIONS / result["evaluated"] for result in timed.results]
    return [
        Sample(s.wall * f, s.cpu * f)
        for s, f in zip(timed.samples, factors, strict=True)
    ]


def _median(samples: Sequence[Sample]) -> float:
    return statistics.median(sample.wall for sample in samples)


def rate_rows(
    what: str, timed: Mapping[str, Timed], truth: Mapping[str, Any]
) -> list[list[str]]:
    """Returns rate and error of each contestant, cell by cell."""
    return [
        [
            f"{what}: {name}",
            str(one.facts["players"]),
            f"{statistics.median(r['evaluated'] for r in one.results):.0f}",
            f"{one.wall:.2f}",
            f"{COALITIONS / _median(_per_coalition(one)):.1f}",
            f"{error(one, truth['values']):.3f}",
            truth["how"],
        ]
        for name, one in timed.items()
    ]


def error(timed: Timed, expected: Sequence[float]) -> float:
    """Returns max |phi - expected| over max |expected|, the median of the rounds."""
    most = np.abs(expected).max()
    found = [
        [result[f"phi {i}"] for i in range(len(expected))] for result in timed.results
    ]
    return float(np.median(np.abs(np.array(found) - expected).max(axis=1)) / most)


def largest_gap(timed: Mapping[str, Timed], truth: Mapping[str, Any]) -> float:
    """Returns by how much a contestant's probes differ from those of `gate`."""
    probes = np.array([one.facts["probes"] for one in timed.values()])
    return max(truth["gate"], float(np.abs(probes - truth["probes"]).max()))


def _rates(rows: Sequence[Sequence[str]]) -> str:
    header = (
        "Shapley values",
        "players",
        "coalitions evaluated",
        "wall s",
        "coalitions / s",
        "error",
        "against",
    )
    return (
        "\nError: largest difference from the reference, over its largest value; the "
        "median of the rounds, each with a seed of its own.\n\n"
        + markdown_of(header, rows)
    )


def cut_part(config: BenchmarkConfig) -> Part:
    """Races the cut of a ResNet-50.

    Returns:
        Its lines, and what the header must say.
    """
    timed = race(cut_contestants(config), config, "cut")
    params = {
        name: f"{one.result['params'] / 1e6:.3f} M" for name, one in timed.items()
    }
    facts = {
        "ResNet-50": f"{SHARE:g} of the units of every group cut, at {PIXELS} px, "
        "untrained; parameters left: "
        + ", ".join(f"{name} {count}" for name, count in params.items()),
        "timed, cut": "ours: find_groups, l1 scores, keep_units, shrink with all "
        "weights copied; Torch-Pruning: MagnitudePruner (its dependency graph, from a "
        "traced forward and backward pass; l1 importance) and step, in place; making "
        "the dense network counts for neither",
    }
    return Part(cut_lines(timed), facts)


def cut_contestants(config: BenchmarkConfig) -> list[Contestant]:
    """Returns who cuts."""
    options = {"pixels": PIXELS, "share": SHARE}
    found = [
        Contestant(_layout(layout), "cut_jobs:cut", options | {"layout": layout})
        for layout in LAYOUTS
    ]
    if not config.torch:
        return found
    return [
        *found,
        *(
            Contestant(
                f"{TORCH}, {n} thread{'s' * (n > 1)}",
                "torch_cut_jobs:cut",
                options | {"threads": n},
            )
            for n in config.torch_threads
        ),
    ]


def cut_lines(timed: Mapping[str, Timed]) -> list[Line]:
    """Returns both of our cuts against each peer's; the fastest peer has the bar."""
    peers = [one for name, one in timed.items() if name.startswith(TORCH)]
    best = min(peers, key=lambda one: one.wall, default=None)
    lines = []
    for layout in LAYOUTS:
        ours = timed[_layout(layout)]
        for peer in peers:
            bar = CUT_BAR if peer is best and layout == "applications" else None
            what = f"cut of ResNet-50, {LAYOUTS[layout]}: {peer.name}"
            note = "its best thread setting" if peer is best else ""
            lines.append(compare(what, ours.samples, peer.samples, bar, note))
    return lines


def _layout(layout: str) -> str:
    return f"{OURS}, {LAYOUTS[layout]}"


def litert_part(config: BenchmarkConfig) -> Part:
    """Times LiteRT files of cut networks against those of the dense ones.

    Returns:
        Its lines, and what the header must say.
    """
    lines, rows = [], []
    for network in LITERT_NETWORKS:
        timed = race(litert_contestants(network), config, network)
        lines.append(litert_line(network, timed))
        rows += litert_rows(network, timed)
    facts = {
        "LiteRT": f"float32, batch 1, {LITERT_THREADS} thread; one file invoked at "
        "least 1000 times and 1 s after 10 to warm up, in each round; untrained, cut "
        "by l1",
    }
    header = ("LiteRT", "params", "MACs", "median us", "p90 us", "speed-up", "of MACs")
    note = (
        "\nOf MACs: speed-up over the ratio of the MACs, expected at least "
        f"{LITERT_SHARE:g}.\n\n"
    )
    return Part(lines, facts, note + markdown_of(header, rows))


def litert_contestants(network: str) -> list[Contestant]:
    """Returns a network before and after its cut."""
    options = {"network": network, "threads": LITERT_THREADS}
    return [
        Contestant("dense", "cut_jobs:litert", options | {"small": False}),
        Contestant("cut", "cut_jobs:litert", options | {"small": True}),
    ]


def litert_line(network: str, timed: Mapping[str, Timed]) -> Line:
    """Returns the cut network's invocations against the dense one's."""
    gain = _mac_ratio(timed)
    bar = Bar(1 / (LITERT_SHARE * gain), text=f"1/({LITERT_SHARE:g} x {gain:.2f})")
    what = f"{INVOCATIONS} x LiteRT, {network}: dense"
    cut, dense = (_invocations(timed[name]) for name in ("cut", "dense"))
    return compare(what, cut, dense, bar, f"MACs {gain:.2f} times fewer")


def _invocations(timed: Timed) -> list[Sample]:
    """Returns seconds of a thousand: on the clock, as often the median; cpu, all."""
    return [
        Sample(
            result["median us"] * INVOCATIONS / 1e6,
            sample.cpu * INVOCATIONS / result["runs"],
        )
        for sample, result in zip(timed.samples, timed.results, strict=True)
    ]


def _mac_ratio(timed: Mapping[str, Timed]) -> float:
    return timed["dense"].facts["macs"] / timed["cut"].facts["macs"]


def litert_rows(network: str, timed: Mapping[str, Timed]) -> list[list[str]]:
    """Returns costs and latency of a network, dense and cut, cell by cell."""
    rows = []
    dense = _median(_invocations(timed["dense"]))
    for name, one in timed.items():
        gain = dense / _median(_invocations(one))
        ratio = timed["dense"].facts["macs"] / one.facts["macs"]
        p90 = statistics.median(result["p90 us"] for result in one.results)
        rows.append([
            f"{network}: {name}",
            f"{one.facts['params']:,}",
            f"{one.facts['macs']:,}",
            f"{_median(_invocations(one)) * 1e6 / INVOCATIONS:.1f}",
            f"{p90:.1f}",
            f"{gain:.2f}",
            f"{gain / ratio:.2f}",
        ])
    return rows
