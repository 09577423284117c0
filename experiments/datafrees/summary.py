"""What the table shows: a page, and lines of the ledger."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from experiments import ledger
from experiments.datafrees.cells import Cell, Finding
from experiments.datafrees.presets import (
    BASELINES,
    CLASS_MEANS,
    INITS,
    NOISE,
    NONE,
    PAIRS,
    SEEDS,
    Pair,
)
from experiments.datafrees.prunings import MADE, REAL, RETRAINED
from experiments.ledger import NEVER, LedgerRow
from experiments.published import read_datafree
from network_pruning.evaluation.metrics import per_seed

COMMAND = "python -m experiments.datafree_table"
OURS = "bar of this project"
MAY_LOSE = 0.005
"""Accuracy that pruning without data may lose to pruning with them."""
BARRED = INITS[0]
"""Initialisation that is held against the published numbers."""
Group = tuple[str, str, str]
"""Objective or baseline, initialisation, form."""


def grouped(cells: Iterable[Cell]) -> dict[Group, list[Cell]]:
    """Returns cells that differ by their seeds alone, together."""
    groups: dict[Group, list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.objective, cell.init, cell.form), []).append(cell)
    return groups


def best_form(cells: Iterable[Cell], objective: str) -> str | None:
    """Returns the form of records whose students are the best on valid.

    Args:
        cells: Of a pair; those of the first seed count, which all forms have.
        objective: Whose.

    Returns:
        The form; None where there is no cell.
    """
    valid = {
        cell.form: cell.valid_accuracy
        for cell in cells
        if (cell.objective, cell.init, cell.seed) == (objective, BARRED, SEEDS[0])
    }
    return max(valid, key=lambda form: valid[form], default=None)


def best_group(cells: Iterable[Cell]) -> Group | None:
    """Returns the best on valid of all that made do without data and have every seed.

    Args:
        cells: Of a pair.
    """
    whole = {
        group: fmean(cell.valid_accuracy for cell in some)
        for group, some in grouped(cells).items()
        if group[0] not in BASELINES and len(some) >= len(SEEDS)
    }
    return max(whole, key=lambda group: whole[group], default=None)


def markdown(
    cells: Mapping[str, Sequence[Cell]],
    findings: Mapping[str, Sequence[Finding]],
    date: str,
    notes: Mapping[str, str],
) -> str:
    """Returns the table as a page.

    Args:
        cells: By pair.
        findings: Likewise.
        date: Of today.
        notes: What is said of the data of a pair, where something is.
    """
    lines = [
        *("# Data-free students", "", f"    {COMMAND}", ""),
        f"{date}. Test accuracy in percent of true labels, mean ± sd over seeds, each "
        "with a teacher, records, images and a student of its own. Of each objective "
        "the form with a star is the best on the real validation split with the first "
        "seed; nothing was chosen on test. Record sizes are of what the objective "
        "reads. Seconds are of images and student, on a machine that did other things "
        "too; where one was stopped and typed again, of the last part.",
        "",
    ]
    for name, some in cells.items():
        lines += _pair_lines(name, PAIRS[name], some, notes.get(name, ""))
        lines += _finding_lines(findings.get(name, ()))
    return "\n".join(lines)


def _pair_lines(name: str, pair: Pair, cells: Sequence[Cell], note: str) -> list[str]:
    on_real = "teacher" if pair.trained is None else "students of real images"
    settings = {on_real: pair.train, "images": pair.images, "student": pair.distill}
    settings |= {"records": pair.records} if pair.records else {}
    said = [f"{what}: {_settings(flags)}" for what, flags in settings.items()]
    if pair.trained is not None:
        said.append(f"teacher: {pair.trained.path}")
    if pair.source_seed is not None:
        said.append(
            f"teacher, records and images: of seed {pair.source_seed} for all "
            "students; seconds of later ones are of the student alone"
        )
    said += [f"data: {note}"] if note else []
    title = f"## {name}: {pair.teacher} to {pair.student} on {pair.dataset}"
    lines = [
        *(title, "", f"{'; '.join(said)}.", ""),
        "| images by | start | records | bytes | ours | seeds | agreement | seconds "
        "| published |",
        "|---|---|---|---:|---:|---|---:|---:|---:|",
    ]
    published = read_datafree()
    groups = grouped(cells)
    for objective in (*pair.baselines, *pair.objectives):
        best = best_form(cells, objective)
        tried = {group[2] for group in groups if group[:2] == (objective, BARRED)}
        value = published.get((name, objective))
        shown = "" if value is None else f"{value[0]:.2f}"
        for init in pair.inits:
            for form in pair.forms(objective):
                if (objective, init, form) in groups:
                    chosen = form == best and init == BARRED and len(tried) > 1
                    star = "\\*" if chosen else ""
                    some = groups[objective, init, form]
                    words = objective, init, _form(form, star), *_numbers(some), shown
                    lines.append(f"| {' | '.join(words)} |")
    sources = [
        f"- {objective}: {value:.2f}, {provenance}."
        for (pair_name, objective), (value, provenance) in published.items()
        if pair_name == name
    ]
    return [*lines, "", *(["Published:", "", *sources, ""] if sources else [])]


def _finding_lines(findings: Sequence[Finding]) -> list[str]:
    if not findings:
        return []
    lines = ["| of its images | mean ± sd | seeds |", "|---|---:|---|"]
    for (procedure, name), by_seed in measured(findings).items():
        words = [f"{procedure}: {name}", _plain(by_seed), " ".join(map(str, by_seed))]
        lines.append(f"| {' | '.join(words)} |")
    return [*lines, ""]


def _plain(by_seed: Mapping[int, float]) -> str:
    mean, sd = per_seed(list(by_seed.values()))
    return f"{mean:.4f}" + (f" ± {sd:.4f}" if len(by_seed) > 1 else "")


def measured(findings: Iterable[Finding]) -> dict[tuple[str, str], dict[int, float]]:
    """Returns what was found, by procedure and name, then by seed."""
    found: dict[tuple[str, str], dict[int, float]] = {}
    for finding in sorted(findings, key=lambda each: each.key):
        for name, value in json.loads(finding.numbers).items():
            found.setdefault((finding.procedure, name), {})[finding.seed] = value
    return found


def finding_rows(
    name: str, pair: Pair, findings: Sequence[Finding], date: str, note: str = ""
) -> list[LedgerRow]:
    """Returns a line of the ledger for each number found.

    What was ranked and retrained without data is to come within half a point of the
    same with data, as a mean over all seeds.

    Args:
        name: Of the pair.
        pair: The pair.
        findings: Of it.
        date: Of today.
        note: What is said of its data.
    """
    found = measured(findings)
    lines = []
    for (procedure, what), by_seed in found.items():
        mean = fmean(by_seed.values())
        real = found.get((procedure, what.replace(MADE, REAL)), {})
        judged, bar = what.endswith(f"{MADE}, {RETRAINED}"), None
        if judged and min(len(by_seed), len(real)) >= len(SEEDS):
            bar = fmean(real.values()) - MAY_LOSE
        lines.append(
            LedgerRow(
                system="datafree",
                table=_of_data(pair, note),
                row=f"{name}, {procedure}",
                metric=what,
                published="" if bar is None else f"{bar:.4f}",
                provenance=OURS if judged else NEVER,
                command=f"{COMMAND} --pair={name} --objectives={procedure}",
                verdict="no bar" if bar is None else "met" if mean >= bar else "missed",
                **ledger.measured(by_seed, date),
            )
        )
    return lines


def _of_data(pair: Pair, note: str) -> str:
    return f"{pair.dataset} ({note})" if note else pair.dataset


def _form(form: str, star: str) -> str:
    return "" if form == NONE else form + star


def _settings(flags: Mapping[str, object]) -> str:
    return " ".join(f"{name}={value}" for name, value in flags.items())


def _numbers(cells: Sequence[Cell]) -> tuple[str, ...]:
    size = max(cell.record_bytes for cell in cells)
    return (
        f"{size:,}" if size else "",
        _mean_sd([cell.accuracy for cell in cells]),
        " ".join(_seeds(cells)),
        f"{100 * fmean(cell.agreement for cell in cells):.2f}",
        f"{fmean(cell.seconds for cell in cells):.0f}",
    )


def _mean_sd(values: Sequence[float]) -> str:
    mean, sd = per_seed([100 * value for value in values])
    return f"{mean:.2f}" + (f" ± {sd:.2f}" if len(values) > 1 else "")


def _seeds(cells: Iterable[Cell]) -> list[str]:
    return list(map(str, sorted(cell.seed for cell in cells)))


def ledger_lines(
    name: str, pair: Pair, cells: Sequence[Cell], date: str, note: str = ""
) -> list[LedgerRow]:
    """Returns a line for each mean there is, and for each published one.

    Args:
        name: Of the pair.
        pair: The pair.
        cells: Of it.
        date: Of today.
        note: What is said of its data.
    """
    data = _of_data(pair, note)
    groups = grouped(cells)
    published = read_datafree()
    lines = []
    for objective in (*pair.baselines, *pair.objectives):
        value, provenance = published.get((name, objective), (None, NEVER))
        best = best_form(cells, objective) or pair.forms(objective)[0]
        for group in sorted({*groups, (objective, BARRED, best)}):
            if group[0] == objective:
                bar = value if group == (objective, BARRED, best) else None
                bar = None if objective in BASELINES else bar
                some = groups.get(group, [])
                row = ", ".join([name, *(word for word in group if word != NONE)])
                shown = "" if value is None else f"{value:.2f}"
                words = shown, provenance
                lines.append(_line(row, name, data, some, words, bar, date))
    if pair.bar is not None:
        chosen = best_group(cells)
        some = groups[chosen] if chosen is not None else []
        words = f"{pair.bar:.2f}", OURS
        best_row = f"{name}, best on valid"
        lines.append(_line(best_row, name, data, some, words, pair.bar, date))
    return [*lines, *_lead_lines(name, data, groups, best_group(cells), date)]


def _lead_lines(
    name: str,
    data: str,
    groups: Mapping[Group, list[Cell]],
    best: Group | None,
    date: str,
) -> list[LedgerRow]:
    """Returns how far the best is above the better student of noise or class means.

    The bar is twice the largest sd of those compared, in points, where each has all
    seeds.
    """
    rivals = [
        groups[group]
        for group in ((each, BARRED, NONE) for each in (NOISE, CLASS_MEANS))
        if group in groups
    ]
    if best is None or len(rivals) < len((NOISE, CLASS_MEANS)):
        return []
    told = [
        per_seed([100 * cell.accuracy for cell in some])
        for some in (groups[best], *rivals)
    ]
    lead = told[0][0] - max(mean for mean, _ in told[1:])
    whole = min(map(len, (groups[best], *rivals))) >= len(SEEDS)
    bar = 2 * max(sd for _, sd in told) if whole else None
    return [
        LedgerRow(
            system="datafree",
            table=data,
            row=f"{name}, best on valid",
            metric="points above noise and class means",
            published="" if bar is None else f"{bar:.2f}",
            provenance=f"{OURS}: twice the largest sd",
            ours_mean=f"{lead:.3f}",
            ours_sd="",
            seeds=" ".join(_seeds(groups[best])),
            command=f"{COMMAND} --pair={name}",
            date=date,
            verdict="no bar" if bar is None else "met" if lead > bar else "missed",
        )
    ]


def _line(
    row: str,
    name: str,
    data: str,
    cells: Sequence[Cell],
    published: tuple[str, str],
    bar: float | None,
    date: str,
) -> LedgerRow:
    return LedgerRow(
        system="datafree",
        table=data,
        row=row,
        metric="test accuracy %",
        published=published[0],
        provenance=published[1],
        command=f"{COMMAND} --pair={name}",
        verdict=verdict(cells, bar),
        **ledger.measured({c.seed: 100 * c.accuracy for c in cells}, date, places=3),
    )


def verdict(cells: Sequence[Cell], bar: float | None) -> str:
    """Returns met, missed, no bar or not run; a bar is for all seeds.

    Args:
        cells: Of one group.
        bar: Mean test accuracy in percent that is to be reached; None for none.
    """
    if not cells:
        return "not run"
    if bar is None or len(cells) < len(SEEDS):
        return "no bar"
    mean = 100 * fmean(cell.accuracy for cell in cells)
    return "met" if mean >= bar - 1e-9 else "missed"
