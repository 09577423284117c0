"""Posterior expectation distillation: `python -m experiments.gped --procedure=distill`.

A teacher walks through the posterior by SGLD; students learn its expectations on the
way. Seen of gped_fc on one core: 330 to 420 steps a second with students of the mean,
41 minutes for --preset=full (1e6 steps); 150 to 210 with students of the entropy, which
learn ten times as often. MNIST, 60 000 images, no mask, 1e6 steps: NLL .0528 of the
teacher (published .052), .0512 of the base student under us (published .082).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from experiments.gpeds.config import GpedConfig
from network_pruning import cli
from network_pruning.runs import RunDir, hold_run

USAGE = """
Distil what a network's posterior expects into small networks.

  python -m experiments.gped --procedure=distill --dataset=mnist --preset=smoke
  python -m experiments.gped --procedure=distill --dataset=mnist --teacher=gped_fc \\
    --mask_size=15 --num_training_samples=10000 --estimator=us,uo --target=predictive
  python -m experiments.gped --procedure=distill --dataset=mnist --chains=3

Stop it at any moment and type the same command: it goes on. Several processes may take
--procedure=search in one run: each trains other students.
"""


def check(config: GpedConfig) -> None:
    """Judges whether the images can be had.

    Raises:
        ValueError: If a dataset is not to be had.
    """
    import data

    cli.check_named("dataset", data.check_available, config.dataset)
    for name in config.ood:
        cli.check_named("ood", data.check_available, name)


def work(config: GpedConfig) -> None:
    """Takes the steps."""
    import data
    import models

    run(config, data.load, models.build)


def run(config: GpedConfig, load: Any, build: Any) -> None:
    """Takes the steps.

    Args:
        config: Which.
        load: `data.load`.
        build: `models.build`.
    """
    from experiments.gpeds import procedures, sets

    folder = Path(config.output_dir) / config.run_id()
    shared = config.procedures() == ("search",)
    with hold_run(folder, "--run_name", shared):
        RunDir(folder).write_json("config.json", config.as_dict())
        found = sets.load(config, load)
        for name in config.procedures():
            print(procedures.PROCEDURES[name](config, found, build))


if __name__ == "__main__":
    cli.run(GpedConfig, work, USAGE, check)
