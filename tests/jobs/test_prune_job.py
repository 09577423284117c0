"""The command that cuts: choices, proofs, steps, retraining, files, refusals."""

import csv
import json

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import network_pruning as npr
from network_pruning.evaluation import cost, tflite
from network_pruning.jobs import choices, fit
from network_pruning.jobs.prune_job import Step
from network_pruning.jobs.rankings import Ranking
from network_pruning.prune_config import PruneConfig
from network_pruning.pruning.criteria import CRITERIA, score_units
from network_pruning.runs import RunDir, hold_run
from tests.jobs.cutting import CONV, masked, slow_accuracy, widths
from tests.jobs.fitting import Stopped
from tests.jobs.folders import files_of, load

SLOW = pytest.mark.slow


@pytest.fixture
def conv(conv_file, tmp_path):
    return (f"--model={conv_file}", *CONV, f"--output_dir={tmp_path}")


def cut_in(place):
    """The folder of the one cut below a folder."""
    (path,) = place.rglob("prune-*/config.json")
    return path.parent


def rows_of(folder):
    return list(csv.DictReader((folder / "results.csv").read_text().splitlines()))


def masks_of(folder, step=1):
    return RunDir(folder / f"step-{step}").read_arrays("masks.npz")


def certificate_of(folder, step=1):
    return json.loads((folder / f"step-{step}/certificate.json").read_text())


def test_counts_are_cut_proven_and_handed_back(
    conv, prune, light, conv_file, tmp_path, small_digits, in_process
):
    assert prune(*conv, "--criterion=l1", "--keep=4,5") == (0, "")
    folder = cut_in(tmp_path)
    dense, small = load(conv_file), load(folder / "pruned.keras")
    assert widths(small) == [4, 5]
    masks = masks_of(folder)
    for name, kept in {"c1": 4, "f2": 5}.items():
        kernel = np.abs(dense.get_layer(name).get_weights()[0].astype(np.float64))
        norms = kernel.reshape(-1, kernel.shape[-1]).sum(axis=0)
        best = np.sort(np.argsort(-norms, kind="stable")[:kept])
        assert np.flatnonzero(masks[name]).tolist() == best.tolist()
    proof = certificate_of(folder)
    assert proof["weights_equal"] and proof["max_rel_diff"] <= proof["tolerance"]
    assert proof["n_inputs"] == 512
    first, cut = rows_of(folder)
    assert (first["stage"], cut["stage"]) == ("dense", "cut 1")
    for row, network in ((first, dense), (cut, small), (cut, masked(dense, masks))):
        for split, name in (("test", "accuracy"), ("valid", "valid_accuracy")):
            accuracy = slow_accuracy(network, small_digits, split)
            assert float(row[name]) == pytest.approx(accuracy, abs=1e-9)
    assert float(cut["certificate"]) == proof["max_rel_diff"]
    flat = 3 * 3 * 4
    assert int(cut["params"]) == 9 * 4 + 4 + flat * 5 + 5 + 5 * 10 + 10
    assert int(cut["macs"]) == 9 * 4 * 9 + flat * 5 + 5 * 10
    planned = json.loads((folder / "step-1/plan.json").read_text())
    shapes = {weight.name.split(":")[0]: list(weight.shape) for weight in small.weights}
    assert {t["path"]: t["after"] for t in planned["tensors"]} == {
        name: shape for name, shape in shapes.items() if name != "logits/bias"
    }
    assert planned["params"] == [int(first["params"]), int(cut["params"])]
    assert str(folder / "pruned.keras") in in_process.out
    report = (folder / "report.md").read_text()
    assert str(conv_file) in report and "| cut 1 |" in report


