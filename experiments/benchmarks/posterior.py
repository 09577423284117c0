"""Suite posterior: steps of the sampler, and what one more student on a chain costs."""

from __future__ import annotations

from collections.abc import Mapping

from experiments.benchmarks import machine
from experiments.benchmarks.config import BenchmarkConfig
from experiments.benchmarks.race import Contestant, Timed, race
from experiments.benchmarks.sweep import best_of
from experiments.benchmarks.table import Bar, Line, compare, csv_text, markdown
from network_pruning.runs import RunDir

OURS, GAUSSIAN = "ours", "ours, gaussian noise"
ONE, TWO = "a chain with one student", "a chain with two students"
FLOOR = "the matrix products alone"
TORCH = "PyTorch eager"
TORCH_BAR = Bar(1 / 3, text="1/3")
STUDENT_BAR = Bar(1.15)
WIDTHS = (400, 400)
BATCH_SIZE, THIN, STEPS = 100, 100, 200
"""Of a minibatch, from one lesson to the next, of a turn."""
ETA, PRECISION, CASES = 4e-6, 10.0, 60_000


def run(config: BenchmarkConfig) -> str:
    """Races all contestants, writes posterior.csv and posterior.md.

    Returns:
        The text of posterior.md.
    """
    load = machine.load_average()
    timed = race(contestants(config), config, "posterior")
    rates = [f"{name}: {STEPS / one.wall:.0f}" for name, one in timed.items()]
    facts = {
        "chain": f"SGLD of 784-{'-'.join(map(str, WIDTHS))}-10, minibatches of "
        f"{BATCH_SIZE} out of {CASES:,} random images, {STEPS} steps a round",
        "noise": "two points (random signs) where not said; PyTorch's is gaussian, as "
        "in the published code",
        "students": f"as large as the teacher, predictive, us; a lesson every {THIN} "
        "steps",
        "steps a second": "; ".join(rates),
        "rounds": "contestants in turns, each in a process of its own, warm; medians, "
        "and the smallest and largest ratio of one round",
    }
    found = lines(timed)
    text = (
        "# Benchmark: posterior\n\n"
        + machine.header(config, load, facts)
        + "\nRatio = ours / peer; cpu = seconds of all threads together.\n\n"
        + markdown(found)
    )
    folder = RunDir(config.output_dir)
    folder.write_text("posterior.csv", csv_text(found))
    folder.write_text("posterior.md", text)
    return text


def contestants(config: BenchmarkConfig) -> list[Contestant]:
    """Returns who takes part."""
    chain = "posterior_jobs:chain"
    found = [
        Contestant(OURS, chain),
        Contestant(GAUSSIAN, chain, {"noise": "gaussian"}),
        Contestant(ONE, chain, {"students": 1}),
        Contestant(TWO, chain, {"students": 2}),
        Contestant(FLOOR, "posterior_jobs:floor"),
    ]
    if config.torch:
        found += [
            Contestant(
                f"{TORCH}, {n} threads", "torch_posterior_jobs:chain", {"threads": n}
            )
            for n in config.torch_threads
        ]
    return found


def lines(timed: Mapping[str, Timed]) -> list[Line]:
    """Returns our steps against PyTorch's best and the floor, and what a student costs.

    Args:
        timed: By name of the contestant.
    """
    found = []
    torches = [one for name, one in timed.items() if name.startswith(TORCH)]
    ours = timed[OURS].samples
    if torches:
        peer, note = best_of(torches), "its best thread setting"
        what = f"sampler step: {peer.name}"
        found.append(compare(what, ours, peer.samples, TORCH_BAR, note))
        both = f"{what}, gaussian noise in both"
        found.append(compare(both, timed[GAUSSIAN].samples, peer.samples, note=note))
    found.append(compare(f"sampler step: {FLOOR}", ours, timed[FLOOR].samples))
    more = timed[TWO].samples, timed[ONE].samples
    found.append(compare("one more student: without it", *more, STUDENT_BAR))
    return found
