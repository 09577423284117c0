"""What a table must say about where, when and with what it was measured."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
from collections.abc import Mapping
from pathlib import Path

from experiments.benchmarks.config import BenchmarkConfig
from network_pruning.jobs.manifest import git_state

PACKAGES = (
    "tensorflow",
    "tf_keras",
    "numpy",
    "scipy",
    "ai-edge-litert",
    "torch",
    "torch-pruning",
    "shap",
)
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "XLA_FLAGS",
)


def load_average() -> float:
    """Returns how many processes wanted to run, on average over the last minute."""
    return os.getloadavg()[0]


def header(
    config: BenchmarkConfig, load_before: float, facts: Mapping[str, str]
) -> str:
    """Writes the header of a table in Markdown.

    Args:
        config: Of the benchmark.
        load_before: `load_average()` before the first contestant started.
        facts: Further lines of the suite: name -> text.

    Returns:
        A list, one fact a line.
    """
    lines = {
        "command": f"`{config.command()}`",
        "date": datetime.datetime.now().isoformat(" ", "minutes"),
        "code": git_state(),
        "machine": f"{processor()}, {os.cpu_count()} logical cores, "
        f"{platform.system()} {platform.machine()}",
        "load average": f"{load_before:.1f} before the first contestant "
        "(a quiet machine shows less than 0.5)",
        "versions": ", ".join([f"Python {platform.python_version()}", *_versions()]),
        "environment": ", ".join(_variables()) or "no thread setting",
        **facts,
    }
    return "".join(f"- {name}: {text}\n" for name, text in lines.items())


def processor() -> str:
    """Returns the processor's name."""
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8") if info.exists() else ""
    names = [
        line.split(":", 1)[1].strip()
        for line in text.splitlines()
        if line.startswith("model name")
    ]
    return names[0] if names else platform.processor() or "unknown processor"


def _versions() -> list[str]:
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{package} not installed")
    return found


def _variables() -> list[str]:
    return [f"{v}={os.environ[v]}" for v in THREAD_VARIABLES if v in os.environ]
