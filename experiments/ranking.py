"""Rankings compared: `python -m experiments.ranking --preset=lenet5-digits`.

Dense networks are trained, their units ranked by every criterion, cut to the same
widths, retrained by the same recipe, and set beside a random cut and beside the same
widths trained from scratch. Expected on two cores, lenet5: 5 minutes of training for
three seeds, 10 of ranking and cutting, 40 of retraining; 8-9-36-17 at .8 % test error.
"""

from __future__ import annotations

import dataclasses
import datetime
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from experiments import grids, ledger
from experiments.rankings.presets import PRESETS, Preset
from experiments.sweep import choose
from network_pruning import cli
from network_pruning.flags import flag
from network_pruning.runs import RunDir

if TYPE_CHECKING:
    from experiments.rankings.cells import Comparison

PROCEDURES = ("train", "rank", "prune", "retrain", "covariance", "compare")

USAGE = """
Compare rankings of units by a protocol.

  python -m experiments.ranking
  python -m experiments.ranking --preset=lenet5-digits --procedure=all
  python -m experiments.ranking --preset=lenet5-digits --procedure=compare

Stop it at any moment and type the same command: it goes on. Several processes may work
on one comparison. What references/cells holds is not made again.
"""


@dataclass(frozen=True)
class RankingConfig:
    """Which comparison, which part of it, and where."""

    preset: str | None = flag(
        None, "A comparison by name, or all; without it the names are listed."
    )
    procedure: Literal[
        "train", "rank", "prune", "retrain", "covariance", "compare", "all"
    ] = flag("all", "Which step; each needs those before it.")
    seeds: tuple[int, ...] | None = flag(
        None, "Seeds to work on; by default those of the preset."
    )
    keep: tuple[int, ...] | None = flag(
        None, "One of the preset's kept widths alone, such as 8,9,36,17."
    )
    note: str | None = flag(
        None, "Of compare: said of all numbers from now on, say: a JPEG copy of it."
    )
    output_dir: str = flag("results", "Folder of all runs.")
    references_dir: str = flag("references", "Folder of the ledger and the tables.")

    def __post_init__(self) -> None:
        """Judges every value.

        Raises:
            ValueError: In one line, for the first unfit value.
        """
        for name in choose(self.preset, PRESETS, "preset"):
            keeps = PRESETS[name].keeps
            if self.keep is not None and self.keep not in keeps:
                known = " ".join(",".join(map(str, keep)) for keep in keeps)
                raise ValueError(f"keep: got {self.keep}, expected one of {known}")

    def procedures(self) -> tuple[str, ...]:
        """Returns the steps to take."""
        return PROCEDURES if self.procedure == "all" else (self.procedure,)


def check(config: RankingConfig) -> None:
    """Judges whether the images can be had; without a preset, lists them and ends.

    Raises:
        SystemExit: After the list.
        ValueError: If a dataset is not to be had.
    """
    import data

    if config.preset is None:
        for name, preset in PRESETS.items():
            widths = " ".join("-".join(map(str, keep)) for keep in preset.keeps)
            print(f"--preset={name:20s} {preset.training['model']} {widths}")
        sys.exit(0)
    for name in choose(config.preset, PRESETS, "preset"):
        data.check_available(PRESETS[name].training["dataset"])


def work(config: RankingConfig) -> None:
    """Takes the steps of each comparison."""
    for name in choose(config.preset, PRESETS, "preset"):
        compare(name, PRESETS[name], config)


