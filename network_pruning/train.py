"""The main job: `python -m network_pruning.train --dataset=fashion --k_vals=0,0.5,0.9`.

Trains a network, prunes its weights and its units over k, measures every network, and
leaves a run folder with tables, figures, TensorBoard and the shrunk networks.
"""

from __future__ import annotations

from network_pruning import cli
from network_pruning.configs import SweepConfig

USAGE = """
Train a network, prune it over k, hand back smaller networks.

  python -m network_pruning.train --dataset=uci_digits
  python -m network_pruning.train --dataset=fashion --k_vals=0,0.5,0.9 --seeds=0,1,2
  python -m network_pruning.train --dataset=cifar10 --model=my.keras --epochs=0

Stop it at any moment and type the same command: it goes on. Look at
<output_dir>/<run>/report.md, or: tensorboard --logdir=<output_dir>/<run>
"""


def work(config: SweepConfig) -> None:
    """Does the job in its run folder."""
    import data
    import models
    from network_pruning.jobs import main_job

    main_job.run(config, data.load, models.build)


def check(config: SweepConfig) -> None:
    """Judges what the flags name, before TensorFlow is loaded.

    Raises:
        ValueError: If there is no such dataset or model, it cannot be had here, or is
            asked for what it does not have.
    """
    import data
    import models

    models.check(config.model)
    models.check_options(config.model, config.network_options())
    data.check_options(
        num_valid=config.num_valid,
        split=config.split,
        seed=0,
        image_size=config.image_size,
    )
    data.check_available(config.dataset)


if __name__ == "__main__":
    cli.run(SweepConfig, work, USAGE, check)
