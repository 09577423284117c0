"""The command that ranks: saved, resumed, extended, refused."""

import csv
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from network_pruning.evaluation import metrics
from network_pruning.jobs.rankings import Ranking
from network_pruning.pruning.criteria import CRITERIA
from network_pruning.pruning.selection import keep_units
from network_pruning.pruning.sensitivity import RATIOS
from network_pruning.runs import RunDir
from tests.jobs import cutting
from tests.jobs.cutting import CONV
from tests.jobs.fitting import Stopped

SAMPLED = ("--criterion=shapley", "--criterion_options=images=60")
MLP = ("--model=mlp", "--dataset=uci_digits")


def ranking_in(place):
    """The one ranking below a folder."""
    (path,) = place.rglob("rank-*/scores.npz")
    return path.parent, Ranking.load(RunDir(path.parent))


def assert_same(ranking, expected):
    assert ranking.scores.keys() == expected.scores.keys()
    for name, scores in expected.scores.items():
        got = ranking.scores[name]
        np.testing.assert_array_equal(got.values, scores.values)
        np.testing.assert_array_equal(got.standard_error, scores.standard_error)


@pytest.fixture
def conv(conv_file, tmp_path):
    return (f"--model={conv_file}", *CONV, f"--output_dir={tmp_path}")


def test_every_unit_of_a_file_is_ranked_by_name(conv, rank, conv_file, tmp_path):
    assert rank(*conv, "--criterion=l2") == (0, "")
    folder, ranking = ranking_in(tmp_path)
    assert folder.parent.name.startswith("conv-")
    network = cutting.keras.models.load_model(conv_file, compile=False)
    for name, size in {"c1": 6, "f2": 8}.items():
        kernel = network.get_layer(name).get_weights()[0].astype(np.float64)
        norms = np.sqrt((kernel.reshape(-1, size) ** 2).sum(axis=0))
        np.testing.assert_allclose(ranking.scores[name].values, norms, rtol=1e-6)
    assert ranking.asked.data is None, "weights alone were read"
    lines = list(csv.DictReader((folder / "ranking.csv").read_text().splitlines()))
    assert [line["group"] for line in lines] == ["c1"] * 6 + ["f2"] * 8
    best = np.argsort(-ranking.scores["c1"].values, kind="stable")
    assert [int(line["unit"]) for line in lines[:6]] == best.tolist()
    assert [int(line["rank"]) for line in lines[6:]] == list(range(8))
    assert (folder / "figures/scores.png").is_file()
    assert list((folder / "tensorboard").glob("events.*"))


def test_sensitivity_is_an_array_a_figure_and_curves_in_tensorboard(
    conv, rank, conv_file, tmp_path, small_digits
):
    assert rank(*conv, "--criterion=l2", "--sensitivity") == (0, "")
    folder, ranking = ranking_in(tmp_path)
    curves = RunDir(folder).read_arrays("sensitivity.npz")
    network = cutting.keras.models.load_model(conv_file, compile=False)
    half = {"c1": keep_units({"c1": ranking.scores["c1"]}, sparsity=0.5)["c1"]}
    slow = cutting.slow_accuracy(cutting.masked(network, half), small_digits, "valid")
    assert curves["c1"][RATIOS.index(0.5)] == pytest.approx(slow)
    assert (folder / "figures/sensitivity.png").is_file()
    assert rank(*conv, "--criterion=l2", "--sensitivity") == (0, "")
    (events,) = (folder / "tensorboard/sensitivity").glob("events.*")
    shown = {}
    for event in tf.compat.v1.train.summary_iterator(str(events)):
        for value in event.summary.value:
            shown[value.tag, event.step] = value.tensor
    assert ("figures/sensitivity", 0) in shown
    for group, curve in curves.items():
        if group != "ranking":
            points = [shown[f"sensitivity/{group}", round(100 * r)] for r in RATIOS]
            assert np.allclose([tf.make_ndarray(point) for point in points], curve)


