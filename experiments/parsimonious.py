"""Activations that cluster: `python -m experiments.parsimonious`.

Networks are trained plain, under weight decay or dropout, or with the k-means
regulariser on their activations; taught to smaller ones; and what their clusters mean
is measured and mapped. The grid of settings fills over several sittings: each network
has a folder of its own, and processes share a run.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from experiments.parsimonies.config import ParsimoniousConfig, check_searched
from experiments.parsimonies.presets import PRESETS
from network_pruning import cli
from network_pruning.flags import is_model_file

USAGE = """
Train with activations that cluster, distil, and see what the clusters mean.

  python -m experiments.parsimonious --procedure=train --clustering=sample
  python -m experiments.parsimonious --preset=CIFAR10_sample_clustering
  python -m experiments.parsimonious --procedure=distill \\
    --teacher=CIFAR10_baseline --clustering=sample
  python -m experiments.parsimonious --procedure=plot

Stop it at any moment and type the same command: it goes on. Several processes may work
on one run.
"""


def check(config: ParsimoniousConfig) -> None:
    """Judges what the flags name, without TensorFlow.

    Raises:
        ValueError: If dataset, network or teacher is unknown, or cannot be had, or a
            flag of search would do nothing.
    """
    import data
    import models

    check_searched(config)
    cli.check_named("network", models.check, config.settings(False)["network"])
    if config.distils():
        cli.check_named("student", models.check, config.settings(True)["network"])
        _check_teacher(str(config.taught()))
    data.check_available(config.get("dataset"))


def _check_teacher(name: str) -> None:
    import models

    if name in PRESETS or (Path(name) / "done.json").is_file():
        return
    if not is_model_file(name):
        raise ValueError(
            f"teacher: got {name!r}, expected a .keras file, the folder of a finished "
            f"training, or one of {', '.join(PRESETS)}"
        )
    cli.check_named("teacher", models.check, name)


def work(config: ParsimoniousConfig) -> None:
    """Takes the steps."""
    import data
    import models

    run(config, data.load, models.build)


def run(config: ParsimoniousConfig, load: Any, build: Any) -> None:
    """Takes the steps.

    Args:
        config: Which.
        load: `data.load`.
        build: `models.build`.
    """
    from experiments.parsimonies import looks, studies

    images = load(config.get("dataset"), num_valid=config.get("num_valid"))
    if config.num_train is not None:
        images = images.with_train(config.num_train)
    config = dataclasses.replace(config, num_valid=images.size("valid"))
    study = studies.Study(config, images, build, Path(config.output_dir))
    if not looks.READING.isdisjoint(config.procedures()):
        for name in studies.MADE:
            if name in config.procedures():
                study.check_read(distils=name == "distill")
    for name in config.procedures():
        if name in studies.MADE:
            study.train(distils=name == "distill")
        else:
            looks.LOOKS[name](study)
        print(f"{name}: in {study.run.path}")


if __name__ == "__main__":
    cli.run(ParsimoniousConfig, work, USAGE, check)
