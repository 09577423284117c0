"""Posterior expectation distillation: flags, sets, and a chain that can be killed."""

import dataclasses
import importlib.util
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from absl import flags

import data
import models
from experiments import gped
from experiments.gpeds import (
    calibration,
    diagnostics,
    distill,
    lessons,
    networks,
    procedures,
    prune,
    report,
    search,
    sets,
    strangers,
)
from experiments.gpeds.calibration import Calibrated
from experiments.gpeds.config import GpedConfig
from experiments.gpeds.rows import Row
from experiments.gpeds.words import PROCEDURES
from experiments.grids import parse
from network_pruning import cli
from network_pruning.evaluation import uncertainty
from network_pruning.posterior.chains import ResidentChain
from network_pruning.posterior.recorded import Replay
from network_pruning.training import DivergedError
from network_pruning.views import rescaled
from tests.experiments.gped_cases import TINY, build, make_sets

KINDS = ("total", "knowledge")


@pytest.fixture(autouse=True)
def nothing_is_compiled(monkeypatch):
    for module in ("chains", "students"):
        monkeypatch.setattr(
            f"network_pruning.posterior.{module}.is_dense", lambda network: False
        )


@pytest.fixture
def tiny_sets():
    return make_sets()


@pytest.fixture
def tiny(tmp_path):
    return dataclasses.replace(TINY, output_dir=str(tmp_path))


def test_flags_are_judged():
    def given(*words):
        return cli.parse(GpedConfig, ["gped", *words])

    config = given("--student_multiplication_factor_1=1,5", "--target=predictive,both")
    assert config.factors() == [(1.0, 1.0), (5.0, 1.0)]
    assert (config.steps, config.burnt, config.eta) == (100_000, 1_000, 4e-6)
    cifar = given("--teacher=gped_cnn_cifar", "--preset=full")
    assert (cifar.steps, cifar.burnt, cifar.eta) == (1_000_000, 10_000, 2e-6)
    assert (config.thin_of("entropy"), config.thin_of("predictive")) == (10, 100)
    for words, message in (
        (["--num_training_samples=10"], "at least 1000: did you mean 10000?"),
        (["--target=mean"], "target: got mean, expected some of predictive, entropy"),
        (["--estimator=us,us"], "estimator: got us,us"),
        (["--burn_in=2000", "--preset=smoke"], "burn_in: got 2000, expected 0 or"),
        (["--burn_in=-1"], "burn_in: got -1, expected 0 or more"),
        (["--seed=5000000000"], "seed: got 5000000000, expected a whole number from"),
        (
            ["--student_multiplication_factor_2=1,0"],
            "student_multiplication_factor_2: got 1.0,0.0, expected numbers above 0",
        ),
        (["--student=5"], "student: got 5 with --teacher=gped_fc, expected two"),
        (["--teacher=gped_cnn_mnist", "--student=5,5"], "student: got 5,5 with"),
        (["--step_size=0"], "step_size: got 0"),
        (["--num_valid=-1"], "num_valid: got -1, expected 0 or more"),
        (["--procedure=search", "--num_valid=0"], "the search selects on them"),
        (["--input_noise=.1", "--estimator=uo"], "means belong to fixed cases"),
        (["--chains=2", "--num_valid=0"], "chains: got 2 with --num_valid=0 and 99"),
        (["--chains=0"], "chains: got 0, expected a number above 0"),
        (["--student_dropout=1"], r"student_dropout: got 1.0, expected a share in \[0"),
        (["--lasso_weights=0"], "lasso_weights: got"),
        (
            ["--thin=200", "--iterations=100", "--ensemble_every=9"],
            "thin: got 200, expected at most 90",
        ),
        (["--iterations=20"], "ensemble_every: got 100, expected at most 18, the"),
        (["--procedure=ood"], "ood: got no out-of-distribution set, expected names"),
        (["--procedure=all"], "for --procedure=all, as in --ood=fashion_mnist"),
        (
            ["--temperature=5", "--target=both"],
            "temperature: got 5.0 with --target=both, expected 1: it is of the target",
        ),
        (["--ood=mnist"], "ood: got mnist, which the chain walks on"),
        (["--ood=some/test"], "ood: got some/test, whose name 'test' another set"),
        (["--ood=a/b,c/b"], "ood: got a/b, whose name 'b' another set of images has"),
        (["--procedure=search", "--recorded=0"], "recorded: got 0, .* which search"),
        (
            ["--iterations=100", "--ensemble_every=9"],
            "iterations: got 100, 90 of them behind the burn-in",
        ),
    ):
        with pytest.raises(flags.Error, match=message):
            given(*words)


