"""The house stands as design and README say: who may import whom, and what loads."""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

ARITHMETIC = (
    "network_pruning.configs",
    "network_pruning.criterion_flags",
    "network_pruning.cli",
    "network_pruning.flags",
    "network_pruning.inversion.moments",
    "network_pruning.inversion.recipe",
    "network_pruning.inversion.spectral",
    "network_pruning.pruning.games",
    "network_pruning.pruning.masks",
    "network_pruning.pruning.removals",
    "network_pruning.pruning.shapley",
    "network_pruning.ranges",
    "network_pruning.evaluation.metrics",
    "network_pruning.evaluation.rows",
    "network_pruning.evaluation.tables",
    "network_pruning.evaluation.uncertainty",
    "network_pruning",
    "network_pruning.posterior.chain_folders",
    "data",
    "models",
)


COMMANDS = {
    "network_pruning.train": ("network_pruning.configs", "SweepConfig"),
    "network_pruning.rank": ("network_pruning.rank_config", "RankConfig"),
    "network_pruning.prune": ("network_pruning.prune_config", "PruneConfig"),
    "experiments.benchmark": ("experiments.benchmarks.config", "BenchmarkConfig"),
    "experiments.datafree": ("experiments.datafrees.config", "DatafreeConfig"),
    "experiments.datafree_table": ("experiments.datafree_table", "TableConfig"),
    "experiments.gped_table": ("experiments.gped_table", "TableConfig"),
    "experiments.gped": ("experiments.gpeds.config", "GpedConfig"),
    "experiments.parsimonious": (
        "experiments.parsimonies.config",
        "ParsimoniousConfig",
    ),
    "experiments.ranking": ("experiments.ranking", "RankingConfig"),
    "experiments.reproduce": ("experiments.reproduce", "ReproduceConfig"),
}


def test_import_contracts_hold():
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [lint, "--no-logo"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert "0 broken" in done.stdout


@pytest.mark.parametrize("module", [*ARITHMETIC, *COMMANDS])
def test_loads_without_tensorflow(module):
    code = (
        f"import sys, {module}; "
        "print([m for m in ('tensorflow', 'tf_keras') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_every_public_name_loads():
    import network_pruning

    for name in network_pruning.__all__:
        assert callable(getattr(network_pruning, name)), name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        network_pruning.nothing  # noqa: B018


def test_readme_commands_name_real_flags(monkeypatch):
    cluster, task = {"worker": ["h:1", "i:1"]}, {"type": "worker", "index": 0}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))
    from network_pruning import cli

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    readme = readme.replace("\\\n", " ")
    commands = re.findall(
        r"python -m ((?:network_pruning|experiments)\.\w+)([^`#]*)", readme
    )
    assert {module for module, _ in commands} == set(COMMANDS)
    for module, words in commands:
        home, config = COMMANDS[module]
        config = getattr(importlib.import_module(home), config)
        # In a code block a command ends with its line, in running text it may not.
        words = words.split("\n\n")[0].replace("results/<run>", "results/run")
        cli.parse(config, [module, *words.split()])
