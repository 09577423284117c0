"""Data-free compression by command: a tiny run, what it goes on from, refusals."""

import shutil
import sys

import numpy as np
import pytest
import tf_keras as keras
from absl import flags

import data
import models
from data.arrays import ArrayDataset
from experiments import datafree
from experiments.datafrees import found, prunings
from experiments.datafrees.config import GONE, PROCEDURES, DatafreeConfig
from experiments.stages import Chain
from network_pruning import cli
from network_pruning.inversion.records import ActivationRecords
from network_pruning.inversion.shards import load_reconstructed
from network_pruning.runs import DamagedFile
from network_pruning.types import Scores
from network_pruning.views import rescaled
from tests.streamed import Streamed

layers = keras.layers
TINY = {
    **{"dataset": "uci_digits", "lr": 0.01, "epochs": 3, "images": 4, "steps": 15},
    **{"batch": 40, "rank": 12, "criteria": ("taylor",), "compared": 30},
    **{"eval_interval": 2, "checkpoint_interval": 2, "train_batch_size": 50},
}
"""Flags of the run, but for those that say where it is."""
LATER = PROCEDURES[1:-1]
"""Pruning takes as long as all of these together."""


def build(name, shape, classes, **options):
    """Builds a small network in the place of every published one."""
    assert options == {"init": "he"}
    x = inputs = keras.Input(shape, name="images")
    # With a convolution nothing is compiled, which takes longer than these steps.
    x = layers.Conv2D(4, 3, 2, activation="relu", name="conv")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(16 if name == "hinton1200" else 12, "relu", name="hidden")(x)
    x = layers.Dropout(0.2, name="drop")(x)
    return keras.Model(inputs, layers.Dense(classes, name="logits")(x))


@pytest.fixture(scope="module")
def load(digits):
    return lambda name, **options: digits


def must_not_load(name, **options):
    pytest.fail(f"opened {name}")


def steps_of(root, load, **flags_):
    """Runs; what a step went on from is one of the run."""
    config = DatafreeConfig(summary_folder=str(root), run_name="tiny", **flags_)
    return datafree.run(config, load, build)


@pytest.fixture(scope="module")
def made(tmp_path_factory, load):
    """All steps of a tiny run; not to be written to."""
    root = tmp_path_factory.mktemp("results")
    first = steps_of(root, load, procedure="train", **TINY)
    later = [
        steps_of(root, load, procedure=name, **later_flags(name))[0] for name in LATER
    ]
    return root, {stage.procedure: stage for stage in (*first, *later)}


def later_flags(procedure):
    # Without a dataset's name, students learn from the run's reconstructed images.
    left_out = {"dataset", "lr"} if procedure == "optimize_dataset" else {"dataset"}
    return {name: value for name, value in TINY.items() if name not in left_out}


def test_every_step_has_a_folder_and_a_record(made):
    root, stages = made
    assert tuple(stages) == PROCEDURES[:-1]
    for procedure, stage in stages.items():
        assert stage.run.path.parent == root / "tiny"
        assert stage.run.path.name.startswith(f"{procedure}-")
        assert stage.made is not None
        config = stage.run.read_json("config.json")
        assert set(config) == {"fields", "inputs"}
    mark = stages["train"].made["fingerprint"]
    for name in LATER:
        assert stages[name].inputs["teacher"] == mark


def test_teacher_and_student_learn_and_are_judged_on_real_images(made, digits):
    _, stages = made
    assert stages["train"].made["test_accuracy"] > 0.6
    told = stages["distill"].made
    student = stages["distill"].run.read_model(found.TEACHER)
    teacher = stages["train"].run.read_model(found.TEACHER)
    assert student.get_layer("hidden").units == 12
    ours = student.predict(digits.x_test, verbose=0).argmax(axis=1)
    theirs = teacher.predict(digits.x_test, verbose=0).argmax(axis=1)
    assert told["test_accuracy"] == pytest.approx(np.mean(ours == digits.y_test))
    assert told["agreement"] == pytest.approx(np.mean(ours == theirs))
    assert told["teacher_test_accuracy"] == stages["train"].made["test_accuracy"]


