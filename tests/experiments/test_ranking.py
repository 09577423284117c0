"""Rankings compared: the flags, the cells of a tiny protocol, tables and ledger."""

import csv
import dataclasses
import itertools

import numpy as np
import pytest
import tf_keras as keras
from absl import flags

import data
import models
from experiments import grids, ranking
from experiments.grids import ROWS
from experiments.ranking import RankingConfig
from experiments.rankings import bars, covariances, summary
from experiments.rankings import cells as made
from experiments.rankings.cells import AFTER, BEFORE, DENSE, Cell, Comparison
from experiments.rankings.presets import (
    CONTENDERS,
    PRESETS,
    RANDOM,
    SCRATCH,
    SCRATCH_LONG,
    Preset,
)
from network_pruning import cli
from network_pruning.criterion_flags import check_criterion
from network_pruning.jobs.fit import FitPlan, fit
from network_pruning.jobs.rankings import Ranking
from network_pruning.runs import DamagedFile, RunDir
from network_pruning.types import Scores

TINY = Preset(
    training={"model": "mlp", "dataset": "uci_digits", "widths": (12, 8)},
    keeps=((5, 3), (12, 4)),
    contenders=(RANDOM, "l2", "taylor"),
    retrained=("l2", SCRATCH),
    retraining={"epochs": 1, "batch_size": 128, "learning_rate": 0.003},
    draws=2,
    bars={(5, 3): 100.0, (12, 4): 0.0},
    seeds=(0,),
)

WIDTHS = ("5-3", "12-4")


@pytest.fixture(scope="module")
def digits():
    return data.load("uci_digits", image_size=(8, 8))


def make_network():
    return models.build("mlp", (8, 8, 1), 10, widths=(12, 8))


@pytest.fixture(scope="module")
def trained(tmp_path_factory, digits):
    """A run with one finished training."""
    run = RunDir(tmp_path_factory.mktemp("training"))
    plan = FitPlan(epochs=6, batch_size=128, learning_rate=0.01, seed=0, jit=False)
    fit(make_network, digits, plan, run, "checkpoints/seed=0")
    return run


@pytest.fixture
def start(digits, trained, tmp_path):
    """Begins or goes on with the tiny comparison."""

    def begin(preset=TINY, training=trained):
        run = RunDir(tmp_path / "ranking-tiny")
        return Comparison(preset, digits, [training], run)

    return begin


def test_presets_are_listed_and_ask_for_what_there_is(capsys):
    with pytest.raises(SystemExit) as left:
        ranking.check(RankingConfig())
    assert not left.value.code
    listed = capsys.readouterr().out
    for name, preset in PRESETS.items():
        assert f"--preset={name}" in listed
        assert set(preset.contenders) <= set(CONTENDERS)
        one = preset.dense_seed
        trained = preset.seeds if one is None else (one,)
        assert preset.config("results").seeds == trained
        assert set(preset.bars) <= set(preset.keeps)
        fields = {field.name for field in dataclasses.fields(FitPlan)}
        assert set(preset.retraining) <= fields
    for contender in CONTENDERS.values():
        options = [f"{name}={value}" for name, value in contender.options.items()]
        check_criterion(contender.criterion, options)


def test_flags_are_judged():
    def parse(*words):
        return cli.parse(RankingConfig, ["ranking", *words])

    config = parse("--preset=lenet5-digits", "--keep=8,9,36,17", "--seeds=1")
    narrow = ranking.narrowed(PRESETS["lenet5-digits"], config)
    assert (narrow.keeps, narrow.seeds) == (((8, 9, 36, 17),), (1,))
    assert config.procedures() == ranking.PROCEDURES
    assert parse("--procedure=rank").procedures() == ("rank",)
    for words, message in (
        (["--preset=lenet"], "preset: got 'lenet'"),
        (["--preset=lenet5-digits", "--keep=1,2"], "expected one of 8,9,36,17 6,7,35"),
        (["--procedure=cut"], "value should be one of"),
    ):
        with pytest.raises(flags.Error, match=message):
            parse(*words)