def test_seeds_of_parts_fit_numpy_and_small_ones_are_as_ever():
    assert GpedConfig(seed=3).seed_of(1_000, 7) == 3_007
    large = GpedConfig(seed=2**31 - 1).seed_of(100_000, 99)
    np.random.default_rng(large)
    assert 0 <= large < 2**32


def test_the_answer_names_the_flag_that_was_unfit():
    with pytest.raises(ValueError, match="^ood: got 'nope'"):
        gped.check(GpedConfig(dataset="uci_digits", ood=("nope",)))


def test_the_digest_is_of_the_chain():
    base = GpedConfig()
    assert dataclasses.replace(base, trials=3, run_name="a").digest() == base.digest()
    assert dataclasses.replace(base, mask_size=5).digest() != base.digest()
    wide = dataclasses.replace(base, population=3)
    assert wide.digest("population") != base.digest("population")


@pytest.fixture(scope="module")
def digits():
    return data.load("uci_digits", num_valid=300)


def test_strangers_are_others_and_fit_in_memory(digits, tmp_path):
    config = GpedConfig(dataset="uci_digits", ood=("a",), output_dir=str(tmp_path))
    with pytest.raises(ValueError, match="ood: got a, whose test images are those of"):
        sets.load(config, lambda name, **options: digits)
    large = SimpleNamespace(in_memory=False)
    with pytest.raises(ValueError, match="ood: a is too large to be held in memory"):
        sets.load(config, lambda name, **options: large if name == "a" else digits)


def test_sets_are_what_was_asked_for(digits, tmp_path):
    asked = []

    def load(name, **options):
        asked.append((name, options))
        return digits if name == "uci_digits" else rescaled(digits, 0.0, 0.5)

    config = GpedConfig(
        dataset="uci_digits",
        num_valid=300,
        num_training_samples=1_000,
        mask_size=9,
        ood=("some/place",),
        output_dir=str(tmp_path),
    )
    found = sets.load(config, load)
    assert asked == [
        ("uci_digits", {"num_valid": 300}),
        ("some/place", {"image_size": (28, 28)}),
    ]
    assert len(found.train[0]) == 1_000 and len(found.pool) == len(digits.x_train)
    assert list(found.strangers) == ["some/place"]
    masked = found.train[0] != digits.x_train[:1_000]
    assert masked.any() and (found.train[0][masked] == 0).all()
    assert (found.pool[:1_000] != found.train[0]).any(), "the pool has other squares"
    again = sets.load(config, load)
    np.testing.assert_array_equal(found.pool, again.pool)
    assert len(list((tmp_path / sets.FOLDER).iterdir())) == 5
    whole = sets.load(
        dataclasses.replace(config, num_valid=0, mask_size=0, ood=()), load
    )
    assert len(whole.pool) == len(digits.x_train) + 300 and not len(whole.valid[0])
    with pytest.raises(ValueError, match="num_training_samples: got 9999, expected at"):
        sets.load(dataclasses.replace(config, num_training_samples=9_999), load)
    with pytest.raises(ValueError, match="of 1438 .* or 0: students learn on them"):
        sets.load(dataclasses.replace(config, num_valid=5_000), data.load)
    with pytest.raises(ValueError, match="mask_size: got 29, expected 0 to 28"):
        sets.load(dataclasses.replace(config, mask_size=29), load)


