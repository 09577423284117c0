"""Rank units: `python -m network_pruning.rank --model=lenet5 --criterion=shapley`.

Scores every unit of a trained network by a criterion, with standard errors and what it
has cost, and keeps the ranking for `network_pruning.prune --scores`.
"""

from __future__ import annotations

from network_pruning import cli
from network_pruning.network_config import NetworkConfig
from network_pruning.rank_config import RankConfig

USAGE = """
Score every unit of a trained network.

  python -m network_pruning.rank --model=lenet5 --dataset=digits --criterion=fisher
  python -m network_pruning.rank --model=my.keras --criterion=shapley --samples=100
  python -m network_pruning.rank --model=my.keras --criterion=shapley --samples=100 \\
      --extend=100

A network's name means its newest finished training under --output_dir. Stop it at any
moment and type the same command: it goes on.
"""


def work(config: RankConfig) -> None:
    """Does the job."""
    import data
    import models
    from network_pruning.jobs import rank_job

    rank_job.run(config, data.load, models.build)


def check(config: NetworkConfig) -> None:
    """Judges what the flags name, before TensorFlow is loaded.

    Raises:
        ValueError: If there is no such dataset or model, or it cannot be had here.
    """
    import data
    import models

    models.check(config.model)
    models.check(config.source)
    models.check_options(config.model, ["pretrained"] if config.pretrained else [])
    data.check_options(
        num_valid=config.num_valid,
        split=config.split,
        seed=0,
        image_size=config.image_size,
    )
    data.check_available(config.dataset)


if __name__ == "__main__":
    cli.run(RankConfig, work, USAGE, check)
