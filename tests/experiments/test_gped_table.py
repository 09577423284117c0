"""The published tables of posterior distillation, and ours beside them."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
from absl import flags

import models
from data.arrays import ArrayDataset
from experiments import gped_table, grids, ledger
from experiments.gped_table import TableConfig
from experiments.gpeds import strangers, tables, uses
from experiments.gpeds.config import GpedConfig
from experiments.gpeds.settings import FULL, Setting, setting_of
from network_pruning import cli
from network_pruning.runs import RunDir


def test_published_numbers_are_those_of_the_tables():
    published = tables.read_published()
    assert len(published) == (6 * 4 * 2 + 3) * 5

    def value(row, metric):
        return float(published[row, metric][0])

    assert [value("fc-60k-0", m) for m in tables.METRICS] == [
        *(0.052, 0.082, 0.054),
        *(0.020, 0.016),
    ]
    assert [value("cnn-10k-15", m) for m in tables.METRICS] == [
        *(0.394, 0.907, 0.902),
        *(0.129, 0.115),
    ]
    assert value("fc-60k-25", "entropy MAE uo") == 0.021
    assert value("cifar-50k-0", "student NLL us") == 0.932
    assert {v[1] for k, v in published.items() if k[0].startswith("fc")} == {
        "Vadera et al. 2020, Table 6, one run"
    }


def test_a_row_is_a_chain():
    chain = tables.chain_of("fc-60k-0", ("predictive",), Setting(500_000), 0, "results")
    assert chain == GpedConfig(
        preset="full",
        iterations=500_000,
        estimator=("us", "uo"),
        num_valid=0,
    )
    often = Setting(iterations=2_000_000, dropout=0.5, thin=10)
    taught = tables.chain_of("fc-60k-0", ("predictive",), often, 0, "results")
    assert setting_of(taught) == often
    assert often.name == "2000000 steps, dropout 0.5, a lesson every 10"
    assert often.flags == " --iterations=2000000 --student_dropout=0.5 --thin=10"
    small = tables.chain_of("cnn-10k-15", tables.TARGETS, Setting(), 2, "r")
    assert (small.steps, small.num_training_samples, small.mask_size) == (
        *(1_000_000, 10_000),
        15,
    )
    cifar = tables.chain_of("cifar-20k-0", tables.TARGETS, Setting(), 2, "r")
    assert (cifar.dataset, cifar.eta) == ("cifar10", 2e-6)


def test_flags_are_judged():
    for word, message in (
        ("--rows=fc-5k-0", "rows: got fc-5k-0, expected some of fc-10k-0"),
        ("--targets=variance", "targets: got variance, expected some of"),
        ("--seeds=0,0", "seeds: got 0,0, expected different whole numbers"),
        ("--iterations=0", "iterations: got 0"),
        ("--thin=0", "thin: got 0"),
        ("--student_dropout=1", "student_dropout: got 1.0, expected a share in"),
        ("--ood=fashion", "targets: got predictive,entropy with --ood, expected both"),
        ("--targets=both", "targets: got both without --ood, expected both of them"),
    ):
        with pytest.raises(flags.Error, match=message):
            cli.parse(TableConfig, ["gped_table", word])


def test_means_are_held_against_the_published_numbers():
    def cell(metric, seed, value):
        return tables.Cell("fc-60k-0", FULL, metric, seed, value)

    cells = [
        *(cell("teacher NLL", 0, 0.0524), cell("teacher NLL", 1, 0.0522)),
        *(cell("student NLL us", 0, 0.09), cell("entropy MAE uo", 0, 0.01)),
    ]
    cells.append(dataclasses.replace(cells[0], iterations=500))
    cells.append(dataclasses.replace(cells[2], dropout=0.5, value=0.08))
    cells.append(dataclasses.replace(cells[2], thin=10, value=0.07))
    lines = {
        (line.table, line.row, line.metric): line
        for line in tables.ledger_lines(cells, "2026-01-02")
    }
    teacher = lines["1000000 steps", "fc-60k-0", "teacher NLL"]
    assert (teacher.verdict, teacher.seeds) == ("met", "0 1")
    assert float(teacher.ours_mean) == pytest.approx(np.mean([0.0524, 0.0522]))
    assert float(teacher.ours_sd) == pytest.approx(
        np.std([0.0524, 0.0522], ddof=1), abs=1e-5
    )
    student = lines["1000000 steps", "fc-60k-0", "student NLL us"]
    assert (student.verdict, student.ours_sd) == ("missed", "")
    assert lines["1000000 steps", "fc-60k-0", "student NLL uo"].verdict == "not run"
    short = lines["500 steps", "fc-60k-0", "teacher NLL"]
    assert short.command.endswith("--rows=fc-60k-0 --iterations=500")
    dropped = lines["1000000 steps, dropout 0.5", "fc-60k-0", "student NLL us"]
    assert dropped.command.endswith("--rows=fc-60k-0 --student_dropout=0.5")
    assert (dropped.verdict, dropped.ours_mean) == ("met", "0.08000")
    often = lines["1000000 steps, a lesson every 10", "fc-60k-0", "student NLL us"]
    assert often.command.endswith("--rows=fc-60k-0 --thin=10")
    assert len(lines) == len(tables.read_published()) + 3
    page = tables.markdown(cells, "2026-01-02")
    assert "| 1,000,000 | 0 | every 10 | 0 | - / 0.052 | 0.0700 / 0.082 |" in page
    assert (
        "| fc-60k-0 | 1,000,000 | 0 | usual | 0 1 | 0.0523 ± 0.0001 / 0.052 | "
        "0.0900 / 0.082 | - / 0.054 | - / 0.020 | 0.0100 / 0.016 |"
    ) in page
    assert "| fc-60k-0 | 500 (short) | 0 | usual | 0 | 0.0524 / 0.052 |" in page
    assert (
        "| fc-60k-0 | 1,000,000 | 0.5 | usual | 0 | - / 0.052 | 0.0800 / 0.082 |"
        in page
    )


def test_cells_of_older_versions_have_no_dropout():
    older = "row,iterations,metric,seed,value\nfc-60k-0,9,teacher NLL,1,0.5\n"
    (cell,) = grids.parse(tables.Cell, older)
    assert cell == tables.Cell("fc-60k-0", 9, "teacher NLL", 1, 0.5, dropout=0.0)
    assert grids.parse(tables.Cell, grids.text(tables.Cell, [cell])) == [cell]


def test_the_dropout_is_that_of_the_students_and_another_chain():
    plain, dropped = (
        TableConfig(rows=("fc-60k-0",), student_dropout=rate) for rate in (0.0, 0.5)
    )
    (row, chain), (_, other) = plain.chains()[0], dropped.chains()[0]
    assert (chain.student_dropout, other.student_dropout) == (0.0, 0.5)
    assert chain.run_id() != other.run_id()
    measured = [
        SimpleNamespace(stage="teacher", name="ensemble", nll=0.05),
        SimpleNamespace(stage="student", name="predictive-us-1-1", nll=0.06),
    ]
    cells = {cell.key: cell for cell in tables.cells_of(row, chain, measured)}
    assert len(cells | {c.key: c for c in tables.cells_of(row, other, measured)}) == 4


def random_data(name, **options):
    generator = np.random.default_rng(len(name))

    def part(count):
        images = generator.random((count, 4, 4, 1), np.float32)
        return images, generator.integers(0, 3, count)

    parts = {"train": part(59_999), "valid": part(1), "test": part(20)}
    return ArrayDataset(name, parts, num_classes=3, fingerprint="f" * 64)


def test_a_table_fills_and_is_not_filled_again(tmp_path, monkeypatch):
    for module in ("chains", "students"):
        monkeypatch.setattr(
            f"network_pruning.posterior.{module}.is_dense", lambda network: False
        )
    config = TableConfig(
        rows=("fc-10k-0",),
        iterations=120,
        output_dir=str(tmp_path / "results"),
        references_dir=str(tmp_path / "references"),
    )

    def build(name, shape, classes, **options):
        return models.build(name, shape, classes, **options | {"widths": (7, 6)})

    gped_table.run(config, random_data, build)
    references = RunDir(tmp_path / "references")
    kept = references.read_text(gped_table.CELLS)
    assert kept.count("\n") == 1 + len(tables.METRICS)
    assert "| fc-10k-0 | 120 (short) | 0 | usual | 0 |" in references.read_text(
        "posterior_mnist.md"
    )
    lines = [line for line in ledger.read(references) if line.verdict != "not run"]
    assert {line.metric for line in lines} == set(tables.METRICS)
    # Elsewhere, what is published is taken: no chain is walked.
    other = dataclasses.replace(config, output_dir=str(tmp_path / "other"))
    gped_table.run(other, None, None)
    assert references.read_text(gped_table.CELLS) == kept
    assert json.loads(next((tmp_path / "results").glob("*/config.json")).read_text())[
        "estimator"
    ] == ["us", "uo"]


def test_published_uses_are_those_of_the_tables():
    published = uses.read_published()
    assert len(published) == 3 * (1 + 16 + 16) + 6 * 2 * 9
    fc = "fc-60k-15", "notmnist"
    assert published[(*fc, "student uo", "AUROC knowledge")][0] == "0.847"
    assert published[(*fc, "EnD2 uo", "AUROC knowledge")][0] == "0.890"
    assert published["cnn-60k-15", "test", "student us, 3 x 3 as wide", "NLL"] == (
        *("0.296", "Vadera et al. 2020, Table 2, one run"),
    )
    assert {row for row, *_ in published} <= set(tables.row_names())


def test_contenders_are_called_as_the_published_ones():
    assert [uses.label_of(name) for name in ("both-us-1-1", "dirichlet-uo-5-5")] == [
        *("student us", "EnD2 uo, 5 x 5 as wide"),
    ]
    assert uses.label_of("predictive-uo-1-0.5") == "mean alone uo, 1 x 0.5 as wide"
    assert uses.label_of("mc dropout") == "mc dropout"


def a_use(**changes):
    use = uses.Use(
        *("fc-60k-15", FULL, 0.0, "notmnist", "student us"),
        *("AUROC total", 0, 0.7361),
    )
    return dataclasses.replace(use, **changes)


def test_uses_are_held_against_the_published_numbers():
    used = [
        *(a_use(), a_use(seed=1, value=0.7381), a_use(contender="EnD2 us", value=0.9)),
        *(a_use(measure="AUROC knowledge", value=0.8), a_use(images="fashion")),
        a_use(images="test", measure=uses.NLL, value=0.4124),
        a_use(images="test", measure=uses.MAE, value=0.0636, iterations=500),
    ]
    lines = {
        (line.table, line.row, line.metric): line
        for line in uses.ledger_lines(used, "2026-01-02")
    }
    full, short = "1000000 steps", "500 steps"
    total = lines[full, "fc-60k-15", "notmnist: AUROC total, student us"]
    assert (total.verdict, total.ours_mean, total.seeds) == ("met", "0.73710", "0 1")
    assert (total.published, total.ours_sd) == ("0.736", "0.00141")
    assert total.command.endswith("--ood=path/to/notmnist")
    measured = [key for key, line in lines.items() if line.seeds and key[0] == full]
    verdicts = {key[2]: lines[key].verdict for key in measured}
    assert verdicts == {
        "notmnist: AUROC total, student us": "met",
        "notmnist: AUROC knowledge, student us": "missed",
        "notmnist: AUROC total, EnD2 us": "no bar",
        "fashion: AUROC total, student us": "no bar",
        "test: NLL, student us": "met",
    }
    assert lines[short, "fc-60k-15", "test: entropy MAE, student us"].command.endswith(
        "--iterations=500"
    )
    # Beside the number of a short chain stands that the long one is not run.
    assert lines[full, "fc-60k-15", "test: entropy MAE, student us"].verdict == (
        "not run"
    )
    assert len(lines) == len(uses.read_published()) + 2
    page = uses.markdown(used, "2026-01-02")
    assert page.index("| student us |") < page.index("| EnD2 us |")
    assert "| student us | 0.737 ± 0.001 / 0.736 | 0.800 / 0.803 |" in page
    assert "| EnD2 us | 0.900 / 0.659 | - / 0.720 |" in page
    assert "## fc-60k-15, 500 steps, dropout 0, seeds 0" in page


def test_strangers_are_found_on_a_row_and_not_again(tmp_path, monkeypatch):
    for module in ("chains", "students"):
        monkeypatch.setattr(
            f"network_pruning.posterior.{module}.is_dense", lambda network: False
        )

    config = TableConfig(
        rows=("fc-10k-0",),
        targets=("predictive", "both", "dirichlet"),
        ood=("elsewhere",),
        iterations=120,
        output_dir=str(tmp_path / "results"),
        references_dir=str(tmp_path / "references"),
    )
    ((row, chain),) = config.chains()
    chain = dataclasses.replace(chain, members=2, baseline_epochs=1)
    monkeypatch.setattr(TableConfig, "chains", lambda self: [(row, chain)])
    assert uses.uses_of(row, chain) == []

    def build(name, shape, classes, **options):
        return models.build(name, shape, classes, **options | {"widths": (7, 6)})

    gped_table.run(config, random_data, build)
    references = RunDir(tmp_path / "references")
    used = {use.key: use for use in grids.read(uses.Use, references, uses.CELLS)}
    found = grids.read(
        strangers.Found, RunDir(strangers.ood_folder(chain)), strangers.RESULTS
    )
    assert len(found) == len([1 for use in used.values() if use.images != "test"])
    for one in found:
        where = "elsewhere", uses.label_of(one.contender), f"AUROC {one.kind}", 0
        assert used[("fc-10k-0", Setting(120), *where)].value == one.auroc
    told = {(use.contender, use.measure) for use in used.values()}
    assert {("student us", uses.MAE), ("EnD2 uo", "nDCG@20 knowledge")} <= told
    assert ("EnD2 us", uses.MAE) in told
    assert np.isfinite([use.value for use in used.values()]).all()
    assert {("mc dropout", uses.NLL), ("mean alone us", uses.NLL)} <= told
    # What is published is taken, by both tables.
    gped_table.run(config, None, None)
    assert "Against elsewhere" in references.read_text(uses.PAGE)