def test_a_teacher_learns_from_changed_images_where_that_is_asked_for(tmp_path, load):
    flags_ = {**TINY, "epochs": 1, "augment": "shift"}
    (changed,) = steps_of(tmp_path, load, procedure="train", **flags_)
    (plain,) = steps_of(
        tmp_path, load, procedure="train", **flags_ | {"augment": "none"}
    )
    assert (changed.fields["augment"], plain.fields["augment"]) == ("shift", "none")
    assert changed.made["fingerprint"] != plain.made["fingerprint"]


def test_intervals_say_when_to_look_and_what_to_keep(made):
    _, stages = made
    run = stages["distill"].run
    assert list(run.read_json("curve.json")) == ["2"]
    assert run.exists("checkpoints/epoch=2.keras")
    assert not run.exists("checkpoints/epoch=3.keras")


def test_networks_that_a_finished_step_did_not_keep_are_missed_aloud(
    made, load, caplog
):
    root, _ = made
    for every, told in ((2, 0), (4, 0), (3, 1)):  # Of three epochs.
        caplog.clear()
        options = later_flags("distill") | {"checkpoint_interval": every}
        steps_of(root, load, procedure="distill", **options)
        assert caplog.text.count("was finished without, and kept no network") == told


def test_records_and_images_are_what_the_flags_say(made):
    _, stages = made
    records = ActivationRecords.load(stages["compute_stats"].run.path / found.RECORDS)
    assert (records.rank, records.form, records.layers) == (
        *(12, "lowrank"),
        ("conv", "hidden", "logits"),
    )
    told = stages["compute_stats"].made
    assert told["bytes"] == sum(records.sizes.values())
    images = load_reconstructed(stages["optimize_dataset"].run.path)
    assert (images.size("train"), images.size("valid")) == (30, 10)
    assert stages["optimize_dataset"].fields["objective"] == "top_layer"
    assert stages["optimize_dataset"].made["aim_met"] > 0.5


def test_pictures_and_distances_are_there(made):
    _, stages = made
    names = {path.name for path in stages["plot"].run.path.glob("*.png")}
    assert names == {
        *("classes.png", "mean_and_random.png", "pixels.png", "loss.png"),
        "logits.png",
    }
    assert list((stages["plot"].run.path / "tensorboard").glob("events.*"))
    near = stages["leakage"].run.read_arrays("distances.npz")
    assert near["made"].shape == near["test"].shape == (30,)
    told = stages["leakage"].made
    assert told["made"] == pytest.approx(np.median(near["made"]))
    assert stages["leakage"].run.exists("distances.png")


def test_distances_to_a_set_that_does_not_fit_in_memory(made, digits, tmp_path):
    root, stages = made
    shutil.copytree(root, tmp_path / "results")
    (again,) = steps_of(
        *(tmp_path / "results", lambda name, **_: Streamed(digits)),
        **later_flags("leakage") | {"compared": 20},
        procedure="leakage",
    )
    near, whole = (
        stage.run.read_arrays("distances.npz") for stage in (again, stages["leakage"])
    )
    for name, distances in near.items():
        np.testing.assert_allclose(distances, whole[name][:20], atol=1e-3)


@pytest.mark.slow
def test_pruning_without_data_stands_beside_pruning_with_data(made, load):
    root, _ = made
    (stage,) = steps_of(root, load, procedure="prune", **later_flags("prune"))
    told = stage.made["taylor"]
    assert -1 <= told["rank_agreement"] <= 1
    for source in ("reconstructed", "real"):
        assert 0 <= told[f"{source}, cut"] <= 1
        assert 0 <= told[f"{source}, retrained"] <= 1
        folder = f"retrained/taylor/{source}"
        small = stage.run.read_model(f"{folder}/last.keras")
        assert small.get_layer("hidden").units == 8


