"""The published tables of posterior distillation: their rows, and ours beside them."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from experiments import grids
from experiments.gpeds.config import GpedConfig
from experiments.gpeds.settings import FULL, Setting, setting_of
from experiments.ledger import LedgerRow, measured
from experiments.published import FOLDER
from network_pruning.evaluation.metrics import per_seed

COMMAND = "python -m experiments.gped_table"
MODELS = {"fc": "gped_fc", "cnn": "gped_cnn_mnist", "cifar": "gped_cnn_cifar"}
"""First word of a row -> network that walks."""
TARGETS = ("predictive", "entropy")
ESTIMATORS = ("us", "uo")
TEACHER = "teacher NLL"
COLUMNS = {"predictive": "student NLL", "entropy": "entropy MAE"}
METRICS = (
    TEACHER,
    *(f"{column} {word}" for column in COLUMNS.values() for word in ESTIMATORS),
)
Published = Mapping[tuple[str, str], tuple[str, str]]
"""(Row, metric) -> value, and where it comes from."""


@dataclass(frozen=True)
class Cell:
    """One number of one chain, on the test split.

    Attributes:
        row: Model, training images and side of the missing square, as in fc-60k-15.
        iterations: Steps of the chain.
        metric: One of `METRICS`, in nats.
        seed: Of the chain.
        value: The number.
        dropout, thin: See `Setting`.
    """

    row: str
    iterations: int
    metric: str
    seed: int
    value: float
    dropout: float = 0.0
    thin: int = 0

    @property
    def group(self) -> Group:
        """What it is about, whatever the seed."""
        setting = Setting(self.iterations, self.dropout, self.thin)
        return self.row, setting, self.metric

    @property
    def key(self) -> tuple[str, Setting, str, int]:
        """What it is about."""
        return *self.group, self.seed


Group = tuple[str, Setting, str]
"""Row, setting, metric."""


def read_published() -> Published:
    """Returns the published numbers, in the order of the file."""
    with open(FOLDER / "posterior.csv", encoding="utf-8", newline="") as file:
        return {
            (line["row"], line["metric"]): (line["value"], line["provenance"])
            for line in csv.DictReader(file)
        }


def row_names() -> list[str]:
    """Returns the published rows, in the order of their tables."""
    return list(dict.fromkeys(row for row, _ in read_published()))


def chain_of(
    row: str,
    targets: Sequence[str],
    setting: Setting,
    seed: int,
    output_dir: str,
    ood: Sequence[str] = (),
) -> GpedConfig:
    """Returns the chain of a row: students of the base size, nothing held out.

    Args:
        row: One of `row_names`.
        targets: What students learn on it, under both estimators.
        setting: Its length, and how they learn.
        seed: Of everything.
        output_dir: Folder of all runs.
        ood: Strangers that are watched from its first step.
    """
    model, images, mask = row.split("-")
    count, dataset = int(images.removesuffix("k")), "mnist"
    if model == "cifar":
        dataset = "cifar10"
    whole = 50 if model == "cifar" else 60
    teacher: Any = MODELS[model]
    return GpedConfig(
        preset="full",
        iterations=None if setting.iterations == FULL else setting.iterations,
        dataset=dataset,
        teacher=teacher,
        target=tuple(targets),
        estimator=ESTIMATORS,
        mask_size=int(mask),
        num_training_samples=None if count == whole else 1_000 * count,
        num_valid=0,
        student_dropout=setting.dropout,
        thin=setting.thin or None,
        ood=tuple(ood),
        seed=seed,
        output_dir=output_dir,
    )


def cells_of(row: str, chain: GpedConfig, measured: Iterable[Any]) -> list[Cell]:
    """Returns what a finished chain adds to the table.

    Args:
        row: Its row.
        chain: Its settings.
        measured: Its results, of the teacher and of the students.
    """
    found = {}
    for one in measured:
        if one.stage == "teacher":
            found[TEACHER] = one.nll
            continue
        target, estimator, *_ = one.name.split("-")
        if target not in COLUMNS:
            continue
        value = one.nll if target == "predictive" else one.entropy_mae
        found[f"{COLUMNS[target]} {estimator}"] = value
    how = setting_of(chain)
    return [
        Cell(row, how.iterations, metric, chain.seed, value, how.dropout, how.thin)
        for metric, value in found.items()
    ]


def is_known(cells: Mapping[Any, Cell], row: str, chain: GpedConfig) -> bool:
    """Returns whether a chain would add nothing to the table.

    Args:
        cells: Those there are, by key.
        row: Of the chain.
        chain: Its settings.
    """
    which = row, setting_of(chain)
    metrics = [TEACHER] + [
        f"{COLUMNS[target]} {word}"
        for target in chain.target
        if target in COLUMNS
        for word in chain.estimator
    ]
    return all((*which, metric, chain.seed) in cells for metric in metrics)


def markdown(cells: Sequence[Cell], date: str) -> str:
    """Returns the table as a page.

    Args:
        cells: All there are.
        date: Of today.
    """
    lines = [
        *("# Posterior expectations, distilled", "", f"    {COMMAND}", ""),
        f"{date}. On the test split, in nats: ours, mean ± sd over seeds, and after a "
        "stroke the published number of one run. A row is its network (fc: "
        "784-400-400-10), its training images and the side of the missing square. us: "
        "students learn from the last draw; uo: from the mean over draws of each case. "
        "Students have the base size and the dropout that is said (the published ones "
        "of fc .5); those of the mean learn every 100 steps, those of the entropy "
        "every 10, or all as it is said, on one chain. Nothing was chosen on any "
        "split. Chains shorter than the published 1,000,000 steps are said to be.",
        "",
        f"| row | steps | dropout | lessons | seeds | {' | '.join(METRICS)} |",
        "|---|---:|---:|---|---|" + "---:|" * len(METRICS),
    ]
    published, groups = read_published(), grids.by_seed(cells)
    for row, setting in sorted({key[:2] for key in groups}):
        some = {metric: groups.get((row, setting, metric), {}) for metric in METRICS}
        seeds = sorted({seed for values in some.values() for seed in values})
        words = [
            shown(list(values.values()), published[row, metric][0])
            for metric, values in some.items()
        ]
        steps = setting.iterations
        length = f"{steps:,}" + ("" if steps >= FULL else " (short)")
        lessons = f"every {setting.thin}" if setting.thin else "usual"
        lines.append(
            f"| {row} | {length} | {setting.dropout:g} | {lessons} | "
            f"{' '.join(map(str, seeds))} | {' | '.join(words)} |"
        )
    return "\n".join([*lines, ""])


def shown(values: Sequence[float], published: str, places: int = 4) -> str:
    """Returns our mean and sd, and after a stroke what was published.

    Args:
        values: Ours, one a seed; there may be none.
        published: As text; "" for nothing.
        places: Decimals of ours.
    """
    ours = "-"
    if values:
        mean, sd = per_seed(values)
        spread = f" ± {sd:.{places}f}" if len(values) > 1 else ""
        ours = f"{mean:.{places}f}{spread}"
    return f"{ours} / {published}" if published else ours


def ledger_lines(cells: Iterable[Cell], date: str) -> list[LedgerRow]:
    """Returns a line for each mean there is, and for each published number.

    Args:
        cells: All there are.
        date: Of today.
    """
    groups, published = grids.by_seed(cells), read_published()
    known = {(key[0], key[-1]) for key in groups}
    missing = [(row, Setting(), metric) for row, metric in published]
    keys = [*groups, *(key for key in missing if (key[0], key[-1]) not in known)]
    return [
        _line(key, groups.get(key, {}), published[key[0], key[-1]], date)
        for key in keys
    ]


def _line(
    group: Group,
    found: Mapping[int, float],
    published: tuple[str, str],
    date: str,
) -> LedgerRow:
    row, setting, metric = group
    return LedgerRow(
        system="gped",
        table=setting.name,
        row=row,
        metric=metric,
        published=published[0],
        provenance=published[1],
        command=f"{COMMAND} --rows={row}{setting.flags}",
        verdict=verdict([*found.values()], float(published[0])),
        **measured(found, date),
    )


def verdict(values: Sequence[float], published: float) -> str:
    """Returns met, missed or not run.

    The published numbers have three decimals, and so has ours when it is held against
    one: at or below it is met, however short the chain.
    """
    if not values:
        return "not run"
    return "met" if round(fmean(values), 3) <= published else "missed"
