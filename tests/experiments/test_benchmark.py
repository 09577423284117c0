import csv
import dataclasses
import io
import json
import re

import numpy as np
import pytest

from experiments.benchmarks import config as flags
from experiments.benchmarks import floor_jobs, sparsity, sweep, table, worker
from experiments.benchmarks.config import BenchmarkConfig
from experiments.benchmarks.race import Contestant, Sample, Timed, race
from network_pruning import cli
from network_pruning.jobs.trainings import Training
from network_pruning.runs import RunDir
from tests import cases

TINY = {
    "rounds": 2,
    "epoch_images": 300,
    "test_images": 64,
    "widths": (12, 10),
    "k_vals": (0.0, 0.5, 0.9),
    "torch": False,
}


def samples(*seconds):
    return [Sample(wall, cpu) for wall, cpu in seconds]


def timed(name, *seconds, result=None, **facts):
    return Timed(name, facts, samples(*seconds), result or {})


def read_csv(path):
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def test_ratio_is_of_medians_with_the_extremes_of_single_rounds():
    line = table.compare(
        "x", samples((1, 2), (3, 2), (2, 8)), samples((4, 4), (4, 8), (10, 4))
    )
    assert (line.wall.ours, line.wall.peer, line.wall.value) == (2, 4, 0.5)
    assert (line.wall.low, line.wall.high) == (0.2, 0.75)
    assert (line.cpu.value, line.cpu.low, line.cpu.high) == (0.5, 0.25, 2)


def test_only_rounds_in_which_both_took_part_count():
    line = table.compare("x", samples((1, 1), (1, 1), (9, 9)), samples((2, 2), (2, 2)))
    assert (line.rounds, line.wall.value, line.cpu.high) == (2, 0.5, 0.5)
    with pytest.raises(ValueError, match="got 1 and 0 rounds"):
        table.compare("x", samples((1, 1)), [])


@pytest.mark.parametrize(
    ("bar", "met"),
    [
        (None, ""),
        (table.Bar(0.5), "yes"),
        (table.Bar(0.49), "no"),
        (table.Bar(0.5, cpu=True), "no"),
        (table.Bar(0.75, cpu=True), "yes"),
    ],
)
def test_a_bar_judges_wall_and_if_asked_cpu(bar, met):
    line = table.compare("x", samples((1, 3)), samples((2, 4)), bar)
    assert line.met == met


def test_csv_and_markdown_hold_the_same_comparison():
    line = table.compare("x", samples((1, 3)), samples((2, 4)), table.Bar(1 / 6), "n")
    (row,) = csv.DictReader(io.StringIO(table.csv_text([line])))
    assert row["ratio wall"] == "0.5000" and row["ratio cpu"] == "0.7500"
    assert row["bar"] == "≤ 0.17 wall" and row["met"] == "no"
    text = table.markdown([line])
    assert "| x | 1.00 | 2.00 | 0.500 (0.500..0.500) | 3.00 | 4.00 |" in text
    assert len({row.count("|") for row in text.splitlines()}) == 1


def test_best_thread_setting_gets_the_bar():
    peers = {
        sweep.OURS: timed(sweep.OURS, (1, 2), **{"first epoch s": 8.0}),
        sweep.FIT: timed(sweep.FIT, (2, 2)),
        "PyTorch eager, 1 thread": timed("PyTorch eager, 1 thread", (4, 1)),
        "PyTorch eager, 2 threads": timed("PyTorch eager, 2 threads", (2.5, 9)),
        "matrix products alone, X": timed(
            "matrix products alone, X", (0.5, 1), flops=1e9
        ),
    }
    config = BenchmarkConfig(epoch_images=1000)
    fit, best, other, floor = sweep.epoch_lines(peers, config)
    assert fit.met == "no" and "7.0 s more" in fit.note
    assert best.what == "epoch: PyTorch eager, 2 threads" and best.met == "yes"
    assert other.what == "epoch: PyTorch eager, 1 thread" and other.met == ""
    flops = 2 * 1000 * (3 * 2_386_000 - 784_000)
    assert floor.wall.peer == pytest.approx(0.5 * flops / 1e9)


def test_disagreement_is_the_largest_of_the_accuracies():
    ours = timed("a", (1, 1), result={"accuracy 1": 0.5, "accuracy 2": 0.5, "loss": 9})
    peer = timed("b", (1, 1), result={"accuracy 1": 0.5, "accuracy 2": 0.4, "loss": 1})
    assert sweep.disagreement(ours, peer) == pytest.approx(0.1)


