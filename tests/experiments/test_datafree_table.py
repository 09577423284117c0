"""The table of data-free students: cells of a tiny pair, what is wanted and said."""

import dataclasses
import json
import re

import numpy as np
import pytest
import tf_keras as keras
from absl import flags

import data
from experiments import datafree_table, grids, ledger
from experiments.datafree_table import TableConfig
from experiments.datafrees import cells as made
from experiments.datafrees import summary
from experiments.datafrees.cells import FINDINGS, Cell, Finding, Table
from experiments.datafrees.config import DatafreeConfig
from experiments.datafrees.presets import (
    BASELINES,
    FORMS,
    INITS,
    PAIRS,
    SEEDS,
    Pair,
    Trained,
)
from experiments.published import read_datafree
from network_pruning import cli
from network_pruning.inversion.records import ActivationRecords
from network_pruning.runs import RunDir

layers = keras.layers
TINY = Pair(
    "hinton1200",
    "hinton800",
    "uci_digits",
    ("all_layers", "spectral_layer_pairs"),
    train={"epochs": 3, "lr": 0.01},
    images={"images": 4, "steps": 5, "batch": 40},
    distill={"epochs": 1},
    bar=50.0,
)


def build(name, shape, classes, **options):
    """Builds a small network in the place of every published one, or reads a file."""
    if name.endswith(".keras"):
        return keras.models.load_model(name, compile=False)
    x = inputs = keras.Input(shape, name="images")
    x = layers.Conv2D(4, 3, 2, activation="relu", name="conv")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(16 if name == "hinton1200" else 12, "relu", name="hidden")(x)
    return keras.Model(inputs, layers.Dense(classes, name="logits")(x))


TEACHER, LAYERS = ("teacher", "he", "none", 0), ("all_layers", "he", "lowrank", 0)


@pytest.fixture(scope="module")
def table(tmp_path_factory, digits):
    """The cells of a tiny pair; not to be written to."""
    run = RunDir(tmp_path_factory.mktemp("results") / "table")
    filled = Table(TINY, run, lambda name, **options: digits, build)
    filled.fill((TEACHER, LAYERS))
    return filled


def test_cells_are_what_they_say(table, digits):
    assert set(table.cells) == {TEACHER, LAYERS}
    teacher, taught = table.cells[TEACHER], table.cells[LAYERS]
    assert teacher.accuracy == teacher.teacher_accuracy > 0.5
    assert taught.teacher_accuracy == teacher.accuracy
    assert (teacher.agreement, teacher.images) == (1, len(digits.y_train))
    assert (teacher.record_bytes, taught.images) == (0, 40)
    assert taught.record_bytes == told(table, "compute_stats")["bytes"]
    assert taught.accuracy == told(table, "distill")["test_accuracy"]
    assert taught.agreement == told(table, "distill")["agreement"]
    (path,) = table.run.path.glob("he-seed=0/distill-*/network.keras")
    student = keras.models.load_model(path, compile=False)
    chosen = student.predict(digits.x_valid, verbose=0).argmax(axis=1)
    assert taught.valid_accuracy == pytest.approx(np.mean(chosen == digits.y_valid))


def told(table, procedure):
    (path,) = table.run.path.glob(f"he-seed=0/{procedure}-*")
    return RunDir(path).read_json("done.json")


def test_cells_that_are_there_are_not_made_again(table, monkeypatch):
    monkeypatch.setattr(made, "_Making", None)
    before = (table.run.path / grids.ROWS).stat().st_mtime_ns
    table.fill((TEACHER, LAYERS))
    assert (table.run.path / grids.ROWS).stat().st_mtime_ns == before


def test_students_of_all_seeds_may_learn_from_the_images_of_one(tmp_path, digits):
    pair = dataclasses.replace(TINY, source_seed=5, records={"layers": ("hidden",)})
    alone = dataclasses.replace(pair, records={})
    assert len({each.digest() for each in (TINY, pair, alone)}) == 3
    table = Table(pair, RunDir(tmp_path), lambda name, **options: digits, build)
    table.fill(("all_layers", "he", "lowrank", seed) for seed in (0, 1))
    one, other = table.cells.values()
    assert {cell.seed for cell in (one, other)} == {0, 1}
    assert one.teacher_accuracy == other.teacher_accuracy
    steps = [path.name.split("-")[0] for path in tmp_path.glob("he-seed=5/*-*/")]
    assert sorted(steps) == [
        *("compute_stats", "distill", "distill", "optimize_dataset", "train"),
    ]
    (path,) = tmp_path.glob("he-seed=5/compute_stats-*/records.npz")
    assert list(ActivationRecords.load(path).layers) == ["hidden"]