def test_the_report_shows_every_step(made):
    root, stages = made
    text = (root / "tiny" / "report.md").read_text(encoding="utf-8")
    for procedure, stage in stages.items():
        assert f"## {procedure}" in text
        assert stage.run.path.name in text
    assert f"{stages['distill'].made['test_accuracy']:.4f}" in text


def test_finished_steps_are_not_repeated(made, load, monkeypatch):
    root, stages = made
    before = (stages["optimize_dataset"].run.path / "done.json").stat().st_mtime_ns
    monkeypatch.setattr("experiments.datafrees.inversions.reconstruct", None)
    tiny = later_flags("optimize_dataset")
    (again,) = steps_of(root, load, procedure="optimize_dataset", **tiny)
    assert again.run.path == stages["optimize_dataset"].run.path
    assert (again.run.path / "done.json").stat().st_mtime_ns == before


def test_optimize_dataset_opens_no_dataset(made, monkeypatch):
    root, _ = made
    monkeypatch.setattr(data, "load", must_not_load)
    options = {"images": 2, "steps": 3, "optimization_objective": "all_layers_dropout"}
    (stage,) = steps_of(root, must_not_load, procedure="optimize_dataset", **options)
    assert len(load_reconstructed(stage.run.path).y_train) == 10


def test_files_alone_are_enough(made, tmp_path):
    _, stages = made
    teacher = stages["train"].run.path / found.TEACHER
    records = stages["compute_stats"].run.path / found.RECORDS

    def build_file(name, shape, classes):
        assert (shape, classes) == ((8, 8, 1), 10)
        return keras.models.load_model(name, compile=False)

    config = DatafreeConfig(
        procedure="optimize_dataset",
        summary_folder=str(tmp_path),
        model_checkpoint=str(teacher),
        records=str(records),
        images=2,
        steps=2,
    )
    (stage,) = datafree.run(config, must_not_load, build_file)
    assert stage.made["aim_met"] >= 0


@pytest.mark.parametrize(
    ("procedure", "first"),
    [
        ("compute_stats", "train"),
        ("optimize_dataset", "train"),
        ("distill", "train"),
        ("plot", "train"),
        ("leakage", "train"),
        ("prune", "train"),
    ],
)
def test_a_missing_step_names_the_command_that_makes_it(
    procedure, first, tmp_path, load
):
    with pytest.raises(ValueError, match="holds no trained teacher") as told:
        steps_of(tmp_path, load, procedure=procedure, model="lenet")
    assert (
        f"python -m experiments.datafree --procedure={first} --run_name=tiny "
        f"--model=lenet --summary_folder={tmp_path}" in str(told.value)
    )


def test_records_and_images_that_are_missing_name_their_commands(made, load):
    root, _ = made
    for procedure, options, words in (
        ("optimize_dataset", {"form": "diag"}, "--procedure=compute_stats .*form=diag"),
        (
            "optimize_dataset",
            {"optimization_objective": "spectral_all_layers"},
            "--procedure=compute_stats .*compute_graphwise_stats=true",
        ),
        (
            "distill",
            {"optimization_objective": "all_layers"},
            "--procedure=optimize_dataset .*objective=all_layers",
        ),
        ("distill", {"form": "diag"}, "--procedure=compute_stats .*form=diag"),
        (
            "distill",
            {"optimization_objective": "all_layers", "model": "hinton1200"},
            "--procedure=optimize_dataset .*--model=hinton1200 .*objective=all_layers",
        ),
    ):
        with pytest.raises(ValueError, match=words):
            steps_of(root, load, procedure=procedure, **options)


def test_a_step_that_trained_nothing_is_no_teacher(made, load, monkeypatch):
    root, stages = made
    name = stages["compute_stats"].run.path.name
    for given, there in ((f"{root}/tiny/{name}", root), (".", root / "tiny" / name)):
        monkeypatch.chdir(there)
        with pytest.raises(ValueError, match="model_checkpoint: got .*finished train"):
            steps_of(root, load, procedure="compute_stats", model_checkpoint=given)


