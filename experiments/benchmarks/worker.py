"""A contestant's own process: `python -m experiments.benchmarks.worker`.

Two libraries' thread pools in one process disturb each other; so each contestant has
a process, which gets ready, says so, and then does its job once for every line it is
sent, answering with one line of JSON.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

from experiments.benchmarks.config import CLASSES, IMAGE, BenchmarkConfig


@dataclass(frozen=True)
class Ready:
    """A contestant that is warm.

    Attributes:
        run: Does the job once; what it returns shows that all do the same job.
        facts: What the table should say about it: versions, threads, work done.
    """

    run: Callable[[], Mapping[str, float]]
    facts: Mapping[str, Any]


def random_images(
    n: int, seed: int = 0
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Draws images of uniform pixels with random labels: speed does not depend on them.

    Args:
        n: Number of images.
        seed: Names the draw.

    Returns:
        Images [n, 28, 28, 1] in [0, 1) and labels [n] in [0, 10).
    """
    rng = np.random.default_rng(seed)
    return rng.random((n, *IMAGE), np.float32), rng.integers(0, CLASSES, n)


def serve(ready: Ready, orders: TextIO, answers: TextIO) -> None:
    """Answers every line of orders with the seconds of one job.

    Args:
        ready: The contestant.
        orders: One line a job; its end is the end.
        answers: Where lines of JSON go: first the facts, then wall and cpu (of all
            threads of this process) and result of each job.
    """
    _say(answers, dict(ready.facts))
    for _ in orders:
        wall, cpu = time.perf_counter(), time.process_time()
        result = ready.run()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        _say(answers, {"wall": wall, "cpu": cpu, "result": dict(result)})


def _say(answers: TextIO, value: Mapping[str, Any]) -> None:
    answers.write(json.dumps(value) + "\n")
    answers.flush()


def _claim_stdout() -> TextIO:
    """Returns standard output, for answers; what others print goes to stderr."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def get_ready(job: str, options: Mapping[str, Any], config: BenchmarkConfig) -> Ready:
    """Warms a contestant up.

    Args:
        job: "module:function" of this package; called with config and options.
        options: Keyword arguments.
        config: Of the benchmark.

    Returns:
        The contestant.
    """
    module, function = job.split(":")
    loaded = importlib.import_module(f"experiments.benchmarks.{module}")
    return getattr(loaded, function)(config, **options)


def main(job: str, options: str, config: str) -> None:
    """Serves one contestant, see `get_ready`; options and config are JSON."""
    answers = _claim_stdout()
    ready = get_ready(job, json.loads(options), BenchmarkConfig.from_json(config))
    serve(ready, sys.stdin, answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