def test_teachers_may_have_been_trained_elsewhere(table, tmp_path, digits):
    (train,) = trainings(table.run.path)
    pair = dataclasses.replace(TINY, trained=Trained(str(train / "network.keras"), 30))
    assert pair.digest() != TINY.digest()
    asked = []

    def load(name, **options):
        asked.append((name, options["num_valid"]))
        return digits

    own = Table(pair, RunDir(tmp_path), load, build)
    own.fill((TEACHER, LAYERS, ("student", "he", "none", 0)))
    theirs = table.cells[TEACHER].accuracy
    assert own.cells[TEACHER].accuracy == own.cells[LAYERS].teacher_accuracy == theirs
    assert set(asked) == {(TINY.dataset, 30)}
    trained = [RunDir(path).read_json("config.json") for path in trainings(tmp_path)]
    assert [each["fields"]["model"] for each in trained] == [TINY.student]


def trainings(root):
    return root.glob("he-seed=0/train-*")


@pytest.mark.slow
def test_spectra_and_baselines_are_made_too(tmp_path, digits):
    names = ("student", "distilled", "noise", "class_means")
    keys = [(name, "he", "none", 0) for name in names]
    pairs = ("spectral_layer_pairs", "he", "weights", 0)
    table = Table(TINY, RunDir(tmp_path), lambda name, **options: digits, build)
    table.fill([*keys, pairs])
    student, distilled, noise, means = (table.cells[key] for key in keys)
    assert student.accuracy > 0.3
    assert distilled.images == student.images == len(digits.y_train)
    assert noise.images == means.images == table.cells[pairs].images == 40
    # A basis for each of two pairs, coefficients' laws beside them.
    (path,) = table.run.path.glob("he-seed=0/compute_stats-*/records.npz")
    spectra = ActivationRecords.load(path).spectra
    of_pairs = sum(
        each.basis.nbytes + each.law.nbytes for each in spectra if each.scope == "pairs"
    )
    assert 0 < table.cells[pairs].record_bytes == of_pairs


def test_images_of_the_baselines(digits):
    drawn = made.noise(digits, 3, seed=1)
    assert drawn.shape == (30, 8, 8, 1)
    assert (drawn.min(), drawn.max()) >= (0, 0) and drawn.max() <= 1
    assert np.array_equal(drawn, made.noise(digits, 3, seed=1))
    means = made.class_means(digits, 3, seed=1)
    of_four = digits.x_train[digits.y_train == 4].mean(axis=0)
    for i in (4, 14, 24):
        np.testing.assert_allclose(means[i], of_four, atol=1e-6)


def cell(objective, form, seed, accuracy, valid, init="he"):
    return Cell(objective, init, form, seed, accuracy, valid, 0.99, 0.9, 100, 40, 1.0)


SOME = [
    cell("all_layers", "lowrank", 0, 0.90, 0.80),
    cell("all_layers", "lowrank", 1, 0.92, 0.81),
    cell("all_layers", "lowrank", 2, 0.94, 0.82),
    cell("all_layers", "diag", 0, 0.99, 0.70),
    cell("all_layers", "lowrank", 0, 0.5, 0.9, init="original"),
    cell("teacher", "none", 0, 0.99, 0.99),
]


def test_the_best_form_is_chosen_on_valid():
    assert summary.best_form(SOME, "all_layers") == "lowrank"
    assert summary.best_form(SOME, "top_layer") is None
    assert summary.best_group(SOME) == ("all_layers", "he", "lowrank")
    assert summary.best_group(SOME[1:]) is None


