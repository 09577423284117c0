"""The ledger: lines from rows, and lines in the place of old ones."""

import dataclasses
from contextlib import contextmanager

import pytest

from experiments import ledger
from experiments.cells import BAR_PROVENANCE
from experiments.ledger import HEADER, LedgerRow, collect, upsert
from experiments.tables import TABLES
from network_pruning.evaluation.rows import Row
from network_pruning.runs import DamagedFile, RunDir

DAY = "2026-01-31"


def rows_at(k, kind, *accuracies):
    return [
        Row(seed, k, kind, accuracy, 0.25, k, 0.2, 0.2, 0.01, 10, 20)
        for seed, accuracy in enumerate(accuracies)
    ]


def lines_of(table, rows, row, metric="accuracy"):
    lines = collect(TABLES[table], "val_loss", rows, DAY)
    return [line for line in lines if (line.row, line.metric) == (row, metric)]


def line(row="val_loss unit k=0.5", mean="0.97000", verdict="met", **changes):
    values = dict.fromkeys(HEADER, "x") | {"row": row, "ours_mean": mean}
    return LedgerRow(**(values | {"verdict": verdict} | changes))


def test_header_is_the_designs():
    assert ",".join(HEADER) == (
        "system,table,row,metric,published,provenance,"
        "ours_mean,ours_sd,seeds,command,date,verdict"
    )


def test_one_line_for_each_published_run():
    first, second = lines_of(
        "digits-none", rows_at(0.5, "weight", 0.97, 0.98, 0.99), "val_loss weight k=0.5"
    )
    assert first == LedgerRow(
        system="sweep",
        table="digits-none",
        row="val_loss weight k=0.5",
        metric="accuracy",
        published="0.9813",
        provenance="justincosentino/network-pruning ca15458, "
        "accuracy headers swapped back",
        ours_mean="0.98000",
        ours_sd="0.01000",
        seeds="0 1 2",
        command="python -m experiments.reproduce --table=digits-none",
        date=DAY,
        verdict="met",
    )
    assert (second.published, second.verdict) == ("0.9761", "met")
    assert second.provenance.endswith("4f6cf36 references/")


def test_missed_and_no_bar_and_not_run():
    rows = rows_at(0.5, "weight", 0.9, 0.9, 0.9) + rows_at(0.5, "unit", 0.9, 0.9, 0.9)
    missed = lines_of("digits-none", rows, "val_loss weight k=0.5")
    cliff = lines_of("digits-none", rows, "val_loss unit k=0.5")
    absent = lines_of("digits-none", rows, "val_loss unit k=0.25")
    assert {each.verdict for each in missed} == {"missed"}
    assert {each.verdict for each in cliff} == {"no bar"}
    assert {each.verdict for each in absent} == {"not run"}
    assert {(e.ours_mean, e.ours_sd, e.seeds, e.date) for e in absent} == {("",) * 4}


def test_what_was_never_published():
    rows = rows_at(0.25, "unit", 0.9, 0.9, 0.9)
    for metric in ("accuracy", "loss"):
        (only,) = lines_of("fashion-l2=1e-3", rows, "val_loss unit k=0.25", metric)
        assert (only.published, only.provenance) == ("", "never published")
        assert only.verdict == "no bar"


def test_own_bars_stand_in_the_published_column():
    rows = rows_at(0.0, "weight", 0.98, 0.98, 0.98)
    (dense,) = lines_of(
        "digits-none", rows, "val_loss weight k=0", "dense accuracy bar"
    )
    assert (dense.published, dense.provenance) == ("0.9770", BAR_PROVENANCE)
    assert dense.verdict == "met"


def test_count_of_lines():
    # 12 k x 2 kinds x 2 metrics of the second run, 10 of the first, and the dense bar.
    assert len(collect(TABLES["digits-none"], "val_accuracy", [], "")) == 48 + 40 + 1
    assert len(collect(TABLES["digits-l1=1e-4"], "val_loss", [], "")) == 48


def test_upsert_replaces_adds_and_sorts():
    old = [line("val_loss unit k=0.9"), line("val_loss unit k=0.25", mean="0.1")]
    new = [line("val_loss unit k=0.25", mean="0.2"), line("val_loss unit k=0.5")]
    got = upsert(old, new)
    assert [each.row[-4:].strip("k=") for each in got] == ["0.25", "0.5", "0.9"]
    assert got[0].ours_mean == "0.2"
    assert upsert(got, new) == got


@pytest.mark.parametrize("name", ["system", "table", "row", "metric", "provenance"])
def test_each_part_of_the_key_tells_lines_apart(name):
    assert len(upsert([line()], [line(**{name: "y"})])) == 2


def test_the_same_number_keeps_its_date():
    known = [dataclasses.replace(line(), date="2026-01-01")]
    assert upsert(known, [dataclasses.replace(line(), date="2026-02-02")]) == known
    (changed,) = upsert(known, [dataclasses.replace(line(mean="9"), date="2026-02-02")])
    assert changed.date == "2026-02-02"


def test_not_run_wipes_out_no_number():
    known = [line()]
    assert upsert(known, [line(mean="", verdict="not run")]) == known
    assert upsert([], [line(mean="", verdict="not run")])[0].verdict == "not run"
    again = upsert([line(mean="", verdict="not run")], known)
    assert again == known


def test_record_writes_what_read_returns(tmp_path):
    folder = RunDir(tmp_path)
    rows = rows_at(0.5, "weight", 0.97, 0.98, 0.99)
    lines = collect(TABLES["digits-none"], "val_loss", rows, DAY)
    ledger.record(folder, lines)
    before = folder.read_text("ledger.csv")
    assert ledger.read(folder) == sorted(lines, key=lambda each: each.key)
    ledger.record(folder, reversed(lines))
    assert folder.read_text("ledger.csv") == before


def test_lines_of_other_processes_stay(tmp_path, monkeypatch):
    folder, taken = RunDir(tmp_path), []

    @contextmanager
    def lock(path, wait):
        taken.append((path.name, wait))
        yield True

    monkeypatch.setattr(ledger, "lock", lock)
    ledger.record(folder, [line()])
    ledger.record(folder, [dataclasses.replace(line(), row="another")])
    assert len(ledger.read(folder)) == 2 and taken == 2 * [(".ledger.lock", True)]


@pytest.mark.parametrize("cut", ["", "a,b\n", ",".join(HEADER) + "\nsweep,digits\n"])
def test_a_damaged_ledger_is_said_and_kept(tmp_path, cut):
    folder = RunDir(tmp_path)
    folder.write_text("ledger.csv", cut)
    with pytest.raises(DamagedFile, match="ledger.csv is damaged"):
        ledger.record(folder, [line()])
    assert folder.read_text("ledger.csv") == cut
