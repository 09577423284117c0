import csv
import io
import json

import numpy as np
import pytest

from experiments.benchmarks import config as flags
from experiments.benchmarks import cut_jobs, ranking, shapley_jobs, worker
from experiments.benchmarks.config import BenchmarkConfig
from experiments.benchmarks.race import Sample, Timed
from network_pruning.evaluation.macs import count_macs

TINY = {"rounds": 1, "coalitions": 20, "images": 50, "torch": False, "shap": False}
WIDTHS = (4, 5, 6, 3)


def timed(name, *seconds, results=None, **facts):
    samples = [Sample(wall, wall) for wall in seconds]
    results = results or [{}] * len(samples)
    return Timed(name, facts, samples, results[-1], results)


def race_in_this_process(contestants, config, title):
    found = {}
    for one in contestants:
        ready = worker.get_ready(one.job, one.options, config)
        answers = io.StringIO()
        worker.serve(ready, io.StringIO("go\n" * config.rounds), answers)
        facts, *jobs = map(json.loads, answers.getvalue().splitlines())
        times = [Sample(job["wall"], job["cpu"]) for job in jobs]
        results = [job["result"] for job in jobs]
        found[one.name] = Timed(one.name, facts, times, results[-1], results)
    return found


@pytest.fixture(scope="module")
def lenet(tmp_path_factory):
    path = tmp_path_factory.mktemp("lenet") / "tiny.keras"
    shapley_jobs.train(path, WIDTHS)
    return str(path)


def test_seconds_of_shapley_values_are_those_of_a_coalition_evaluated():
    found = {
        ranking.OURS: timed("a", 1, 2, results=[{"evaluated": 100}] * 2),
        ranking.PREDICT: timed("b", 60, results=[{"evaluated": 200}]),
        ranking.FUNCTION: timed("c", 4, 4, results=[{"evaluated": 200}] * 2),
    }
    predict, function = ranking.shapley_lines("x", found)
    # Ours: 10 and 20 s for 1000; the peer's one round is compared with our first.
    assert (predict.wall.ours, predict.wall.peer) == (10, 300)
    assert predict.met == "yes" and "30.0 times faster" in predict.note
    assert function.wall.value == pytest.approx(15 / 20) and function.met == ""


def test_error_is_relative_to_the_largest_value():
    rounds = [{"phi 0": 1.0, "phi 1": -4.0}, {"phi 0": 2.0, "phi 1": -3.0}]
    one = timed("a", 1, 1, results=rounds)
    assert ranking.error(one, [1.0, -4.0]) == pytest.approx((0 + 0.25) / 2)


def test_cut_is_compared_with_the_fastest_peer():
    found = {
        "ours, keras.applications": timed("a", 1.0),
        "ours, torchvision's layout": timed("b", 3.0),
        "Torch-Pruning, 1 thread": timed("Torch-Pruning, 1 thread", 5.0),
        "Torch-Pruning, 2 threads": timed("Torch-Pruning, 2 threads", 4.0),
    }
    lines = ranking.cut_lines(found)
    assert [line.met for line in lines] == ["", "yes", "", ""]
    assert lines[1].what.endswith("keras.applications: Torch-Pruning, 2 threads")
    names = [one.name for one in ranking.cut_contestants(BenchmarkConfig())]
    assert names == list(found)
    assert ranking.cut_lines(dict(list(found.items())[:2])) == []


@pytest.mark.parametrize(("micros", "met"), [(70.0, "yes"), (73.0, "no")])
def test_litert_must_gain_its_share_of_the_macs(micros, met):
    results = {
        name: [{"median us": us, "p90 us": 2 * us, "runs": 2000}]
        for name, us in {"dense": 100.0, "cut": micros}.items()
    }
    found = {
        name: timed(name, 1.0, results=results[name], macs=macs, params=macs)
        for name, macs in {"dense": 2000, "cut": 1000}.items()
    }
    line = ranking.litert_line("net", found)
    # Twice fewer MACs: at least 1.4 times faster.
    assert line.met == met and str(line.bar) == "≤ 1/(0.7 x 2.00) wall"
    assert line.wall.ours == pytest.approx(micros / 1000) and line.cpu.ours == 0.5
    dense, cut = ranking.litert_rows("net", found)
    assert dense[3:] == ["100.0", "200.0", "1.00", "1.00"]
    assert cut[5:] == [f"{100 / micros:.2f}", f"{50 / micros:.2f}"]


