"""Processes that are killed, or two at once: the same command goes on."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from network_pruning.runs import retrain_folder
from tests.jobs.commands import FLAGS, assert_same_tables, lasting_files

ROOT = Path(__file__).parents[2]


def start(output_dir, *words):
    """Starts the command in a process of its own."""
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "network_pruning.train"),
            *FLAGS,
            f"--output_dir={output_dir}",
            *words,
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def kill_when(process, there, sign=signal.SIGKILL, delay=0.0):
    """Waits until something is there; returns whether the process was alive then."""
    while not there() and process.poll() is None:
        time.sleep(0.002)
    time.sleep(delay)
    alive = process.poll() is None
    process.send_signal(sign)
    return alive


def test_killed_in_the_sweep_and_typed_again(tmp_path, bare, command, tiny_run):
    rows = tmp_path / "tiny/rows.csv"
    with start(tmp_path) as process:
        assert kill_when(process, rows.exists)
    assert process.returncode == -signal.SIGKILL
    assert 1 < len(rows.read_text().splitlines()) < 5
    assert command(*FLAGS, f"--output_dir={tmp_path}") == (0, "")
    assert_same_tables(tmp_path / "tiny", tiny_run)


@pytest.mark.slow
def test_killed_at_random_moments(tmp_path, bare, command):
    more = ["--epochs=40", "--dropout=0.2", "--batch_norm", "--k_vals=0,0.3,0.6"]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert command(*FLAGS, *more, f"--output_dir={whole}") == (0, "")
    folder = broken / "tiny"
    moments = [folder / "checkpoints/seed=0/state.npz"] * 3 + [folder / "rows.csv"] * 3
    draw, killed = random.Random(0), 0
    for moment in moments:
        with start(broken, *more) as process:
            delay = draw.uniform(0, 0.4)
            killed += kill_when(process, moment.exists, delay=delay)
    assert killed >= 4
    assert command(*FLAGS, *more, f"--output_dir={broken}") == (0, "")
    assert_same_tables(folder, whole / "tiny")
    assert not [path for path in broken.rglob("*.tmp.*")]


@pytest.mark.slow
def test_killed_while_training_anew(copy, bare, command, tiny_run):
    before = lasting_files(copy)
    new = retrain_folder(copy)
    with start(copy.parent, "--force_train") as process:
        assert kill_when(process, (new / "rows.csv").exists)
    assert lasting_files(copy) == before
    assert command(*FLAGS, f"--output_dir={copy.parent}", "--force_train") == (0, "")
    assert not new.exists()
    assert_same_tables(copy, tiny_run)


@pytest.mark.slow
def test_two_processes_at_once(tmp_path):
    lock = tmp_path / ".tiny.lock"
    with start(tmp_path) as first:
        while not lock.exists():
            time.sleep(0.01)
        time.sleep(0.5)
        with start(tmp_path) as second:
            said = second.communicate()[1]
        assert second.returncode == 1
        assert said.startswith("error: another process works on ")
        assert said.count("\n") == 1
        out, err = first.communicate()
    assert first.returncode == 0, err
    assert err == "", "a run whose output is no terminal says nothing on the way"
    assert "accuracy (weight)" in out


@pytest.mark.slow
def test_interrupted_from_the_keyboard(tmp_path, bare, command, tiny_run):
    state = tmp_path / "tiny/rows.csv"
    with start(tmp_path) as process:
        kill_when(process, state.exists, signal.SIGINT)
        said = process.communicate()[1]
    assert process.returncode == 130
    assert said == "error: interrupted: the same command goes on from here\n"
    assert command(*FLAGS, f"--output_dir={tmp_path}") == (0, "")
    assert_same_tables(tmp_path / "tiny", tiny_run)