def test_the_plan_alone_cuts_nothing_and_its_scores_are_kept(
    conv, prune, light, tmp_path, monkeypatch, in_process
):
    words = [*conv, "--criterion=fisher", "--sparsity=0.5"]
    assert prune(*words, "--plan") == (0, "")
    folder = cut_in(tmp_path)
    planned = json.loads((folder / "step-1/plan.json").read_text())
    assert "nothing was cut" in in_process.out
    assert "c1/kernel" in in_process.out
    assert not (folder / "pruned.keras").exists()
    assert not (folder / "step-1/masks.npz").exists()
    assert [len(group["kept"]) for group in planned["groups"]] == [3, 4]
    monkeypatch.setitem(CRITERIA, "fisher", None)
    assert prune(*words) == (0, "")
    assert cut_in(tmp_path) == folder
    assert json.loads((folder / "step-1/plan.json").read_text()) == planned
    assert widths(load(folder / "pruned.keras")) == [3, 4]
    assert prune(*words, "--plan") == (0, "")
    assert len(list(tmp_path.rglob("scores.npz"))) == 1


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["--sparsity=0.999"], [1, 1]),
        pytest.param(["--sparsity=0.5", "--round_to=4"], [4, 4], marks=SLOW),
        pytest.param(["--sparsity=0.4", "--scope=global"], None, marks=SLOW),
        (["--sparsity=0.45", "--steps=2"], [4, 5]),
        (["--sparsity=0.5", "--steps=4", "--round_to=4"], [4, 4]),
        (["--sparsity=0.4", "--steps=3", "--scope=global"], None),
        (["--keep=2,3", "--steps=3"], [2, 3]),
        pytest.param(["--keep=6,1", "--steps=2"], [6, 1], marks=SLOW),
    ],
)
def test_counts_are_what_was_asked_in_one_step_or_more(
    conv, prune, light, tmp_path, more, expected
):
    assert prune(*conv, *more) == (0, "")
    folder = cut_in(tmp_path)
    kept = widths(load(folder / "pruned.keras"))
    if expected is None:
        assert sum(kept) == 14 - 5  # of 14: floor(0.4 * 14) go
    else:
        assert kept == expected
    steps = sorted(folder.glob("step-*"))
    for number, _ in enumerate(steps, start=1):
        proof = certificate_of(folder, number)
        assert proof["weights_equal"] and proof["max_rel_diff"] <= proof["tolerance"]
    sizes = [
        [len(m) for m in masks_of(folder, i + 1).values()] for i in range(len(steps))
    ]
    assert sizes[0] == [6, 8]
    assert (np.diff(sizes, axis=0) <= 0).all()


def test_a_step_of_another_network_is_made_again(conv, prune, light, tmp_path):
    words = ["--sparsity=0.45", "--steps=2"]
    assert prune(*conv, *words) == (0, "")
    folder = cut_in(tmp_path)
    whole = folder / "step-1/masks.npz", folder / "step-2/masks.npz"
    before = [path.read_bytes() for path in whole]
    (folder / "step-2/of.json").write_text('{"network": "another"}')
    (folder / "step-2/left_over").touch()
    assert prune(*conv, *words) == (0, "")
    assert [path.read_bytes() for path in whole] == before
    assert not (folder / "step-2/left_over").exists()


@pytest.mark.parametrize("steps", [pytest.param(1, marks=SLOW), 3])
def test_a_budget_is_met_and_used(conv, prune, light, tmp_path, steps):
    budget = "--budget=macs:0.5,params:0.6"
    assert prune(*conv, budget, "--scope=global", f"--steps={steps}") == (0, "")
    first, *_, last = rows_of(cut_in(tmp_path))
    macs, params = (int(last[n]) / int(first[n]) for n in ("macs", "params"))
    assert macs <= 0.5
    assert params <= 0.6
    assert macs > 0.3 or params > 0.4


@pytest.mark.parametrize("steps", [1, 2])
def test_a_budget_that_cannot_be_met_is_said_before_anything_is_cut(
    conv, prune, light, tmp_path, steps
):
    code, line = prune(*conv, "--budget=macs:0.01", f"--steps={steps}")
    assert code == 2
    assert "of the dense macs remains (allowed 0.01) with one unit" in line
    assert not list(tmp_path.rglob("masks.npz"))