def test_images_of_another_shape_are_refused_before_a_student_learns(made, load):
    root, _ = made
    part = np.zeros((20, 5, 5, 3), np.float32), np.arange(20)
    parts = dict.fromkeys(("train", "valid", "test"), part)
    other = ArrayDataset("other", parts, num_classes=20)
    with pytest.raises(ValueError, match=r"eval_dataset: got other, \[5, 5, 3\] wi"):
        steps_of(
            root, lambda name, **options: other, procedure="distill", eval_dataset="o"
        )


def test_the_newest_step_that_fits_is_taken(tmp_path):
    chain = Chain(tmp_path)
    names = []
    for rank in (1, 2):
        with chain.stage("compute_stats", {"rank": rank}, {"teacher": "a"}) as stage:
            stage.finish({"rank": rank})
            names.append(stage.run.path.name)
    assert len(set(names)) == 2
    fresh = Chain(tmp_path)
    assert fresh.find("compute_stats", {"rank": 1}, {}).made["rank"] == 1
    assert fresh.find("compute_stats", {}, {"teacher": "b"}) is None
    assert fresh.find("train", {}, {}) is None
    assert [stage.procedure for stage in fresh.all()] == ["compute_stats"] * 2


def test_a_refused_step_leaves_nothing_but_one_that_had_begun_stays(tmp_path):
    chain = Chain(tmp_path)

    def refuse(begin):
        with (
            pytest.raises(ValueError, match="unfit"),
            chain.stage("train", {}, {}) as stage,
        ):
            if begin:
                stage.run.write_text("state.txt", "half")
            raise ValueError("unfit")

    refuse(begin=False)
    assert not list(tmp_path.glob("train-*"))
    refuse(begin=True)
    (kept,) = tmp_path.glob("train-*/state.txt")
    refuse(begin=False)
    assert kept.read_text() == "half"


def test_a_step_without_its_files_is_not_finished(tmp_path):
    with Chain(tmp_path).stage("train", {}, {}) as stage:
        stage.run.write_text("network.keras", "weights")
        stage.finish({"accuracy": 0.5}, ["network.keras"])
    assert Chain(tmp_path).find("train", {}, {}).made["accuracy"] == 0.5
    (stage.run.path / "network.keras").unlink()
    assert Chain(tmp_path).find("train", {}, {}) is None
    assert Chain(tmp_path).all() == []
    with Chain(tmp_path).stage("train", {}, {}) as again:
        assert again.run.path == stage.run.path
        assert again.made is None


def test_shards_that_are_lost_are_made_again(made, load, tmp_path):
    root = shutil.copytree(made[0], tmp_path / "root")
    tiny = later_flags("optimize_dataset")
    (stage,) = steps_of(root, load, procedure="optimize_dataset", **tiny)
    lost = sorted((stage.run.path / "images").glob("*.npz"))[0]
    before = lost.read_bytes()
    lost.unlink()
    steps_of(root, load, procedure="optimize_dataset", **tiny)
    assert lost.read_bytes() == before


def shifted(digits, *splits):
    """Returns other labels for splits of the same images under the same name."""
    parts = {
        split: (
            getattr(digits, f"x_{split}"),
            (getattr(digits, f"y_{split}") + (split in splits)) % 10,
        )
        for split in ("train", "valid", "test")
    }
    return ArrayDataset(digits.name, parts, num_classes=10)


def test_a_student_is_judged_anew_on_another_file_of_one_name(made, digits):
    root, stages = made
    tiny, other = later_flags("distill"), shifted(digits, "test")

    def load(name, **options):
        return other if name == "y" else digits

    (stage,) = steps_of(root, load, procedure="distill", eval_dataset="y", **tiny)
    assert stage.run.path != stages["distill"].run.path
    was = stages["distill"].made["teacher_test_accuracy"]
    assert stage.made["teacher_test_accuracy"] < was / 2


