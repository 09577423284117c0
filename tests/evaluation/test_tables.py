import csv
import io
import statistics

import pytest

from network_pruning.evaluation import tables
from network_pruning.evaluation.rows import Row, write_table


def row(seed, sparsity, kind, accuracy, **more):
    values = dict(
        loss=accuracy / 10,
        achieved_sparsity=sparsity,
        cross_entropy=0.5,
        nll=0.5,
        ece=0.02,
        nonzeros=100 + seed,
        params=200,
    )
    return Row(seed, sparsity, kind, accuracy, **{**values, **more})


ROWS = [
    row(seed, k, kind, base - seed / 100, certificate=cert * (seed + 1), macs=1234567)
    for seed in (0, 1, 2)
    for k, kind, base, cert in (
        (0.9, "weight", 0.8, 0.0),
        (0.9, "unit", 0.4, 1e-7),
        (0.25, "weight", 0.98, 0.0),
        (0.25, "unit", 0.97, 2e-7),
    )
]


def by_column(rows):
    header, lines = tables.results(rows)
    return [dict(zip(header, line, strict=True)) for line in lines]


def test_the_first_five_columns_are_the_originals():
    header, _ = tables.results(ROWS)
    assert header[:5] == [
        "Sparsity (%)",
        "Test Accuracy (Weight)",
        "Test Accuracy (Unit)",
        "Test Loss: (Weight)",
        "Test Loss: (Unit)",
    ]


def test_every_further_quantity_comes_twice_and_so_does_its_sd():
    header, _ = tables.results(ROWS)
    names = [
        "Achieved Sparsity",
        "Cross Entropy",
        "NLL",
        "ECE",
        "Nonzeros",
        "Parameters",
        "MACs",
        "Bytes .keras",
        "Bytes gzip",
        "Bytes tflite",
        "Bytes tflite int8",
        "Certificate",
        "Test Accuracy One-Shot",
    ]
    further = [f"{n} ({k})" for n in names for k in ("Weight", "Unit")]
    spread = [
        f"{n} sd ({k})"
        for n in ["Test Accuracy", "Test Loss", *names]
        for k in ("Weight", "Unit")
    ]
    assert header[5:] == [*further, *spread, "Seeds"]


def test_means_and_deviations_are_over_the_seeds():
    first, second = by_column(ROWS)
    accuracies = [0.4 - seed / 100 for seed in (0, 1, 2)]
    assert second["Sparsity (%)"] == "0.9000"
    assert second["Test Accuracy (Unit)"] == f"{statistics.mean(accuracies):.4f}"
    assert second["Test Accuracy sd (Unit)"] == f"{statistics.stdev(accuracies):.4f}"
    assert second["Test Loss: (Unit)"] == "0.0390"
    assert first["Test Accuracy (Weight)"] == "0.9700"
    assert first["Nonzeros (Weight)"] == "101"
    assert first["Nonzeros sd (Weight)"] == "1.0"
    assert first["Seeds"] == "3"


def test_of_the_certificates_the_worst_counts():
    assert by_column(ROWS)[0]["Certificate (Unit)"] == "6.00e-07"


def test_one_seed_has_empty_deviations():
    (line,) = by_column([row(7, 0.5, "weight", 0.9), row(7, 0.5, "unit", 0.8)])
    assert line["Test Accuracy (Unit)"] == "0.8000"
    assert {line[name] for name in line if " sd (" in name} == {""}
    assert line["Seeds"] == "1"


def test_what_is_missing_is_empty():
    (line,) = by_column([row(0, 0.5, "weight", 0.9)])
    assert line["Test Accuracy (Unit)"] == line["MACs (Weight)"] == ""


def test_a_network_met_twice_is_refused():
    with pytest.raises(ValueError, match="occurs 2 times"):
        tables.results([ROWS[0], ROWS[0]])


@pytest.mark.parametrize(
    ("sparsity", "text"),
    [(0.0, "0.0000"), (0.25, "0.2500"), (0.9999, "0.9999"), (0.99995, "0.99995")],
)
def test_a_sparsity_has_four_decimals_or_all_it_needs(sparsity, text):
    assert tables.format_sparsity(sparsity) == text


def test_a_tiny_sparsity_is_not_written_with_an_exponent():
    assert tables.format_sparsity(1e-7) == "0.0000001"


def test_write_table_reads_back():
    header, lines = tables.results(ROWS)
    text = write_table(header, lines)
    assert text.startswith("Sparsity (%),Test Accuracy (Weight),")
    assert list(csv.reader(io.StringIO(text))) == [header, *lines]


def test_the_terminal_table_is_aligned():
    lines = tables.terminal_table(ROWS).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[2].split()[:4] == ["0.25", "0.9700", "±", "0.0100"]
    assert "1 234 567" in lines[2]


def test_the_markdown_table_has_the_same_cells():
    lines = tables.markdown_table(ROWS).splitlines()
    assert lines[1].count("---:") == lines[0].count("|") - 1
    cells = [cell.strip() for cell in lines[2].strip("|").split("|")]
    assert cells[:3] == ["0.25", "0.9700 ± 0.0100", "0.9600 ± 0.0100"]


def test_the_sparsity_zero_is_a_plain_zero():
    line = tables.markdown_table([row(0, 0.0, "weight", 0.9)]).splitlines()[2]
    assert line.startswith("| 0 | 0.9000 |")