def test_dark_knowledge_is_one_noisy_student_as_wide_as_the_teacher(tiny, tiny_sets):
    config = dataclasses.replace(
        tiny,
        target=("predictive", "dark_knowledge"),
        estimator=("us", "uo"),
        student_multiplication_factor_1=(1.0, 2.0),
        student_dropout=0.5,
        temperature=3.0,
    )
    *others, dark = networks.chain_students(config, tiny_sets, build)
    assert len(others) == 4 and dark.name == "bayesian_dark_knowledge"
    assert (dark.estimator, dark.input_noise) == ("us", 1e-3)
    assert {student.input_noise for student in others} == {0.0}
    teacher = networks.teacher_of(config, tiny_sets, build)
    shapes = [[w.shape for w in model.weights] for model in (dark.model, teacher)]
    assert shapes[0] == shapes[1]
    kinds = {type(layer).__name__ for layer in dark.model.layers}
    assert "Dropout" not in kinds
    logits = np.array([[1.0, 2.0, 0.0]], np.float32)
    target = dark.expectation.target(tf.nn.log_softmax(logits))
    np.testing.assert_allclose(target, tf.nn.softmax(logits), rtol=1e-6)
    cnn = dataclasses.replace(config, teacher="gped_cnn_mnist", student=(400, 400))
    which = networks.wanted(cnn)[-1]
    wide = dataclasses.replace(tiny_sets, pool=np.zeros((9, 28, 28, 1), np.float32))
    network = networks.network_of(cnn, wide, models.build, which)
    assert network.count_params() == 29_880 - 7 * 81


class Killed(BaseException):
    """Not an error: nobody handles it."""


def test_a_killed_chain_goes_on_with_the_same_numbers(
    tiny, tiny_sets, tmp_path, monkeypatch
):
    monkeypatch.setattr(distill, "AT_ONCE", 7)
    monkeypatch.setattr(distill, "SAVE_SECONDS", 0.0)
    whole = distill.distill(tiny, tiny_sets, build)
    other = dataclasses.replace(tiny, output_dir=str(tmp_path / "other"))
    shown = []

    def kill(*arguments):
        shown.append(arguments)
        if len(shown) == 4:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(distill, "_show", kill)
        with pytest.raises(Killed):
            distill.distill(other, tiny_sets, build)
    again = distill.distill(other, tiny_sets, build)
    for name in (distill.RESULTS, distill.TRACE):
        assert whole.read_text(name) == again.read_text(name)
    theirs, ours = (run.read_arrays("ensembles.npz") for run in (whole, again))
    for name, value in theirs.items():
        np.testing.assert_array_equal(ours[name], value)
    assert len(list((again.path / "recorded").iterdir())) == 4
    measured = {row.key: row for row in parse(Row, whole.read_text(distill.RESULTS))}
    assert set(measured) == {
        ("teacher", "ensemble"),
        ("student", "both-uo-1-1"),
    }
    assert measured["teacher", "ensemble"].draws == 6
    both = measured["student", "both-uo-1-1"]
    assert both.entropy_mae >= 0 and both.kl > 0 and both.params == 16 * 6 + 6 + 35 + 24
    # A finished one is not walked again; other images are refused.
    with monkeypatch.context() as patched:
        patched.setattr(distill, "_make", None)
        assert "both-uo-1-1" in procedures.distill(tiny, tiny_sets, build)
        changed = dataclasses.replace(tiny_sets, fingerprint="0" * 64)
        with pytest.raises(ValueError, match="holds a chain of other images"):
            distill.distill(tiny, changed, build)


def test_what_a_finished_chain_has_lost_is_made_again(tiny, tiny_sets):
    run = distill.distill(tiny, tiny_sets, build)
    kept = {name: run.read_text(name) for name in (distill.RESULTS, distill.TRACE)}
    student = "students/both-uo-1-1.keras"
    for name in (student, distill.ENSEMBLES, distill.TRACE):
        run.remove(name)
        with pytest.raises(ValueError, match=f"has lost {name}: the same command with"):
            distill.finished(tiny, tiny_sets)
        assert distill.distill(tiny, tiny_sets, build).exists(name)
    assert kept == {name: run.read_text(name) for name in kept}
    first = sorted((run.path / "recorded").iterdir())[0]
    first.unlink()
    run.remove(student)
    distill.distill(tiny, tiny_sets, build)
    with pytest.raises(ValueError, match="holds 3 positions of 4: delete done.json"):
        lessons.Record(tiny, tiny_sets, build)