def test_exact_shapley_equals_its_slow_twin(
    conv, rank, conv_file, tmp_path, small_digits, in_process
):
    words = [*SAMPLED, "--estimator=exact", "--layer=c1"]
    assert rank(*conv, *words) == (0, "")
    _, ranking = ranking_in(tmp_path)
    assert list(ranking.scores) == ["c1"]
    scores = ranking.scores["c1"]
    assert scores.standard_error is None
    # A unit's value: what it adds, over all sets of the other five.
    network = cutting.keras.models.load_model(conv_file, compile=False)
    order = np.random.default_rng(0).permutation(len(small_digits.x_valid))[:60]
    images, labels = small_digits.x_valid[order], small_digits.y_valid[order]

    def value(mask):
        some = cutting.masked(network, {"c1": mask})
        return -metrics.cross_entropy(cutting.slow_logits(some, images), labels)

    masks = (np.arange(64)[:, None] >> np.arange(6) & 1).astype(bool)
    values = np.array([value(mask) for mask in masks])
    weight = 1 / (6 * np.array([1, 5, 10, 10, 5, 1]))
    for unit in range(6):
        without = np.flatnonzero(~masks[:, unit])
        gains = values[without + (1 << unit)] - values[without]
        expected = (weight[masks[without].sum(axis=1)] * gains).sum()
        assert scores.values[unit] == pytest.approx(expected, abs=1e-5)
    assert ranking.price.forward == 60 * (64 + 1)
    assert "price: 3,900 examples forward" in in_process.out


@pytest.mark.parametrize(
    "more",
    [
        ("--samples=40",),
        pytest.param(("--estimator=kernel", "--samples=40"), marks=pytest.mark.slow),
    ],
)
def test_a_killed_ranking_goes_on_with_the_same_samples(
    conv, rank, tmp_path, monkeypatch, more
):
    words = [*conv, *SAMPLED, *more]
    assert rank(*words, f"--output_dir={tmp_path}/whole") == (0, "")
    monkeypatch.setattr("network_pruning.pruning.games.BATCH", 64)
    monkeypatch.setattr("network_pruning.pruning.shapley.BATCH", 16)
    write, written = RunDir.write_arrays, []

    def killed(run, name, arrays):
        write(run, name, arrays)
        written.append(name)
        if len(written) == 5:
            raise Stopped

    broken = [*words, f"--output_dir={tmp_path}/broken"]
    with monkeypatch.context() as patched:
        patched.setattr(RunDir, "write_arrays", killed)
        with pytest.raises(Stopped):
            rank(*broken)
    assert {name.split("/")[0] for name in written} == {"samples"}
    assert not list(tmp_path.glob("broken/*/rank-*/scores.npz"))
    assert rank(*broken) == (0, "")
    whole, resumed = (ranking_in(tmp_path / name)[1] for name in ("whole", "broken"))
    assert_same(resumed, whole)
    assert resumed.price.forward >= whole.price.forward, "both processes' are counted"
    assert resumed.price.forward < 1.5 * whole.price.forward


def test_a_ranking_of_the_default_count_is_extended(conv, rank, tmp_path):
    words = [*conv, *SAMPLED, "--layer=c1"]
    assert rank(*words) == (0, "")
    assert rank(*words, "--extend=5") == (0, "")
    _, extended = ranking_in(tmp_path)
    assert extended.scores["c1"].samples == 36  # In pairs.


def test_extending_equals_one_long_ranking_and_keeps_what_was_drawn(
    conv, rank, tmp_path
):
    words = [*conv, *SAMPLED]
    assert rank(*words, "--samples=10") == (0, "")
    _, short = ranking_in(tmp_path)
    assert rank(*words, "--samples=10", "--extend=14") == (0, "")
    folder, extended = ranking_in(tmp_path)
    assert extended.asked.options["samples"] == 24
    whole = f"--output_dir={tmp_path}/whole"
    assert rank(*words, "--samples=24", whole) == (0, "")
    _, long = ranking_in(tmp_path / "whole")
    assert_same(extended, long)
    for name, scores in extended.scores.items():
        assert (scores.values != short.scores[name].values).any()
        assert scores.price.forward > short.scores[name].price.forward
    before = (folder / "scores.npz").read_bytes()
    assert rank(*words, "--samples=10") == (0, "")
    assert (folder / "scores.npz").read_bytes() == before, "nothing is drawn again"