def test_some_seeds_of_a_protocol_are_found_wherever_they_were_trained(tmp_path):
    preset = dataclasses.replace(TINY, seeds=(0, 1), switch_steps=3)
    some = ranking.narrowed(preset, RankingConfig(seeds=(1,)))
    whole = preset.config(str(tmp_path)).run_id()
    (first,) = ranking._training_runs(preset, some, str(tmp_path))
    assert first.path.name != whole and not (tmp_path / whole).exists()
    (tmp_path / whole).mkdir()
    both = ranking._training_runs(preset, some, str(tmp_path))
    assert [run.path.name for run in both] == [first.path.name, whole]


def test_covariances_are_those_of_the_seeds_asked_for(monkeypatch, tmp_path, digits):
    asked = []

    class Trained:
        data = digits

        def dense(self, seed):
            asked.append(seed)

    law = {"hidden": covariances.Correlations(np.array([0.1]), np.array([0.1]))}
    monkeypatch.setattr(
        covariances, "learn", lambda *_: dict.fromkeys(covariances.LAWS, law)
    )
    preset = dataclasses.replace(TINY, seeds=(0, 1), switch_steps=3)
    some = ranking.narrowed(preset, RankingConfig(seeds=(1,)))
    ranking.show_covariances("tiny", some, Trained(), RunDir(tmp_path))
    assert asked == [1]
    assert (tmp_path / "ranking_tiny_covariances.png").exists()


def test_the_cells_are_what_they_say(start, digits):
    comparison = start()
    comparison.rank()
    comparison.prune()
    cuts = [(kept, label) for kept in ("5-3", "12-4") for label in TINY.contenders]
    expected = {(0, label, kept, BEFORE, 0) for kept, label in cuts}
    expected |= {(0, RANDOM, kept, BEFORE, 1) for kept in ("5-3", "12-4")}
    expected |= {(0, "none", "all", DENSE, 0)}
    assert set(comparison.cells) == expected
    dense = comparison.dense(0)
    x = digits.x_test.reshape(len(digits.x_test), -1)
    first, second, last = dense.get_weights()

    def accuracy(kept):
        a, b = (
            np.sort(np.argsort(-np.linalg.norm(w, axis=0), kind="stable")[:n])
            for w, n in zip((first, second), kept, strict=True)
        )
        hidden = np.maximum(x @ first[:, a], 0)
        hidden = np.maximum(hidden @ second[np.ix_(a, b)], 0)
        return np.mean((hidden @ last[b]).argmax(axis=1) == digits.y_test)

    for kept in TINY.keeps:
        cell = comparison.cells[0, "l2", "-".join(map(str, kept)), BEFORE, 0]
        a, b = kept
        assert cell.accuracy == pytest.approx(accuracy(kept), abs=1e-9)
        assert cell.params == cell.macs == 64 * a + a * b + b * 10
        assert (cell.forward, cell.backward, cell.epochs) == (0, 0, 0)
    whole = comparison.cells[0, "none", "all", DENSE, 0]
    assert whole.accuracy == pytest.approx(accuracy((12, 8)), abs=1e-9)
    drawn = [
        Ranking.load(comparison.run, f"rankings/seed=0/{label}.npz")
        for label in TINY.contenders
    ]
    assert (
        drawn[2].price.backward
        == comparison.cells[0, "taylor", "5-3", BEFORE, 0].backward
        > 0
    )


@pytest.mark.slow
def test_a_killed_comparison_goes_on_and_a_finished_one_does_nothing(
    start, tmp_path, monkeypatch, capsys
):
    for procedure in ("rank", "prune"):
        getattr(start(), procedure)()
    comparison = start()
    comparison.retrain()
    keys = {(0, label, kept, AFTER, 0) for label in TINY.retrained for kept in WIDTHS}
    assert keys == {key for key in comparison.cells if key[3] == AFTER}
    assert {comparison.cells[key].epochs for key in keys} == {1}
    before = (comparison.run.path / ROWS).read_bytes()
    with monkeypatch.context() as patched:
        for name in ("score_units", "fit", "predict_split", "shrink"):
            patched.setattr(made, name, None)
        again = start()
        again.rank()
        again.prune()
        again.retrain()
    assert (comparison.run.path / ROWS).read_bytes() == before
    # A cell that is missing is made again, the same.
    lost = (0, "l2", "5-3", BEFORE, 0)
    rest = [cell for key, cell in again.cells.items() if key != lost]
    comparison.run.write_text(ROWS, grids.text(Cell, rest))
    start().prune()
    assert (comparison.run.path / ROWS).read_bytes() == before
    references = RunDir(tmp_path / "references")
    ranking.publish("tiny", TINY, start(), references)
    text = capsys.readouterr().out
    assert text.strip() == references.read_text("ranking_tiny.md").strip()
    assert "## Kept 5-3" in text and "| l2 |" in text
    assert references.exists("ranking_tiny_agreement.png")
    lines = list(csv.DictReader(references.read_text("ledger.csv").splitlines()))
    verdicts = [line["verdict"] for line in lines if line["published"]]
    assert sorted(verdicts) == ["met", "missed"]
    assert {line["seeds"] for line in lines} == {"0"}


