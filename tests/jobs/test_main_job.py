"""The main job from flags to folder, against a slow twin in numpy."""

import csv
import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
import tf_keras as keras

import data as datasets
import models
from network_pruning.configs import SweepConfig
from network_pruning.evaluation.rows import read_latency, read_rows
from network_pruning.jobs import fit as fit_module
from network_pruning.jobs import main_job
from network_pruning.runs import retrain_folder

LEADING = [
    "Sparsity (%)",
    "Test Accuracy (Weight)",
    "Test Accuracy (Unit)",
    "Test Loss: (Weight)",
    "Test Loss: (Unit)",
]


@pytest.fixture(scope="module")
def digits(load_data):
    return load_data("uci_digits")


def rows_of(folder):
    return read_rows((folder / "rows.csv").read_text())


def table_of(folder):
    with (folder / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def files_of(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def load(path):
    return keras.models.load_model(path, compile=False)


def test_the_folder_holds_what_was_promised(tiny_run):
    files = set(files_of(tiny_run))
    figures = [
        f"pruned_{kind}_k={k}"
        for kind in ("weights_l1", "units_l2")
        for k in ("0.0", "0.5")
    ]
    figures += ["loss_accuracy", "pruned_loss_accuracy", "accuracy_cost"]
    expected = {f"figures/{name}.png" for name in figures}
    expected |= {"figures/pruned_weights.gif", "figures/pruned_units.gif"}
    tables = ("results", "rows", "latency", "history")
    expected |= {f"{name}.csv" for name in tables}
    expected |= {"config.json", "manifest.json", "report.md"}
    names = ("val_loss.keras", "val_accuracy.keras", "last.keras", "training.json")
    expected |= {f"checkpoints/seed=0/{name}" for name in names}
    expected |= {
        f"networks/seed=0/unit-k={k}{ending}"
        for k in ("0.0", "0.5")
        for ending in (".keras", ".tflite", ".int8.tflite")
    }
    assert expected <= files
    rest = files - expected
    assert all(name.startswith("tensorboard/") for name in rest), rest
    parts = ("seed=0/train", "seed=0/validation", "sweep", "sweep-unit", "sweep-weight")
    for part in parts:
        assert any(name.startswith(f"tensorboard/{part}/events") for name in rest)
    assert [p.name for p in tiny_run.parent.iterdir() if p != tiny_run] == [
        ".tiny.lock"
    ]


def test_the_records_say_how_it_was_made(tiny_run, digits):
    config = json.loads((tiny_run / "config.json").read_text())
    assert list(config) == [field.name for field in dataclasses.fields(SweepConfig)]
    assert (config["epochs"], config["widths"]) == (2, [32, 16])
    manifest = json.loads((tiny_run / "manifest.json").read_text())
    assert manifest["dataset"]["fingerprint"] == digits.fingerprint
    assert manifest["seeds"] == [0]
    assert manifest["packages"]["tf_keras"].startswith("2.")
    assert len(manifest["finished"]) == 1
    report = (tiny_run / "report.md").read_text()
    assert manifest["command"] in report
    for name in ("results.csv", "figures/pruned_weights.gif"):
        assert name in report


def test_results_csv_has_the_published_columns_and_pairs(tiny_run):
    table = table_of(tiny_run)
    header = list(table[0])
    assert header[:5] == LEADING
    assert [line["Sparsity (%)"] for line in table] == ["0.0000", "0.5000"]
    further = [name for name in header[5:] if name != "Seeds"]
    assert len(further) % 2 == 0
    for weight, unit in zip(further[::2], further[1::2], strict=True):
        assert weight.endswith(" (Weight)")
        assert unit == weight.replace(" (Weight)", " (Unit)")
    assert {"Cross Entropy (Weight)", "Certificate (Unit)"} <= set(header)
    for row in rows_of(tiny_run):
        line = table[[0.0, 0.5].index(row.sparsity)]
        kind = row.kind.title()
        assert line[f"Test Accuracy ({kind})"] == f"{row.accuracy:.4f}"
        assert line[f"Test Loss: ({kind})"] == f"{row.loss:.4f}"
        assert line[f"Test Accuracy sd ({kind})"] == ""


def slow_mask(kernel, k, kind):
    """True = keep; the smallest go first, of equal ones the last."""
    scores = np.abs(kernel) if kind == "weight" else np.sqrt((kernel**2).sum(axis=0))
    ascending = np.argsort(-scores.ravel(), kind="stable")[::-1]
    mask = np.ones(scores.size, bool)
    mask[ascending[: int(scores.size * k)]] = False
    return np.broadcast_to(mask.reshape(scores.shape), kernel.shape)


def slow_row(network, digits, k, kind):
    """Accuracy, cross entropy and masked penalty, in plain numpy."""
    x = digits.x_test.reshape(len(digits.x_test), -1).astype(np.float64)
    *hidden, last = [weight.numpy() for weight in network.weights]
    penalty = 0.0
    for kernel in hidden:
        masked = kernel * slow_mask(kernel, k, kind)
        x = np.maximum(x @ masked, 0)
        penalty += 1e-3 * (masked.astype(np.float64) ** 2).sum()
    logits = x @ last
    log_sums = np.log(np.exp(logits).sum(axis=1))
    right = logits[np.arange(len(logits)), digits.y_test]
    accuracy = np.mean(logits.argmax(axis=1) == digits.y_test)
    return accuracy, np.mean(log_sums - right), penalty


def test_every_row_equals_its_slow_twin(tiny_run, digits):
    dense = load(tiny_run / "checkpoints/seed=0/val_loss.keras")
    rows = rows_of(tiny_run)
    assert [(row.seed, row.sparsity, row.kind) for row in rows] == [
        (0, k, kind) for k in (0.0, 0.5) for kind in ("unit", "weight")
    ]
    for row in rows:
        accuracy, cross_entropy, penalty = slow_row(
            dense, digits, row.sparsity, row.kind
        )
        assert row.accuracy == pytest.approx(accuracy, abs=1e-9)
        assert row.cross_entropy == pytest.approx(cross_entropy, abs=1e-5)
        assert row.loss == pytest.approx(cross_entropy + penalty, abs=1e-5)
        assert row.loss > row.cross_entropy + 1e-3
        assert row.achieved_sparsity == row.sparsity
        assert row.accuracy_one_shot is None


def test_what_the_networks_cost(tiny_run):
    hidden, last = 784 * 32 + 32 * 16, 16 * 10
    small = 784 * 16 + 16 * 8 + 8 * 10
    costs = {
        (row.sparsity, row.kind): (row.params, row.nonzeros, row.macs)
        for row in rows_of(tiny_run)
    }
    whole = hidden + last
    assert costs == {
        (0.0, "unit"): (whole, whole, whole),
        (0.0, "weight"): (whole, whole, whole),
        (0.5, "unit"): (small, small, small),
        (0.5, "weight"): (whole, hidden // 2 + last, whole),
    }
    for row in rows_of(tiny_run):
        if row.kind == "unit":
            path = tiny_run / f"networks/seed=0/unit-k={row.sparsity}"
            sizes = [
                path.with_name(path.name + ending).stat().st_size
                for ending in (".keras", ".tflite", ".int8.tflite")
            ]
            assert sizes == [row.keras_bytes, row.tflite_bytes, row.tflite_int8_bytes]
            assert 0 <= row.certificate <= 1e-5
        else:
            assert row.certificate is None


def test_nothing_removed_is_the_dense_network(tiny_run):
    unit, weight = rows_of(tiny_run)[:2]
    assert unit.accuracy == weight.accuracy
    assert unit.loss == pytest.approx(weight.loss, abs=1e-6)
    dense = load(tiny_run / "checkpoints/seed=0/val_loss.keras")
    small = load(tiny_run / "networks/seed=0/unit-k=0.0.keras")
    for ours, theirs in zip(small.get_weights(), dense.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_latency_stands_in_its_own_file(tiny_run):
    latencies = read_latency((tiny_run / "latency.csv").read_text())
    assert len(latencies) == 4
    assert all(row.litert_median_us > 0 for row in latencies)
    assert "latency" not in (tiny_run / "rows.csv").read_text()


def test_delivered_networks_load_without_this_project(tiny_run, digits, tmp_path):
    np.save(tmp_path / "x.npy", digits.x_test[:20])
    code = (
        "import sys, numpy as np, tf_keras as keras\n"
        "x = np.load(sys.argv[1])\n"
        "for path in sys.argv[2:]:\n"
        "    model = keras.models.load_model(path, compile=False)\n"
        "    np.save(path + '.npy', model.predict(x, verbose=0))\n"
        "others = {'network_pruning', 'models', 'tensorflow_model_optimization'}\n"
        "print(others & set(sys.modules))\n"
    )
    paths = []
    for k in ("0.0", "0.5"):
        paths.append(tmp_path / f"{k}.keras")
        source = tiny_run / f"networks/seed=0/unit-k={k}.keras"
        paths[-1].write_bytes(source.read_bytes())
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, tmp_path / "x.npy", *paths],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "set()\n"
    for path in paths:
        expected = load(path)(digits.x_test[:20])
        np.testing.assert_allclose(np.load(f"{path}.npy"), expected, atol=1e-5)


def test_the_same_command_again_trains_and_measures_nothing(
    copy, run_job, monkeypatch, bare, capsys
):
    monkeypatch.setattr(fit_module, "_make_trainer", never)
    before, rows = files_of(copy), copy / "rows.csv"
    stamp = rows.stat().st_mtime_ns
    run_job(copy.parent)
    after = files_of(copy)
    assert rows.stat().st_mtime_ns == stamp
    for name in ("rows.csv", "results.csv", "latency.csv", "history.csv"):
        assert after[name] == before[name]
    unchanged = [name for name in before if name.startswith(("check", "networks"))]
    assert all(after[name] == before[name] for name in unchanged)
    kept = [name for name in before if name.startswith("tensorboard/seed=0")]
    assert [name for name in after if name.startswith("tensorboard/seed=0")] == kept
    finished = json.loads((copy / "manifest.json").read_text())["finished"]
    assert len(finished) == 2
    printed = capsys.readouterr().out
    assert "accuracy (weight)" in printed
    assert f"run folder: {copy}" in printed


def never(*words):
    raise AssertionError("something was trained")


def test_other_k_vals_add_rows_and_train_nothing(copy, run_job, monkeypatch, bare):
    monkeypatch.setattr(fit_module, "_make_trainer", never)
    record = copy / "checkpoints/seed=0/training.json"
    stamp, before = record.stat().st_mtime_ns, rows_of(copy)
    run_job(copy.parent, k_vals=(0.25, 0.5))
    assert record.stat().st_mtime_ns == stamp
    rows = rows_of(copy)
    assert [row for row in rows if row.sparsity != 0.25] == before
    assert [row.kind for row in rows if row.sparsity == 0.25] == ["unit", "weight"]
    sparsities = [line["Sparsity (%)"] for line in table_of(copy)]
    assert sparsities == ["0.0000", "0.2500", "0.5000"]
    assert (copy / "figures/pruned_units_l2_k=0.25.png").exists()
    nested(copy)


def nested(folder):
    """What a larger sparsity keeps, a smaller one keeps too."""
    first = [
        load(folder / f"networks/seed=0/unit-k={k}.keras").get_layer("hidden_1").kernel
        for k in ("0.5", "0.25", "0.0")
    ]
    columns = [{column.tobytes() for column in kernel.numpy().T} for kernel in first]
    assert [len(kept) for kept in columns] == [16, 24, 32]
    assert columns[0] < columns[1] < columns[2]


def test_one_kind_alone(copy, run_job, bare):
    run_job(copy.parent, k_vals=(0.75,), kinds=("weight",))
    rows = [row for row in rows_of(copy) if row.sparsity == 0.75]
    assert [row.kind for row in rows] == ["weight"]
    assert table_of(copy)[-1]["Test Accuracy (Unit)"] == ""


def test_other_settings_under_the_same_name_are_refused(copy, run_job):
    before = files_of(copy)
    with pytest.raises(ValueError, match="holds a run of other settings") as caught:
        run_job(copy.parent, epochs=3, monitor="val_accuracy")
    message = str(caught.value)
    assert "epochs: 2 there, 3 now; monitor: val_loss there, val_acc" in message
    assert "--experiment_id" in message
    assert files_of(copy) == before


def test_another_monitor_shares_the_training(copy, run_job, monkeypatch, bare, digits):
    monkeypatch.setattr(fit_module, "_make_trainer", never)
    folder = run_job(
        copy.parent, experiment_id="other", monitor="val_accuracy", k_vals=(0.5,)
    )
    training = "checkpoints/seed=0"
    assert files_of(folder / training) == files_of(copy / training)
    curves = "tensorboard/seed=0"
    assert files_of(folder / curves) == files_of(copy / curves) != {}
    last = run_job(copy.parent, experiment_id="last", keep_best=False, k_vals=(0.5,))
    for made, which in ((folder, "val_accuracy"), (last, "last")):
        dense = load(made / f"{training}/{which}.keras")
        weight = rows_of(made)[1]
        assert weight.accuracy == slow_row(dense, digits, 0.5, "weight")[0]


def test_a_damaged_neighbour_is_not_taken_from(copy, run_job, bare):
    record = copy / "checkpoints/seed=0/training.json"
    record.write_text(record.read_text()[:100])
    folder = run_job(copy.parent, experiment_id="other", k_vals=(0.5,))
    assert rows_of(folder) == rows_of(copy)[2:]


def test_several_seeds_give_means_and_deviations(copy, run_job, bare):
    folder = run_job(copy.parent, experiment_id="seeds", seeds=(0, 1), k_vals=(0.5,))
    training = "checkpoints/seed=0/training.json"
    assert (folder / training).read_bytes() == (copy / training).read_bytes()
    rows = rows_of(folder)
    assert [(row.seed, row.kind) for row in rows] == [
        (seed, kind) for seed in (0, 1) for kind in ("unit", "weight")
    ]
    assert rows[:2] == rows_of(copy)[2:]
    (line,) = table_of(folder)
    assert line["Seeds"] == "2"
    for kind in ("weight", "unit"):
        for title, field in (
            ("Test Accuracy", "accuracy"),
            ("Test Loss", "loss"),
            ("ECE", "ece"),
        ):
            values = [getattr(row, field) for row in rows if row.kind == kind]
            assert values[0] != values[1]
            colon = ":" if title == "Test Loss" else ""
            mean = line[f"{title}{colon} ({kind.title()})"]
            assert mean == f"{np.mean(values):.4f}"
            sd = line[f"{title} sd ({kind.title()})"]
            assert sd == f"{np.std(values, ddof=1):.4f}"


class Stopped(BaseException):
    """Stands for kill -9: nothing may catch it."""


def test_force_train_keeps_the_old_run_until_the_new_one_is_complete(
    copy, run_job, monkeypatch, bare
):
    (copy / "mark.txt").write_text("of the old run")
    before = files_of(copy)

    def stop(*words):
        raise Stopped

    with monkeypatch.context() as patched:
        patched.setattr(main_job.report, "write", stop)
        with pytest.raises(Stopped):
            run_job(copy.parent, force_train=True)
    assert files_of(copy) == before
    assert len(rows_of(retrain_folder(copy))) == 4
    with monkeypatch.context() as patched:
        patched.setattr(fit_module, "_make_trainer", never)
        run_job(copy.parent)
        assert (copy / "mark.txt").exists()
        run_job(copy.parent, force_train=True)
    assert not retrain_folder(copy).exists()
    assert not (copy / "mark.txt").exists()
    after = files_of(copy)
    assert after["rows.csv"] == before["rows.csv"]
    new = json.loads(after["checkpoints/seed=0/training.json"])
    old = json.loads(before["checkpoints/seed=0/training.json"])
    assert new["digests"] != old["digests"]
    assert new["history"] == old["history"]


def test_fine_tuning_adds_what_was_there_before_it(copy, run_job, digits, bare):
    folder = run_job(
        copy.parent,
        experiment_id="tuned",
        finetune_epochs=1,
        finetune_learning_rate=0.003,
        k_vals=(0.5,),
    )
    before = {row.kind: row for row in rows_of(copy) if row.sparsity == 0.5}
    for row in rows_of(folder):
        assert row.accuracy_one_shot == before[row.kind].accuracy
        assert row.cross_entropy < before[row.kind].cross_entropy
        assert row.achieved_sparsity == 0.5
        path = folder / f"networks/seed=0/{row.kind}-k=0.5.keras"
        network = load(path)
        kernels = [network.get_layer(f"hidden_{i}").kernel.numpy() for i in (1, 2)]
        penalty = 1e-3 * sum((kernel**2).sum() for kernel in kernels)
        assert row.loss == pytest.approx(row.cross_entropy + penalty, rel=1e-5)
        zeros = sum((kernel == 0).sum() for kernel in kernels)
        expected = (784 * 32 + 32 * 16) // 2 if row.kind == "weight" else 0
        assert zeros == expected
    shapes = [weight.shape for weight in network.weights]
    assert shapes == [(784, 32), (32, 16), (16, 10)], "the last row is of weights"
    columns = set(table_of(folder)[0])
    assert "Test Accuracy One-Shot (Unit)" in columns


@pytest.mark.slow
def test_fine_tuning_goes_on_after_a_stop(copy, run_job, monkeypatch, bare, tmp_path):
    flags = {"finetune_epochs": 3, "k_vals": (0.5,), "experiment_id": "tuned"}
    (tmp_path / "whole").mkdir()
    whole = run_job(tmp_path / "whole", **flags)
    works, calls = fit_module.RunDir.write_arrays, []

    def stop(self, *words):
        works(self, *words)
        calls.append(words)
        if len(calls) in {2, 5}:
            raise Stopped

    monkeypatch.setattr(fit_module.RunDir, "write_arrays", stop)
    for _ in range(2):
        with pytest.raises(Stopped):
            run_job(copy.parent, **flags)
    folder = run_job(copy.parent, **flags)
    assert (folder / "rows.csv").read_bytes() == (whole / "rows.csv").read_bytes()


def test_images_with_three_channels(tmp_path, run_job, bare):
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (60, 5, 4, 3), np.uint8)
    path = tmp_path / "coloured.npz"
    np.savez(path, x_train=images, y_train=np.arange(60) % 3)
    folder = run_job(
        tmp_path, dataset=str(path), epochs=1, k_vals=(0.5,), widths=(8,), num_valid=9
    )
    small = load(folder / "networks/seed=0/unit-k=0.5.keras")
    assert small.input_shape == (None, 5, 4, 3)
    assert small.output_shape == (None, 3)
    assert rows_of(folder)[0].params == 60 * 4 + 4 * 3


def test_changed_images_under_the_same_name_are_refused(tmp_path, run_job, bare):
    images = np.random.default_rng(0).integers(0, 256, (60, 3, 3, 1), np.uint8)
    path = tmp_path / "changing.npz"
    flags = {"dataset": str(path), "epochs": 1, "k_vals": (0.5,), "widths": (4,)}
    load_afresh = datasets.load

    def run(**more):
        config = SweepConfig(output_dir=str(tmp_path), **flags, **more)
        main_job.run(config, load_afresh, models.build)
        return tmp_path / config.run_id()

    np.savez(path, x_train=images, y_train=np.arange(60) % 3)
    before = files_of(run())
    np.savez(path, x_train=255 - images, y_train=np.arange(60) % 3)
    with pytest.raises(ValueError, match="other settings or data") as caught:
        run()
    assert "--force_train" in str(caught.value)
    folder = tmp_path / SweepConfig(output_dir=str(tmp_path), **flags).run_id()
    assert files_of(folder) == before


def test_several_labels_an_image_are_refused(tmp_path, digits):
    class Attributes:
        multi_label, name = True, "faces"

    config = SweepConfig(output_dir=str(tmp_path))
    with pytest.raises(ValueError, match="faces has several labels an image"):
        main_job.run(config, lambda *words, **options: Attributes(), models.build)


@pytest.mark.slow
def test_every_option_of_the_network_at_once(tmp_path, run_job, bare):
    folder = run_job(
        tmp_path,
        use_bias=True,
        batch_norm=True,
        activation="gelu",
        dropout=0.2,
        l1_reg=1e-4,
        scope="global",
        image_size=(8, 8),
        split="first",
        num_valid=300,
        k_vals=(0.5, 0.9),
    )
    rows = rows_of(folder)
    assert len(rows) == 4
    assert all(row.certificate <= 1e-5 for row in rows if row.kind == "unit")
    for row in rows:
        assert row.achieved_sparsity == pytest.approx(row.sparsity, abs=0.05)