def test_the_same_command_again_scores_nothing(conv, rank, tmp_path, monkeypatch):
    assert rank(*conv, "--criterion=fisher") == (0, "")
    folder, first = ranking_in(tmp_path)
    assert first.asked.data is not None
    before = (folder / "scores.npz").read_bytes()
    monkeypatch.setitem(CRITERIA, "fisher", None)
    assert rank(*conv, "--criterion=fisher") == (0, "")
    assert (folder / "scores.npz").read_bytes() == before


def test_a_name_means_its_newest_finished_training(copy, rank):
    words = [*MLP, f"--output_dir={copy.parent}"]
    assert rank(*words) == (0, "")
    folder, ranking = ranking_in(copy.parent)
    assert folder.parent.parent == copy.parent
    dense = cutting.keras.models.load_model(
        copy / "checkpoints/seed=0/val_loss.keras", compile=False
    )
    kernel = dense.get_layer("hidden_1").kernel.numpy().astype(np.float64)
    norms = np.sqrt((kernel**2).sum(axis=0))
    np.testing.assert_allclose(ranking.scores["hidden_1"].values, norms, rtol=1e-6)
    named = copy / "checkpoints/seed=0/val_loss.keras"
    assert rank(*words, f"--model_checkpoint={named}") == (0, "")
    assert len(list(copy.parent.rglob("scores.npz"))) == 2


def test_no_training_is_said_with_the_command_that_makes_one(copy, rank):
    place = f"--output_dir={copy.parent}"
    code, line = rank("--model=lenet5", "--dataset=uci_digits", place)
    assert code == 2
    assert (
        "make one with python -m network_pruning.train --model=lenet5 "
        "--dataset=uci_digits --seeds=0, or give a file"
    ) in line
    code, line = rank(*MLP, place, "--seed=1")
    assert code == 2
    assert "no finished training of mlp on uci_digits with seed 1" in line


@pytest.mark.parametrize(
    ("flag", "written"),
    [
        ("--num_valid=200", "num_valid=none"),
        ("--split=first", "split=random"),
        ("--input_range=-1,1", "input_range=0.0,1.0"),
        ("--image_size=8,8", "image_size=none"),
    ],
)
def test_images_the_network_did_not_train_on_are_refused(copy, rank, flag, written):
    code, line = rank(*MLP, f"--output_dir={copy.parent}", flag)
    assert code == 2
    assert line == (
        f"error: model: {copy} was trained on other images or another split than "
        f"those of uci_digits here: give --{written}"
    )


def test_the_training_with_the_same_images_is_taken(copy, rank):
    other = copy.with_name("other")
    shutil.copytree(copy, other)
    path = other / "config.json"
    settings = json.loads(path.read_text()) | {"input_range": [-1.0, 1.0]}
    path.write_text(json.dumps(settings))
    (other / "checkpoints/seed=0/training.json").touch()
    assert rank(*MLP, f"--output_dir={copy.parent}") == (0, "")
    folder, _ = ranking_in(copy.parent)
    assert folder.parent.name.startswith("tiny-")


