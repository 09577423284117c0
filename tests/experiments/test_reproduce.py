"""Tables made from run folders: small made ones, and one real tiny run."""

import csv
import dataclasses
import json

import pytest

from experiments import reproduce, sweep
from experiments.reproduce import ReproduceConfig
from experiments.run_folders import folder_of, is_complete, read_finished
from experiments.tables import TABLES, Table
from network_pruning.evaluation.rows import KINDS, Row, write_rows
from network_pruning.runs import DamagedFile, RunDir

TINY = Table(
    "tiny",
    "a tiny one",
    1,
    {
        "dataset": "uci_digits",
        "epochs": 1,
        "widths": (16, 8),
        "k_vals": (0.0,),
        "seeds": (0,),
    },
    dense_bar=0.0,
    figures="tiny",
)


def write_run(config, accuracy=0.98, date="2026-01-31T10:00:00", leave_out=0):
    """Writes what a finished run of a config leaves."""
    rows = [
        Row(seed, k, kind, accuracy, 0.1, k, 0.1, 0.1, 0.01, 10, 20)
        for seed in config.seeds
        for k in config.k_vals
        for kind in KINDS
    ]
    run = RunDir(folder_of(config))
    run.write_text("rows.csv", write_rows(rows[leave_out:]))
    run.write_json("manifest.json", {"finished": ["2025-12-24T00:00:00", date]})
    for name in reproduce.FIGURES:
        run.write_text(name, f"content of {name}")
    return run


def ledger_of(folder):
    with open(folder / "ledger.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_reading_a_run(tmp_path):
    config = TABLES["digits-none"].config("val_loss", str(tmp_path))
    assert read_finished(config).rows == ()
    assert not is_complete(config)
    assert not list(tmp_path.iterdir())
    write_run(config)
    assert len(read_finished(config).rows) == 3 * 12 * 2
    assert read_finished(config).date == "2026-01-31"
    assert is_complete(config)
    assert not is_complete(dataclasses.replace(config, k_vals=(0.1,)))


def test_a_run_without_its_last_file_is_not_finished(tmp_path):
    config = TABLES["digits-none"].config("val_loss", str(tmp_path))
    write_run(config).remove("manifest.json")
    assert read_finished(config).rows == ()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("manifest.json", "{"),
        ("manifest.json", "{}"),
        ("manifest.json", '{"finished": []}'),
        ("rows.csv", "seed\n"),
    ],
)
def test_a_damaged_run_is_said(tmp_path, name, text):
    config = TABLES["digits-none"].config("val_loss", str(tmp_path))
    write_run(config).write_text(name, text)
    with pytest.raises(DamagedFile, match=f"{name} is damaged"):
        read_finished(config)


def test_make_fills_only_what_is_missing(tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr(sweep, "run", ran.append)
    table = TABLES["digits-none"]
    write_run(table.config("val_loss", str(tmp_path)))
    write_run(table.config("val_accuracy", str(tmp_path)), leave_out=1)
    reproduce.make(table, str(tmp_path))
    assert ran == [table.config("val_accuracy", str(tmp_path))]


def test_only_collect_trains_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sweep, "run", lambda config: pytest.fail("trained"))
    results, references = str(tmp_path / "results"), tmp_path / "references"
    table = TABLES["digits-none"]
    write_run(table.config("val_loss", results), accuracy=0.9771)
    reproduce.work(
        ReproduceConfig("digits-none", True, False, results, str(references))
    )
    lines = {
        (each["row"], each["metric"], each["published"]): each
        for each in ledger_of(references)
    }
    dense = lines["val_loss weight k=0", "dense accuracy bar", "0.9770"]
    assert (dense["ours_mean"], dense["date"]) == ("0.97710", "2026-01-31")
    assert (dense["seeds"], dense["verdict"]) == ("0 1 2", "met")
    other = lines["val_accuracy weight k=0", "dense accuracy bar", "0.9770"]
    assert other["verdict"] == "not run"
    page = (references / "sweep_digits-none.md").read_text(encoding="utf-8")
    assert "2026-01-31" in page and "not run" in page
    assert "Accuracy, weights pruned" in capsys.readouterr().out


def test_without_any_run_no_page_is_written(tmp_path):
    reproduce.report(TABLES["fashion-l1=1e-4"], str(tmp_path), RunDir(tmp_path / "out"))
    assert [path.name for path in (tmp_path / "out").glob("[!.]*")] == ["ledger.csv"]
    assert {each["verdict"] for each in ledger_of(tmp_path / "out")} == {"not run"}


def test_list_says_what_is_complete(tmp_path):
    table = TABLES["digits-none"]
    write_run(table.config("val_accuracy", str(tmp_path)))
    text = reproduce.listed(table, str(tmp_path))
    assert text.startswith("--table=digits-none\n")
    assert (
        f"about {table.minutes} minutes; val_loss to do, val_accuracy complete" in text
    )


def test_figures_are_copied(tmp_path):
    results, references = tmp_path / "results", tmp_path / "references"
    table = TABLES["fashion-none"]
    with pytest.raises(ValueError, match="holds no finished run: make it with"):
        reproduce.copy_figures(table, str(results), str(references))
    write_run(table.config("val_loss", str(results)))
    reproduce.copy_figures(table, str(results), str(references))
    assert sorted(path.name for path in (references / "fashion").iterdir()) == [
        "accuracy_cost.png",
        "loss_accuracy.png",
        "pruned_loss_accuracy.png",
        "pruned_units.gif",
        "pruned_weights.gif",
        "results.csv",
    ]
    copied = (references / "fashion" / "pruned_units.gif").read_text()
    assert copied == "content of figures/pruned_units.gif"


def test_tables_are_the_presets_and_nothing_is_said_twice():
    assert list(TABLES) == list(sweep.PRESETS)
    folders = {name: table.figures for name, table in TABLES.items() if table.figures}
    assert folders == {"digits-none": "digits", "fashion-none": "fashion"}


@pytest.mark.slow
def test_a_tiny_table_from_nothing(tmp_path, monkeypatch):
    results, references = str(tmp_path / "results"), tmp_path / "references"
    tuned = dataclasses.replace(
        TINY,
        name="tiny-finetune",
        flags={**TINY.flags, "k_vals": (0.5,), "finetune_epochs": 1},
        monitors=("val_loss",),
        metrics=("accuracy", "accuracy_one_shot"),
        dense_bar=None,
        figures=None,
    )
    monkeypatch.setattr(reproduce, "TABLES", {"tiny": TINY, "tiny-finetune": tuned})
    reproduce.work(ReproduceConfig("all", False, True, results, str(references)))
    lines = ledger_of(references)
    assert {each["table"] for each in lines} == {"tiny", "tiny-finetune"}
    # 2 kinds x 2 metrics and the dense bar, twice; 2 kinds x 2 metrics.
    assert len(lines) == 2 * 5 + 4
    assert {each["verdict"] for each in lines} == {"met", "no bar"}
    assert (references / "tiny" / "pruned_units.gif").stat().st_size > 1000
    # One training, shared by the three runs: the same networks in the same files.
    found = sorted((tmp_path / "results").glob("*/checkpoints/seed=0/training.json"))
    assert len(found) == 3
    trained = {json.dumps(json.loads(path.read_text())["digests"]) for path in found}
    assert len(trained) == 1
    monkeypatch.setattr(sweep, "run", lambda config: pytest.fail("ran again"))
    before = (references / "ledger.csv").read_text()
    reproduce.work(ReproduceConfig("all", False, False, results, str(references)))
    assert (references / "ledger.csv").read_text() == before
