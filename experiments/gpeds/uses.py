"""What a row's uncertainties are good for: the published numbers, and ours beside them.

Strangers found, the familiar ranked, and how well each contender predicts the test
images meanwhile.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from experiments import grids
from experiments.benchmarks.table import markdown_of
from experiments.gpeds import calibration, distill, strangers
from experiments.gpeds.config import GpedConfig
from experiments.gpeds.rows import Row
from experiments.gpeds.settings import FULL, Setting, setting_of
from experiments.gpeds.tables import COMMAND, shown
from experiments.gpeds.words import TELLING, stranger_name
from experiments.ledger import NEVER, LedgerRow, measured
from experiments.published import FOLDER
from network_pruning.runs import RunDir

CELLS, PAGE = "cells/gped_uses.csv", "posterior_uses.md"
PROCEDURES = ("ood", "rank_uncertainty")
"""Of `experiments.gped`: what is asked of a finished chain."""
INSIDE = "test"
NLL, MAE = "NLL", "entropy MAE"
AUROC, NDCG = "AUROC", "nDCG@20"
FOLDERS = {name: f"path/to/{name}" for name in ("notmnist", "tiny_imagenet", "lsun")}
"""Strangers that tensorflow-datasets has not -> what the flag is given for them."""
CHAIN, TOTAL = "ensemble", "total"
MEASURES = (
    *(NLL, MAE),
    *(f"{what} {kind}" for what in (AUROC, NDCG) for kind in ("total", "knowledge")),
)
"""In the order of the page."""
LABELS = {"both": "student", "predictive": "mean alone", "dirichlet": "EnD2"}
"""Target of a student -> what it is called beside the published ones."""
Published = Mapping[tuple[str, str, str, str], tuple[str, str]]
"""(Row, images, contender, measure) -> value, and where it comes from."""


@dataclass(frozen=True)
class Use:
    """One number of one contender.

    Attributes:
        row: Model, training images and side of the missing square, as in fc-60k-15.
        iterations, dropout: See `Setting`.
        images: test, or the strangers by name.
        contender: ensemble, `LABELS` with the estimator, or a baseline.
        measure: NLL, entropy MAE (nats), nDCG@20 or AUROC and of which uncertainty.
        seed: Of the chain.
        value: The number.
        thin: See `Setting`.
    """

    row: str
    iterations: int
    dropout: float
    images: str
    contender: str
    measure: str
    seed: int
    value: float
    thin: int = 0

    @property
    def group(self) -> Group:
        """What it is about, whatever the seed."""
        setting = Setting(self.iterations, self.dropout, self.thin)
        return self.row, setting, self.images, self.contender, self.measure

    @property
    def key(self) -> tuple[str, Setting, str, str, str, int]:
        """What it is about."""
        return *self.group, self.seed


Group = tuple[str, Setting, str, str, str]
"""Row, setting, images, contender, measure."""


def read_published() -> Published:
    """Returns the published numbers, in the order of the file."""
    with open(FOLDER / "posterior_uses.csv", encoding="utf-8", newline="") as file:
        return {
            (line["row"], line["images"], line["contender"], line["measure"]): (
                line["value"],
                line["provenance"],
            )
            for line in csv.DictReader(file)
        }


def uses_of(row: str, chain: GpedConfig) -> list[Use]:
    """Returns what is known of a chain's uncertainties; nothing before all is.

    Args:
        row: Its row.
        chain: Its settings.
    """
    told = strangers.ood_folder(chain), strangers.ranking_folder(chain)
    if not all((folder / strangers.RESULTS).exists() for folder in told):
        return []
    walked = RunDir(distill.folder_of(chain))
    found, ranked = map(RunDir, told)
    how = setting_of(chain)
    which = row, how.iterations, how.dropout
    return [
        Use(*which, images, contender, measure, chain.seed, value, how.thin)
        for images, contender, measure, value in [
            *_predicted(walked, found),
            *_ranked(ranked),
            *_found(found),
        ]
    ]


Told = Iterator[tuple[str, str, str, float]]
"""Images, contender, measure, value."""


def _predicted(walked: RunDir, found: RunDir) -> Told:
    kind = calibration.Calibrated
    for said in grids.read(kind, found, calibration.RESULTS, required=True):
        yield INSIDE, label_of(said.contender), NLL, said.nll
    for student in grids.read(Row, walked, distill.RESULTS, required=True):
        if student.name.split("-")[0] in TELLING:
            yield INSIDE, label_of(student.name), MAE, student.entropy_mae


def _ranked(run: RunDir) -> Told:
    for said in grids.read(strangers.Ranked, run, strangers.RESULTS, required=True):
        yield INSIDE, label_of(said.contender), f"{NDCG} {said.kind}", said.ndcg


def _found(run: RunDir) -> Told:
    for said in grids.read(strangers.Found, run, strangers.RESULTS, required=True):
        yield said.outside, label_of(said.contender), f"{AUROC} {said.kind}", said.auroc


def is_known(uses: Mapping[Any, Use], row: str, chain: GpedConfig) -> bool:
    """Returns whether asking a chain would add nothing.

    Args:
        uses: Those there are, by key.
        row: Of the chain.
        chain: Its settings.
    """
    which = row, setting_of(chain)
    contenders = [CHAIN] + [
        f"{LABELS[target]} {word}"
        for target in chain.target
        if target in LABELS
        for word in chain.estimator
    ]
    return all(
        (*which, stranger_name(name), contender, f"{AUROC} {TOTAL}", chain.seed) in uses
        for name in chain.ood
        for contender in contenders
    )


def label_of(contender: str) -> str:
    """Returns what a contender is called beside the published ones.

    Args:
        contender: As in both-us-1-1, or a baseline.
    """
    target, *rest = contender.split("-")
    if target not in LABELS:
        return contender
    estimator, *factors = rest
    widths = "" if set(factors) == {"1"} else f", {' x '.join(factors)} as wide"
    return f"{LABELS[target]} {estimator}{widths}"


def markdown(uses: Sequence[Use], date: str) -> str:
    """Returns the page: for each chain a table of each set of images.

    Args:
        uses: All there are.
        date: Of today.
    """
    lines = [
        *("# What the uncertainties are good for", "", f"    {COMMAND} --ood=...", ""),
        f"{date}. Ours, mean ± sd over the seeds of the chain, and after a stroke the "
        "published number of one run. `student` tells the predictive mean and the "
        "expected entropy (target both), `EnD2` is a Dirichlet, `mean alone` has no "
        "knowledge uncertainty; all have the base size and learn on one chain, us from "
        "the last draw, uo from the mean over draws of each case. Test images against "
        "as many strangers, all with their missing square; nDCG@20 is the mean over "
        "500 draws of 100 test images, the gain the ensemble's own uncertainty. One "
        "network, MC dropout and the deep ensemble of five learn the same training "
        "images. Nothing was chosen on any split.",
        "",
    ]
    groups, published = grids.by_seed(uses), read_published()
    for chain in sorted({key[:2] for key in groups}):
        row, setting = chain
        seeds = sorted({use.seed for use in uses if use.group[:2] == chain})
        title = [f"{row}, {setting.iterations:,} steps, dropout {setting.dropout:g}"]
        title += [f"a lesson every {setting.thin}"] if setting.thin else []
        title += [f"seeds {' '.join(map(str, seeds))}"]
        lines += [f"## {', '.join(title)}", ""]
        here = {key[2:]: values for key, values in groups.items() if key[:2] == chain}
        others = sorted({key[0] for key in here} - {INSIDE})
        for images in (INSIDE, *others):
            lines += [*_table(row, images, here, published), ""]
    return "\n".join(lines)


def _table(
    row: str,
    images: str,
    here: Mapping[tuple[str, str, str], Mapping[int, float]],
    published: Published,
) -> list[str]:
    """Returns the lines of one set of images: a line a contender."""
    keys = [key for key in here if key[0] == images]
    measures = sorted({key[2] for key in keys}, key=MEASURES.index)
    lines = [
        [
            contender,
            *(
                shown(
                    list(here.get((images, contender, measure), {}).values()),
                    published.get((row, images, contender, measure), ("", ""))[0],
                    places=3,
                )
                for measure in measures
            ),
        ]
        for contender in sorted({key[1] for key in keys}, key=_place)
    ]
    title = "On the test images" if images == INSIDE else f"Against {images}"
    return [f"{title}:", "", markdown_of([images, *measures], lines)]


def _place(contender: str) -> tuple[int, str]:
    """Returns what orders contenders: the chain, its students, and then the others."""
    firsts = (CHAIN, *LABELS.values())
    told = [n for n, name in enumerate(firsts) if contender.startswith(name)]
    return (told or [len(firsts)])[0], contender


def ledger_lines(uses: Iterable[Use], date: str) -> list[LedgerRow]:
    """Returns a line for each mean there is, and for each published number.

    Args:
        uses: All there are.
        date: Of today.
    """
    groups, published = grids.by_seed(uses), read_published()
    known = {(key[0], *key[2:]) for key in groups if key[1].iterations == FULL}
    missing: list[Group] = [
        (key[0], Setting(), *key[1:]) for key in published if key not in known
    ]
    return [
        _line(key, groups.get(key, {}), published, date) for key in [*groups, *missing]
    ]


def _line(
    key: Group, found: Mapping[int, float], published: Published, date: str
) -> LedgerRow:
    row, setting, images, contender, measure = key
    value, provenance = published.get((row, images, contender, measure), ("", NEVER))
    strangers = [images]
    if images == INSIDE:
        theirs = {key[1] for key in published if key[0] == row}
        strangers = sorted(theirs - {INSIDE})
    named = ",".join(FOLDERS.get(name, name) for name in strangers)
    return LedgerRow(
        system="gped",
        table=setting.name,
        row=row,
        metric=f"{images}: {measure}, {contender}",
        published=value,
        provenance=provenance,
        command=f"{COMMAND} --rows={row} --targets={','.join(TELLING)} "
        f"--ood={named}{setting.flags}",
        verdict=verdict(contender, measure, [*found.values()], value),
        **measured(found, date),
    )


def verdict(
    contender: str, measure: str, values: Sequence[float], published: str
) -> str:
    """Returns met, missed, no bar or not run.

    The bar is for our student, not for what it is held against: the published number,
    to its three decimals.
    """
    if not values:
        return "not run"
    if not published or not contender.startswith(LABELS["both"]):
        return "no bar"
    ours, theirs = round(fmean(values), 3), float(published)
    lower_is_better = measure in {NLL, MAE}
    return (
        "met" if (ours <= theirs if lower_is_better else ours >= theirs) else "missed"
    )
