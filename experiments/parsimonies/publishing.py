"""The ledger's lines of a study, over several sittings, and copies of its pages."""

from __future__ import annotations

import datetime
import functools
import logging
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from experiments import grids, ledger
from experiments.parsimonies import verdicts
from experiments.parsimonies.finished import finished
from experiments.parsimonies.presets import PRESETS
from experiments.parsimonies.studies import Study
from experiments.stages import Stage
from network_pruning.runs import RunDir

log = logging.getLogger("network_pruning.experiments.parsimonious")

PAGES = ("results.md", "search.md", "clusters.md", "removability.md")
FIGURES = ("panels.png", "removability.png")


@dataclass(frozen=True)
class Number:
    """One number of one training.

    Attributes:
        length: Of the training, and of what is said of its images, in words.
        setting: A preset.
        metric: accuracy (on test), what is left of it after a cut, or nmi with the
            layer and K.
        seed: Of the training.
        value: The number.
        flags: That say the length.
    """

    length: str
    setting: str
    metric: str
    seed: int
    value: float
    flags: str

    @property
    def group(self) -> tuple[str, str]:
        """What it is about, among numbers of one length."""
        return self.setting, self.metric

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What it is about."""
        return self.length, *self.group, self.seed


def publish(study: Study) -> None:
    """Puts means over seeds beside what was published, into the ledger.

    Numbers of earlier sittings count, too: they are kept beside the ledger, and stay as
    they are there when a training of the same setting and seed is made again.

    Raises:
        DamagedFile: If what is kept is not what was written.
    """
    references = RunDir(study.config.references_dir)
    table = f"parsimonious-{study.config.get('dataset')}"
    name = f"cells/{table}.csv"
    kept = {one.key: one for one in grids.read(Number, references, name)}
    known = ledger.read(references) if references.exists(ledger.NAME) else []
    note = ledger.kept_note(references, table, study.config.note or None)
    here = {one.key: one for one in _numbers(study, note)}
    if not here:
        log.warning(
            "%s has no number of a preset on its own dataset for the ledger: its pages "
            "alone are copied",
            study.run.path,
        )
        _copy(study.run, references)
        return
    for key in sorted(here.keys() & kept.keys()):
        if here[key].value != kept[key].value:
            log.info(
                "%s, %s, %s, seed %d: %.5f here, %.5f stays, as published",
                *(*key, here[key].value, kept[key].value),
            )
    numbers = grids.merge(Number, references, name, here.values(), stays=True)
    lines = list(_at_least_as_many(_lines(numbers), known))
    ledger.record(references, lines)
    for line in lines:
        print(f"{line.row} {line.metric}: {line.ours_mean} {line.verdict}")
    _copy(study.run, references)


def _at_least_as_many(
    lines: Iterable[ledger.LedgerRow], known: Iterable[ledger.LedgerRow]
) -> Iterator[ledger.LedgerRow]:
    """Yields lines but for those of fewer seeds than the ledger has.

    Theirs were published before single numbers were kept.
    """
    seeds = {line.key: line.seeds for line in known}
    for line in lines:
        before = seeds.get(line.key, "")
        if len(line.seeds.split()) >= len(before.split()):
            yield line
        elif line.seeds:
            log.warning(
                "%s, %s: the ledger keeps its mean over seeds %s, not that of %s",
                *(line.row, line.metric, before, line.seeds),
            )


def _lines(numbers: Iterable[Number]) -> Iterator[ledger.LedgerRow]:
    tables: dict[tuple[str, str], list[Number]] = {}
    for one in numbers:
        tables.setdefault((one.length, one.flags), []).append(one)
    today = datetime.date.today().isoformat()
    for (length, flags), some in tables.items():
        yield from verdicts.ledger_lines(grids.by_seed(some), length, flags, today)


def _numbers(study: Study, note: str) -> Iterator[Number]:
    """Yields what the trainings of presets have to say."""
    of_data = note and f" ({note})"
    for stage, metric, value in _told(study):
        setting, fields = (stage.made or {})["label"], stage.fields
        if setting in PRESETS and fields["dataset"] == PRESETS[setting]["dataset"]:
            length = verdicts.length(fields) + of_data
            flags = verdicts.length_flags(fields)
            yield Number(length, setting, metric, fields["seed"], value, flags)


def _told(study: Study) -> Iterator[tuple[Stage, str, float]]:
    """Yields each number of a training that could stand in the ledger, by its name."""
    for stage, made in finished(study, "test"):
        yield stage, verdicts.ACCURACY, made["accuracy"]
    config = study.config
    same = {"n_init": config.n_init, "examples": config.examples}
    for stage, made in finished(study, "evaluate_clusters", **same):
        for layer, how, k, nmi, *_ in made["lines"]:
            if how == "k-means":
                yield stage, f"nmi {layer} K={k}", nmi
    for stage, made in finished(study, "removability"):
        for criterion, values in made["accuracy"].items():
            for share, value in zip(made.get("sparsities", ()), values, strict=False):
                metric = f"{verdicts.ACCURACY}, {share:g} cut by {criterion}"
                yield stage, metric, value


def _copy(run: RunDir, references: RunDir) -> None:
    for name in filter(run.exists, PAGES):
        page = f"{run.path.name}_{name}"
        references.write_text(page, run.read_text(name))
    for name in filter(run.exists, FIGURES):
        copy = functools.partial(shutil.copyfile, run.path / name)
        references.write(f"{run.path.name}_{name}", copy)
