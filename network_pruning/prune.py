"""Cut units: `python -m network_pruning.prune --model=my.keras --sparsity=0.5`.

Ranks the units of a trained network, cuts the worst out, proves the smaller network
equal to the masked one, retrains it and hands it back as ordinary files.
"""

from __future__ import annotations

from pathlib import Path

from network_pruning import cli, rank
from network_pruning.flags import is_model_file
from network_pruning.posterior import chain_folders
from network_pruning.prune_config import PruneConfig

USAGE = """
Cut the units of a trained network out, and retrain what remains.

  python -m network_pruning.prune --model=lenet5 --dataset=digits --plan --sparsity=0.5
  python -m network_pruning.prune --model=lenet5 --criterion=fisher --keep=8,9,36,17 \\
      --retrain_epochs=20
  python -m network_pruning.prune --model=my.keras --dataset=cifar10 \\
      --budget=macs:0.5 --scope=global --steps=5 --retrain_epochs=3 --export=tflite,int8
  python -m network_pruning.prune --model=my.keras --max_drop=0.01 \\
      --max_nll_increase=0.05 --max_auroc_drop=0.01 --ood=fashion
  python -m network_pruning.prune --model=pruned.keras --retrain --retrain_epochs=30
  python -m network_pruning.prune --model=gped_fc --sparsity=0.5 --retrain_epochs=20 \\
      --teacher=results/<run of experiments.gped>

A network's name means its newest finished training under --output_dir. Stop it at any
moment and type the same command: it goes on.
"""


def check(config: PruneConfig) -> None:
    """Judges what the flags name, before TensorFlow is loaded.

    Raises:
        ValueError: If there is no such dataset or model, or it cannot be had here.
    """
    import data

    rank.check(config)
    if config.ood is not None:
        cli.check_named("ood", data.check_available, config.ood)
    if config.teacher is not None:
        check_teacher(config.teacher)
    if config.scores is not None and not Path(config.scores).exists():
        raise ValueError(
            f"scores: there is no {config.scores}, expected what python -m "
            "network_pruning.rank writes: a ranking's folder, or its scores.npz"
        )
    if config.scores is not None and _is_other_file(Path(config.scores)):
        raise ValueError(
            f"scores: got the file {config.scores}, expected a ranking's folder, or "
            "its scores.npz"
        )


def _is_other_file(path: Path) -> bool:
    return path.is_file() and path.suffix != ".npz"


def check_teacher(teacher: str) -> None:
    """Judges a teacher without TensorFlow.

    Raises:
        ValueError: If it is no model's file and no folder of a finished chain, or a
            student that predicts nothing.
    """
    import models

    if chain_folders.find(teacher) is not None:
        return
    if not is_model_file(teacher) and not Path(teacher).is_dir():
        raise ValueError(
            f"teacher: got {teacher!r}, expected the path of a .keras or .h5 file, or "
            "the folder of a finished run of experiments.gped"
        )
    if Path(teacher).is_dir() and not (Path(teacher) / "saved_model.pb").is_file():
        raise ValueError(
            f"teacher: {teacher} holds no finished chain, expected one of python -m "
            "experiments.gped --procedure=distill, or a model's file"
        )
    if chain_folders.tells_variances(teacher):
        raise ValueError(
            f"teacher: got {teacher}, a student that tells variances, expected one "
            "that predicts, as predictive-us-*.keras beside it"
        )
    try:
        models.check(teacher)
    except ValueError as error:
        raise ValueError(f"teacher: {str(error).removeprefix('model: ')}") from None


def work(config: PruneConfig) -> None:
    """Does the job."""
    import data
    import models
    from network_pruning.jobs import prune_job

    prune_job.run(config, data.load, models.build)


if __name__ == "__main__":
    cli.run(PruneConfig, work, USAGE, check)