def test_without_cells_nothing_is_compared(tmp_path, monkeypatch, digits):
    places = {"output_dir": str(tmp_path), "references_dir": str(tmp_path / "refs")}
    monkeypatch.setattr(data, "load", lambda name, **options: digits)
    config = RankingConfig("lenet5-digits", "compare", **places)
    with pytest.raises(ValueError, match="there is no cell to compare, in .*lenet5"):
        ranking.work(config)
    assert not any((tmp_path / "refs").iterdir())


def test_a_part_of_the_seeds_is_published_as_a_part(start, tmp_path):
    start().prune()
    references = RunDir(tmp_path / "references")
    three = dataclasses.replace(TINY, seeds=(0, 1, 2))
    ranking.publish("tiny", three, start(three), references)
    assert "sd over seeds 0;" in references.read_text("ranking_tiny.md")
    lines = list(csv.DictReader(references.read_text("ledger.csv").splitlines()))
    assert {line["seeds"] for line in lines if line["verdict"] == "no bar"} == {"0"}
    bars = [line for line in lines if line["published"]]
    assert [line["verdict"] for line in bars] == ["not run", "not run"]


def test_published_cells_are_taken_over_from_equal_dense_networks_alone(
    start, tmp_path, monkeypatch
):
    first = start()
    first.prune()
    published = list(first.cells.values())
    first.run.remove(ROWS)
    start().adopt(published)
    assert sorted(start().cells.values(), key=lambda c: c.key) == sorted(
        published, key=lambda c: c.key
    )
    with monkeypatch.context() as patched:
        patched.setattr(made, "shrink", None)
        start().prune()
    first.run.remove(ROWS)
    others = [dataclasses.replace(c, accuracy=c.accuracy / 2) for c in published]
    start().adopt(others)
    assert set(start().cells) == {(0, "none", "all", DENSE, 0)}


def test_rankings_of_another_network_are_refused(start, trained, tmp_path):
    comparison = start()
    comparison.ranking(0, "l2", comparison.dense(0))
    keras.utils.set_random_seed(3)
    with pytest.raises(ValueError, match=r"l2\.npz ranks another network"):
        start().ranking(0, "l2", make_network())


def test_a_dense_network_that_is_not_trained_is_said(start):
    with pytest.raises(ValueError, match="no finished training of seed 7: run --proc"):
        start().dense(7)


@pytest.mark.parametrize("text", ["", "seed\n", "header\n1,2\n"])
def test_damaged_rows_are_said(start, text):
    comparison = start()
    header = grids.text(Cell, []).strip()
    comparison.run.write_text(ROWS, text.replace("header", header))
    with pytest.raises(DamagedFile, match="rows.csv is damaged"):
        start().prune()


def cell(seed, contender, accuracy, stage=BEFORE, kept="5-3", draw=0):
    return Cell(seed, contender, kept, stage, draw, accuracy, 0.5, 10, 20)


