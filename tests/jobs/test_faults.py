"""What can go wrong with a run: said in one line, nothing lost, and it goes on."""

import contextlib
import errno
import json
import os
import shutil
import subprocess

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from network_pruning.evaluation.rows import read_latency
from network_pruning.jobs import sweep
from network_pruning.jobs.boards import TrainingBoard, show_sweep
from network_pruning.runs import hold_run, retrain_folder
from tests.jobs.commands import FLAGS, assert_same_tables, lasting_files


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
    content, before = path.read_bytes(), lasting_files(copy)
    code, line = command(*FLAGS, f"--output_dir={copy.parent}")
    assert code == 1
    assert line.startswith(f"error: {path} is damaged (")
    assert "put back a good copy, or delete it to have it made again" in line
    assert path.read_bytes() == content
    if name != "manifest.json":  # read last: what is derived was made anew
        assert lasting_files(copy) == before


def test_a_damaged_network_is_said_and_kept(copy, bare, command):
    path = copy / "checkpoints/seed=0/val_loss.keras"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    before = lasting_files(copy)
    words = [*FLAGS, f"--output_dir={copy.parent}", "--k_vals=0.25"]
    code, line = command(*words)
    assert code == 1
    assert line.startswith(f"error: {path} is damaged (its content is not what was")
    assert "train again with --force_train" in line
    assert lasting_files(copy) == before
    assert command(*words, "--force_train") == (0, "")


def test_what_was_deleted_is_made_again(copy, bare, command, tiny_run):
    (copy / "rows.csv").unlink()
    assert command(*FLAGS, f"--output_dir={copy.parent}") == (0, "")
    assert (copy / "rows.csv").read_bytes() == (tiny_run / "rows.csv").read_bytes()
    (copy / "latency.csv").unlink()
    assert command(*FLAGS, f"--output_dir={copy.parent}") == (0, "")
    assert (copy / "rows.csv").read_bytes() == (tiny_run / "rows.csv").read_bytes()
    made = read_latency((copy / "latency.csv").read_text())
    wanted = read_latency((tiny_run / "latency.csv").read_text())
    assert [(row.sparsity, row.kind) for row in made] == [
        (row.sparsity, row.kind) for row in wanted
    ]


def test_a_first_try_that_trained_nothing_leaves_its_name_free(tmp_path, command):
    images = tmp_path / "images.npz"
    words = [f"--output_dir={tmp_path}", "--experiment_id=mine", f"--dataset={images}"]
    images.write_bytes(b"no archive")
    assert command(*words)[0] == 2
    assert (tmp_path / "mine/config.json").exists()
    code, line = command(*words, "--epochs=3")
    assert code == 2
    assert "is no .npz" in line
    assert json.loads((tmp_path / "mine/config.json").read_text())["epochs"] == 3


def test_too_little_memory_is_said(tmp_path, command, monkeypatch):
    def exhaust(*words, **options):
        raise MemoryError("Unable to allocate 3 TiB")

    monkeypatch.setattr(sweep, "train_all", exhaust)
    code, line = command(*FLAGS, f"--output_dir={tmp_path}")
    assert code == 1
    assert line.startswith("error: out of memory (Unable to allocate 3 TiB)")


def test_a_damaged_dataset_is_said(tmp_path, command):
    path = tmp_path / "images.npz"
    np.savez(path, x_train=np.zeros((60, 3, 3), np.uint8), y_train=np.arange(60) % 3)
    path.write_bytes(path.read_bytes()[:-100])
    code, line = command(f"--dataset={path}", f"--output_dir={tmp_path}")
    assert code == 2
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
    assert "choose another output folder" in line


def test_a_second_process_is_refused(copy, command):
    before = lasting_files(copy)
    with hold_run(copy):
        for more in ([], ["--force_train"]):
            code, line = command(*FLAGS, f"--output_dir={copy.parent}", *more)
            assert code == 1
            assert line.startswith(f"error: another process works on {copy}: wait")
    assert lasting_files(copy) == before
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
        pytest.param(np.lib.format, "write_array", marks=pytest.mark.slow),
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