def test_images_that_have_changed_train_anew_and_are_not_recorded(made, digits):
    root, stages = made
    other = shifted(digits, "train", "test")
    with pytest.raises(ValueError, match="now has other training images than .* has"):
        steps_of(root, lambda name, **options: other, procedure="compute_stats")
    mended = {name: TINY[name] for name in ("dataset", "lr", "train_batch_size")}
    (stage,) = steps_of(
        root, lambda name, **options: other, procedure="train", epochs=1, **mended
    )
    assert stage.run.path != stages["train"].run.path
    shutil.rmtree(stage.run.path)


def test_later_steps_read_images_as_their_teacher_did(tmp_path, digits):
    asked = []

    def load(name, **options):
        asked.append(options)
        return digits

    flags_ = {"dataset": "uci_digits", "epochs": 1, "num_valid": 60}
    steps_of(tmp_path, load, procedure="train", **flags_)
    steps_of(tmp_path, load, procedure="compute_stats", form="mean")
    assert asked == [{"num_valid": 60, "image_size": None}] * 2


def test_a_teacher_that_was_put_there_is_none_of_the_run(made, load, tmp_path):
    root = shutil.copytree(made[0], tmp_path / "root")
    (folder,) = (root / "tiny").glob("train-*")
    network = build("lenet", (8, 8, 1), 10, init="he")
    network.save(folder / found.TEACHER)
    with pytest.raises(DamagedFile, match="it is not the network that was trained"):
        steps_of(root, load, procedure="compute_stats")


def test_two_processes_do_not_share_a_step(tmp_path):
    chain = Chain(tmp_path)
    with (
        chain.stage("train", {}, {}),
        pytest.raises(ValueError, match="another process works on"),
        chain.stage("train", {}, {}),
    ):
        pass


def test_rank_agreement_is_the_mean_over_groups():
    one = {"a": Scores(np.array([1.0, 2, 3])), "b": Scores(np.array([1.0, 2, 3]))}
    one = {name: Scores(each.values, None) for name, each in one.items()}
    other = {
        "a": Scores(np.array([2.0, 4, 9]), None),
        "b": Scores(-one["b"].values, None),
    }
    assert prunings.rank_agreement(one, other) == pytest.approx(0)
    assert prunings.rank_agreement(one, one) == pytest.approx(1)


def parse(*words):
    return cli.parse(DatafreeConfig, ["datafree", *words])


def test_bare_flags_are_the_published_ones():
    config = parse("--procedure=optimize_dataset")
    recipe = config.recipe()
    assert (recipe.objective, recipe.learning_rate, recipe.seed) == (
        "top_layer",
        0.07,
        42,
    )
    assert config.get("model") == "hinton1200"
    assert found.usual_dataset("hinton1200") == "mnist"
    assert found.usual_dataset("lenet") == "mnist_conv"
    assert found.usual_dataset("lenet5") == "mnist"
    assert found.usual_student("hinton1200") == "hinton800"
    assert found.usual_student("lenet") == "lenet_half"
    assert (config.temperature, config.soft_weight) == (8.0, 1.0)
    assert config.get("lr", "train") == 0.001
    assert parse().procedures() == PROCEDURES
    # A network that is there is not trained.
    assert parse("--model_checkpoint=a.keras").procedures() == PROCEDURES[1:]