def test_the_ledger_tells_met_missed_and_not_run():
    lines = summary.ledger_lines("lenet", PAIRS["lenet"], SOME, "2026-01-01")
    by_row = {line.row: line for line in lines}
    best = by_row["lenet, all_layers, he, lowrank"]
    assert (best.published, best.ours_mean, best.ours_sd) == (
        "85.61",
        "92.000",
        "2.000",
    )
    assert (best.seeds, best.verdict) == ("0 1 2", "met")
    assert by_row["lenet, all_layers, he, diag"].verdict == "no bar"
    assert by_row["lenet, all_layers, original, lowrank"].verdict == "no bar"
    assert by_row["lenet, teacher, he"].verdict == "no bar"
    assert by_row["lenet, top_layer, he, full"].verdict == "not run"
    assert len({line.key for line in lines}) == len(lines)
    assert {line.table for line in lines} == {"mnist_conv"}
    some = SOME[:3]
    lines = summary.ledger_lines("lenet_best", PAIRS["lenet_best"], some, "2026-01-01")
    by_row = {line.row: line for line in lines}
    chosen = by_row.pop("lenet_best, best on valid")
    assert (chosen.published, chosen.verdict) == ("98.20", "missed")
    assert list(by_row) == [
        *(f"lenet_best, {name}, he" for name in ("teacher", "noise", "class_means")),
        "lenet_best, all_layers, he, lowrank",
    ]


def test_a_student_is_held_against_those_of_noise_and_class_means():
    rivals = [
        cell("noise", "none", 0, 0.3, 0.3),
        cell("noise", "none", 1, 0.5, 0.5),
        cell("noise", "none", 2, 0.4, 0.4),
        *(cell("class_means", "none", seed, 0.6, 0.6) for seed in range(3)),
    ]

    def lead(cells):
        lines = summary.ledger_lines("quick", PAIRS["quick"], cells, "2026-01-01")
        return [line for line in lines if "above noise" in line.metric]

    (line,) = lead([*SOME, *rivals])
    # 92 of ours, 60 of the class means; noise has the largest sd, 10 points.
    assert (line.ours_mean, line.published, line.verdict) == ("32.000", "20.00", "met")
    near = [cell("class_means", "none", seed, 0.8, 0.8) for seed in range(3)]
    (line,) = lead([*SOME, *rivals[:3], *near])
    assert (line.ours_mean, line.verdict) == ("12.000", "missed")
    (line,) = lead([*SOME, *rivals[1:]])  # A seed of noise is missing.
    assert (line.ours_mean, line.published, line.verdict) == ("32.000", "", "no bar")
    assert lead([*SOME[1:], *rivals]) == lead([*SOME, *rivals[:2]]) == []


def test_a_note_on_the_data_stays_with_the_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(datafree_table, "PAIRS", {"quick": PAIRS["quick"]})
    folder = f"cells/datafree-quick-{PAIRS['quick'].digest()}"
    references = RunDir(tmp_path / "references")
    references.write_text(f"{folder}.csv", grids.text(Cell, SOME))
    for note in ("from a JPEG copy", None):
        config = TableConfig("publish", pair="quick", note=note, **places(tmp_path))
        datafree_table.run(config, None, None)
        page = references.read_text("datafree.md")
        assert "of seed 0 for all students; seconds" in page
        assert "; data: from a JPEG copy." in page
        tables = {line.table for line in ledger.read(references)}
        assert tables == {"cifar10 (from a JPEG copy)"}


def test_a_teacher_that_was_trained_elsewhere_is_named():
    page = summary.markdown({"resnet20": SOME}, {}, "2026-01-01", {})
    assert "\nstudents of real images: epochs=20 " in page
    assert f"; teacher: {PAIRS['resnet20'].trained.path}; " in page


def test_the_page_shows_ours_beside_the_published():
    page = summary.markdown({"lenet": SOME}, {}, "2026-01-01", {})
    line = next(x for x in page.splitlines() if x.startswith("| all_layers | he | low"))
    assert line == (
        "| all_layers | he | lowrank\\* | 100 | 92.00 ± 2.00 | 0 1 2 | 90.00 | 1 "
        "| 85.61 |"
    )
    assert "- all_layers: 85.61, Lopes et al. 2017, recalled" in page
    alone = summary.markdown({"lenet": SOME[:3]}, {}, "2026-01-01", {})
    assert "| all_layers | he | lowrank | 100 |" in alone
    best = summary.markdown({"lenet_best": SOME[:3]}, {}, "2026-01-01", {})
    assert "\n## lenet_best: lenet to lenet_half on mnist_conv\n" in best
    assert "| all_layers | he | lowrank | 100 |" in best
    assert "Published" not in best


