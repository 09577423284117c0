"""What can go wrong with a run: said in one line, nothing lost, and it goes on."""

import contextlib
import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import models
from network_pruning import cli, train
from network_pruning.configs import SweepConfig
from network_pruning.jobs import main_job
from network_pruning.jobs.boards import TrainingBoard, show_sweep
from network_pruning.runs import hold_run, retrain_folder

ROOT = Path(__file__).parents[2]
FLAGS = (
    "--dataset=uci_digits",
    "--epochs=2",
    "--widths=32,16",
    "--l2_reg=0.001",
    "--k_vals=0,0.5",
    "--experiment_id=tiny",
)
"""The command of the tiny run."""


def files_of(folder):
    """Every file but config.json, which says where the run lies now."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "config.json"
    }


@pytest.fixture
def command(monkeypatch, capfd, load_data):
    """Runs the command in this process: command(*words) -> exit code, error line."""

    def work(config):
        main_job.run(config, load_data, models.build)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["train", *words])
        monkeypatch.setattr(cli, "_set_up_logging", lambda: None)
        with pytest.raises(SystemExit) as left:
            cli.run(SweepConfig, work, train.USAGE, train.check)
        lines = capfd.readouterr().err.splitlines()
        said = [line for line in lines if "tf.function retracing" not in line]
        assert len(said) == (1 if left.value.code else 0), said
        return left.value.code or 0, "".join(said)

    return run


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("config.json", lambda text: text[:50]),
        ("config.json", lambda text: "[]\n"),
        ("rows.csv", lambda text: text[:-30]),
        ("rows.csv", lambda text: text.replace("unit", "knot")),
        ("rows.csv", lambda text: ""),
        ("latency.csv", lambda text: text[:-3]),
        ("checkpoints/seed=0/training.json", lambda text: text[:100]),
        ("manifest.json", lambda text: text[:40]),
        ("manifest.json", lambda text: "[]\n"),
    ],
)
def test_a_damaged_record_is_said_and_kept(copy, bare, command, name, damage):
    path = copy / name
    path.write_text(damage(path.read_text()))
    content, before = path.read_bytes(), files_of(copy)
    code, line = command(*FLAGS, f"--output_dir={copy.parent}")
    assert code == 1
    assert line.startswith(f"error: {path} is damaged (")
    assert "put back a good copy, or delete it to have it made again" in line
    assert path.read_bytes() == content
    if name != "manifest.json":  # read last: what is derived was made anew
        assert files_of(copy) == before


def test_a_damaged_network_is_said_and_kept(copy, bare, command):
    path = copy / "checkpoints/seed=0/val_loss.keras"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    before = files_of(copy)
    words = [*FLAGS, f"--output_dir={copy.parent}", "--k_vals=0.25"]
    code, line = command(*words)
    assert code == 1
    assert line.startswith(f"error: {path} is damaged (its content is not what was")
    assert "train again with --force_train" in line
    assert files_of(copy) == before
    assert command(*words, "--force_train") == (0, "")


def test_what_was_deleted_is_made_again(copy, bare, command, tiny_run):
    (copy / "rows.csv").write_text("damaged")
    (copy / "rows.csv").unlink()
    assert command(*FLAGS, f"--output_dir={copy.parent}") == (0, "")
    assert (copy / "rows.csv").read_bytes() == (tiny_run / "rows.csv").read_bytes()


def test_a_damaged_dataset_is_said(tmp_path, command):
    path = tmp_path / "images.npz"
    np.savez(path, x_train=np.zeros((60, 3, 3), np.uint8), y_train=np.arange(60) % 3)
    path.write_bytes(path.read_bytes()[:-100])
    code, line = command(f"--dataset={path}", f"--output_dir={tmp_path}")
    assert code == 1
    assert line.startswith(f"error: {path}: damaged or truncated")


def test_a_missing_dataset_is_said_before_anything_is_made(tmp_path, command):
    code, line = command(f"--dataset={tmp_path}/no.npz", f"--output_dir={tmp_path}")
    assert code == 2
    assert "there is no such folder or .npz file" in line
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_to_is_said(tmp_path, command):
    (tmp_path / "file").write_text("")
    code, line = command(*FLAGS, f"--output_dir={tmp_path}/file/results")
    assert code == 1
    assert f"cannot write to {tmp_path}/file/results (Not a directory)" in line
    assert "choose another --output_dir" in line


def test_a_second_process_is_refused(copy, command):
    before = files_of(copy)
    with hold_run(copy):
        for more in ([], ["--force_train"]):
            code, line = command(*FLAGS, f"--output_dir={copy.parent}", *more)
            assert code == 1
            assert line.startswith(f"error: another process works on {copy}: wait")
    assert files_of(copy) == before
    assert not retrain_folder(copy).exists()


def test_a_loss_that_is_no_number_is_said(tmp_path, command):
    words = [*FLAGS, f"--output_dir={tmp_path}", "--learning_rate=1e30"]
    code, line = command(*words)
    assert code == 1
    assert "the loss became" in line
    assert "at step 2 of epoch 1 (seed 0); no epoch was complete" in line
    assert "lower the learning rate (now 1e+30)" in line
    assert not (tmp_path / "tiny/rows.csv").exists()


def full(*words, **options):
    raise OSError(errno.ENOSPC, "No space left on device")


@contextlib.contextmanager
def full_disk_for(monkeypatch, ending):
    """Lets no file of this ending get its name."""
    replace = os.replace

    def rename(source, target):
        (full if str(target).endswith(ending) else replace)(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", rename)
        yield


@pytest.mark.parametrize(
    "ending",
    [
        "state.npz",
        "rows.csv",
        pytest.param("val_loss.keras", marks=pytest.mark.slow),
        pytest.param("latency.csv", marks=pytest.mark.slow),
        pytest.param("report.md", marks=pytest.mark.slow),
    ],
)
def test_a_full_disk_loses_nothing(
    tmp_path, monkeypatch, bare, command, tiny_run, ending
):
    words = [*FLAGS, f"--output_dir={tmp_path}"]
    with full_disk_for(monkeypatch, ending):
        code, line = command(*words)
    assert code == 1
    assert line.startswith("error: the disk is full (")
    assert line.endswith("free some space and type the same command")
    assert not [path for path in tmp_path.rglob("*.tmp.*")]
    assert command(*words) == (0, "")
    assert_same_tables(tmp_path / "tiny", tiny_run)


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (os, "fsync"),
        (keras.Model, "save"),
        pytest.param(np, "savez", marks=pytest.mark.slow),
    ],
)
def test_a_write_that_fails_half_way(tmp_path, monkeypatch, command, owner, name):
    with monkeypatch.context() as patched:
        patched.setattr(owner, name, full)
        code, line = command(*FLAGS, f"--output_dir={tmp_path}")
    assert code == 1
    assert "the disk is full" in line
    assert not [path for path in tmp_path.rglob("*.tmp.*")]
    assert not (tmp_path / "tiny/checkpoints/seed=0/state.npz").exists()


def test_a_full_disk_under_tensorboard(tmp_path, monkeypatch):
    def refuse(*words, **options):
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    numbers = dict.fromkeys(("loss", "cross_entropy", "accuracy"), 0.5)
    numbers |= {f"val_{name}": 0.5 for name in numbers}
    board = TrainingBoard(tmp_path, epochs=1)
    monkeypatch.setattr(tf.summary, "create_file_writer", refuse)
    for write in (
        lambda: board(0, numbers, keras.Sequential()),
        lambda: show_sweep(tmp_path, [], {}, []),
    ):
        with pytest.raises(OSError, match="No space left on device") as caught:
            write()
        assert caught.value.errno == errno.ENOSPC


def assert_same_tables(folder, expected):
    for name in ("rows.csv", "results.csv", "history.csv"):
        assert (folder / name).read_bytes() == (expected / name).read_bytes(), name


def mount(folder, options):
    words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder]
    if shutil.which("mount") is None:
        return False
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("kilobytes", [40, 250, 400, 600, 1100])
def test_a_disk_that_is_really_full(
    tmp_path, command, tiny_run, kilobytes, run_job, load_data
):
    disk = tmp_path / "disk"
    disk.mkdir()
    if not mount(disk, f"size={kilobytes}k"):
        pytest.skip("mounting is not allowed here")
    words = [*FLAGS, f"--output_dir={disk}"]
    try:
        code, line = command(*words)
        assert code == 1
        assert line.startswith("error: the disk is full (")
        assert not [path for path in disk.rglob("*.tmp.*")]
        assert mount(disk, "remount,size=50m")
        assert command(*words) == (0, "")
        assert_same_tables(disk / "tiny", tiny_run)
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


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
    before = files_of(copy)
    new = retrain_folder(copy)
    with start(copy.parent, "--force_train") as process:
        assert kill_when(process, (new / "rows.csv").exists)
    assert files_of(copy) == before
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
