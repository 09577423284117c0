"""Times contestants in turns: A B C A B C ..., each in a process of its own."""

from __future__ import annotations

import contextlib
import json
import math
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from experiments.benchmarks.config import BenchmarkConfig

ROOT = Path(__file__).parents[2]


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
    """

    name: str
    facts: Mapping[str, Any]
    samples: Sequence[Sample]
    result: Mapping[str, float]

    @property
    def wall(self) -> float:
        """Median seconds on the clock."""
        return statistics.median(sample.wall for sample in self.samples)

    def times(self, factor: float) -> Timed:
        """Returns what a job larger by a factor would have taken."""
        samples = [Sample(s.wall * factor, s.cpu * factor) for s in self.samples]
        return Timed(self.name, self.facts, samples, self.result)


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
    results: dict[str, Mapping[str, float]] = {}
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
            answer = process.go()
            name = process.contestant.name
            samples[name].append(Sample(answer["wall"], answer["cpu"]))
            results[name] = answer["result"]
        facts = {p.contestant.name: p.facts for p in processes}
    return {n: Timed(n, facts[n], samples[n], results[n]) for n in samples}


class _Process:
    """A contestant's process, from warm to closed."""

    def __init__(self, contestant: Contestant, config: BenchmarkConfig) -> None:
        self.contestant = contestant
        self._stderr = tempfile.TemporaryFile("w+", encoding="utf-8")
        words = (contestant.job, json.dumps(dict(contestant.options)), config.to_json())
        self._process = subprocess.Popen(
            [sys.executable, "-m", "experiments.benchmarks.worker", *words],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
        )
        try:
            self.facts = self._answer()
        except BaseException:
            self.close()
            raise

    def go(self) -> dict[str, Any]:
        """Returns the answer to one job."""
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
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
            self._process.stdin.close()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._stderr.close()

    def __enter__(self) -> _Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