def test_products_are_those_of_a_step():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 3))
    kernels = [rng.normal(size=s) for s in ((3, 5), (5, 6), (6, 2))]
    logits = x @ kernels[0] @ kernels[1] @ kernels[2]
    # With the logits as their own gradient, the loss is half their squares' sum.
    step, total = 1e-6, 0.0
    for kernel in kernels:
        kernel[0, 0] += step
        above = 0.5 * np.sum((x @ kernels[0] @ kernels[1] @ kernels[2]) ** 2)
        kernel[0, 0] -= step
        total += (above - 0.5 * np.sum(logits**2)) / step
    assert floor_jobs.step_sum(x, kernels) == pytest.approx(total, rel=1e-4)
    forward, gradients = 3 * 5 + 5 * 6 + 6 * 2, 3 * 5 + 5 * 6 + 6 * 2
    inputs = 5 * 6 + 6 * 2
    flops = floor_jobs.step_flops((3, 5, 6, 2), 4)
    assert flops == 2 * 4 * (forward + gradients + inputs)


def test_libraries_multiply_the_same():
    config = BenchmarkConfig(**TINY)
    with_numpy = floor_jobs.with_numpy(config)
    with_tensorflow = floor_jobs.with_tensorflow(config)
    expected = with_numpy.run()["sum"]
    assert with_tensorflow.run()["sum"] == pytest.approx(expected, rel=1e-4)
    assert with_tensorflow.facts["flops"] == with_numpy.facts["flops"] > 0


def test_worker_answers_facts_then_one_line_a_job():
    calls = []

    def run():
        calls.append(1)
        return {"loss": 2.0}

    answers = io.StringIO()
    worker.serve(worker.Ready(run, {"threads": 1}), io.StringIO("go\ngo\n"), answers)
    facts, *jobs = map(json.loads, answers.getvalue().splitlines())
    assert facts == {"threads": 1} and len(jobs) == len(calls) == 2
    assert all(job["result"] == {"loss": 2.0} and job["wall"] >= 0 for job in jobs)


def test_a_contestant_that_fails_is_named():
    with pytest.raises(ValueError, match="'late' ended with code 1: .*no_such"):
        race([Contestant("late", "no_such:job")], BenchmarkConfig(**TINY))


def test_contestants_take_turns_each_in_its_rounds(monkeypatch):
    # Idle BLAS threads that spin would make this slow on a busy machine.
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    config = BenchmarkConfig(**TINY | {"rounds": 3})
    job = "floor_jobs:with_numpy"
    found = race([Contestant("a", job), Contestant("b", job, rounds=2)], config)
    assert [len(found[name].samples) for name in ("a", "b")] == [3, 2]
    assert found["a"].result == found["b"].result


def test_sparsity_writes_table_and_figures(tmp_path):
    config = BenchmarkConfig(**TINY | {"rounds": 1, "output_dir": str(tmp_path)})
    text = sparsity.run(config)
    rows = read_csv(tmp_path / "sparsity.csv")
    assert [float(row["k"]) for row in rows] == [0.0, 0.5, 0.9]
    assert [float(row["dense bytes"]) for row in rows] == [4 * 120] * 3
    assert float(rows[1]["csr bytes"]) == 8 * 60 + 4 * 13
    assert float(rows[1]["shrunk bytes"]) == 4 * 6 * 5
    assert all(float(row["csr (scipy) s, batch 1"]) > 0 for row in rows)
    assert text == (tmp_path / "sparsity.md").read_text(encoding="utf-8")
    assert "Glorot-uniform, not trained" in text
    for name in ("sparsity.png", "sparsity_batch1.png"):
        assert (tmp_path / name).stat().st_size > 1000


def test_sparsity_ratios_are_over_dense():
    storage = {"dense": [100.0, 100.0], "csr": [200.0, 50.0]}
    seconds = {1: {"dense (numpy)": [2.0, 4.0], "csr (scipy)": [1.0, 1.0]}}
    header, rows = sparsity.ratio_table((0.0, 0.5), storage, seconds)
    assert header == ["k", "csr bytes", "csr (scipy), batch 1"]
    assert rows == [["0", "2", "0.5"], ["0.5", "0.5", "0.25"]]


def race_in_this_process(contestants, config, title):
    found = {}
    for one in contestants:
        ready = worker.get_ready(one.job, one.options, config)
        answers = io.StringIO()
        worker.serve(ready, io.StringIO("go\n" * config.rounds), answers)
        facts, *jobs = map(json.loads, answers.getvalue().splitlines())
        times = [Sample(job["wall"], job["cpu"]) for job in jobs]
        found[one.name] = Timed(one.name, facts, times, jobs[-1]["result"])
    return found


