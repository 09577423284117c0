"""Parsimonious training, distillation and what is looked at, on tiny images."""

from __future__ import annotations

import dataclasses
import typing

import numpy as np
import pytest

import models
from data.arrays import ArrayDataset
from experiments import grids, ledger, parsimonious
from experiments.parsimonies import looks, names, publishing, studies
from experiments.parsimonies.config import ParsimoniousConfig
from experiments.parsimonies.presets import PRESETS
from network_pruning import cli
from network_pruning.runs import RunDir

BASE = {
    "num_train": 60,
    "num_valid": 20,
    "epochs": 1,
    "batch_size": 30,
    "seeds": (0,),
    "examples": 40,
    "perplexity": 5.0,
    "k": (3,),
    "n_init": 1,
}
OTHERS = "quick_student-none"
CLUSTERED = {"clusters": 8, "layers": ("conv3", "fc1")}


def load(name="cifar10", num_valid=None):
    del num_valid
    rng = np.random.default_rng(0)
    parts = {}
    for split, n in {"train": 70, "valid": 20, "test": 30}.items():
        labels = rng.integers(0, 3, n)
        images = rng.random((n, 8, 8, 1)) * 0.3 + labels[:, None, None, None] / 3
        parts[split] = (np.float32(np.clip(images, 0, 1)), labels)
    return ArrayDataset(name, parts, num_classes=3)