def test_a_chain_that_blows_up_keeps_its_last_good_state(tiny, tiny_sets):
    config = dataclasses.replace(tiny, step_size=1e5)
    with pytest.raises(DivergedError, match=r"lower the step size.*kept in .*chain\."):
        distill.distill(config, tiny_sets, build)
    run = distill.RunDir(distill.folder_of(config))
    stored = run.read_arrays(distill.STATE)
    assert all(np.isfinite(v).all() for n, v in stored.items() if "chain/" in n)
    with pytest.raises(ValueError, match="holds no finished chain: run the same"):
        distill.finished(config, tiny_sets)


def test_several_chains_are_compared(tiny, tiny_sets, monkeypatch):
    alone = distill.distill(tiny, tiny_sets, build)
    one = diagnostics.diagnose(tiny, tiny_sets, build, alone)
    assert "1 chain, its halves, 6 draws each" in report.said_of(one)
    config = dataclasses.replace(tiny, chains=3)
    assert distill.folder_of(config) == alone.path, "the first chain is walked already"
    assert "split R-hat" in procedures.distill(config, tiny_sets, build)
    found = parse(diagnostics.Walked, alone.read_text(diagnostics.RESULTS))
    traces = [distill.read_trace(alone, "valid")]
    folders = sorted((alone.path / "chains").iterdir())
    traces += [distill.read_trace(distill.RunDir(path), "valid") for path in folders]
    assert len(found) == len(traces) == len({one.seed for one in found}) == 3
    for one, trace in zip(found, traces, strict=True):
        assert trace.shape == (6, 3) and one.draws == 6
        assert one.nll == pytest.approx(trace[:, 1].mean())
        assert one.ensemble_nll == trace[-1, 2]
    halves = np.array([part for t in traces for part in (t[:3, 1], t[3:, 1])])
    within = halves.var(axis=1, ddof=1).mean()
    between = halves.mean(axis=1).var(ddof=1)
    rhat = np.sqrt((2 / 3 * within + between) / within)
    page = alone.read_text("report.md")
    assert f"split R-hat {rhat:.4f} of the NLL" in page
    assert f"| 2 | {found[2].seed} | 6 |" in page
    assert "| student | both-uo-1-1 |" in page
    assert f"]({diagnostics.FIGURE})" in page and alone.exists(diagnostics.FIGURE)
    shown = scalars_in(alone.path / "tensorboard/chains")
    assert shown["chains/split R-hat"][-1] == (38, pytest.approx(rhat, rel=1e-5))
    assert f"]({calibration.FIGURE})" in page and alone.exists(calibration.FIGURE)
    assert pictures_in(alone.path / calibration.BOARD) == {"figures/reliability"}
    # All of them are walked: nothing is walked again.
    monkeypatch.setattr(ResidentChain, "advance", None)
    again = diagnostics.diagnose(config, tiny_sets, build, alone)
    assert again.rhat == pytest.approx(rhat)


@pytest.mark.slow
def test_a_further_chain_that_is_killed_goes_on(tiny, tiny_sets, tmp_path, monkeypatch):
    config = dataclasses.replace(tiny, chains=3)
    whole = distill.distill(config, tiny_sets, build)
    other = distill.RunDir(shutil.copytree(whole.path, tmp_path / "other"))
    expected = diagnostics.diagnose(config, tiny_sets, build, whole)
    monkeypatch.setattr(distill, "AT_ONCE", 7)
    monkeypatch.setattr(distill, "SAVE_SECONDS", 0.0)
    walks, advance = [], ResidentChain.advance

    def dies(self, steps):
        walks.append(steps)
        if len(walks) == 10:  # of the second further chain
            raise Killed
        return advance(self, steps)

    monkeypatch.setattr(ResidentChain, "advance", dies)
    with pytest.raises(Killed):
        diagnostics.diagnose(config, tiny_sets, build, other)
    assert diagnostics.diagnose(config, tiny_sets, build, other) == expected
    assert sum(walks) == 2 * 40 + walks[9], "no step is taken twice"


