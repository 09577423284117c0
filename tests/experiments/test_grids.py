"""Grids: cells on disk, shared by processes."""

import subprocess
import sys
from dataclasses import dataclass

import pytest

from experiments import grids
from experiments.grids import Grid
from network_pruning.runs import DamagedFile, RunDir
from tests.processes import ROOT


@dataclass(frozen=True)
class Cell:
    seed: int
    label: str
    value: float

    @property
    def key(self):
        return self.seed, self.label


@pytest.fixture
def grid(tmp_path):
    return Grid(Cell, RunDir(tmp_path / "grid"))


def test_cells_come_back_ordered_and_replace_their_like(grid):
    assert not grid.cells()
    grid.put(Cell(1, "b", 0.1), Cell(0, "a, with comma", 1 / 3))
    grid.put(Cell(1, "b", 2.0))
    cells = grid.cells()
    assert list(cells) == [(0, "a, with comma"), (1, "b")]
    assert list(cells.values()) == [Cell(0, "a, with comma", 1 / 3), Cell(1, "b", 2.0)]


@pytest.mark.parametrize(("stays", "value"), [(False, 2.0), (True, 1.0)])
def test_what_others_have_published_meanwhile_stays(tmp_path, stays, value):
    run = RunDir(tmp_path)
    grids.merge(Cell, run, "cells/some.csv", [Cell(0, "a", 1.0)])
    grids.merge(Cell, run, "cells/some.csv", [Cell(1, "b", 1.0)])
    cells = grids.merge(Cell, run, "cells/some.csv", [Cell(0, "a", 2.0)], stays)
    assert {cell.label: cell.value for cell in cells} == {"a": value, "b": 1.0}
    assert len(grids.read(Cell, run, "cells/some.csv")) == 2


def test_cells_made_elsewhere_fill_gaps_alone(grid):
    grid.put(Cell(0, "a", 1.0))
    grid.adopt([Cell(0, "a", 2.0), Cell(1, "b", 3.0)])
    assert [cell.value for cell in grid.cells().values()] == [1.0, 3.0]
    before = (grid.run.path / grids.ROWS).stat().st_mtime_ns
    grid.adopt([Cell(1, "b", 4.0)])
    assert (grid.run.path / grids.ROWS).stat().st_mtime_ns == before


def test_text_and_parse_are_inverse():
    cells = [Cell(0, "x", 1e-17), Cell(2, 'quoted "y"', -0.25)]
    assert grids.parse(Cell, grids.text(Cell, reversed(cells))) == cells


@pytest.mark.parametrize("text", ["", "seed,label\n0,a\n", "seed,label,value\n0,a\n"])
def test_other_files_are_said_to_be_damaged(grid, text):
    grid.run.write_text(grids.ROWS, text)
    with pytest.raises(DamagedFile, match=r"rows\.csv is damaged"):
        grid.cells()


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("0,a", "line 2: 2 words of 3"),
        ("", "line 2: 0 words of 3"),
        ("0,a,far", "line 2: could not convert string to float: 'far'"),
    ],
)
def test_damage_is_told_with_its_line(grid, line, why):
    grid.run.write_text("cells/tiny.csv", f"seed,label,value\n{line}\n")
    with pytest.raises(DamagedFile, match=rf"cells/tiny\.csv is damaged \({why}"):
        grids.read(Cell, grid.run, "cells/tiny.csv")
    assert grids.read(Cell, grid.run, "cells/none.csv") == []
    with pytest.raises(DamagedFile, match=r"none\.csv is damaged \(it is missing"):
        grids.read(Cell, grid.run, "cells/none.csv", required=True)


def test_a_cell_that_is_there_is_not_made(grid):
    with grid.claim((0, "a")) as mine:
        assert mine
        grid.put(Cell(0, "a", 1.0))
    with grid.claim((0, "a")) as mine:
        assert not mine


def test_another_process_leaves_a_claimed_cell_alone_and_adds_its_own(grid):
    code = (
        "import sys; from experiments.grids import Grid\n"
        "from network_pruning.runs import RunDir\n"
        "from tests.experiments.test_grids import Cell\n"
        "grid = Grid(Cell, RunDir(sys.argv[1]))\n"
        "for label in 'ab':\n"
        "    with grid.claim((0, label)) as mine:\n"
        "        print(label, mine)\n"
        "        if mine: grid.put(Cell(0, label, 3.0))\n"
    )
    with grid.claim((0, "a")) as mine:
        assert mine
        other = subprocess.run(
            [sys.executable, "-c", code, str(grid.run.path)],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        )
        grid.put(Cell(0, "a", 1.0))
    assert other.stdout.split() == ["a", "False", "b", "True"]
    assert {key: cell.value for key, cell in grid.cells().items()} == {
        (0, "a"): 1.0,
        (0, "b"): 3.0,
    }
