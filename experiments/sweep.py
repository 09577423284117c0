"""The original's run.sh in one command: `python -m experiments.sweep --preset=all`.

Both datasets over five penalties (none; l1 = 1e-3, 1e-4; l2 = 1e-2, 1e-3), and the
unpenalised networks again with fine-tuning after each cut, which share their training.
Expected: 200 CPU seconds a training, 130 for measuring the 72 networks of three seeds,
and 150 for retraining the weights of one. Expected result: without penalty
digits .98 and fashion .89 dense, weights holding to k = .8 and units to .5 or .6;
l1 = 1e-3 costs 3 to 6 points dense and holds weights to .995; fine-tuned, digits keep
.975 with 1 % of the weights.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from network_pruning import cli
from network_pruning.configs import SweepConfig
from network_pruning.flags import flag
from network_pruning.jobs.manifest import command

SEEDS = (0, 1, 2)
DATASETS = ("digits", "fashion")
PENALTIES: Mapping[str, Mapping[str, float]] = {
    "none": {},
    "l1=1e-3": {"l1_reg": 1e-3},
    "l1=1e-4": {"l1_reg": 1e-4},
    "l2=1e-2": {"l2_reg": 1e-2},
    "l2=1e-3": {"l2_reg": 1e-3},
}
FINETUNING: Mapping[str, Mapping[str, Any]] = {
    "digits": {"k_vals": (0.8, 0.9, 0.99), "finetune_epochs": 10},
    "fashion": {"k_vals": (0.8, 0.95), "finetune_epochs": 10},
}
PRESETS: Mapping[str, Mapping[str, Any]] = {
    **{
        f"{dataset}-{setting}": {"dataset": dataset, **penalty}
        for setting, penalty in PENALTIES.items()
        for dataset in DATASETS
    },
    **{
        f"{dataset}-finetune": {"dataset": dataset, **budget}
        for dataset, budget in FINETUNING.items()
    },
}
"""Name -> the flags of the main job that are not at their defaults."""

USAGE = """
Run the sweeps of the original's run.sh, and those with fine-tuning, by name.

  python -m experiments.sweep --preset=digits-none --monitor=val_accuracy
  python -m experiments.sweep --preset=all

Stop it at any moment and type the same command: it goes on.
"""


@dataclass(frozen=True)
class PresetConfig:
    """Which sweeps to run, and where."""

    preset: str | None = flag(
        None, "A sweep by name, or all; without it the names are listed."
    )
    monitor: Literal["val_loss", "val_accuracy"] = flag(
        "val_loss", "What chooses the epoch that is pruned, on the validation split."
    )
    seeds: tuple[int, ...] = flag(SEEDS, "Seeds, one training each.")
    output_dir: str = flag("results", "Folder of all runs.")

    def __post_init__(self) -> None:
        """Judges every value.

        Raises:
            ValueError: In one line, for the first unfit value.
        """
        SweepConfig(seeds=self.seeds, output_dir=self.output_dir)
        self.configs()

    def configs(self) -> list[SweepConfig]:
        """Returns the config of every sweep that is asked for; none without a preset.

        Raises:
            ValueError: If there is no such preset.
        """
        ours: dict[str, Any] = {
            "monitor": self.monitor,
            "seeds": self.seeds,
            "output_dir": self.output_dir,
        }
        return [
            SweepConfig(**PRESETS[name], **ours)
            for name in choose(self.preset, PRESETS, "preset")
        ]


def choose(name: str | None, known: Mapping[str, Any], flag: str) -> list[str]:
    """Resolves a flag that names one of several things, or all of them.

    Args:
        name: Of one thing, or "all", or None for nothing.
        known: The things by name.
        flag: What the flag is called.

    Returns:
        Names.

    Raises:
        ValueError: If there is no such thing.
    """
    if name is None:
        return []
    if name == "all":
        return list(known)
    if name not in known:
        raise ValueError(
            f"{flag}: got {name!r}, expected all or one of {', '.join(known)}"
        )
    return [name]


def check(config: PresetConfig) -> None:
    """Judges whether the images can be had; without a preset, lists them and ends.

    Raises:
        SystemExit: After the list.
        ValueError: If a dataset is not to be had.
    """
    import data

    if config.preset is None:
        for name, values in PRESETS.items():
            print(f"--preset={name:16s} {command(SweepConfig(**values, seeds=SEEDS))}")
        sys.exit(0)
    for dataset in sorted({each.dataset for each in config.configs()}):
        data.check_available(dataset)


def work(config: PresetConfig) -> None:
    """Runs the sweeps one after another."""
    for each in config.configs():
        run(each)


def run(config: SweepConfig) -> None:
    """Does the main job, or what of it is missing in its run folder."""
    import data
    import models
    from network_pruning.jobs import main_job

    main_job.run(config, data.load, models.build)


if __name__ == "__main__":
    cli.run(PresetConfig, work, USAGE, check)