def test_the_images_tell_and_not_the_name_they_went_by(copy, rank):
    path = copy / "config.json"
    settings = json.loads(path.read_text()) | {"dataset": "another_name"}
    path.write_text(json.dumps(settings))
    assert rank(*MLP, f"--output_dir={copy.parent}") == (0, "")
    folder, _ = ranking_in(copy.parent)
    assert folder.parent.name.startswith("tiny-")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--layer=f3"], "layer: got 'f3', expected one of c1, f2"),
        (["--layer=logits"], "expected one of c1, f2 (logits is not cut: "),
        (["--criterion=l3"], "criterion: got 'l3', expected one of"),
        (["--samples=3"], "expected none: that is what l2 takes"),
        (["--extend=3"], "extend: l2 draws no samples"),
        (["--extend=-3"], "extend: got -3, expected 0 or more"),
        ([*SAMPLED, "--samples=0"], "samples: got 0, expected a number above 0"),
        ([*SAMPLED, "--estimator=best"], "estimator: got 'best', expected one of"),
        ([*SAMPLED, "--extend=5"], "extend: expected --samples=<number>"),
        ([*SAMPLED, "--estimator=exact", "--extend=5"], "exact, draws no samples"),
        (["--image_size=9,9"], "takes images 8x8x1, the dataset's are 9x9x1"),
        (["--model_checkpoint=mlp"], "model_checkpoint: got 'mlp', expected the"),
        (["--monitor=best"], "val_loss|val_accuracy"),
        (["--num_valid=0"], "num_valid: got 0, expected at least 1"),
    ],
)
def test_unfit_flags_are_one_line(conv, rank, words, message):
    got, line = rank(*conv, *words)
    assert (got, message in line) == (2, True), line


def test_a_dataset_of_other_classes_is_refused(rank, conv_file, tmp_path):
    path = tmp_path / "two.npz"
    images = np.zeros((60, 8, 8), np.uint8)
    np.savez(path, x_train=images, y_train=np.arange(60) % 2)
    place = f"--output_dir={tmp_path}"
    code, line = rank(f"--model={conv_file}", f"--dataset={path}", place)
    assert code == 2
    assert "gives 10 outputs, the dataset has 2 classes" in line


@pytest.mark.parametrize("name", ["scores.npz", "samples/c1.npz"])
def test_a_damaged_file_of_a_ranking_is_said_and_kept(conv, rank, tmp_path, name):
    words = [*conv, *SAMPLED, "--samples=4"]
    assert rank(*words) == (0, "")
    folder, _ = ranking_in(tmp_path)
    for content in (b"none", None):
        if content is None:
            np.savez(folder / name, other=np.zeros(3))
            content = (folder / name).read_bytes()
        (folder / name).write_bytes(content)
        code, line = rank(*words, "--extend=2")
        assert code == 1
        assert line.startswith(f"error: {folder / name} is damaged (")
        assert (folder / name).read_bytes() == content


def test_groups_may_have_any_name(run):
    from network_pruning.jobs.rankings import Asked
    from network_pruning.types import Price, Scores

    asked = Asked("a" * 64, "l2", {"of": "l1,l2"}, 3, None)
    names = ("values/x", "a b", 'comma, "quoted"')
    price = Price(3, 4, 0.5)
    scores = {
        name: Scores(np.arange(3.0), np.ones(3), price, (np.ones(3, bool),))
        for name in names
    }
    Ranking(asked, scores).save(run)
    loaded = Ranking.load(run)
    assert loaded.asked == asked
    assert list(loaded.scores) == list(names)
    assert_same(loaded, Ranking(asked, scores))
    assert loaded.price == Price(9, 12, 1.5)
    rows = list(csv.reader(loaded.table().splitlines()))
    assert [row[0] for row in rows[1::3]] == list(names)


def test_scores_that_are_no_numbers_are_none(rank, conv_file, tmp_path):
    network = keras.models.load_model(conv_file)
    kernel, *rest = network.layers[1].get_weights()
    kernel[..., 0] = np.nan
    network.layers[1].set_weights([kernel, *rest])
    network.save(tmp_path / "broken.keras")
    words = f"--model={tmp_path}/broken.keras", *CONV, f"--output_dir={tmp_path}"
    code, line = rank(*words, "--criterion=l2")
    assert (code, "scores: got NaN" in line) == (2, True), line
    assert not list(tmp_path.rglob("ranking.csv"))