@pytest.mark.slow
def test_further_procedures_use_the_images_of_the_first_objective(tmp_path, digits):
    pruning = {"epochs": 1, "criteria": ("taylor",), "train_batch_size": 20}
    pair = dataclasses.replace(
        TINY, further={"prune": pruning, "leakage": {"compared": 30}}
    )
    table = Table(pair, RunDir(tmp_path), lambda name, **options: digits, build)
    table.look_further([("prune", 0), ("leakage", 0)])
    made = {key: json.loads(one.numbers) for key, one in table.findings.cells().items()}
    assert set(made["prune", 0]) == {
        "teacher, test_accuracy",
        "taylor, rank_agreement",
        *(f"taylor, {source}, {when}" for source in SOURCES for when in TIMES),
    }
    assert set(made["leakage", 0]) == {"made", "unseen", "nearer"}
    assert made["leakage", 0]["unseen"] > 0
    (pruned,) = tmp_path.glob("he-seed=0/prune-*/retrained/taylor")
    # Of 40 reconstructed images ten validate; the others are passed as often as gives
    # the 500 real ones' number of updates.
    passes = [
        RunDir(pruned / source).read_json("training.json")["history"]
        for source in SOURCES
    ]
    assert [len(each) for each in passes] == [round(500 / 30), 1]
    (images,) = tmp_path.glob("he-seed=0/optimize_dataset-*/done.json")
    before = images.stat().st_mtime_ns
    table.look_further([("prune", 0), ("leakage", 0)])
    assert images.stat().st_mtime_ns == before


SOURCES, TIMES = ("reconstructed", "real"), ("cut", "retrained")


def found(seed, ours, theirs):
    numbers = {
        "taylor, reconstructed, retrained": ours,
        "taylor, real, retrained": theirs,
    }
    return Finding("prune", seed, json.dumps(numbers))


def test_pruning_without_data_is_held_against_pruning_with_them():
    pair = PAIRS["lenet_best"]
    findings = [found(0, 0.97, 0.98), found(1, 0.98, 0.98), found(2, 0.982, 0.982)]

    def line(some):
        lines = summary.finding_rows("lenet_best", pair, some, "2026-01-01")
        return next(x for x in lines if "reconstructed" in x.metric)

    assert line(findings).ours_mean == "0.97733"
    assert (line(findings).published, line(findings).verdict) == ("0.9757", "met")
    assert line(findings[:2]).verdict == "no bar"
    assert line(findings[:2]).key == line(findings).key
    worse = [*findings[:2], found(2, 0.965, 0.982)]
    assert line(worse).verdict == "missed"
    page = summary.markdown(
        {"lenet_best": SOME}, {"lenet_best": findings}, "2026-01-01", {}
    )
    assert "| prune: taylor, real, retrained | 0.9807 ± 0.0012 | 0 1 2 |" in page


def test_published_findings_are_taken_over_and_published_again(tmp_path, monkeypatch):
    monkeypatch.setattr(datafree_table, "PAIRS", {"lenet_best": PAIRS["lenet_best"]})
    name = f"datafree-lenet_best-{PAIRS['lenet_best'].digest()}-{FINDINGS}"
    references = RunDir(tmp_path / "references")
    text = grids.text(Finding, [found(0, 0.97, 0.98)])
    references.write_text(f"cells/{name}.csv", text)
    datafree_table.run(TableConfig("publish", **places(tmp_path)), None, None)
    assert references.read_text(f"cells/{name}.csv") == text
    assert "lenet_best, prune" in references.read_text("ledger.csv")


def test_published_cells_are_taken_over_and_published_again(tmp_path, monkeypatch):
    monkeypatch.setattr(datafree_table, "PAIRS", {"lenet": PAIRS["lenet"]})
    folder = f"datafree-lenet-{PAIRS['lenet'].digest()}"
    references = RunDir(tmp_path / "references")
    references.write_text(f"cells/{folder}.csv", grids.text(Cell, SOME))
    config = TableConfig("publish", **places(tmp_path))
    datafree_table.run(config, None, None)
    known = grids.parse(Cell, references.read_text(f"cells/{folder}.csv"))
    assert {each.key: each for each in known} == {each.key: each for each in SOME}
    assert "92.00 ± 2.00" in references.read_text("datafree.md")
    assert {line.system for line in ledger.read(references)} == {"datafree"}