@pytest.mark.parametrize("name", GONE)
def test_flags_that_are_gone_say_what_replaced_them(name):
    with pytest.raises(flags.Error, match=f"{name}: this flag is gone, .*{GONE[name]}"):
        parse(f"--{name}=x")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--temperature=0"], "temperature: got 0.0, expected a number above 0"),
        (["--temperature=nan"], "temperature: got nan"),
        (["--optimization_objective=all"], "value should be one of"),
        (["--images=0"], "images: got 0, expected 2 or more"),
        (["--images=1"], "images: got 1, expected 2 or more"),
        (["--lr=-1"], "lr: got -1.0"),
        (
            ["--procedure=train", "--model_checkpoint=a.keras"],
            "model_checkpoint: got a.keras with --procedure=train, expected none",
        ),
        (["--sparsity=2"], "sparsity: got 2.0, expected a share"),
        (["--sparsity=1"], r"sparsity: got 1.0, expected a share in \(0,1\)"),
        (["--fraction=0"], r"fraction: got 0.0, expected a share in \(0,1\]"),
        (["--start_mean=nan"], "start_mean: got nan, expected a finite number"),
        (["--epochs=0"], "epochs: got 0, expected 1 or more"),
        (["--run_name=a/b"], "run_name: got 'a/b'.* is --summary_folder"),
        (["--criteria=l1,fischer"], "criteria: got 'fischer'.* mean 'fisher'"),
        (["--rng_seed=5000000000"], "rng_seed: got 5000000000, expected a whole"),
        (["--eval_interval=0"], "eval_interval: got 0"),
        (["--form=full", "--rank=5"], "rank: got 5, which says nothing with --form=f"),
        (["--shift=3"], "shift: got 3, which says nothing with --augment=none"),
        (
            ["--optimization_objective=spectral_all_layers", "--rectify=false"],
            "rectify: got False, which says nothing with --optimization_objective=spec",
        ),
    ],
)
def test_unfit_flags_are_told_in_one_line(words, message):
    with pytest.raises(flags.Error, match=message):
        parse(*words)