def test_the_allowed_drop_is_kept_on_valid(
    conv, prune, light, tmp_path, conv_file, small_digits
):
    assert prune(*conv, "--max_drop=0.05", "--criterion=fisher") == (0, "")
    folder = cut_in(tmp_path)
    dense, small = load(conv_file), load(folder / "pruned.keras")
    drop = [slow_accuracy(x, small_digits, "valid") for x in (dense, small)]
    assert drop[0] - drop[1] <= 0.05
    assert sum(widths(small)) < 14
    # Every deeper cut by a share costs more.
    scores = choices.Ranking.load(RunDir(folder / "step-1")).scores
    for place in range(1, 100):
        masks = choices.keep_units(scores, sparsity=place / 100)
        if sum(int(m.sum()) for m in masks.values()) < sum(widths(small)):
            deeper = slow_accuracy(masked(dense, masks), small_digits, "valid")
            assert drop[0] - deeper > 0.05
            break


def test_a_limit_that_no_cut_keeps_is_said(conv, prune, light, monkeypatch, tmp_path):
    monkeypatch.setattr(choices.limits, "are_kept", lambda cost, limits: False)
    code, line = prune(*conv, "--max_drop=0.001")
    assert code == 2 and "max_drop: got 0.001, missed with " in line
    assert "nothing can be cut: allow more" in line
    assert not list(tmp_path.rglob("pruned.keras"))


def test_scores_of_a_finished_ranking_are_taken(
    conv, rank, prune, light, tmp_path, monkeypatch
):
    assert rank(*conv, "--criterion=taylor") == (0, "")
    (scores,) = tmp_path.rglob("rank-*/scores.npz")
    assert prune(*conv, "--criterion=taylor", "--keep=3,3") == (0, "")
    own = cut_in(tmp_path)
    monkeypatch.setitem(CRITERIA, "l2", None)
    for number, given in enumerate((scores, scores.parent)):
        name = f"--run_name=given{number}"
        assert prune(*conv, f"--scores={given}", "--keep=3,3", name) == (0, "")
        folder = own.parent / f"given{number}"
        for group, mask in masks_of(own).items():
            np.testing.assert_array_equal(masks_of(folder)[group], mask)


def test_other_scores_in_the_same_file_are_another_cut(
    conv, rank, prune, light, tmp_path
):
    sampled = ["--criterion=shapley", "--criterion_options=images=20", "--samples=2"]
    assert rank(*conv, *sampled) == (0, "")
    (scores,) = tmp_path.rglob("rank-*/scores.npz")
    words = [*conv, f"--scores={scores}", "--keep=3,3"]
    assert prune(*words) == (0, "")
    first = cut_in(tmp_path)
    assert prune(*words, "--run_name=mine") == (0, "")
    assert rank(*conv, *sampled, "--extend=20") == (0, "")
    before = files_of(first)
    assert prune(*words) == (0, "")
    assert files_of(first) == before
    assert len(list(tmp_path.rglob("prune-*/pruned.keras"))) == 2
    code, line = prune(*words, "--run_name=mine")
    assert code == 2
    assert "mine holds a cut of another network, or of other settings" in line


SHAPLEY = (
    "--criterion=shapley",
    "--criterion_options=samples=400,images=60",
)


@pytest.mark.parametrize("cut", ["--keep=5,7", "--sparsity=0.17"])
def test_sampling_ends_when_the_cut_is_decided(
    conv, prune, light, tmp_path, small_digits, conv_file, cut, in_process
):
    assert prune(*conv, *SHAPLEY, cut) == (0, "")
    folder = cut_in(tmp_path)
    ranking = Ranking.load(RunDir(folder / "step-1"))
    assert ranking.asked.options["kept"] == {"c1": 5, "f2": 7}
    drawn = {g: (s.samples, s.decided) for g, s in ranking.scores.items()}
    assert any(decided and samples < 400 for samples, decided in drawn.values())
    assert all(decided or samples == 400 for samples, decided in drawn.values())
    options = {"samples": 400, "images": 60, "kept": {"c1": 5, "f2": 7}}
    alone = score_units(load(conv_file), "shapley", small_digits, **options)
    report = (folder / "report.md").read_text()
    for name, scores in ranking.scores.items():
        np.testing.assert_allclose(scores.values, alone[name].values, rtol=1e-4)
        how = "is decided" if scores.decided else "is not decided"
        line = f"ranked for cut 1: {name}: {scores.samples} samples, the cut {how}"
        assert line in in_process.out
        assert f"- {line}" in report
        error = scores.standard_error
        assert (error is not None) and np.isfinite(error).all()


