"""Benchmarks: `python -m experiments.benchmark --suite=sweep`.

Times suites side by side and writes references/benchmarks/<suite>.csv and .md: ratios
taken in one run, the only safe numbers on a machine that others use too. The suite
sweep takes about six minutes on two quiet cores, sparsity about two, clustering about
fifteen, posterior about two, datafree about six, ranking about half an hour, most of
it shap's.
"""

from __future__ import annotations

import importlib
import sys

from experiments.benchmarks.config import SUITES, BenchmarkConfig
from network_pruning import cli

USAGE = """
Time suites side by side and write tables of ratios.

  python -m experiments.benchmark --suite=sweep
  python -m experiments.benchmark --suite=sparsity --run=results/<run>
  python -m experiments.benchmark --suite=ranking --parts=cut,litert
"""


def check(config: BenchmarkConfig) -> None:
    """Judges what the flags name; without a suite, lists the suites and ends.

    Raises:
        SystemExit: After the list.
        ValueError: If something the suite needs is not there.
    """
    if config.suite is None:
        for name, text in SUITES.items():
            print(f"--suite={name:10s} {text}")
        sys.exit(0)
    config.check()


def work(config: BenchmarkConfig) -> None:
    """Runs the suite and prints its table."""
    suite = importlib.import_module(f"experiments.benchmarks.{config.suite}")
    print(suite.run(config))


if __name__ == "__main__":
    cli.run(BenchmarkConfig, work, USAGE, check)