def places(folder):
    return {
        "output_dir": str(folder / "results"),
        "references_dir": str(folder / "references"),
    }


def test_one_seed_has_all_forms_and_others_the_best(tmp_path):
    table = Table(PAIRS["lenet"], RunDir(tmp_path), None, None)
    table.grid.put(*SOME)
    keys = list(datafree_table.wanted(table, TableConfig()))
    of_layers = [key[1:] for key in keys if key[0] == "all_layers"]
    forms = ("lowrank", "full", "diag")
    assert of_layers[:6] == [(init, form, 0) for init in INITS for form in forms]
    assert of_layers[6:] == [("he", "lowrank", 1), ("he", "lowrank", 2)]
    assert len(set(keys)) == len(keys)
    some = {"objectives": ("noise", "top_layer"), "forms": ("diag",), "seeds": (0,)}
    narrow = list(datafree_table.wanted(table, TableConfig(inits=("he",), **some)))
    assert narrow == [("top_layer", "he", "diag", 0), ("noise", "he", "none", 0)]
    best = Table(PAIRS["fc_best"], RunDir(tmp_path / "best"), None, None)
    keys = list(datafree_table.wanted(best, TableConfig(seeds=(0,))))
    assert keys == [
        ("all_layers", "he", "lowrank", 0),
        *((name, "he", "none", 0) for name in ("teacher", "noise", "class_means")),
    ]


def test_presets_ask_for_what_there_is():
    published = read_datafree()
    assert {pair for pair, _ in published} <= set(PAIRS)
    for name, pair in PAIRS.items():
        known = {*pair.objectives, *BASELINES}
        assert {objective for one, objective in published if one == name} <= known
        for objective in pair.objectives:
            for asked in FORMS[objective].values():
                flags_ = {"optimization_objective": objective, **asked, **pair.images}
                assert DatafreeConfig(**flags_).recipe().objective == objective
        for asked in (pair.train, pair.distill):
            assert DatafreeConfig(**asked).epochs == asked["epochs"]
        longer = dataclasses.replace(pair, distill={**pair.distill, "epochs": 99})
        assert longer.digest() != pair.digest()
    assert len(SEEDS) == 3


def test_only_the_images_of_the_pair_need_be_there(monkeypatch):
    asked = []
    monkeypatch.setattr(data, "check_available", asked.append)
    datafree_table.check(TableConfig(pair="fc"))
    assert asked == ["mnist"]
    datafree_table.check(TableConfig("publish"))
    assert asked == ["mnist"]
    datafree_table.check(TableConfig())
    assert set(asked) == {pair.dataset for pair in PAIRS.values()}


def test_a_teacher_that_is_not_there_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(data, "check_available", lambda name: None)
    monkeypatch.chdir(tmp_path)
    datafree_table.check(TableConfig(pair="quick"))
    with pytest.raises(ValueError, match="resnet20, expected its teacher at"):
        datafree_table.check(TableConfig(pair="resnet20"))


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("--seeds=0,0", "seeds: got 0,0, expected different whole numbers"),
        ("--pair=lent", "pair: got 'lent', expected one of fc, lenet, fc_best"),
        ("--objectives=all", "objectives: got 'all', expected some of all_layers"),
        ("--note=a copy", "note: got one, expected --pair"),
        ("--inits=zero", "inits: got 'zero', expected some of he, original"),
        ("--forms=half", "forms: got 'half', expected some of diag, full"),
        ("--pair=fc --objectives=prune", "pair: got fc, which has no cell of these"),
        ("--pair=fc --objectives=all_layers --forms=weights", "forms lowrank, full"),
        ("--pair=fc_best --inits=original", "of it objectives all_layers, teacher"),
        ("--pair=fc --inits=original --seeds=1", "seeds but 0 begin from he alone"),
    ],
)
def test_unfit_flags_are_told_in_one_line(word, message):
    with pytest.raises(flags.Error, match=message):
        cli.parse(TableConfig, ["datafree_table", *re.split(" (?=--)", word)])