def test_a_group_that_would_be_emptied_keeps_a_unit_and_it_is_said(
    conv, prune, light, tmp_path, in_process
):
    said = "1: f2: 1 of 8 units stays, no layer can be emptied"
    assert prune(*conv, "--sparsity=0.9", "--scope=global", "--plan") == (0, "")
    assert said in in_process.out
    assert prune(*conv, "--sparsity=0.9", "--scope=global") == (0, "")
    assert said in in_process.out
    assert f"- cut {said}" in (cut_in(tmp_path) / "report.md").read_text()
    assert prune(*conv, "--keep=3,1", "--plan") == (0, "")
    assert "emptied" not in in_process.out


@pytest.mark.parametrize(
    "words",
    [
        ("--criterion=shapley", "--criterion_options=samples=4,images=20"),
        ("--criterion=shapley", "--criterion_options=estimator=exact,images=20"),
        ("--criterion=l1",),
    ],
)
def test_where_no_counts_are_known_all_samples_are_drawn(
    conv, prune, light, tmp_path, words, in_process
):
    which = "--keep=3,3" if "exact" in words[-1] else "--budget=params:0.5"
    assert prune(*conv, *words, which, "--plan") == (0, "")
    ranking = Ranking.load(RunDir(cut_in(tmp_path) / "step-1"))
    assert "kept" not in ranking.asked.options
    assert {scores.decided for scores in ranking.scores.values()} == {None}
    assert "the cut is" not in in_process.out


def test_scores_of_another_model_or_split_are_refused(
    conv, conv_file, rank, prune, light, tmp_path
):
    assert rank(*conv, "--criterion=mean_activation") == (0, "")
    (scores,) = tmp_path.rglob("rank-*/scores.npz")
    given = [f"--scores={scores}", "--keep=3,3"]
    for flag in ("--num_valid=99", "--split=first", "--input_range=-1,1"):
        code, line = prune(*conv, *given, flag)
        assert code == 2
        assert f"{scores} was made on other images or another split" in line
    network = load(conv_file)
    network.set_weights([0.5 * weight for weight in network.get_weights()])
    network.save(tmp_path / "other.keras")
    other = (f"--model={tmp_path}/other.keras", *conv[1:])
    code, line = prune(*other, *given)
    assert code == 2
    assert f"{scores} ranks another network" in line
    assert "python -m network_pruning.rank --criterion=mean_activation" in line
    assert not list(tmp_path.rglob("masks.npz"))


def test_scores_of_weights_alone_fit_any_images(conv, rank, prune, light, tmp_path):
    assert rank(*conv, "--criterion=l2") == (0, "")
    (scores,) = tmp_path.rglob("rank-*/scores.npz")
    words = [f"--scores={scores}", "--keep=3,3", "--num_valid=99"]
    assert prune(*conv, *words) == (0, "")


def test_scores_of_one_group_cut_no_other(conv, rank, prune, light, tmp_path):
    assert rank(*conv, "--criterion=l2", "--layer=f2") == (0, "")
    (scores,) = tmp_path.rglob("rank-*/scores.npz")
    code, line = prune(*conv, f"--scores={scores}", "--keep=3,3")
    assert code == 2
    assert "keep: got 3 for group c1, which the scores do not rank" in line
    words = [f"--scores={scores}", "--keep=6,3", "--run_name=mine"]
    assert prune(*conv, *words) == (0, "")
    (found,) = tmp_path.rglob("mine/pruned.keras")
    assert widths(load(found)) == [6, 3]


