"""One tiny run of the main job, made once, and ways to make more like it."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import shutil
import sys
from pathlib import Path

import pytest
import tf_keras as keras
from PIL import Image

import data
import models
from data.arrays import ArrayDataset
from network_pruning.configs import SweepConfig
from network_pruning.evaluation import cost
from network_pruning.graph import fingerprint
from network_pruning.runs import RunDir, lock
from network_pruning.training import Trainer

TINY = {
    "dataset": "uci_digits",
    "epochs": 2,
    "widths": (32, 16),
    "l2_reg": 1e-3,
    "k_vals": (0.0, 0.5),
    "experiment_id": "tiny",
}
"""Flags of the tiny run, apart from its output_dir."""
FIGURES = (
    "gif",
    "pruned_loss_accuracy",
    "tradeoff",
    "training_curves",
    "unit_histograms",
    "weight_histograms",
)


@pytest.fixture(scope="session")
def load_data():
    """`data.load`, each set read once."""
    return functools.cache(data.load)


@pytest.fixture(scope="session")
def run_job(load_data):
    """Runs the main job in this process: run_job(output_dir, **flags) -> its folder."""
    from network_pruning.jobs import main_job

    def run(output_dir, **flags):
        config = SweepConfig(output_dir=str(output_dir), **(TINY | flags))
        main_job.run(config, load_data, models.build)
        return Path(output_dir) / config.run_id()

    return run


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """Makes a folder once for all test processes: made_once(name, make) -> its path."""
    home = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        home = home.parent

    def ask(name, make):
        folder, done = home / name, home / f"{name}.done"
        with lock(home / f"{name}.lock", wait=True):
            if not done.exists():
                make(folder)
                done.touch()
        return folder

    return ask


@pytest.fixture(scope="session")
def convert_once():
    """`cost._converted`, equal networks converted once: their bytes are equal too."""
    convert, known = cost._converted, {}

    def converted(model, int8=False, representative=None):
        images = b"" if representative is None else representative.tobytes()
        names = model.name, *model.input_names, *model.output_names
        key = fingerprint(model), names, int8, hashlib.sha256(images).hexdigest()
        if key not in known:
            known[key] = convert(model, int8=int8, representative=representative)
        return known[key]

    return converted


@pytest.fixture(scope="session")
def tiny_run(made_once, run_job, convert_once):
    """The folder of the finished tiny run; not to be written to."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(cost, "_converted", convert_once)
        return made_once("tiny-results", run_job) / TINY["experiment_id"]


@pytest.fixture(scope="session")
def digits(load_data):
    """The embedded set."""
    return load_data("uci_digits")


@pytest.fixture(scope="session")
def few_digits(load_data):
    """Some of the embedded digits, as they are: 8x8."""
    whole = load_data("uci_digits", image_size=(8, 8))
    parts = {
        split: (getattr(whole, f"x_{split}")[:n], getattr(whole, f"y_{split}")[:n])
        for split, n in {"train": 128, "valid": 60, "test": 30}.items()
    }
    return ArrayDataset("digits", parts, num_classes=10)


@pytest.fixture
def run(tmp_path):
    """An empty run folder."""
    return RunDir(tmp_path / "run")


@pytest.fixture
def copy(tiny_run, tmp_path):
    """A copy of the tiny run, in an output folder of its own."""
    return Path(shutil.copytree(tiny_run, tmp_path / "results" / tiny_run.name))


@pytest.fixture
def bare(monkeypatch, convert_once):
    """Leaves out what takes long and is not looked at: latencies and pictures."""
    from network_pruning.evaluation import figures, ranking_figures
    from network_pruning.evaluation.latency import Latency

    def dot(*words):
        Image.new("RGB", (1, 1)).save(words[-1])

    for name in FIGURES:
        monkeypatch.setattr(figures, name, dot)
    monkeypatch.setattr(ranking_figures, "unit_scores", dot)
    fields = {field.name: 1.0 for field in dataclasses.fields(Latency)}
    latency = Latency(**(fields | {"threads": 1}))
    monkeypatch.setattr(cost, "measure", lambda *words, **options: latency)
    monkeypatch.setattr(cost, "_converted", convert_once)


@pytest.fixture
def light(bare, monkeypatch):
    """Leaves out the files of other formats and the compiling as well."""
    monkeypatch.setattr(cost, "_converted", lambda *words, **options: b"none")
    monkeypatch.setattr(Trainer, "jit_pays", False)


@pytest.fixture
def in_process(monkeypatch, capfd):
    """Runs a command here: in_process(config_class, work, module, words).

    Returns its exit code and its error line; what it printed is in `.out`.
    """
    from network_pruning import cli

    def run(config_class, work, module, words):
        monkeypatch.setattr(sys, "argv", [module.__name__, *words])
        monkeypatch.setattr(cli, "_set_up_logging", lambda: None)
        with pytest.raises(SystemExit) as left:
            cli.run(config_class, work, module.USAGE, module.check)
        run.out, err = capfd.readouterr()
        lines = err.splitlines()
        # Whichever test is first in its process has TensorFlow look for a GPU.
        others = ("tf.function retracing", "cuInit")
        said = [line for line in lines if not any(word in line for word in others)]
        assert len(said) == (1 if left.value.code else 0), said
        return left.value.code or 0, "".join(said)

    return run


@pytest.fixture
def command(in_process, load_data):
    """Runs the main job in this process: command(*words) -> exit code, error line."""
    from network_pruning import train
    from network_pruning.jobs import main_job

    def work(config):
        main_job.run(config, load_data, models.build)

    return lambda *words: in_process(SweepConfig, work, train, words)


@pytest.fixture
def rank(in_process, load_data, bare):
    """Runs network_pruning.rank: rank(*words) -> exit code, error line."""
    from network_pruning import rank
    from network_pruning.jobs import rank_job
    from network_pruning.rank_config import RankConfig

    def work(config):
        rank_job.run(config, load_data, models.build)

    return lambda *words: in_process(RankConfig, work, rank, words)


@pytest.fixture
def prune(in_process, load_data, bare):
    """Runs network_pruning.prune: prune(*words) -> exit code, error line."""
    from network_pruning import prune
    from network_pruning.jobs import prune_job
    from network_pruning.prune_config import PruneConfig

    def work(config):
        prune_job.run(config, load_data, models.build)

    return lambda *words: in_process(PruneConfig, work, prune, words)


@pytest.fixture(scope="session")
def small_digits(load_data):
    """The embedded set as it is: 8x8."""
    return load_data("uci_digits", num_valid=None, split="random", image_size=(8, 8))


@pytest.fixture(scope="session")
def conv_file(made_once, small_digits):
    """A small trained network of two groups in a file; not to be written to."""
    from tests.jobs.cutting import make_conv

    def make(folder):
        network = make_conv()
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        network.compile(keras.optimizers.Adam(0.01), loss)
        split = small_digits.x_train, small_digits.y_train
        network.fit(*split, batch_size=64, epochs=6, verbose=0)
        folder.mkdir(exist_ok=True)
        network.save(folder / "conv.keras")

    return made_once("networks", make) / "conv.keras"