def compare(name: str, preset: Preset, config: RankingConfig) -> None:
    """Takes the steps of one comparison.

    Raises:
        ValueError: If there is nothing to compare.
    """
    import data as datasets
    import models
    from experiments.rankings.cells import Cell, Comparison
    from network_pruning.jobs import main_job

    part = narrowed(preset, config)
    training = part.config(config.output_dir)
    if "train" in config.procedures():
        main_job.run(training, datasets.load, models.build)
    folder = Path(config.output_dir) / f"ranking-{name}-{preset.digest()}"
    data: Any = datasets.load(training.dataset, num_valid=training.num_valid)
    references = RunDir(config.references_dir)
    comparison = Comparison(
        part,
        data,
        _training_runs(preset, part, config.output_dir),
        RunDir(folder),
    )
    published = f"cells/{folder.name}.csv"
    comparison.adopt(grids.read(Cell, references, published))
    for procedure in config.procedures():
        if procedure in {"rank", "prune", "retrain"}:
            getattr(comparison, procedure)()
    if "covariance" in config.procedures() and preset.switch_steps:
        show_covariances(name, part, comparison, references)
    if "compare" in config.procedures():
        if not comparison.cells:
            raise ValueError(
                f"procedure: got {config.procedure}, but there is no cell to compare, "
                f"in {folder} or in {references.path / published}: make some by "
                f"python -m experiments.ranking --preset={name}"
            )
        note = ledger.kept_note(references, folder.name, config.note)
        publish(name, preset, comparison, references, note)


def _training_runs(preset: Preset, part: Preset, output_dir: str) -> list[RunDir]:
    """Returns where the dense networks may lie.

    That is the main job of these seeds, of all seeds, and of each seed alone.
    """
    ones = [dataclasses.replace(part, seeds=(seed,)) for seed in part.seeds]
    configs = [each.config(output_dir) for each in (part, preset, *ones)]
    folders = dict.fromkeys(Path(output_dir) / each.run_id() for each in configs)
    there = [folder for folder in folders if folder.is_dir()]
    return [RunDir(folder) for folder in there or [*folders][:1]]


def narrowed(preset: Preset, config: RankingConfig) -> Preset:
    """Returns the part of a protocol that the flags ask for."""
    return dataclasses.replace(
        preset,
        seeds=config.seeds or preset.seeds,
        keeps=(config.keep,) if config.keep else preset.keeps,
    )


def show_covariances(
    name: str, preset: Preset, comparison: Comparison, references: RunDir
) -> None:
    """Learns switches under both laws, and says how they vary together."""
    from experiments.rankings import covariances
    from network_pruning.evaluation import ranking_figures
    from network_pruning.views import without_test

    found = {
        seed: covariances.learn(
            comparison.dense(seed),
            without_test(comparison.data),
            seed,
            preset.switch_steps,
        )
        for seed in preset.seeds
    }
    command = f"python -m experiments.ranking --preset={name} --procedure=covariance"
    references.write_text(
        f"ranking_{name}_covariances.md", covariances.markdown(found, command)
    )
    drawn = {
        group: {
            law: np.concatenate([found[seed][law][group].values for seed in found])
            for law in covariances.LAWS
        }
        for group in found[preset.seeds[0]]["dirichlet"]
    }
    references.write(
        f"ranking_{name}_covariances.png",
        lambda path: ranking_figures.switch_correlations(drawn, path),
    )


def publish(
    name: str,
    preset: Preset,
    comparison: Comparison,
    references: RunDir,
    note: str = "",
) -> None:
    """Writes the tables, their cells, the agreement figure and the ledger's lines."""
    from experiments.rankings import summary
    from experiments.rankings.cells import Cell
    from network_pruning.evaluation import ranking_figures
    from network_pruning.jobs.rankings import Ranking

    cells = list(comparison.cells.values())
    folder = comparison.run.path.name
    references.write_text(f"cells/{folder}.csv", grids.text(Cell, cells))
    today = datetime.date.today().isoformat()
    text = summary.markdown(name, preset, cells, today, note)
    references.write_text(f"ranking_{name}.md", text)
    lines = summary.ledger_lines(name, preset, cells, today, note)
    ledger.record(references, lines)
    print(text)
    files = {
        seed: {
            label: f"rankings/seed={seed}/{label}.npz" for label in preset.contenders
        }
        for seed in preset.seeds
    }
    scores = {
        seed: {k: Ranking.load(comparison.run, v).scores for k, v in named.items()}
        for seed, named in files.items()
        if all(map(comparison.run.exists, named.values()))
    }
    if not scores:
        return
    mean, sd = summary.agreement(scores, preset.contenders)
    references.write(
        f"ranking_{name}_agreement.png",
        lambda path: ranking_figures.agreement(mean, sd, preset.contenders, path),
    )


if __name__ == "__main__":
    cli.run(RankingConfig, work, USAGE, check)
