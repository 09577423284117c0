"""Cut units: `python -m network_pruning.prune --model=my.keras --sparsity=0.5`.

Ranks the units of a trained network, cuts the worst out, proves the smaller network
equal to the masked one, retrains it and hands it back as ordinary files.
"""

from __future__ import annotations

from network_pruning import cli
from network_pruning.cut_configs import PruneConfig
from network_pruning.rank import check

USAGE = """
Cut the units of a trained network out, and retrain what remains.

  python -m network_pruning.prune --model=lenet5 --dataset=digits --plan --sparsity=0.5
  python -m network_pruning.prune --model=lenet5 --criterion=fisher --keep=8,9,36,17 \\
      --retrain_epochs=20
  python -m network_pruning.prune --model=my.keras --dataset=cifar10 \\
      --budget=macs:0.5 --scope=global --steps=5 --retrain_epochs=3 --export=tflite,int8
  python -m network_pruning.prune --model=pruned.keras --retrain --retrain_epochs=30

A network's name means its newest finished training under --output_dir. Stop it at any
moment and type the same command: it goes on.
"""


def work(config: PruneConfig) -> None:
    """Does the job."""
    import data
    import models
    from network_pruning.jobs import prune_job

    prune_job.run(config, data.load, models.build)


if __name__ == "__main__":
    cli.run(PruneConfig, work, USAGE, check)
