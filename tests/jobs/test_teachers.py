"""A cut network learns from a posterior: from a chain's record, or from a file."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from scipy import special

import models
from experiments.gpeds import distill, sets
from experiments.gpeds.config import GpedConfig
from network_pruning.jobs import fit
from network_pruning.posterior.recorded import read_positions
from network_pruning.runs import RunDir
from tests.jobs.cutting import CONV, relu, widths
from tests.jobs.fitting import Stopped
from tests.jobs.folders import load

CHAIN = GpedConfig(
    dataset="uci_digits",
    iterations=38,
    burn_in=8,
    thin=16,
    ensemble_every=16,
    recorded=3,
    step_size=1e-3,
    num_valid=1,
)


@pytest.fixture(scope="module")
def experiment(made_once, small_digits):
    """The folder of a chain on the small images; not to be written to."""

    def make(folder):
        with pytest.MonkeyPatch.context() as patched:
            for module in ("chains", "students"):
                name = f"network_pruning.posterior.{module}.is_dense"
                patched.setattr(name, lambda network: False)
            config = dataclasses.replace(CHAIN, output_dir=str(folder), run_name="a")
            found = sets.load(config, lambda name, **options: small_digits)
            distill.distill(config, found, narrow)

    return made_once("chain-of-small-digits", make) / "a"


def narrow(name, shape, classes, **options):
    return models.build(name, shape, classes, **{"widths": (7, 6)} | options)


@pytest.fixture
def words(conv_file, tmp_path):
    place = f"--model={conv_file}", *CONV, f"--output_dir={tmp_path}"
    return (*place, "--keep=3,4", "--retrain_epochs=2", "--learning_rate=0.01")


def folder_in(place):
    (path,) = place.rglob("prune-*/config.json")
    return path.parent


def history_of(folder):
    path = folder / "step-1/retraining/training.json"
    return json.loads(path.read_text())["history"]


def mean_prediction(experiment, images):
    """The mean softmax over the recorded positions, in plain numpy."""
    (chain,) = experiment.glob("distill-*")
    flat, each = images.reshape(len(images), -1).astype(np.float64), []
    for position in read_positions(RunDir(chain), distill.RECORDED):
        x = relu(flat @ position[0] + position[1])
        x = relu(x @ position[2] + position[3])
        each.append(special.softmax(x @ position[4] + position[5], axis=1))
    assert len(each) == 3
    return np.mean(each, axis=0)


def test_a_chain_teaches(prune, light, words, experiment, tmp_path, small_digits):
    taught = [*words, f"--teacher={experiment}"]
    assert prune(*taught) == (0, "")
    folder = folder_in(tmp_path)
    (stored,) = folder.glob("teacher_logits/*.npz")
    logits = RunDir(stored.parent).read_arrays(stored.name)["logits"]
    expected = mean_prediction(experiment, small_digits.x_train)
    np.testing.assert_allclose(np.exp(logits), expected, atol=1e-5)
    first, last = history_of(folder)
    assert last["soft"] < first["soft"] == pytest.approx(first["loss"])
    assert widths(load(folder / "pruned.keras")) == [3, 4]
    report = (folder / "report.md").read_text()
    assert f"- retrained towards {experiment}: share 1 of the loss" in report


@pytest.mark.slow
def test_a_chain_teaches_images_that_change(prune, light, words, experiment, tmp_path):
    more = f"--teacher={experiment}", "--augment=shift", "--shift=1"
    assert prune(*words, *more) == (0, "")
    first, last = history_of(folder_in(tmp_path))
    assert last["soft"] < first["soft"]
    assert not list(tmp_path.rglob("teacher_logits")), "nothing can be stored"


@pytest.mark.slow
def test_what_is_taught_and_killed_goes_on(
    prune, light, words, experiment, tmp_path, monkeypatch
):
    taught = [*words, f"--teacher={experiment}"]
    assert prune(*taught) == (0, "")
    folder = folder_in(tmp_path)
    save = fit.TrainingState.save

    def killed(state, past):
        save(state, past)
        raise Stopped

    twin = f"--output_dir={tmp_path}/twin"
    with monkeypatch.context() as patched:
        patched.setattr(fit.TrainingState, "save", killed)
        with pytest.raises(Stopped):
            prune(*taught, twin)
    assert prune(*taught, twin) == (0, "")
    again = folder_in(tmp_path / "twin")
    assert (again / "results.csv").read_text() == (folder / "results.csv").read_text()
    for ours, theirs in zip(
        load(again / "pruned.keras").get_weights(),
        load(folder / "pruned.keras").get_weights(),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_a_file_teaches_and_another_content_is_another_run(
    prune, light, words, conv_file, tmp_path
):
    teacher = load(conv_file)
    teacher.save(tmp_path / "teacher.keras")
    half = ("--soft_weight=0.5", "--temperature=4")
    taught = [*words, f"--teacher={tmp_path}/teacher.keras", *half]
    assert prune(*taught, "--run_name=mine") == (0, "")
    (path,) = tmp_path.rglob("mine/config.json")
    for epoch in history_of(path.parent):
        loss = 0.5 * 4**2 * epoch["soft"] + 0.5 * epoch["hard"]
        assert epoch["loss"] == pytest.approx(loss, rel=1e-5)
    teacher.set_weights([0.5 * weight for weight in teacher.get_weights()])
    teacher.save(tmp_path / "teacher.keras")
    code, line = prune(*taught, "--run_name=mine")
    assert (code, "mine holds a cut of another network" in line) == (2, True)


def test_teachers_that_do_not_fit_are_one_line(
    prune, light, words, experiment, tmp_path
):
    (tmp_path / "empty").mkdir()
    narrow("gped_fc", (8, 8, 1), 9).save(tmp_path / "nine.keras")
    narrow("gped_fc", (9, 9, 1), 10).save(tmp_path / "wide.keras")
    chain = f"--teacher={experiment}"
    (tmp_path / "chain/students").mkdir(parents=True)
    (tmp_path / "chain/done.json").write_text("{}")
    spread = tmp_path / "chain/students/variance-us-1-1.keras"
    narrow("gped_fc", (8, 8, 1), 10).save(spread)
    hidden = tmp_path / "hidden"
    shutil.copytree(experiment, hidden)
    (place,) = hidden.rglob("distill-*/config.json")
    place.write_text(place.read_text().replace('"mask_size": 0', '"mask_size": 3'))
    for more, message in (
        ([f"--teacher={hidden}"], "walked on images without a square of 3 x 3, those"),
        ([f"--teacher={spread}"], "a student that tells variances, expected one that"),
        (["--teacher=lenet5"], "teacher: got 'lenet5', expected the path of a .keras"),
        ([f"--teacher={tmp_path}/empty"], "empty holds no finished chain, expected"),
        (["--teacher=no.keras"], "teacher: there is no no.keras"),
        ([f"--teacher={tmp_path}/nine.keras"], "gives 9 outputs, the dataset has 10"),
        ([f"--teacher={tmp_path}/wide.keras"], "takes images 9x9x1, the dataset's are"),
        ([chain, "--num_valid=99"], "walked on other images or another split than"),
        ([chain, "--input_range=-1,1"], "takes pixels in [0,1], got --input_range=-1"),
        ([chain, "--retrain_epochs=0"], "teacher: got --retrain_epochs=0, expected"),
        ([chain, "--soft_weight=2"], "soft_weight: got 2.0, expected a share in [0,1]"),
        ([chain, "--temperature=0"], "temperature: got 0.0, expected a number above 0"),
        (["--temperature=2"], "temperature: got it without --teacher, expected both"),
    ):
        code, line = prune(*words, *more)
        assert (code, message in line) == (2, True), line
    assert not list(tmp_path.rglob("masks.npz"))


def test_a_chain_that_held_nothing_out_is_refused(
    prune, light, words, experiment, tmp_path
):
    (chain,) = experiment.glob("distill-*")
    copy = RunDir(tmp_path / "copy")
    copy.write_bytes(distill.TEACHER, (chain / distill.TEACHER).read_bytes())
    settings = json.loads((chain / distill.CONFIG).read_text())
    copy.write_json(distill.CONFIG, settings | {"num_valid": 0})
    copy.write_json(distill.DONE, json.loads((chain / distill.DONE).read_text()))
    code, line = prune(*words, f"--teacher={copy.path}")
    assert (code, "held no image out, it has seen those that" in line) == (2, True)