@pytest.mark.parametrize("steps", [1, pytest.param(2, marks=SLOW)])
def test_retrained_killed_and_typed_again(
    conv, prune, light, tmp_path, monkeypatch, small_digits, steps
):
    words = ["--keep=3,4", f"--steps={steps}", "--retrain_epochs=2"]
    whole, broken = (f"--output_dir={tmp_path}/{n}" for n in ("whole", "broken"))
    assert prune(*conv, *words, whole) == (0, "")
    folder = cut_in(tmp_path / "whole")
    stages = [row["stage"] for row in rows_of(folder)]
    numbers = range(1, steps + 1)
    both = [f"{what} {i}" for i in numbers for what in ("cut", "retrained")]
    assert stages == ["dense", *both]
    network = load(folder / "pruned.keras")
    assert widths(network) == [3, 4]
    last = rows_of(folder)[-1]
    accuracy = slow_accuracy(network, small_digits)
    assert float(last["accuracy"]) == pytest.approx(accuracy, abs=1e-9)
    history = json.loads(
        (folder / f"step-{steps}/retraining/training.json").read_text()
    )
    losses = [epoch["val_loss"] for epoch in history["history"]]
    assert len(losses) == 2
    assert float(last["valid_accuracy"]) in {
        epoch["val_accuracy"] for epoch in history["history"]
    }
    save, saved = fit.TrainingState.save, []

    def killed(state, past):
        save(state, past)
        saved.append(state.folder)
        if len(saved) == 2 * steps - 1:
            raise Stopped

    with monkeypatch.context() as patched:
        patched.setattr(fit.TrainingState, "save", killed)
        with pytest.raises(Stopped):
            prune(*conv, *words, broken)
    assert len(saved) == 2 * steps - 1
    assert prune(*conv, *words, broken) == (0, "")
    again = cut_in(tmp_path / "broken")
    for ours, theirs in zip(
        load(again / "pruned.keras").get_weights(), network.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    assert rows_of(again) == rows_of(folder)
    # The same command once more fits nothing.
    monkeypatch.setattr(fit, "_make_trainer", None)
    assert prune(*conv, *words, broken) == (0, "")
    assert rows_of(again) == rows_of(folder)


def test_a_pruned_file_is_retrained_as_it_is(
    conv, conv_file, prune, light, tmp_path, small_digits
):
    assert prune(*conv, "--keep=3,4") == (0, "")
    pruned = cut_in(tmp_path) / "pruned.keras"
    before = pruned.read_bytes()
    flags = [*conv[1:], "--retrain", "--retrain_epochs=2", "--run_name=more"]
    assert prune(f"--model={pruned}", *flags) == (0, "")
    (found,) = tmp_path.rglob("more/pruned.keras")
    network = load(found)
    assert widths(network) == [3, 4]
    first, last = rows_of(found.parent)
    assert [first["stage"], last["stage"]] == ["dense", "retrained 1"]
    for row, model in ((first, load(pruned)), (last, network)):
        accuracy = slow_accuracy(model, small_digits)
        assert float(row["accuracy"]) == pytest.approx(accuracy, abs=1e-9)
    assert float(last["cross_entropy"]) < float(first["cross_entropy"])
    assert pruned.read_bytes() == before


def test_every_file_that_is_asked_for_gives_the_same(
    conv, prune, tmp_path, small_digits
):
    words = [*conv, "--keep=3,4", "--export=tflite,int8,saved_model"]
    assert prune(*words) == (0, "")
    folder = cut_in(tmp_path)
    images = small_digits.x_test[:50]
    expected = load(folder / "pruned.keras")(images).numpy()
    saved = tf.saved_model.load(str(folder / "saved_model"))
    np.testing.assert_allclose(saved.serve(images), expected, atol=1e-5)
    np.testing.assert_allclose(
        tflite.run((folder / "pruned.tflite").read_bytes(), images), expected, atol=1e-4
    )
    rough = tflite.run((folder / "pruned.int8.tflite").read_bytes(), images)
    assert np.mean(rough.argmax(axis=1) == expected.argmax(axis=1)) > 0.9
    cut = rows_of(folder)[-1]
    assert int(cut["tflite_bytes"]) == (folder / "pruned.tflite").stat().st_size
    assert not list(folder.rglob(".*.tmp.*"))


def test_a_file_that_cannot_be_made_is_said_and_all_else_is_there(
    conv, prune, light, tmp_path, monkeypatch
):
    monkeypatch.setattr(cost, "_converted", lambda *words, **options: None)
    asked = "--export=tflite,int8,saved_model"
    code, line = prune(*conv, "--keep=3,4", asked)
    assert code == 2
    assert "export: the network has no tflite and no int8 form" in line
    folder = cut_in(tmp_path)
    assert {"report.md", "results.csv", "pruned.keras"} <= set(files_of(folder))
    assert (folder / "saved_model").is_dir()


PUBLISHED = "keep: got 3 numbers, expected 2: the 2 groups are c1 (6), f2 (8)"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "got no cut, expected exactly one of --keep, --sparsity, --budget"),
        (["--keep=1,1", "--sparsity=0"], "got --keep and --sparsity, expected"),
        (["--keep=0,3"], "keep: got (0, 3), expected at least one unit"),
        (["--keep=7,3"], "keep: got 7 for group c1, expected 1 to its 6 units"),
        (["--keep=3"], "keep: got 1 numbers, expected 2: the 2 groups are c1 (6)"),
        (["--keep=3,4,5,6"], "keep: got 4 numbers, expected 2: the 2 groups"),
        (["--keep=3,4,9"], PUBLISHED),
        (["--keep=3,4,9"], "one number more, which was never read: --keep=3,4"),
        (["--sparsity=1"], "sparsity: got 1.0, expected a share to remove in [0,1)"),
        (["--budget=macs"], "budget: got 'macs', expected cost:share"),
        (["--budget=flops:0.5"], "costs are params, macs, bytes, latency"),
        (["--max_drop=2"], "max_drop: got 2.0, expected a drop of accuracy"),
        (
            ["--keep=3,3", "--retrain_epochs=1", "--optimizer=sgd", "--momentum=2"],
            "momentum: got 2.0, expected a number in [0,1)",
        ),
        (
            ["--keep=3,3", "--model_checkpoint=b.keras"],
            "model_checkpoint: got b.keras with --model=",
        ),
        (["--keep=3,3", "--scores=a.keras"], "scores: there is no a.keras"),
        (
            ["--max_auroc_drop=0.1", "--ood=nosuchset"],
            "ood: got 'nosuchset', expected",
        ),
        (["--keep=3,3", "--export=onnx"], "export: got 'onnx', expected some of"),
        (["--retrain"], "retrain: got --retrain_epochs=0, expected at least 1"),
        (
            ["--keep=3,3", "--run_name=../x"],
            "run_name: got '../x', expected a plain",
        ),
        (["--keep=3,3", "--scores=no"], "scores: there is no no, expected what"),
        (["--keep=3,3", "--image_size=9,9"], "takes images 8x8x1, the dataset's"),
        (["--keep=3,3", "--model=no.keras"], "model: there is no no.keras"),
    ],
)
def test_unfit_flags_are_one_line_and_nothing_is_ranked(
    conv, prune, light, tmp_path, words, message
):
    got, line = prune(*conv, *words)
    assert (got, message in line) == (2, True), line
    assert not list(tmp_path.rglob("*.npz"))


