"""The command as several processes: who writes, what is refused, who dies."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from network_pruning.jobs import devices, fit
from network_pruning.runs import RunDir
from network_pruning.tf_config import check_tf_config
from tests.processes import SECONDS, clusters, finish, start, stop_all


@pytest.fixture(autouse=True)
def no_process_stays():
    yield
    stop_all()


ONE = {"worker": ["a:1", "b:2"]}
LED = {"chief": ["c:3"], **ONE}


@pytest.mark.parametrize(
    ("cluster", "kind", "index", "chief"),
    [
        (ONE, "worker", 0, True),
        (ONE, "worker", 1, False),
        (LED, "chief", 0, True),
        (LED, "worker", 0, False),
        ({"chief": ["c:3"]}, "chief", 0, True),
    ],
)
def test_tells_who_is_chief(monkeypatch, cluster, kind, index, chief):
    given = json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})
    check_tf_config(given)
    monkeypatch.setenv("TF_CONFIG", given)
    assert devices.is_chief("multi_worker") is chief
    assert devices.is_chief("mirrored")


@pytest.mark.parametrize(
    ("cluster", "kind", "index", "message"),
    [
        (ONE, "worker", 2, "it lists no worker 2"),
        (ONE, "worker", -1, "it lists no worker -1"),
        (ONE, "worker", "0", "it lists no worker 0"),
        (ONE, "worker", True, "it lists no worker True"),
        (ONE, "chief", 0, "it lists no chief 0"),
        (ONE, "evaluator", 0, "it lists no evaluator 0"),
        ({**ONE, "ps": ["d:4"]}, "worker", 0, "at most one chief"),
        ({"chief": ["c:3", "d:4"]}, "chief", 0, "at most one chief"),
        ({"chief": [], **ONE}, "worker", 0, "at most one chief"),
        ({"worker": ["a:1", "a:1"]}, "worker", 0, "the same host:port"),
        ({"worker": ["a"]}, "worker", 0, "its own host:port"),
        ({"worker": "a:1"}, "worker", 0, "its own host:port"),
        ({"worker": [1]}, "worker", 0, "no JSON of this form"),
        ({}, "worker", 0, "it lists no worker 0"),
        ([], "worker", 0, "no JSON of this form"),
    ],
)
def test_refuses_clusters(cluster, kind, index, message):
    given = json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})
    with pytest.raises(ValueError, match=message) as raised:
        check_tf_config(given)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "text", [None, "", "{", "[]", "3", '{"cluster": {"worker": ["a:1"]}}']
)
def test_refuses_what_is_no_tf_config(text):
    with pytest.raises(ValueError, match="TF_CONFIG: .*host1:port"):
        check_tf_config(text)


@pytest.mark.parametrize("text", [None, "{"])
def test_the_command_answers_a_bad_tf_config_at_once(text):
    words = ["-X", "importtime", "-m", "network_pruning.train"]
    process = start([*words, "--distribute=multi_worker"], text or "")
    ((_, errors),) = finish(process)
    assert process.returncode == 2
    assert errors.splitlines()[-1].startswith("error: TF_CONFIG: ")
    assert "Traceback" not in errors
    assert "tensorflow" not in errors.replace("tensorflow-datasets", "")


def train(tf_configs: Sequence[str], *words: str) -> list[subprocess.Popen]:
    """Starts the command once for each TF_CONFIG."""
    common = ["-m", "network_pruning.train", "--dataset=uci_digits", "--widths=32,16"]
    common += ["--distribute=multi_worker", *words]
    return [start(common, tf_config) for tf_config in tf_configs]


def complete(processes: Sequence[subprocess.Popen]) -> list[tuple[str, str]]:
    said = finish(*processes)
    codes = [process.returncode for process in processes]
    assert codes == [0, 0], [errors[-2000:] for _, errors in said]
    return said


def only_run(folder: Path) -> Path:
    (results,) = folder.glob("*/results.csv")
    return results.parent


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run that a chief and a worker made, which share no folder."""
    place = tmp_path_factory.mktemp("made")
    words = ["--epochs=2", "--k_vals=0,0.5"]
    processes = [
        train([tf_config], *words, f"--output_dir={place / name}")[0]
        for name, tf_config in zip(("chief", "worker"), clusters(True), strict=True)
    ]
    return place, complete(processes)