def test_engine_is_checked_against_the_gate(lenet):
    truth = shapley_jobs.reference(lenet, "c1", 50)
    assert truth["how"] == "every coalition" and truth["gate"] < 1e-5
    config = BenchmarkConfig(**TINY)
    ready = worker.get_ready(
        "shapley_jobs:ours", {"path": lenet, "group": "c1"}, config
    )
    result = ready.run()
    # 20 coalitions of 4 players are all there are.
    assert result["evaluated"] == 16
    found = [result[f"phi {i}"] for i in range(4)]
    np.testing.assert_allclose(found, truth["values"], atol=1e-6)


@pytest.mark.parametrize("predict", [True, False])
def test_peers_play_the_same_game(lenet, predict):
    task = shapley_jobs.load(lenet, "c3", 50)
    expected = shapley_jobs.reference(lenet, "c3", 50)["probes"]
    game = shapley_jobs._loop(task, predict)
    np.testing.assert_allclose(game(task.probes), expected, atol=1e-5)


@pytest.mark.parametrize("l1_reg", [True, False])
def test_shap_finds_the_values_of_few_players(lenet, l1_reg):
    pytest.importorskip("shap")
    options = {"path": lenet, "group": "c1", "forward": "function", "l1_reg": l1_reg}
    config = BenchmarkConfig(**TINY)
    result = worker.get_ready("shapley_jobs:with_shap", options, config).run()
    assert result["evaluated"] == 16
    expected = shapley_jobs.reference(lenet, "c1", 50)["values"]
    found = [result[f"phi {i}"] for i in range(4)]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.slow
def test_torch_pruning_leaves_as_much_as_we_do():
    pytest.importorskip("torch_pruning")
    config = BenchmarkConfig(rounds=1)
    options = {"pixels": 64, "share": 0.5}
    peer = worker.get_ready("torch_cut_jobs:cut", options | {"threads": 1}, config)
    layout = options | {"layout": "torchvision"}
    ours = worker.get_ready("cut_jobs:cut", layout, config)
    assert ours.run() == peer.run() and ours.facts["groups"] == 37


def test_networks_are_cut_as_the_table_says():
    assert tuple(cut_jobs.NETWORKS) == ranking.LITERT_NETWORKS
    names = ("c1", "c3", "c5", "f6")
    small = cut_jobs.lenet(small=True)
    widths = [small.get_layer(name).output.shape[-1] for name in names]
    assert widths == [8, 9, 36, 17]
    macs = [count_macs(cut_jobs.resnet20(small)) for small in (False, True)]
    assert 0.45 < macs[1] / macs[0] <= 0.5


def test_ranking_writes_its_table(tmp_path, monkeypatch):
    monkeypatch.setattr(ranking, "race", race_in_this_process)
    monkeypatch.setattr(ranking, "LENETS", {"tiny": WIDTHS})
    monkeypatch.setattr(ranking, "LITERT_NETWORKS", ranking.LITERT_NETWORKS[:1])
    monkeypatch.setattr(cut_jobs, "INVOCATIONS", 3)
    monkeypatch.setattr(cut_jobs, "SECONDS", 0.0)
    options = {"suite": "ranking", "parts": ("shapley", "litert")}
    config = BenchmarkConfig(**TINY | options | {"output_dir": str(tmp_path)})
    text = ranking.run(config)
    assert text == (tmp_path / "ranking.md").read_text(encoding="utf-8")
    written = (tmp_path / "ranking.csv").read_text(encoding="utf-8").splitlines()
    (row,) = csv.DictReader(written)
    assert row["what"].startswith("1000 x LiteRT, LeNet-5") and row["rounds"] == "1"
    assert "- left out: shap\n" in text
    assert "| tiny c1: ours | 4 | 16 |" in text and "| tiny c3: ours | 5 |" in text
    assert "8-9-36-17: cut | 8,080 | 236,366 |" in text


@pytest.mark.parametrize(
    ("module", "remedy"), [("torch_pruning", "--notorch"), ("shap", "--noshap")]
)
def test_missing_peers_are_said_with_the_remedy(monkeypatch, module, remedy):
    monkeypatch.setattr(flags, "_is_installed", lambda name: name != module)
    with pytest.raises(ValueError, match=rf"{module}: not .*\[bench\].*{remedy}"):
        BenchmarkConfig(suite="ranking").check()
    BenchmarkConfig(suite="ranking", torch=False, shap=False).check()
