"""A model whose training data is gone: `python -m experiments.datafree`.

A teacher is trained, records of its activations are taken, images are made from them
alone, and a student learns from these. Expected on two cores, lenet with the best
recipe (`--model=lenet --optimization_objective=all_layers`): 3 minutes of training, 3
of records, 10 of images, 5 of distillation.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.datafrees.config import DatafreeConfig
from network_pruning import cli
from network_pruning.flags import is_model_file

if TYPE_CHECKING:
    from experiments.stages import Stage

USAGE = """
Compress a model without its training data.

  python -m experiments.datafree --procedure=train --model=lenet
  python -m experiments.datafree --procedure=compute_stats
  python -m experiments.datafree --procedure=optimize_dataset \\
    --optimization_objective=all_layers
  python -m experiments.datafree --procedure=distill --student_model=lenet_half

Stop it at any moment and type the same command: it goes on.
"""


def check(config: DatafreeConfig) -> None:
    """Judges networks and datasets by name, without TensorFlow.

    Raises:
        ValueError: If one is unknown or cannot be had.
    """
    import data
    import models

    for flag in ("model", "student_model"):
        if (name := getattr(config, flag)) is not None:
            cli.check_named(flag, models.check, name)
    given = config.model_checkpoint
    if given is not None and not Path(given).is_dir():
        # A network's name would pass as one, and stand in for it untrained.
        if not is_model_file(given):
            raise ValueError(
                f"model_checkpoint: got {given!r}, expected a .keras file or the "
                "folder of a finished train step"
            )
        cli.check_named("model_checkpoint", models.check, given)
    if config.records is not None and not Path(config.records).is_file():
        raise ValueError(
            f"records: there is no file {config.records}, expected a records.npz as "
            "--procedure=compute_stats writes it"
        )
    data.check_options(config.num_valid, "random", 0, config.image_size)
    reads = config.procedure != "optimize_dataset"
    for flag in ("dataset", "eval_dataset"):
        name = getattr(config, flag)
        if name is not None and reads and not Path(name).is_dir():
            cli.check_named(flag, data.check_available, name)


def work(config: DatafreeConfig) -> None:
    """Takes the steps."""
    import data
    import models

    run(config, data.load, models.build)


def run(config: DatafreeConfig, load: Any, build: Any) -> list[Stage]:
    """Takes the steps.

    Args:
        config: Which.
        load: `data.load`.
        build: `models.build`.

    Returns:
        The finished steps.
    """
    from experiments.datafrees import inversions, lessons, looks, prunings, views
    from experiments.stages import Chain

    procedures = {
        "train": lessons.train,
        "compute_stats": inversions.compute_stats,
        "optimize_dataset": inversions.optimize_dataset,
        "distill": lessons.distil,
        "plot": looks.plot,
        "leakage": looks.leakage,
        "prune": prunings.prune,
    }
    chain = Chain(Path(config.summary_folder) / config.run_name)
    stages = []
    for name in config.procedures():
        stage = procedures[name](config, chain, load, build)
        print(views.told(stage))
        stages.append(stage)
    views.report(chain)
    return stages


if __name__ == "__main__":
    cli.run(DatafreeConfig, work, USAGE, check)
