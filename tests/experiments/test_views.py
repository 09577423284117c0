"""Ours beside the published, as text."""

from experiments import views
from experiments.cells import compare
from experiments.tables import TABLES
from network_pruning.evaluation.rows import Row


def rows_at(k, kind, *accuracies):
    return [
        Row(seed, k, kind, accuracy, 0.25, k, 0.2, 0.2, 0.01, 10, 20)
        for seed, accuracy in enumerate(accuracies)
    ]


def both(table, rows):
    return {m: compare(TABLES[table], m, rows) for m in TABLES[table].monitors}


def test_one_grid_for_each_metric_and_kind():
    grids = list(views.grids(both("digits-none", [])))
    assert [title for title, _, _ in grids] == [
        "Dense accuracy bar, weights pruned",
        "Accuracy, weights pruned",
        "Accuracy, units pruned",
        "Loss, weights pruned",
        "Loss, units pruned",
    ]
    assert [len(lines) for _, _, lines in grids] == [1, 12, 12, 12, 12]


def test_a_line_holds_published_ours_and_difference():
    rows = rows_at(0.5, "weight", 0.97, 0.98, 0.99)
    grids = {
        title: (header, lines)
        for title, header, lines in views.grids(both("digits-none", rows))
    }
    header, lines = grids["Accuracy, weights pruned"]
    assert header == [
        "k",
        "published, first",
        "published, second",
        "ours, val_loss",
        "difference",
        "verdict",
        "ours, val_accuracy",
        "difference",
        "verdict",
    ]
    ours = ["0.9800 ± 0.0100 [0.9700, 0.9900]", "+0.0013", "met"]
    assert lines[2] == ["0.5", "0.9813", "0.9761", *ours, *ours]
    # The first run ends at .99, and nothing else was run.
    assert lines[10] == ["0.995", "", "0.2192", *["", "", "not run"] * 2]


def test_columns_say_where_numbers_come_from():
    def columns(table):
        *_, (_, accuracy, _), (_, loss, _) = views.grids(both(table, []))
        return accuracy[1], loss[1]

    assert columns("digits-l1=1e-3") == ("published", "published")
    assert columns("digits-l1=1e-4") == ("ours, val_loss", "ours, val_loss")
    _, header, _ = next(views.grids(both("digits-finetune", [])))
    assert header[:2] == ["k", "bar"]


def test_page_says_how_it_was_made():
    cells = both("digits-finetune", rows_at(0.9, "unit", 0.97, 0.98, 0.99))
    page = views.markdown(TABLES["digits-finetune"], cells, {"val_loss": "2026-01-31"})
    assert "    python -m experiments.reproduce --table=digits-finetune\n" in page
    assert "Seeds 0, 1, 2; 20 epochs. Retrained for 10 epochs" in page
    assert "- 2026-01-31: `python -m network_pruning.train --seeds=0,1,2" in page
    assert "## Accuracy one shot, units pruned" in page
    assert "| 0.9 | 0.9700 | 0.9800 ± 0.0100 [0.9700, 0.9900] | +0.0100 | met |" in page
    tables = [line for line in page.splitlines() if line.startswith("|")]
    for line in tables:
        assert line.count("|") in {6, 5}, line


def test_terminal_columns_are_aligned():
    rows = rows_at(0.5, "unit", 0.97, 0.98, 0.99)
    for part in views.terminal(both("fashion-none", rows)).split("\n\n"):
        assert len({len(line) for line in part.splitlines()[1:]}) == 1