@pytest.mark.slow
def test_sweep_writes_its_table(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep, "race", race_in_this_process)
    config = BenchmarkConfig(**TINY | {"suite": "sweep", "output_dir": str(tmp_path)})
    text = sweep.run(config)
    rows = read_csv(tmp_path / "sweep.csv")
    assert [row["what"] for row in rows if row["bar"]] == [
        "epoch: Keras fit",
        "3 k x weight, unit: Keras clone + compile + evaluate, batch 32",
    ]
    # 64 images: the same networks err on the same ones, but for ties in rounding.
    gaps = re.findall(r"difference of an accuracy ([\d.]+)", text)
    assert len(gaps) == 2 and max(map(float, gaps)) <= 1 / 64
    assert "--suite=sweep --rounds=2" in text and str(tmp_path) not in text


def test_our_epochs_learn_what_keras_learns():
    config = BenchmarkConfig(**TINY | {"epoch_images": 200})
    ours = worker.get_ready("keras_jobs:our_epoch", {}, config)
    peer = worker.get_ready("keras_jobs:plain_fit", {}, config)
    losses = [[one.run()["loss"] for _ in range(8)] for one in (ours, peer)]
    assert losses[0][-1] < losses[0][0] and losses[1][-1] < losses[1][0]
    assert abs(losses[0][-1] - losses[1][-1]) < 0.1
    assert ours.facts["first epoch s"] > 0


@pytest.mark.parametrize("options", [{}, {"loader": True}, {"fused": True}])
def test_torch_learns(options):
    pytest.importorskip("torch")
    config = BenchmarkConfig(**TINY | {"epoch_images": 200})
    ready = worker.get_ready("torch_jobs:epoch", {"threads": 1} | options, config)
    losses = [ready.run()["loss"] for _ in range(8)]
    assert losses[-1] < losses[0] < 3
    assert ready.facts == {"threads": "1"}


def test_torch_multiplies_the_same():
    pytest.importorskip("torch")
    config = BenchmarkConfig(**TINY)
    expected = floor_jobs.with_numpy(config).run()["sum"]
    found = floor_jobs.with_torch(config, threads=1).run()["sum"]
    assert found == pytest.approx(expected, rel=1e-4)


def test_trained_network_is_that_of_the_run(tmp_path):
    run = RunDir(tmp_path / "run")
    network = cases.randomise(cases.plain())
    folder, digests = "checkpoints/seed=3", {}
    for name in ("val_loss", "val_accuracy", "last"):
        run.write_model(f"{folder}/{name}.keras", network)
        digests[name] = run.digest(f"{folder}/{name}.keras")
    history = [{"val_loss": 1.0, "val_accuracy": 0.5}]
    training = Training(folder, history, digests)
    run.write_json(f"{folder}/training.json", dataclasses.asdict(training))
    config = BenchmarkConfig(suite="sparsity", run=str(run.path))
    config.check()
    kernel, source = sparsity.read_kernel(config)
    expected = network.get_layer("hidden_2").kernel.numpy()
    np.testing.assert_array_equal(kernel, expected)
    assert source == "hidden_2/kernel of checkpoints/seed=3 of the run run"


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["--rounds=0"], "rounds: got 0"),
        (["--k_vals=0,1"], "sparsity: got 1.0"),
        (["--widths=10"], "at least two"),
        (["--suite=nothing"], "sweep|sparsity|ranking"),
        (["--parts=cut,glue"], "parts: got 'cut,glue', expected some of shapley"),
        (["--images=1001"], "images: got 1001, expected at most 1000"),
    ],
)
def test_unfit_flags_are_refused(words, match):
    with pytest.raises(cli.flags.Error, match=match):
        cli.parse(BenchmarkConfig, ["benchmark", *words])


def test_config_survives_the_way_to_a_worker():
    config = cli.parse(BenchmarkConfig, ["benchmark", "--suite=sweep", "--widths=3,4"])
    assert BenchmarkConfig.from_json(config.to_json()) == config
    assert BenchmarkConfig(run="/far/away/run").command().endswith(" --run=run")
    command = config.command()
    assert command == "python -m experiments.benchmark --suite=sweep --widths=3,4"
    words = BenchmarkConfig(torch=False).command().split()[2:]
    assert cli.parse(BenchmarkConfig, words) == BenchmarkConfig(torch=False)


def test_missing_torch_is_said_with_the_remedy(monkeypatch):
    monkeypatch.setattr(flags, "_is_installed", lambda module: False)
    with pytest.raises(ValueError, match=r"pip install -e .\[bench\].*--notorch"):
        BenchmarkConfig(suite="sweep").check()
    BenchmarkConfig(suite="sweep", torch=False).check()


def test_a_run_must_hold_a_training(tmp_path):
    with pytest.raises(ValueError, match="expected the folder of a finished run"):
        BenchmarkConfig(suite="sparsity", run=str(tmp_path)).check()
