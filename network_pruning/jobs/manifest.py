"""manifest.json: with what a run was made."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import Any

from network_pruning.configs import SweepConfig
from network_pruning.runs import RunDir
from network_pruning.types import Dataset

PACKAGES = (
    "network-pruning",
    "tensorflow",
    "tf_keras",
    "tensorflow-model-optimization",
    "tensorflow-datasets",
    "ai-edge-litert",
    "numpy",
    "scikit-learn",
)


def write_manifest(run: RunDir, config: SweepConfig, data: Dataset) -> None:
    """Writes or extends the manifest: versions, seeds, data, git state, times."""
    name = "manifest.json"
    known = run.read_json(name) if run.exists(name) else {}
    times = [
        *known.get("finished", []),
        datetime.datetime.now().isoformat("T", "seconds"),
    ]
    manifest = {
        "command": command(config),
        "seeds": list(config.seeds),
        "dataset": {"name": data.name, "fingerprint": data.fingerprint},
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "packages": {package: _version(package) for package in PACKAGES},
        "git": git_state(),
        "finished": times,
    }
    run.write_json(name, manifest)


def command(config: SweepConfig) -> str:
    """Returns the command line that makes this run: the flags that are no defaults."""
    default = type(config)().as_dict()
    flags = [
        f"--{name}={_text(value)}"
        for name, value in config.as_dict().items()
        if value != default[name] and name not in {"output_dir", "force_train"}
    ]
    return " ".join(["python -m network_pruning.train", *flags])


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def git_state() -> str:
    """Returns the commit of the checkout, "+changes" where the tree differs from it."""
    here = Path(__file__).parent
    try:
        commit = _git(here, "rev-parse", "HEAD")
        return commit + ("+changes" if _git(here, "status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return "no git checkout"


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", *words], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