def with_lambda(path):
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Lambda(lambda x: x * 2)(inputs)
    x = keras.layers.Dense(10)(keras.layers.Flatten()(x))
    keras.Model(inputs, x).save(path)


def of_keras_3(path):
    import zipfile

    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", '{"keras_version": "3.4.1"}')
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", "")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_bytes(b"none"), "is no whole model file"),
        (with_lambda, "holds a Lambda, code that loading it would run"),
        (of_keras_3, "was saved by Keras 3.4.1, expected tf_keras (Keras 2)"),
    ],
)
def test_files_that_are_no_fit_network(prune, tmp_path, make, message):
    make(tmp_path / "a.keras")
    words = [f"--model={tmp_path}/a.keras", *CONV, f"--output_dir={tmp_path}/out"]
    code, line = prune(*words, "--keep=3,3")
    assert (code, message in line) == (2, True), line
    assert not (tmp_path / "out").exists()


def test_a_cut_of_nothing_is_said(conv, prune, light, tmp_path):
    assert prune(*conv, "--sparsity=0.05", "--round_to=8") == (0, "")
    report = (cut_in(tmp_path) / "report.md").read_text()
    assert "cut 1: nothing was cut, every unit stays" in report


def test_a_network_without_a_unit_to_cut_is_said(prune, rank, light, tmp_path):
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Dense(10, name="logits")(keras.layers.Flatten()(inputs))
    keras.Model(inputs, x, name="flat").save(tmp_path / "a.keras")
    words = [f"--model={tmp_path}/a.keras", *CONV, f"--output_dir={tmp_path}"]
    code, line = prune(*words, "--sparsity=0.5")
    assert code == 2
    assert "model 'flat' has no unit that can be cut (logits: " in line
    assert rank(*words, "--criterion=l2") == (2, line)