def test_errors_are_means_over_seeds_of_the_mean_draw():
    some = [
        *(cell(0, RANDOM, a, draw=i) for i, a in enumerate((0.5, 0.7))),
        *(cell(1, RANDOM, a, draw=i) for i, a in enumerate((0.7, 0.7))),
        cell(0, "l2", 0.9, AFTER),
    ]
    (mean, sd, seeds) = summary.errors(some, BEFORE)["5-3", RANDOM]
    assert (mean, seeds) == (pytest.approx(35), 2)
    assert sd == pytest.approx(np.std([40, 30], ddof=1))
    (mean, sd, seeds) = summary.errors(some, AFTER)["5-3", "l2"]
    assert (mean, seeds) == (pytest.approx(10), 1) and np.isnan(sd)
    text = summary.markdown("tiny", TINY, some, "2026-01-01")
    assert "| random | 35.00 ± 7.07 |" in text
    assert "10.00 (one seed)" in text
    assert "sd over seeds 0, 1;" in text
    noted = summary.markdown("tiny", TINY, some, "2026-01-01", "a copy of it")
    assert "on valid. Data: a copy of it.\n" in noted
    lines = summary.ledger_lines("tiny", TINY, some, "2026-01-01", "a copy of it")
    assert {line.table for line in lines} == {"tiny (a copy of it)"}


def test_a_budget_is_held_against_the_dense_network_and_every_rival():
    half = dataclasses.replace(
        TINY,
        keeps=(),
        bars={},
        budget={"macs": 0.5},
        dense_bar=11.0,
        drop_bar=1.0,
        seeds=(0, 1),
    )
    found = {
        ("none", DENSE, "all"): (0.90, 0.90),
        ("l2", AFTER, "macs:0.5"): (0.893, 0.891),
        (RANDOM, AFTER, "macs:0.5"): (0.88, 0.89),
        (SCRATCH, AFTER, "macs:0.5"): (0.893, 0.891),
        (SCRATCH_LONG, AFTER, "macs:0.5"): (0.90, 0.90),
    }
    some = [
        cell(seed, contender, value, stage, kept)
        for (contender, stage, kept), values in found.items()
        for seed, value in enumerate(values)
    ]
    # The best on valid is l2.
    some = [
        dataclasses.replace(one, valid_accuracy=0.6) if one.contender == "l2" else one
        for one in some
    ]
    lines = {line.metric: line for line in bars.lines("half", half, some, "today")}
    said = {name.split()[-1]: line.verdict for name, line in lines.items()}
    assert said == {
        **{"%": "met", "dense": "met", RANDOM: "met", SCRATCH: "missed"},
        "epochs": "missed",
    }
    fall = lines["test error % retrained, above dense"]
    assert (fall.ours_mean, fall.published) == ("0.8000", "1")
    assert float(fall.ours_sd) == pytest.approx(np.std([0.7, 0.9], ddof=1), abs=1e-4)
    few = [one for one in some if one.seed == 0]
    assert {line.seeds for line in bars.lines("half", half, few, "today")} == {"", "0"}
    larger = [*some, dataclasses.replace(some[-1], params=1_234)]
    page = summary.markdown("half", half, larger, "today")
    assert "\n10 to 1,234 parameters, 20 MACs.\n" in page
    verdicts = {line.verdict for line in bars.lines("half", half, few, "today")}
    assert verdicts == {"no bar", "not run"}


def test_spearman_equals_its_slow_twin():
    generator = np.random.default_rng(0)
    for _ in range(5):
        a, b = generator.integers(0, 6, (2, 9)).astype(float)
        ranks = [
            np.array([np.mean(np.flatnonzero(np.sort(v) == x)) for x in v])
            for v in (a, b)
        ]
        expected = np.corrcoef(*ranks)[0, 1]
        assert summary.spearman(a, b) == pytest.approx(expected)
        assert summary.spearman(a, -a) == pytest.approx(-1)
    assert summary.spearman(np.ones(3), np.arange(3.0)) == 0


def test_agreement_is_the_mean_over_groups_and_seeds():
    generator = np.random.default_rng(1)
    scores = {
        seed: {
            label: {g: Scores(generator.random(6)) for g in ("c1", "c2")}
            for label in ("a", "b")
        }
        for seed in (0, 1)
    }
    mean, sd = summary.agreement(scores, ("a", "b"))
    values = [
        np.mean([
            summary.spearman(of["a"][g].values, of["b"][g].values) for g in ("c1", "c2")
        ])
        for of in scores.values()
    ]
    for i, j in itertools.permutations(range(2)):
        assert mean[i, j] == pytest.approx(np.mean(values))
        assert sd[i, j] == pytest.approx(np.std(values, ddof=1))
    np.testing.assert_array_equal(np.diag(mean), 1)
