"""Times contestants in turns: A B C A B C ..., each in a process of its own."""

from __future__ import annotations

import contextlib
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

from tqdm import tqdm

from experiments.benchmarks.config import BenchmarkConfig

ROOT = Path(__file__).parents[2]
PAUSE = 0.1
"""Seconds between turns: thread pools spin for a moment after their work."""


@dataclass(frozen=True)
class Contestant:
    """Who takes part.

    Attributes:
        name: As the table calls it.
        job: "module:function" of this package, see `worker.main`.
        options: Keyword arguments of the job.
        rounds: Takes part in the first so many rounds alone; for the long ones that
            no bar depends on.
    """

    name: str
    job: str
    options: Mapping[str, Any] = field(default_factory=dict)
    rounds: float = math.inf


@dataclass(frozen=True)
class Sample:
    """Seconds of one job: on the clock, and of all threads together."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class Timed:
    """What a contestant showed.

    Attributes:
        name: Of the contestant.
        facts: See `worker.Ready`.
        samples: One a round.
        result: Of the last job.
        results: Of every job, one a round.
    """

    name: str
    facts: Mapping[str, Any]
    samples: Sequence[Sample]
    result: Mapping[str, float]
    results: Sequence[Mapping[str, float]] = ()

    @property
    def wall(self) -> float:
        """Median seconds on the clock."""
        return statistics.median(sample.wall for sample in self.samples)

    def times(self, factor: float) -> Timed:
        """Returns what a job larger by a factor would have taken."""
        samples = [Sample(s.wall * factor, s.cpu * factor) for s in self.samples]
        return Timed(self.name, self.facts, samples, self.result, self.results)


def race(
    contestants: Sequence[Contestant], config: BenchmarkConfig, title: str = "race"
) -> dict[str, Timed]:
    """Times contestants in turns, so that a slow minute of the machine meets all.

    They get ready one after the other, and wait without work for their turn.

    Args:
        contestants: In the order of their turns.
        config: Handed to each.
        title: Of the progress bar.

    Returns:
        What each showed, by its name.

    Raises:
        ValueError: If a contestant's process fails.
    """
    samples: dict[str, list[Sample]] = {c.name: [] for c in contestants}
    results: dict[str, list[Mapping[str, float]]] = {c.name: [] for c in contestants}
    with contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(_Process(c, config))
            for c in tqdm(contestants, desc=f"{title}: warm-up", disable=None)
        ]
        turns = [
            process
            for number in range(config.rounds)
            for process in processes
            if number < process.contestant.rounds
        ]
        for process in tqdm(turns, desc=title, disable=None):
            time.sleep(PAUSE)
            answer = process.go()
            name = process.contestant.name
            samples[name].append(Sample(answer["wall"], answer["cpu"]))
            results[name].append(answer["result"])
        facts = {p.contestant.name: p.facts for p in processes}
    return {
        n: Timed(n, facts[n], samples[n], results[n][-1], results[n]) for n in samples
    }


class _Process:
    """A contestant's process, from warm to closed."""

    def __init__(self, contestant: Contestant, config: BenchmarkConfig) -> None:
        self.contestant = contestant
        self._stderr = tempfile.TemporaryFile("w+", encoding="utf-8")
        words = (contestant.job, json.dumps(dict(contestant.options)), config.to_json())
        self._process = subprocess.Popen(
            [sys.executable, "-m", "experiments.benchmarks.worker", *words],
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
        )
        self._orders = cast(IO[str], self._process.stdin)
        self._answers = cast(IO[str], self._process.stdout)
        try:
            self.facts = self._answer()
        except BaseException:
            self.close()
            raise

    def go(self) -> dict[str, Any]:
        """Returns the answer to one job."""
        self._orders.write("go\n")
        self._orders.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        line = self._answers.readline()
        if line:
            return json.loads(line)
        code = self._process.wait()
        self._stderr.seek(0)
        last = (self._stderr.read().strip().splitlines() or ["it said nothing"])[-1]
        raise ValueError(
            f"contestant {self.contestant.name!r} ended with code {code}: {last}"
        )

    def close(self) -> None:
        """Ends the process: without orders it leaves by itself."""
        with contextlib.suppress(OSError):
            self._orders.close()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._answers.close()
        self._stderr.close()

    def __enter__(self) -> _Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _environment() -> dict[str, str]:
    """Returns ours, in which this checkout is found whatever the current folder."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