def test_names_are_judged_without_tensorflow():
    with pytest.raises(ValueError, match="model: got 'lent'.* mean 'lenet'"):
        datafree.check(DatafreeConfig(model="lent"))
    with pytest.raises(ValueError, match="dataset: got 'minst'"):
        datafree.check(DatafreeConfig(procedure="train", dataset="minst"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"student_model": "lent"}, "student_model: got 'lent'.* mean 'lenet'"),
        ({"eval_dataset": "minst"}, "eval_dataset: got 'minst'.* mean 'mnist'"),
        ({"model_checkpoint": "lenet"}, "model_checkpoint: got 'lenet', expected a .k"),
        ({"model_checkpoint": "no.keras"}, "model_checkpoint: there is no no.keras"),
        ({"num_valid": -1}, "num_valid: got -1, expected at least 1"),
        ({"records": "no.npz"}, "records: there is no file no.npz, expected a rec"),
        ({"image_size": (28,)}, "image_size: got .*, expected height and width"),
    ],
)
def test_the_answer_names_the_flag_that_was_unfit(given, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        datafree.check(DatafreeConfig(procedure="distill", **given))


def test_the_command_answers_in_one_line(tmp_path, monkeypatch, capfd):
    words = ["--procedure=optimize_dataset", f"--summary_folder={tmp_path}"]
    monkeypatch.setattr(sys, "argv", ["datafree", *words])
    monkeypatch.setattr(cli, "_set_up_logging", lambda: None)
    with pytest.raises(SystemExit) as left:
        cli.run(DatafreeConfig, datafree.work, datafree.USAGE, datafree.check)
    assert left.value.code == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "--procedure=train --run_name=experiment" in line


@pytest.mark.slow
def test_squares_teach_too(tmp_path, load):
    options = TINY | {"procedure": "train", "loss": "mse", "epochs": 6}
    (stage,) = steps_of(tmp_path, load, **options)
    assert stage.made["test_accuracy"] > 0.6
    assert stage.fields["loss"] == "mse"


def with_attributes():
    """Images whose quarters are bright or dark, each an attribute."""
    generator = np.random.default_rng(0)
    parts = {}
    for split, n in {"train": 400, "valid": 50, "test": 100}.items():
        bright = generator.random((n, 2, 2, 1)) < 0.4
        images = np.kron(bright, np.ones((1, 4, 4, 1))) * 0.6
        images += 0.3 * generator.random(images.shape)
        labels = bright.reshape(n, 4).astype(np.uint8)
        parts[split] = images.astype(np.float32), labels
    return ArrayDataset("faces", parts, num_classes=4, multi_label=True)


@pytest.mark.slow
def test_attributes_from_teacher_to_student(tmp_path):
    faces = with_attributes()

    def run(procedure, **options):
        flags_ = later_flags(procedure) | {"batch": 16, "images": 24, **options}
        return steps_of(
            tmp_path, lambda name, **_: faces, procedure=procedure, **flags_
        )

    for loss in ("xent", "mse"):
        with pytest.raises(ValueError, match="expected attrxent: faces has any number"):
            run("train", dataset="celeb_a", loss=loss)
    (teacher,) = run("train", dataset="celeb_a", loss="attrxent", epochs=10)
    assert teacher.made["test_accuracy"] > 0.9
    (records,) = run("compute_stats")
    (images,) = run("optimize_dataset", optimization_objective="all_layers", steps=60)
    assert images.made["aim_met"] > 0.8
    # A file says nothing of the teacher's loss: the records know of attributes.
    config = DatafreeConfig(
        **later_flags("optimize_dataset") | {"batch": 16, "images": 24, "steps": 60},
        summary_folder=str(tmp_path / "elsewhere"),
        procedure="optimize_dataset",
        optimization_objective="all_layers",
        model_checkpoint=str(teacher.run.path / found.TEACHER),
        records=str(records.run.path / found.RECORDS),
    )
    (again,) = datafree.run(config, must_not_load, models.build)
    assert again.made["aim_met"] == images.made["aim_met"]
    (student,) = run("distill", epochs=30)
    told = student.made
    network = student.run.read_model(found.TEACHER)
    present = network.predict(faces.x_test, verbose=0) > 0
    assert told["test_accuracy"] == pytest.approx(np.mean(present == faces.y_test))
    assert told["test_accuracy"] > 0.7  # .6 are absent
    known = teacher.run.read_model(found.TEACHER).predict(faces.x_test, verbose=0) > 0
    assert told["agreement"] == pytest.approx(np.mean(present == known))
    (plain,) = run("distill", dataset="celeb_a", epochs=10)
    assert plain.made["test_accuracy"] > 0.8
    with pytest.raises(ValueError, match="prune: faces has attributes"):
        run("prune")


@pytest.mark.slow
def test_ordinary_distillation_and_all_at_once(tmp_path, load):
    options = later_flags("distill")
    named = {"dataset": "uci_digits", **options}
    stages = steps_of(tmp_path, load, procedure="all", **named)
    assert [stage.procedure for stage in stages] == list(PROCEDURES)
    # The name is that of the teacher's images; the student sees those just made.
    assert stages[3].fields["images"] == stages[2].run.path.name
    (plain,) = steps_of(tmp_path, load, procedure="distill", **TINY)
    assert plain.fields["images"] == "uci_digits"
    assert plain.made["test_accuracy"] > 0.3  # ten classes, three epochs
    options["dataset"] = str(stages[2].run.path)
    (same,) = steps_of(tmp_path, load, procedure="distill", **options)
    assert same.run.path == stages[3].run.path


def test_the_teachers_images_are_those_it_has_learnt_from(made, load, digits):
    root, stages = made
    other = rescaled(digits, 0.0, 0.5)

    def known(name, **options):
        return digits if name == "uci_digits" else other

    def taught(judging=False, **options):
        config = DatafreeConfig(summary_folder=str(root), run_name="tiny", **options)
        chain = Chain(root / "tiny")
        return found.find_taught(config, chain, known, build, judging)[0]

    assert taught(procedure="compute_stats") is digits
    assert taught(procedure="all", eval_dataset="fashion") is digits
    # What a student learns from is not what its teacher has learnt from.
    assert taught(True, procedure="distill", dataset="fashion") is digits
    assert taught(True, procedure="distill", eval_dataset="fashion") is other
    with pytest.raises(ValueError, match="eval_dataset: got fashion, expected uci"):
        taught(procedure="leakage", eval_dataset="fashion")
    with pytest.raises(ValueError, match="no trained teacher .*--dataset=fashion"):
        taught(procedure="prune", dataset="fashion")
