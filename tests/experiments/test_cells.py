"""Bars and verdicts, on small made rows."""

import dataclasses
import math

import pytest

from experiments.cells import BAR_PROVENANCE, DENSE_BAR, Cell, compare
from experiments.tables import TABLES
from network_pruning.evaluation.rows import Row


def row(seed, k, kind, accuracy, loss=0.5, one_shot=None):
    return Row(
        seed,
        k,
        kind,
        accuracy,
        loss,
        k,
        0.4,
        0.4,
        0.01,
        10,
        20,
        accuracy_one_shot=one_shot,
    )


def rows_at(k, kind, *accuracies, loss=0.5):
    return [row(seed, k, kind, a, loss) for seed, a in enumerate(accuracies)]


def cell(table, rows, kind, k, metric="accuracy"):
    found = [
        each
        for each in compare(TABLES[table], "val_loss", rows)
        if (each.kind, each.k, each.metric) == (kind, k, metric)
    ]
    assert len(found) == 1
    return found[0]


def test_mean_and_sd_over_seeds():
    got = Cell("unit", 0.5, "accuracy", (0.90, 0.92, 0.97))
    assert got.mean == pytest.approx(0.93)
    assert got.sd == pytest.approx(math.sqrt((9 + 1 + 16) / 2) / 100)
    assert math.isnan(Cell("unit", 0.5, "accuracy", (0.9,)).sd)


def test_bar_is_a_point_below_the_lowest_published_run():
    # Digits, no penalty, weights at .5: .9813 and .9761 were published.
    at_bar = cell(
        "digits-none", rows_at(0.5, "weight", 0.9660, 0.9661, 0.9662), "weight", 0.5
    )
    assert [each.value for each in at_bar.references] == [0.9813, 0.9761]
    assert at_bar.bar == 0.9661
    assert at_bar.verdict == "met"
    below = cell(
        "digits-none", rows_at(0.5, "weight", 0.9660, 0.9661, 0.9661), "weight", 0.5
    )
    assert below.verdict == "missed"


@pytest.mark.parametrize(
    ("table", "kind", "k", "bar"),
    [
        # Units at .25: .9812 of .9813, .9729 of .9770, both near their dense value.
        ("digits-none", "unit", 0.25, 0.9629),
        # Units at .5: the first run holds (.9778), the second has fallen (.9331).
        ("digits-none", "unit", 0.5, None),
        # Weights at .8: .9777 and .9722. At .9: .9688 (-1.25) but .9553 (-2.17).
        ("digits-none", "weight", 0.8, 0.9622),
        ("digits-none", "weight", 0.9, None),
        # Only the second run has .995.
        ("digits-none", "weight", 0.995, None),
        # l1: .9464, above its dense .9459; .8797 is a fall.
        ("digits-l1=1e-3", "weight", 0.995, 0.9364),
        ("digits-l1=1e-3", "weight", 0.999, None),
        # A rise within the margin is near too: .8335 of .8323.
        ("fashion-l1=1e-3", "unit", 0.7, 0.8235),
        # l2, fashion, units at .5: .8356 of .8515, 1.59 points.
        ("fashion-l2=1e-2", "unit", 0.5, None),
        ("digits-l1=1e-4", "weight", 0.25, None),
    ],
)
def test_bars_of_known_cells(table, kind, k, bar):
    got = cell(table, rows_at(k, kind, 0.1, 0.1, 0.1), kind, k)
    assert got.bar == bar
    assert got.verdict == ("no bar" if bar is None else "missed")


@pytest.mark.parametrize(
    ("published", "bar"),
    [(0.9574 - 0.015, 0.9324), (0.9574 - 0.0151, None), (0.9574 + 0.0151, None)],
)
def test_near_is_a_point_and_a_half_either_way(published, bar):
    def moved(p):
        here = (p.k, p.kind, p.metric) == (0.5, "unit", "accuracy")
        return dataclasses.replace(p, value=published) if here else p

    table = TABLES["digits-l2=1e-2"]
    table = dataclasses.replace(table, published=tuple(map(moved, table.published)))
    cells = compare(table, "val_loss", [])
    assert [
        c.bar for c in cells if (c.k, c.kind, c.metric) == (0.5, "unit", "accuracy")
    ] == [bar]


def test_losses_have_no_bar():
    got = cell(
        "digits-none", rows_at(0.0, "weight", 1, 1, 1, loss=99.0), "weight", 0.0, "loss"
    )
    assert got.verdict == "no bar"
    assert got.mean == 99.0


def test_dense_bar():
    rows = rows_at(0.0, "weight", 0.9770, 0.9760, 0.9780)
    got = cell("digits-none", rows, "weight", 0.0, DENSE_BAR)
    assert (got.bar, got.verdict) == (0.977, "met")
    assert got.references[0].provenance == BAR_PROVENANCE
    rows = rows_at(0.0, "weight", 0.8820, 0.8819, 0.8820)
    assert cell("fashion-none", rows, "weight", 0.0, DENSE_BAR).verdict == "missed"
    cells = compare(TABLES["digits-l1=1e-3"], "val_loss", [])
    assert DENSE_BAR not in {each.metric for each in cells}


@pytest.mark.parametrize(
    ("dataset", "kind", "k", "bar"),
    [
        ("digits", "weight", 0.99, 0.975),
        ("digits", "unit", 0.8, 0.978),
        ("digits", "unit", 0.9, 0.970),
        ("fashion", "weight", 0.95, 0.880),
        ("fashion", "unit", 0.8, 0.875),
    ],
)
def test_finetune_bars(dataset, kind, k, bar):
    table = f"{dataset}-finetune"
    assert cell(table, rows_at(k, kind, bar, bar, bar), kind, k).verdict == "met"
    missed = cell(table, rows_at(k, kind, bar, bar, bar - 1e-4), kind, k)
    assert missed.verdict == "missed"
    assert [each.value for each in missed.references] == [bar]
    count = sum(c.bar is not None for c in compare(TABLES[table], "val_loss", []))
    assert count == {"digits": 3, "fashion": 2}[dataset]


def test_a_cell_without_all_seeds_is_not_run():
    two = rows_at(0.5, "weight", 0.99, 0.99)
    got = cell("digits-none", two, "weight", 0.5)
    assert (got.values, got.verdict) == ((), "not run")
    four = rows_at(0.5, "weight", 0.99, 0.98, 0.97, 0.1)
    assert cell("digits-none", four, "weight", 0.5).values == (0.99, 0.98, 0.97)


def test_one_shot_accuracy_stands_beside_the_finetuned():
    rows = [row(seed, 0.9, "unit", 0.97, one_shot=0.3) for seed in range(3)]
    assert cell("digits-finetune", rows, "unit", 0.9, "accuracy_one_shot").mean == 0.3


def test_every_cell_is_there_once():
    cells = compare(TABLES["fashion-none"], "val_accuracy", [])
    keys = {(each.metric, each.kind, each.k) for each in cells}
    assert len(cells) == len(keys) == 1 + 2 * 2 * 12