def told_in(folder):
    """(name, step, value) of the event file in a folder."""
    (path,) = folder.glob("events.*")
    for event in tf.compat.v1.train.summary_iterator(str(path)):
        for value in event.summary.value:
            yield value.tag, event.step, tf.make_ndarray(value.tensor)


def scalars_in(folder):
    """(step, value) by name."""
    found = {}
    for name, step, value in told_in(folder):
        if value.ndim == 0:
            found.setdefault(name, []).append((step, float(value)))
    return found


def pictures_in(folder):
    return {name for name, _, value in told_in(folder) if value.ndim}


@pytest.fixture
def chained(tiny, tiny_sets):
    """A finished chain with students of every kind that tells an uncertainty."""
    config = dataclasses.replace(
        tiny,
        target=("predictive", "both", "dirichlet", "dark_knowledge"),
        estimator=("us",),
        members=2,
        baseline_epochs=1,
    )
    distill.distill(config, tiny_sets, build)
    return config


@pytest.mark.slow
def test_strangers_are_found_and_the_familiar_ranked(chained, tiny_sets, monkeypatch):
    monkeypatch.setattr("experiments.gpeds.baselines.PASSES", 3)
    found, run = strangers.find(chained, tiny_sets, build)
    students = {"both-us-1-1", "dirichlet-us-1-1", "mc dropout", "deep ensemble"}
    two = {(c, kind) for c in {*students, "ensemble"} for kind in KINDS}
    alone = ("predictive-us-1-1", "bayesian_dark_knowledge", "deterministic")
    one = {(name, "total") for name in alone}
    assert {(each.contender, each.kind) for each in found} == two | one
    assert {each.outside for each in found} == {"elsewhere"}
    assert all(0 <= each.auroc <= 1 and 0 < each.aupr <= 1 for each in found)
    arrays = distill.finished(chained, tiny_sets).read_arrays("ensembles.npz")
    total = [
        uncertainty.entropy(arrays[f"{name}/log_probabilities"])
        for name in ("test", "elsewhere")
    ]
    ours = next(f for f in found if (f.contender, f.kind) == ("ensemble", "total"))
    assert ours.auroc == pytest.approx(uncertainty.auroc(*total))
    assert parse(strangers.Found, run.read_text(strangers.RESULTS))
    told = parse(Calibrated, run.read_text(calibration.RESULTS))
    assert {each.contender for each in told} == {name for name, _ in two | one}
    chain = distill.finished(chained, tiny_sets)
    measured = {row.name: row for row in parse(Row, chain.read_text(distill.RESULTS))}
    for each in told:
        if each.contender in measured:
            row = measured[each.contender]
            assert (each.nll, each.ece) == pytest.approx((row.nll, row.ece))
    shown = scalars_in(run.path / calibration.BOARD)
    assert set(shown) == {f"ece/{each.contender}" for each in told}
    assert pictures_in(run.path / calibration.BOARD) == {"figures/reliability"}
    ranked, _ = strangers.rank(chained, tiny_sets)
    kinds = {(r.contender, r.kind) for r in ranked}
    told = {(c, k) for c in ("both-us-1-1", "dirichlet-us-1-1") for k in KINDS}
    assert kinds == told | {(name, "total") for name in alone[:2]}
    assert all(0 < r.ndcg <= 1 for r in ranked)


