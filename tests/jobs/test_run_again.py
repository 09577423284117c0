"""A command typed again, or another one beside it, on what a run has left."""

import json
import shutil

import numpy as np
import pytest

import data as datasets
import models
from network_pruning.configs import SweepConfig
from network_pruning.jobs import fit as fit_module
from network_pruning.jobs import main_job
from network_pruning.runs import retrain_folder
from tests.jobs.fitting import Stopped, stop
from tests.jobs.folders import files_of, load, rows_of, slow_row, table_of


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


def test_rows_without_their_training_are_of_their_settings_still(copy, run_job):
    shutil.rmtree(copy / "checkpoints")
    before = files_of(copy)
    with pytest.raises(ValueError, match="holds a run of other settings"):
        run_job(copy.parent, l2_reg=0.0)
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


def test_a_run_that_is_being_made_again_is_not_taken_from(copy, run_job, monkeypatch):
    copy.rename(retrain_folder(copy))
    monkeypatch.setattr(fit_module, "_make_trainer", stop)
    with pytest.raises(Stopped):
        run_job(copy.parent, experiment_id="other")


def test_force_train_keeps_the_old_run_until_the_new_one_is_complete(
    copy, run_job, monkeypatch, bare
):
    (copy / "mark.txt").write_text("of the old run")
    before = files_of(copy)

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
