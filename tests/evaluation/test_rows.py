import dataclasses

import numpy as np
import pytest

from network_pruning.evaluation import rows

ROW = rows.Row(
    seed=0,
    sparsity=0.1 + 0.2,
    kind="unit",
    accuracy=1 / 3,
    loss=2.5e-17,
    achieved_sparsity=0.3,
    cross_entropy=0.25,
    nll=0.25,
    ece=0.01,
    nonzeros=7,
    params=9,
    certificate=3e-7,
)
LATENCY = rows.LatencyRow(1, 0.5, "weight", 100 / 3, 40.0, 2.0, 3.0, 1)


def test_rows_come_back_bit_for_bit():
    other = dataclasses.replace(ROW, kind="weight", certificate=None, macs=12)
    assert rows.read_rows(rows.write_rows([ROW, other])) == [ROW, other]


def test_numpy_scalars_are_written_as_plain_numbers():
    row = dataclasses.replace(ROW, accuracy=np.float64(1 / 3), params=np.int64(9))
    assert rows.write_rows([row]) == rows.write_rows([ROW])


def test_latency_comes_back_bit_for_bit():
    assert rows.read_latency(rows.write_latency([LATENCY])) == [LATENCY]


def test_headers_are_the_contract():
    assert rows.write_rows([]) == (
        "seed,sparsity,kind,accuracy,loss,achieved_sparsity,cross_entropy,nll,ece,"
        "nonzeros,params,macs,keras_bytes,gzip_bytes,tflite_bytes,tflite_int8_bytes,"
        "certificate,accuracy_one_shot\n"
    )
    assert rows.write_latency([]) == (
        "seed,sparsity,kind,litert_median_us,litert_p90_us,tf256_median_ms,"
        "tf256_p90_ms,threads\n"
    )


def test_what_does_not_apply_is_an_empty_cell():
    line = rows.write_rows([ROW]).splitlines()[1]
    assert line.endswith(",7,9,,,,,,3e-07,")


GOOD = rows.write_rows([ROW, ROW])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "line 1: expected the header seed"),
        (GOOD.replace("seed", "sed", 1), "line 1: expected the header"),
        (GOOD[:-1], "line 3: the file is cut short"),
        (GOOD.rsplit(",", 3)[0] + "\n", "line 3: got 15 cells, expected 18"),
        (GOOD.replace("\n0,", "\nx,", 1), "line 2: seed is 'x', expected int"),
        (GOOD.replace(",7,9,", ",7,nine,", 1), "line 2: params is 'nine'"),
        (GOOD.replace(",unit,", ",layer,", 1), "line 2: kind is 'layer'"),
        (GOOD.replace(",unit,", ',"unit,', 1), "line"),
        (GOOD + "\n", "line 4: got 0 cells"),
    ],
)
def test_damage_is_told_with_its_line(text, told):
    with pytest.raises(ValueError, match=f"^{told}"):
        rows.read_rows(text)


def test_a_damaged_latency_file_is_told_too():
    text = rows.write_latency([LATENCY]).replace("40.0", "")
    with pytest.raises(ValueError, match="line 2: litert_p90_us is ''"):
        rows.read_latency(text)


def test_grid_arranges_by_seed_and_sparsity_and_marks_what_is_missing():
    def row(seed, sparsity, kind, accuracy):
        return dataclasses.replace(
            ROW, seed=seed, sparsity=sparsity, kind=kind, accuracy=accuracy
        )

    table = [
        row(5, 0.9, "unit", 4.0),
        row(2, 0.0, "unit", 1.0),
        row(2, 0.9, "unit", 2.0),
        row(5, 0.0, "weight", 9.0),
    ]
    assert rows.sparsities(table) == [0.0, 0.9]
    np.testing.assert_array_equal(
        rows.grid(table, "unit", "accuracy"), [[1.0, 2.0], [np.nan, 4.0]]
    )
    assert np.isnan(rows.grid(table, "unit", "macs")).all()