@pytest.mark.slow
@pytest.mark.parametrize("step", ["proximal", "penalty"])
def test_students_are_pressed_cut_and_tuned_and_can_be_killed(
    tiny, tiny_sets, monkeypatch, step
):
    monkeypatch.setattr(distill, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(lessons, "AT_ONCE", 5)
    config = dataclasses.replace(
        tiny,
        lasso_weights=(1.0,),
        lasso_step=step,
        student_learning_rate=0.02,
        lasso_updates=30,
        lasso_threshold=0.4,
        finetune_updates=12,
    )
    with pytest.raises(ValueError, match="holds no finished chain"):
        prune.prune_finetune(config, tiny_sets, build)
    distill.distill(config, tiny_sets, build)
    twin = config.output_dir + "-twin"
    shutil.copytree(config.output_dir, twin)
    measured, run = prune.prune_finetune(config, tiny_sets, build)
    by_stage = {row.stage.split()[0]: row for row in measured}
    assert list(by_stage) == ["student", "lasso", "pruned", "finetuned"]
    assert by_stage["pruned"].params == by_stage["finetuned"].params
    assert by_stage["pruned"].params < by_stage["lasso"].params
    if step == "proximal":
        assert by_stage["pruned"].nll == pytest.approx(by_stage["lasso"].nll, abs=0.2)
    other, taken = dataclasses.replace(config, output_dir=twin), []
    advance = Replay.advance

    def dies(self, steps):
        taken.append(steps)
        if len(taken) in {4, 8}:
            raise Killed
        return advance(self, steps)

    monkeypatch.setattr(Replay, "advance", dies)
    for _ in range(2):
        with pytest.raises(Killed):
            prune.prune_finetune(other, tiny_sets, build)
    again, where = prune.prune_finetune(other, tiny_sets, build)
    assert again == measured
    assert run.read_text(prune.RESULTS) == where.read_text(prune.RESULTS)


@pytest.mark.slow
def test_a_killed_search_goes_on_with_the_same_numbers(tiny, tiny_sets, monkeypatch):
    config = dataclasses.replace(tiny, trials=6, population=3, search_updates=6)

    distill.distill(config, tiny_sets, build)
    twin = config.output_dir + "-twin"
    shutil.copytree(config.output_dir, twin)
    tried, run = search.search(config, tiny_sets, build)
    assert len(tried) == 6 and run.exists(search.FIGURE)
    shown = scalars_in(run.path / "tensorboard")["search/params"]
    assert shown == [(each.number, each.params) for each in tried]
    assert pictures_in(run.path / "tensorboard") == {"figures/front"}
    for each in tried:
        others = [o for o in tried if o is not each]
        mine = (each.error, each.params, each.macs)
        beaten = any(
            all(a <= b for a, b in zip((o.error, o.params, o.macs), mine, strict=True))
            and (o.error, o.params, o.macs) != mine
            for o in others
        )
        assert each.front == (not beaten)
    other, taken = dataclasses.replace(config, output_dir=twin), []
    advance = Replay.advance

    def dies(self, steps):
        taken.append(steps)
        if len(taken) in {1, 3}:
            raise Killed
        return advance(self, steps)

    monkeypatch.setattr(Replay, "advance", dies)
    for _ in range(2):
        with pytest.raises(Killed):
            search.search(other, tiny_sets, build)
    again, _ = search.search(other, tiny_sets, build)

    def numbers(found):
        return [(t.factor_1, t.factor_2, t.error, t.params, t.front) for t in found]

    assert numbers(again) == numbers(tried)
    held_out = dataclasses.replace(
        tiny_sets, valid=(tiny_sets.valid[0][:0], tiny_sets.valid[1][:0])
    )
    with pytest.raises(ValueError, match="num_valid: got 0, expected held-out images"):
        search.search(config, held_out, build)


def test_a_search_without_optuna_is_refused_before_anything_is_made(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for procedure in ("search", "all"):
        with pytest.raises(ValueError, match=r"optuna: not installed.*-e .\[search\]"):
            GpedConfig(procedure=procedure, ood=("a",))


def test_every_procedure_of_the_flag_is_there():
    assert set(procedures.PROCEDURES) == set(PROCEDURES)
    assert GpedConfig(procedure="all", ood=("a",)).procedures() == PROCEDURES