def test_a_second_process_is_refused(conv, prune, light, tmp_path):
    words = [*conv, "--keep=3,3", "--run_name=mine"]
    assert prune(*words, "--plan") == (0, "")
    (folder,) = tmp_path.glob("*/mine")
    with hold_run(folder):
        code, line = prune(*words)
    assert code == 1
    assert line.endswith(
        f"works on {folder}: wait for it, or give this one its own --run_name"
    )


def test_a_trained_network_is_cut_by_name(copy, prune, light, digits):
    words = ["--model=mlp", "--dataset=uci_digits", f"--output_dir={copy.parent}"]
    before = files_of(copy)
    assert prune(*words, "--sparsity=0.5") == (0, "")
    folder = cut_in(copy.parent)
    assert files_of(copy) == before
    network = load(folder / "pruned.keras")
    assert widths(network) == [16, 8]
    row = rows_of(folder)[-1]
    accuracy = slow_accuracy(network, digits)
    assert float(row["accuracy"]) == pytest.approx(accuracy, abs=1e-9)
    # As the sweep of that run has cut it.
    swept = load(copy / "networks/seed=0/unit-k=0.5.keras")
    for ours, theirs in zip(network.get_weights(), swept.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_groups_that_earlier_steps_have_used_up_are_left_out():
    layers = keras.layers
    x = inputs = keras.Input((6, 6, 1))
    x = layers.Conv2D(4, 3, name="first")(x)
    x = layers.Conv2D(4, 3, groups=2, name="grouped")(x)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 1, name="last")(x))
    model = keras.Model(inputs, layers.Dense(3, name="logits")(x))
    dense = npr.find_groups(model)
    scores = npr.score_units(model, "l1", groups=dense)
    cut = npr.shrink(model, npr.keep_units(scores, sparsity=0.5))
    groups, step = npr.find_groups(cut), Step(2, 2)
    assert [group.name for group in groups] == ["last"]
    config = PruneConfig(model="a.keras", sparsity=0.75)
    assert choices._known_counts(config, dense, groups, step) == {"last": 2}
    config = PruneConfig(model="a.keras", keep=(1, 1, 3))
    assert choices._known_counts(config, dense, groups, step) == {"last": 3}


def test_frozen_networks_are_not_retrained(prune, light, conv_file, tmp_path):
    network = keras.models.load_model(conv_file)
    network.trainable = False
    network.save(tmp_path / "still.keras")
    words = f"--model={tmp_path}/still.keras", *CONV, f"--output_dir={tmp_path}/out"
    code, line = prune(*words, "--keep=3,4", "--retrain_epochs=1")
    assert code == 2
    assert "retrain_epochs: got 1 for model " in line
    assert "all frozen, expected 0" in line


def test_scores_that_choose_nothing_are_said(
    conv_file, prune, rank, light, in_process, tmp_path
):
    network = keras.models.load_model(conv_file)
    kernel, *rest = network.layers[1].get_weights()
    network.layers[1].set_weights([np.ones_like(kernel), *rest])
    network.save(tmp_path / "alike.keras")
    words = f"--model={tmp_path}/alike.keras", *CONV, f"--output_dir={tmp_path}"
    said = f"{network.layers[1].name}: all 6 units have one score, those in front stay"
    assert rank(*words, "--criterion=l2") == (0, "")
    assert said in in_process.out
    assert prune(*words, "--criterion=l2", "--keep=3,4") == (0, "")
    assert f"ranked for cut 1: {said}" in in_process.out