def run(folder, **flags):
    config = ParsimoniousConfig(**{**BASE, "output_dir": str(folder), **flags})
    parsimonious.run(config, load, models.build)
    return studies.Study(config, load().with_train(60), models.build, folder)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Runs the four trainings of the panels; gives the folder."""
    folder = tmp_path_factory.mktemp("parsimonious")
    run(folder, procedure="train", preset="CIFAR10_baseline")
    sample = {"preset": "CIFAR10_sample_clustering", **CLUSTERED}
    run(folder, procedure="train", **sample)
    run(folder, procedure="distill", preset="CIFAR10_distilled")
    trained = studies.Study(
        ParsimoniousConfig(**BASE, output_dir=str(folder)),
        load().with_train(60),
        models.build,
        folder,
    ).trainings()
    clustered = next(s for s in trained if s.fields["clustering"] == "sample")
    run(folder, procedure="distill", teacher=str(clustered.run.path))
    return folder


def test_trainings_lie_in_folders_of_their_own(finished):
    study = run(finished, procedure="test")
    stages = study.trainings()
    assert [stage.procedure for stage in stages] == ["train"] * 2 + ["distill"] * 2
    labels = [stage.made["label"] for stage in stages]
    assert labels[::2] == ["CIFAR10_baseline", "CIFAR10_distilled"]
    assert stages[2].made["teacher"] == "CIFAR10_baseline"
    assert stages[3].made["teacher_clustering"] == "sample"
    shares = [f for f in finished.rglob("test-*/done.json")]
    assert len(shares) == 4
    text = (finished / "parsimonious/results.md").read_text()
    assert text.count("\n| ") == 6 and "taught by CIFAR10_baseline" in text
    before = [path.stat().st_mtime_ns for path in finished.rglob("done.json")]
    run(finished, procedure="train", preset="CIFAR10_baseline")
    run(finished, procedure="test")
    assert before == [path.stat().st_mtime_ns for path in finished.rglob("done.json")]


def test_what_is_trained_is_plain_and_centred(finished):
    study = run(finished, procedure="test")
    clustered = study.trainings()[1]
    network = study.network(clustered)
    mean = np.mean(load().x_train[:60], axis=0)
    centre = network.get_layer("centre").input_mean
    np.testing.assert_allclose(np.reshape(centre, mean.shape), mean, atol=1e-6)
    centres = study.centres(clustered, network)
    assert {path: len(c) for path, c in centres.items()} == {"conv3": 8, "fc1": 8}
    assert np.abs(centres["fc1"]).max() > 0


def test_clusters_are_judged_by_kmeans_and_by_what_was_learned(finished):
    run(finished, procedure="evaluate_clusters")
    text = (finished / "parsimonious/clusters.md").read_text()
    assert text.count("k-means") == 8
    assert text.count("learned") == 1
    told = {"references_dir": str(finished / "references"), "note": "made up"}
    run(finished, procedure="publish", **told)
    lines = (finished / "references/ledger.csv").read_text()
    assert (
        '"CIFAR10, 1 epochs of 60 images in batches of 30, 20 select (made up)",'
        "CIFAR10_distilled,nmi fc1 K=3" in lines
    )
    assert (
        "--preset=CIFAR10_distilled --epochs=1 --num_valid=20 --num_train=60 "
        "--batch_size=30," in lines
    )
    assert (finished / "references/parsimonious_clusters.md").read_text() == text


def test_numbers_of_several_sittings_stand_together(finished, caplog):
    run(finished, procedure="test")
    references = RunDir(finished / "sittings")
    told = {"procedure": "publish", "references_dir": str(references.path)}
    study = run(finished, **told, note="made up")
    name = f"cells/parsimonious-{study.config.get('dataset')}.csv"
    numbers = grids.read(publishing.Number, references, name)
    mine = next(one for one in numbers if one.metric == "accuracy")
    assert mine.length == "1 epochs of 60 images in batches of 30, 20 select (made up)"
    # Earlier, somebody had another number of this seed, and one of another seed.
    theirs = dataclasses.replace(mine, value=0.25)
    more = dataclasses.replace(mine, value=0.75, seed=7)
    rest = [one for one in numbers if one != mine]
    references.write_text(name, grids.text(publishing.Number, [*rest, theirs, more]))
    with caplog.at_level("INFO"):
        run(finished, **told)  # the note is remembered
    assert f"seed 0: {mine.value:.5f} here, 0.25000 stays" in caplog.text
    key = "parsimonious", f"CIFAR10, {mine.length}", mine.setting, "accuracy"

    def line():
        return next(x for x in ledger.read(references) if x.key[:4] == key)

    assert (line().ours_mean, line().seeds) == ("0.50000", "0 7")
    # Of a mean whose numbers were never kept, a single seed does not take the place.
    references.write_text(name, grids.text(publishing.Number, [*rest, theirs]))
    run(finished, **told)
    assert line().seeds == "0 7"


@pytest.mark.slow
def test_maps_and_panels_from_what_is_recorded(finished, capsys):
    with pytest.raises(ValueError, match="no conv1 of 40 examples is recorded in .*"):
        run(finished, procedure="tsne", map_layer="conv1")
    for procedure in ("record", "tsne", "plot"):
        run(finished, procedure=procedure)
    with pytest.raises(ValueError, match="--read_layers=fc1 --examples=30 first"):
        run(finished, procedure="tsne", examples=30)
    run(finished, procedure="plot", perplexity=6.0)
    assert "panels: not drawn, there is no map of Cumbersome" in capsys.readouterr().out
    folders = list(finished.glob("parsimonious/tsne-*"))
    assert len(folders) == 4
    names = {path.name for path in folders[0].rglob("*.*")}
    assert {"map.csv", "map.npz", "map.png", "tensors.tsv"} <= names
    panels = (finished / "parsimonious/panels.png").read_bytes()
    assert len(panels) > 5000
    run(finished, procedure="publish", references_dir=str(finished / "references"))
    copy = finished / "references/parsimonious_panels.png"
    assert copy.read_bytes() == panels
    run(finished, procedure="tsne", map_layer="shuffled_pixels")
    assert len(list(finished.glob("parsimonious/tsne-*"))) == 5


def test_trainings_of_different_settings_have_different_names(tmp_path):
    few = {"clustering": "sample", "clusters": 8}
    for layers in (("fc1",), ("logits",)):
        run(tmp_path, procedure="train", layers=layers, **few)
    run(tmp_path, procedure="train", layers=("fc1",), legacy=True, **few)
    short = {"preset": "CIFAR10_baseline", "epochs": 2}
    study = run(tmp_path, procedure="train", **short)
    baseline = str(study.trainings()[-1].run.path)
    study = run(tmp_path, procedure="distill", teacher=baseline)
    told = [names.name_of(stage) for stage in study.trainings()]
    assert len(set(told)) == 5
    assert told[1].endswith(", of logits") and told[2].endswith("of fc1, legacy")
    assert "taught by CIFAR10_baseline, 2 epochs of 60 images" in told[4]


def test_clusters_of_one_way_of_judging_stand_together(finished):
    page = finished / "parsimonious/clusters.md"
    for starts in (2, 1):
        run(finished, procedure="evaluate_clusters", n_init=starts)
        assert page.read_text().count("k-means") == 8


def test_units_are_cut_from_every_teacher(finished):
    run(finished, procedure="removability", sparsities=(0.0, 0.5))
    text = (finished / "parsimonious/removability.md").read_text()
    assert text.count("CIFAR10_baseline") == 2 == text.count("mean_activation")
    references = RunDir(finished / "removability")
    run(finished, procedure="publish", references_dir=str(references.path))
    told = [x for x in ledger.read(references) if ", 0.5 cut by l1" in x.metric]
    assert {line.verdict for line in told} == {"no bar"}
    assert f"{float(told[0].ours_mean):.4f}" in text
    assert (finished / "parsimonious/removability.png").exists()


@pytest.mark.slow
def test_the_hybrid_and_a_search(tmp_path, capsys):
    few = {**CLUSTERED, "layers": ("fc1",)}
    run(tmp_path, procedure="train", preset="CIFAR10_baseline")
    study = run(tmp_path, procedure="distill", preset="CIFAR10_hybrid_sample", **few)
    history = (study.trainings()[1].run.path / "training/training.json").read_text()
    assert "fc1_regulariser" in history and '"soft"' in history
    grid = {"weights": (0.5,), "numbers": (4, 8), "momenta": (0.1,)}
    asked = {"clustering": "sample", "layers": ("fc1",), **grid}
    study = run(tmp_path, procedure="search", **asked)
    assert len(study.trainings()) == 4
    assert (
        "| quick-sample | 0 |  | 0.03 | 4 | 0.5 | 0.1 | fc1 |  |  | 0."
        in (tmp_path / "parsimonious/search.md").read_text()
    )
    warm = {"temperatures": (3.0,), "soft_weights": (0.2, 0.9)}
    study = run(tmp_path, procedure="search", teacher="CIFAR10_baseline", **warm)
    assert len(study.trainings()) == 6
    assert (
        "| 0 | CIFAR10_baseline | 0.03 |  |  |  |  | 3.0 | 0.2 | 0."
        in capsys.readouterr().out
    )


def test_numbers_of_other_images_and_teachers_are_nobodys(finished, tmp_path, caplog):
    # A student of another teacher than the preset's bears another name.
    study = run(finished, procedure="test")
    others = [s.made for s in study.trainings() if s.procedure == "distill"]
    assert [made["label"] for made in others] == ["CIFAR10_distilled", OTHERS]
    run(tmp_path, procedure="train", preset="CIFAR10_baseline", dataset="uci_digits")
    told = {"dataset": "uci_digits", "references_dir": str(tmp_path / "references")}
    run(tmp_path, procedure="test", **told)
    run(tmp_path, procedure="publish", **told)
    assert "no number of a preset on its own dataset for the ledger" in caplog.text
    assert (tmp_path / "references/parsimonious_results.md").exists()
    assert not (tmp_path / "references/ledger.csv").exists()


def test_misfits_are_answered_in_one_line(tmp_path):
    with pytest.raises(ValueError, match="no finished training of CIFAR10_baseline"):
        run(tmp_path, procedure="distill", preset="CIFAR10_distilled")
    with pytest.raises(
        ValueError, match="clusters of fc1: got 61, expected at most 60"
    ):
        run(
            tmp_path,
            procedure="train",
            clustering="sample",
            clusters=61,
            layers=("fc1",),
        )
    with pytest.raises(ValueError, match="teacher: got 'nobody', expected a .keras"):
        run(tmp_path, procedure="distill", teacher="nobody")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"preset": "CIFAR11"}, "preset: got 'CIFAR11', expected one of CIFAR10_bas"),
        ({"momentum": 1.0}, r"momentum: got 1.0, expected a share in \[0,1\)"),
        ({"weight": (-1.0,)}, "weight: got -1.0, expected 0 or more"),
        ({"weight": (1.0, 2.0)}, "weight: got 2 numbers, expected one, or 5"),
        ({"temperature": 0.0}, "temperature: got 0.0, expected a number above 0"),
        ({"procedure": "distill"}, "teacher: got none"),
        ({"sparsities": (1.0,)}, "sparsities: got 1.0"),
        ({"seeds": (1, 1)}, "seeds: got 1,1, expected different"),
        ({"seeds": (-1,)}, "seeds: got -1, expected different"),
        ({"numbers": (0,)}, "numbers: got 0, expected 1 or more"),
        ({"momenta": (1.5,)}, "momenta: got 1.5, expected a share"),
        ({"k": (0,)}, "k: got 0, expected 1 or more"),
        ({"examples": -1}, "examples: got -1, expected 0 or more"),
        ({"num_train": 0}, "num_train: got 0, expected 1 or more"),
        ({"criteria": ("l3",)}, "criteria: got 'l3', expected one of .*l1"),
        ({"clusters": 5}, "clusters: got 5, which says nothing with --clustering=none"),
        ({"conv_sd": 0.1}, "conv_sd: got 0.1, which says nothing with --init=he"),
        (
            {"procedure": "distill", "teacher": "a.keras", "network": "lenet5"},
            "network: got lenet5 where a teacher teaches, expected --student=lenet5",
        ),
        (
            {"procedure": "train", "teacher": "CIFAR10_baseline"},
            "teacher: got it for --procedure=train without a teacher",
        ),
    ],
)
def test_unfit_flags_are_refused(flags, message):
    with pytest.raises(ValueError, match=message):
        ParsimoniousConfig(**flags)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"network": "quik"}, "network: got 'quik'.* mean 'quick'"),
        ({"weights": (0.2,)}, "weights: got .* with --procedure=search alone"),
        (
            {"procedure": "search", "clustering": "sample", "weight": (0.7,)},
            "weight: got it for --procedure=search, which tries --weights",
        ),
        (
            {"procedure": "search", "preset": "CIFAR10_distilled", "momenta": (0.2,)},
            "momenta: got .* expected --temperatures, --soft_weights: they are tr",
        ),
        (
            {"preset": "CIFAR10_distilled", "student": "quick_studen"},
            "student: got 'quick_studen'.* mean 'quick_student'",
        ),
        (
            {"procedure": "distill", "teacher": "nobody"},
            "teacher: got 'nobody', expected a .keras file",
        ),
        (
            {"procedure": "distill", "teacher": "no.keras"},
            "teacher: there is no no.keras",
        ),
    ],
)
def test_the_answer_names_the_flag_that_was_unfit(flags, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        parsimonious.check(ParsimoniousConfig(**flags))


@pytest.mark.parametrize(("dataset", "asked"), [("digits", None), ("cifar10", 5000)])
def test_small_sets_need_no_number_of_validation_images(dataset, asked, tmp_path):
    def load_few(name, num_valid):
        assert (name, num_valid) == (dataset, asked)
        return load(name)

    flags = {**BASE, "num_valid": None, "procedure": "train", "dataset": dataset}
    config = ParsimoniousConfig(**flags, output_dir=str(tmp_path))
    parsimonious.run(config, load_few, models.build)
    (told,) = tmp_path.rglob("train-*/config.json")
    assert '"num_valid": 20' in told.read_text()


def test_none_is_no_number_of_starts():
    words = ["parsimonious", "--n_init=none"]
    with pytest.raises(cli.flags.Error, match="got 'none', expected a whole number"):
        cli.parse(ParsimoniousConfig, words)


@pytest.mark.parametrize(
    ("procedure", "missing"),
    [
        ("test", "finished training on these images: run --procedure=train first"),
        ("evaluate_clusters", "finished training on these images"),
        ("record", "finished training on these images"),
        ("plot", "map of these images: run --procedure=record, then --procedure=tsne"),
    ],
)
def test_a_missing_step_is_named(procedure, missing, tmp_path):
    with pytest.raises(ValueError, match=f"parsimonious holds no {missing}"):
        run(tmp_path, procedure=procedure)


def test_a_missing_teacher_names_the_whole_command(tmp_path):
    with pytest.raises(ValueError, match="no finished training of CIFAR10_b") as told:
        run(tmp_path, procedure="distill", teacher="CIFAR10_baseline", dataset="digits")
    assert str(told.value).endswith(
        "--procedure=train --preset=CIFAR10_baseline --seeds=0 --epochs=1 "
        f"--run_name=parsimonious --output_dir={tmp_path} --dataset=digits "
        "--num_valid=20 --num_train=60"
    )


def test_every_training_says_where_it_is(finished, capsys, caplog):
    caplog.set_level("INFO", logger="network_pruning.jobs.parsimonious")
    run(finished, procedure="train", preset="CIFAR10_baseline")
    assert "train: CIFAR10_baseline, seed 0, valid" in caplog.text
    assert f"train: in {finished / 'parsimonious'}" in capsys.readouterr().out


def test_layers_to_read_are_judged_before_anything_is_trained(tmp_path):
    with pytest.raises(ValueError, match="layers: got 'fc9'.* Did you mean 'fc1'"):
        run(tmp_path, procedure="all", preset="CIFAR10_baseline", read_layers=("fc9",))
    assert not list(tmp_path.rglob("*.keras"))


def test_presets_are_the_originals():
    hundred = ParsimoniousConfig(preset="CIFAR100_spatial_clustering").settings(False)
    assert hundred["weight"] == (10.0, 1.0, 1.0, 1.0)
    assert (hundred["momentum"], hundred["conv_sd"]) == (0.05, 0.1)
    assert hundred["layers"] == ("conv1", "conv2", "conv3", "fc1")
    hybrid = ParsimoniousConfig(preset="CIFAR10_hybrid_channel")
    assert hybrid.procedures()[0] == "distill"
    assert hybrid.taught() == "CIFAR10_baseline"
    assert hybrid.settings(True)["network"] == "quick_student"
    taught = ParsimoniousConfig(preset="CIFAR10_sample_clustering", teacher="a.keras")
    assert taught.settings(True)["network"] == "quick_student"
    assert taught.settings(False)["network"] == "quick"
    assert {f"CIFAR10_{kind}_clustering" for kind in ("sample", "spatial")} < set(
        PRESETS
    )
    for name in PRESETS:
        assert ParsimoniousConfig(preset=name).get("dataset").upper() in name


def test_every_procedure_is_known():
    hints = typing.get_type_hints(ParsimoniousConfig)
    known = {*looks.LOOKS, *studies.MADE, "search", "all"}
    assert set(typing.get_args(hints["procedure"])) == known
    assert set(ParsimoniousConfig().procedures()) <= known
    text = cli.help_text(ParsimoniousConfig, parsimonious.USAGE)
    for field in dataclasses.fields(ParsimoniousConfig):
        assert f"--{field.name}=" in text