@pytest.mark.slow
def test_the_chief_writes_the_run_and_the_worker_nothing(made):
    place, ((chief_said, _), (worker_said, errors)) = made
    run = only_run(place / "chief")
    assert (run / "report.md").exists()
    assert f"run folder: {run}" in chief_said
    assert not worker_said
    assert "error" not in errors
    assert not (place / "worker").exists()


@pytest.mark.slow
def test_the_command_trains_as_one_process_does(made):
    place, _ = made
    words = ["-m", "network_pruning.train", "--dataset=uci_digits", "--widths=32,16"]
    words += ["--epochs=2", "--k_vals=0", f"--output_dir={place / 'alone'}"]
    process = start(words)
    finish(process)
    assert process.returncode == 0
    alone, several = (
        fit.finished(RunDir(only_run(place / name)), "checkpoints/seed=0").history
        for name in ("alone", "chief")
    )
    for expected, numbers in zip(alone, several, strict=True):
        assert numbers == pytest.approx(expected, abs=1e-5)


@pytest.mark.slow
def test_a_finished_run_gets_rows_and_is_made_again_on_demand(made):
    place, _ = made
    folder = place / "chief"
    results = only_run(folder) / "results.csv"
    training = only_run(folder) / "checkpoints/seed=0/training.json"
    before, written = results.read_text(), training.stat().st_mtime_ns
    common = ["--epochs=2", f"--output_dir={folder}"]
    complete(train(clusters(True), *common, "--k_vals=0,0.5,0.9"))
    assert training.stat().st_mtime_ns == written
    assert len(results.read_text().splitlines()) == len(before.splitlines()) + 1
    complete(train(clusters(True), *common, "--k_vals=0,0.5", "--force_train"))
    assert training.stat().st_mtime_ns != written
    assert results.read_text() == before


def interrupt(processes: Sequence[subprocess.Popen], folder: Path) -> None:
    """Kills the first process when the next epoch is complete, in mid-training."""
    known = states(folder)
    deadline = time.monotonic() + SECONDS
    while states(folder) == known:
        if time.monotonic() > deadline or processes[0].poll() is not None:
            for process in processes:
                process.kill()
            raise AssertionError([errors[-2000:] for _, errors in finish(*processes)])
        time.sleep(0.02)
    processes[0].kill()
    assert not list(folder.glob("*/checkpoints/*/training.json"))


def states(folder: Path) -> list[int]:
    found = folder.glob("*/checkpoints/*/state.npz")
    return [path.stat().st_mtime_ns for path in found]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_workers_go_on_to_the_same_results(tmp_path):
    words = ["--epochs=8", "--k_vals=0,0.5"]
    complete(train(clusters(), *words, f"--output_dir={tmp_path / 'straight'}"))
    folder = tmp_path / "killed"
    words.append(f"--output_dir={folder}")

    worker_dies = train(clusters(), *words)
    interrupt(worker_dies[::-1], folder)
    (_, errors), _ = finish(*worker_dies)
    assert worker_dies[0].returncode == 1
    assert "error: a worker of TF_CONFIG is gone" in errors.splitlines()[-1]
    assert "Traceback" not in errors

    both_die = train(clusters(), *words)
    interrupt(both_die, folder)
    both_die[1].kill()
    finish(*both_die)

    complete(train(clusters(), *words))
    results = [
        (only_run(tmp_path / name) / "results.csv").read_text()
        for name in ("straight", "killed")
    ]
    assert results[0] == results[1]


@pytest.mark.slow
def test_a_worker_whose_peer_never_starts_gives_up():
    code = (
        "from network_pruning.jobs import devices; devices.PEER_SECONDS = 3; "
        "devices.make_strategy('multi_worker')"
    )
    tf_config = clusters()[1]
    process = start(["-c", code], tf_config)
    ((_, errors),) = finish(process)
    assert process.returncode == -signal.SIGKILL
    last = errors.splitlines()[-1]
    assert last.startswith("error: not all workers came within 3 s")
    assert all(name in last for name in json.loads(tf_config)["cluster"]["worker"])


@pytest.mark.slow
def test_a_worker_whose_port_is_taken_says_so(tmp_path):
    tf_config = clusters()[0]
    name = json.loads(tf_config)["cluster"]["worker"][0]
    with socket.create_server(("", int(name.rsplit(":")[1]))):
        (process,) = train([tf_config], f"--output_dir={tmp_path}")
        ((_, errors),) = finish(process)
    assert process.returncode == 2
    assert errors.splitlines()[-1].startswith("error: TF_CONFIG: ")
    assert "is the port of this worker free?" in errors
    assert "Traceback" not in errors
