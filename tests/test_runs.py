"""Run folders: whole files or none, one process at a time."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tf_keras as keras

from network_pruning import runs
from network_pruning.runs import (
    DamagedFile,
    RunDir,
    hold_run,
    replace_run,
    retrain_folder,
)

ROOT = Path(__file__).parents[1]


@pytest.fixture
def run(tmp_path):
    return RunDir(tmp_path / "results" / "run")


def hidden(folder):
    return sorted(p.name for p in folder.rglob(".*"))


def small_network():
    return keras.Sequential([keras.layers.Dense(2, input_shape=(3,), name="logits")])


def test_what_is_written_is_read(run):
    arrays = {"a": np.arange(3.0), "text": np.array("identity"), "none": np.zeros(0)}
    run.write_text("deep/er/x.txt", "é\n")
    run.write_bytes("x.bin", b"\0\1")
    run.write_json("x.json", {"k": [0.1, None]})
    run.write_arrays("x.npz", arrays)
    network = small_network()
    run.write_model("x.keras", network)
    assert run.read_text("deep/er/x.txt") == "é\n"
    assert (run.path / "x.bin").read_bytes() == b"\0\1"
    assert run.read_json("x.json") == {"k": [0.1, None]}
    found = run.read_arrays("x.npz")
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
    read = run.read_model("x.keras", run.digest("x.keras"))
    np.testing.assert_array_equal(read.get_weights()[0], network.get_weights()[0])
    assert run.exists("x.bin")
    run.remove("x.bin")
    run.remove("x.bin")
    assert not run.exists("x.bin")
    assert hidden(run.path) == []


def test_a_failing_write_leaves_the_old_file(run, monkeypatch):
    run.write_text("x.txt", "old")

    def half(path):
        path.write_text("ne")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        run.write("x.txt", half)
    assert run.read_text("x.txt") == "old"

    def full(*paths):
        raise OSError(errno.ENOSPC, "No space left on device")

    for call in ("fsync", "replace"):
        with monkeypatch.context() as patched:
            patched.setattr(os, call, full)
            with pytest.raises(OSError, match="No space"):
                run.write_text("x.txt", "new")
    assert run.read_text("x.txt") == "old"
    assert hidden(run.path) == []


def test_a_file_is_on_the_disk_before_it_has_its_name(run, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append("fsync"), fsync(fd)))
    monkeypatch.setattr(
        os, "replace", lambda *paths: (calls.append("replace"), replace(*paths))
    )
    run.write_text("x.txt", "new")
    assert calls == ["fsync", "replace"]


def test_the_temporary_name_keeps_its_ending(run):
    seen = []
    run.write("x.keras", lambda path: (seen.append(path), path.write_text(""))[1])
    assert seen[0].suffix == ".keras"
    assert seen[0].parent == run.path
    assert seen[0].name.startswith(".")


def assert_damaged(read, path):
    """Reading says it in one line with a remedy, and touches nothing."""
    before = path.read_bytes()
    with pytest.raises(DamagedFile, match="is damaged") as caught:
        read()
    message = str(caught.value)
    assert str(path) in message
    assert "put back a good copy, or " in message
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", ["", "{", '{"a": 1', "[1]", "3", "\xff", "nul"])
def test_damaged_json(run, content):
    path = run.path / "x.json"
    path.write_bytes(content.encode("latin-1"))
    assert_damaged(lambda: run.read_json("x.json"), path)


def test_truncated_arrays(run):
    run.write_arrays("x.npz", {"a": np.arange(50.0), "b": np.array("text")})
    path = run.path / "x.npz"
    content = path.read_bytes()
    for size in range(0, len(content), 37):
        path.write_bytes(content[:size])
        assert_damaged(lambda: run.read_arrays("x.npz"), path)


def test_an_altered_byte_of_arrays_is_said_or_harmless(run):
    arrays = {"a": np.arange(50.0), "b": np.array("text")}
    run.write_arrays("x.npz", arrays)
    path = run.path / "x.npz"
    content = path.read_bytes()
    said = 0
    for place in range(len(content)):
        altered = bytearray(content)
        altered[place] ^= 0x15
        path.write_bytes(altered)
        try:
            found = run.read_arrays("x.npz")
        except DamagedFile:
            said += 1
            continue
        for name, array in found.items():
            np.testing.assert_array_equal(array, arrays.get(name, array))
    assert said > len(content) / 2


def test_arrays_are_never_unpickled(run):
    np.savez(run.path / "x.npz", a=np.array([{"a": 1}], dtype=object))
    assert_damaged(lambda: run.read_arrays("x.npz"), run.path / "x.npz")
    np.save(run.path / "y.npy", np.arange(3))
    os.rename(run.path / "y.npy", run.path / "y.npz")
    assert_damaged(lambda: run.read_arrays("y.npz"), run.path / "y.npz")


def test_damaged_models(run):
    run.write_model("x.keras", small_network())
    path, digest = run.path / "x.keras", run.digest("x.keras")
    content = path.read_bytes()
    altered = bytearray(content)
    altered[len(content) // 2] ^= 1
    for damage in (bytes(altered), content[:-10], content[:100], b""):
        path.write_bytes(damage)
        assert_damaged(lambda: run.read_model("x.keras", digest), path)
    for damage in (content[:100], b"", b"text"):
        path.write_bytes(damage)
        assert_damaged(lambda: run.read_model("x.keras"), path)


def test_a_missing_model_is_said(run):
    with pytest.raises(DamagedFile, match=r"x\.keras .*or train again; nothing"):
        run.read_model("x.keras", "0" * 64, "train again")


def test_arrays_may_have_any_name_and_are_never_pickled(run):
    arrays = {"file": np.arange(3), "layer/kernel": np.array("text")}
    run.write_arrays("any.npz", arrays)
    found = run.read_arrays("any.npz")
    assert found.keys() == arrays.keys()
    np.testing.assert_array_equal(found["file"], [0, 1, 2])
    with pytest.raises(ValueError, match="pickle"):
        run.write_arrays("other.npz", {"a": np.array([None])})
    assert not run.exists("other.npz")


def test_adopt_copies_a_folder_whole_or_not_at_all(run, tmp_path, monkeypatch):
    source = tmp_path / "other"
    (source / "deep").mkdir(parents=True)
    (source / "deep" / "x.txt").write_text("x")
    copytree = shutil.copytree

    def killed(*paths):
        copytree(*paths)
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copytree", killed)
        with pytest.raises(OSError, match="No space"):
            run.adopt(source, "checkpoints/seed=0")
    assert not run.exists("checkpoints/seed=0")
    assert hidden(run.path) == []
    run.adopt(source, "checkpoints/seed=0")
    assert run.read_text("checkpoints/seed=0/deep/x.txt") == "x"
    assert (source / "deep" / "x.txt").exists()
    assert hidden(run.path) == []
    # What a killed training left behind goes.
    run.write_text("checkpoints/seed=0/left.txt", "left")
    run.adopt(source, "checkpoints/seed=0")
    assert not run.exists("checkpoints/seed=0/left.txt")
    assert run.exists("checkpoints/seed=0/deep/x.txt")


def hold_elsewhere(path):
    """Tries to hold a run in a process of its own."""
    code = (
        "import sys, pathlib\n"
        "from network_pruning.runs import hold_run\n"
        "try:\n"
        "    with hold_run(pathlib.Path(sys.argv[1])): print('held')\n"
        "except ValueError as error: print(error)\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code, path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_a_second_process_is_kept_out(tmp_path):
    path = tmp_path / "results" / "run"
    with hold_run(path):
        said = hold_elsewhere(path)
        assert said == (
            f"another process works on {path}: wait for it, or give this one its own "
            "--experiment_id\n"
        )
        assert hold_elsewhere(tmp_path / "results" / "other") == "held\n"
        with pytest.raises(ValueError, match="another process"), hold_run(path):
            pass
    assert hold_elsewhere(path) == "held\n"


def test_those_that_share_keep_out_those_that_do_not(tmp_path):
    path = tmp_path / "run"
    RunDir(path).write_text(".1.tmp.a", "another's")
    with hold_run(path, shared=True), hold_run(path, shared=True):
        assert (path / ".1.tmp.a").exists(), "it may be at work"
        with pytest.raises(ValueError, match="another process"), hold_run(path):
            pass
    with hold_run(path):
        assert not (path / ".1.tmp.a").exists()
        with pytest.raises(ValueError, match="another process"):
            hold_run(path, shared=True).__enter__()


def test_the_lock_stays_while_the_folder_changes_places(tmp_path):
    path = tmp_path / "run"
    (path / "old").mkdir(parents=True)
    retrain_folder(path).mkdir()
    with hold_run(path):
        replace_run(path)
        assert hold_elsewhere(path).startswith("another process")


def test_a_killed_process_holds_nothing(tmp_path):
    path = tmp_path / "run"
    code = (
        "import sys, pathlib, time\n"
        "from network_pruning.runs import hold_run\n"
        "with hold_run(pathlib.Path(sys.argv[1])):\n"
        "    print('held', flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, path], cwd=ROOT, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(ValueError, match="another process"), hold_run(path):
            pass
        process.kill()
    with hold_run(path):
        pass


def test_leftovers_of_killed_processes_are_removed(tmp_path):
    path = tmp_path / "run"
    for folder in (path, retrain_folder(path)):
        (folder / "figures" / ".7.tmp.seed=0" / "deep").mkdir(parents=True)
        (folder / "figures" / ".7.tmp.seed=0" / ".7.tmp.x").write_text("")
        (folder / ".123.tmp.rows.csv").write_text("half")
        (folder / "rows.csv").write_text("whole")
    with hold_run(path):
        for folder in (path, retrain_folder(path)):
            assert hidden(folder) == []
            assert (folder / "rows.csv").read_text() == "whole"


class Killed(BaseException):
    """Stands for kill -9: nothing may catch it."""


@pytest.mark.parametrize(
    ("survives", "found", "retrained"),
    [(0, "old", True), (1, "old", True), (2, "new", False)],
)
def test_a_replacement_killed_at_any_moment(
    tmp_path, monkeypatch, survives, found, retrained
):
    path = tmp_path / "run"
    for folder, content in ((path, "old"), (retrain_folder(path), "new")):
        folder.mkdir()
        (folder / "x.txt").write_text(content)
    replace, calls = os.replace, []

    def rename(*paths):
        calls.append(paths)
        if len(calls) > survives:
            raise Killed
        replace(*paths)

    def rmtree(*paths, **options):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(runs.os, "replace", rename)
        patched.setattr(runs.shutil, "rmtree", rmtree)
        with pytest.raises(Killed):
            replace_run(path)
    with hold_run(path):
        assert (path / "x.txt").read_text() == found
        assert retrain_folder(path).exists() == retrained
    assert hidden(tmp_path) == sorted([
        ".run.lock",
        *([".run.retrain"] if retrained else []),
    ])
    if retrained:
        replace_run(path)
    assert (path / "x.txt").read_text() == "new"
    assert hidden(tmp_path) == [".run.lock"]


def test_a_first_run_may_come_from_the_retrain_folder(tmp_path):
    path = tmp_path / "run"
    retrain_folder(path).mkdir()
    replace_run(path)
    assert path.is_dir()
    assert not retrain_folder(path).exists()


@pytest.mark.parametrize("where", ["file/results", "/proc/results", "/dev/null/x"])
def test_a_place_that_cannot_be_written_to(tmp_path, where):
    (tmp_path / "file").write_text("")
    place = tmp_path / where
    for attempt in (lambda: RunDir(place), lambda: hold_run(place / "run").__enter__()):
        with pytest.raises(
            OSError, match="cannot write to .*another output folder"
        ) as caught:
            attempt()
        assert "\n" not in str(caught.value)
        assert caught.value.errno


def test_a_read_only_file_system(tmp_path):
    mount = ["mount", "-t", "tmpfs", "-o", "ro,size=64k", "tmpfs", tmp_path]
    if (
        shutil.which("mount") is None
        or subprocess.run(mount, capture_output=True, check=False).returncode
    ):
        pytest.skip("mounting is not allowed here")
    try:
        with (
            pytest.raises(
                OSError, match=r"cannot write to .*Read-only.*another output folder"
            ),
            hold_run(tmp_path / "run"),
        ):
            pass
        with pytest.raises(OSError, match=r"cannot write to .*Read-only"):
            RunDir(tmp_path / "run")
    finally:
        subprocess.run(["umount", tmp_path], check=True)
