"""The main job from flags to folder, against a slow twin in numpy."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

import models
from network_pruning.configs import SweepConfig
from network_pruning.evaluation.rows import read_latency
from network_pruning.jobs import main_job
from tests.jobs.folders import files_of, load, rows_of, slow_row, table_of

LEADING = [
    "Sparsity (%)",
    "Test Accuracy (Weight)",
    "Test Accuracy (Unit)",
    "Test Loss: (Weight)",
    "Test Loss: (Unit)",
]


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
    expected |= {"config.json", "manifest.json", "report.md", "scores/seed=0.npz"}
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


def test_fine_tuning_adds_what_was_there_before_it(copy, run_job, digits, light):
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
