"""The presets of the sweep, and their command."""

import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags

from experiments import sweep
from experiments.sweep import PENALTIES, PRESETS, PresetConfig
from network_pruning import cli
from network_pruning.configs import K_VALS

ROOT = Path(__file__).parents[2]


def test_the_ten_settings_of_run_sh():
    configs = PresetConfig(preset="all").configs()
    swept = [c for c in configs if not c.finetune_epochs]
    settings = {(c.dataset, c.l1_reg, c.l2_reg) for c in swept}
    penalties = [(0, 0), (1e-3, 0), (1e-4, 0), (0, 1e-2), (0, 1e-3)]
    assert len(swept) == 10
    assert settings == {(d, *p) for d in ("digits", "fashion") for p in penalties}
    assert {(c.epochs, c.k_vals, c.seeds) for c in swept} == {(20, K_VALS, (0, 1, 2))}


def test_names_say_the_penalty():
    for setting, penalty in PENALTIES.items():
        (config,) = PresetConfig(preset=f"digits-{setting}").configs()
        name, _, value = setting.partition("=")
        assert penalty == ({f"{name}_reg": float(value)} if value else {})
        assert (config.l1_reg, config.l2_reg).count(0) == (1 if value else 2)


@pytest.mark.parametrize(
    ("dataset", "k_vals"), [("digits", (0.8, 0.9, 0.99)), ("fashion", (0.8, 0.95))]
)
def test_finetuning_shares_the_training_without_penalty(dataset, k_vals):
    (plain,) = PresetConfig(preset=f"{dataset}-none").configs()
    (tuned,) = PresetConfig(preset=f"{dataset}-finetune").configs()
    assert tuned.k_vals == k_vals
    assert tuned.finetune_epochs > 0
    assert tuned.digest("training") == plain.digest("training")
    assert tuned.run_id() != plain.run_id()


def test_every_preset_and_monitor_has_its_own_folder():
    both = [
        config.run_id()
        for monitor in ("val_loss", "val_accuracy")
        for config in PresetConfig(preset="all", monitor=monitor).configs()
    ]
    assert len(set(both)) == 2 * len(PRESETS) == 24


def test_flags_reach_the_main_job():
    words = ["--preset=fashion-l2=1e-3", "--monitor=val_accuracy", "--seeds=4,5"]
    config = cli.parse(PresetConfig, ["sweep", *words, "--output_dir=here"])
    (only,) = config.configs()
    assert (only.dataset, only.l2_reg, only.monitor) == (
        "fashion",
        1e-3,
        "val_accuracy",
    )
    assert (only.seeds, only.output_dir) == ((4, 5), "here")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("--preset=digits", "preset: got 'digits', expected all or one of digits-none"),
        ("--seeds=0,0", "seeds: got 0,0"),
        ("--monitor=loss", "loss"),
    ],
)
def test_unfit_flags_are_refused(word, message):
    with pytest.raises(flags.Error, match=message):
        cli.parse(PresetConfig, ["sweep", word])


def test_work_runs_each_config_once(monkeypatch):
    ran = []
    monkeypatch.setattr(sweep, "run", ran.append)
    config = PresetConfig(preset="all", seeds=(7,))
    sweep.work(config)
    assert ran == config.configs()


@pytest.mark.parametrize(
    ("module", "flag"), [("sweep", "preset"), ("reproduce", "table")]
)
def test_commands_answer_without_tensorflow(module, flag, tmp_path):
    def answer(*words):
        command = [sys.executable, "-X", "importtime", "-m", f"experiments.{module}"]
        return subprocess.run(
            [*command, f"--output_dir={tmp_path}", *words],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )

    listed = answer()
    assert listed.returncode == 0
    assert [n for n in PRESETS if f"--{flag}={n}" not in listed.stdout] == []
    wrong = answer(f"--{flag}=digit")
    assert wrong.returncode == 2
    assert f"error: {flag}: got 'digit', expected all or one of" in wrong.stderr
    for done in (listed, wrong):
        assert "network_pruning.cli" in done.stderr
        assert "tensorflow" not in done.stderr
    assert not list(tmp_path.iterdir())
