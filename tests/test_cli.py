"""The command line: flags from a dataclass, answers in one line."""

import dataclasses
import errno
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest
from absl import flags

from network_pruning import cli
from network_pruning.configs import K_VALS, SweepConfig
from network_pruning.pruning.certificate import CertificateError
from network_pruning.runs import HeldRun
from network_pruning.training import DivergedError

ROOT = Path(__file__).parents[1]


def parse(*words):
    return cli.parse(SweepConfig, ["train", *words])


def test_no_flag_gives_the_defaults():
    assert parse() == SweepConfig()


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("--dataset=fashion", "fashion"),
        ("--model=lenet", "lenet"),
        ("--epochs=3", 3),
        ("--batch_size=32", 32),
        ("--learning_rate=1e-2", 0.01),
        ("--l1_reg=1", 1.0),
        ("--l2_reg=.5", 0.5),
        ("--num_valid=7", 7),
        ("--num_valid=none", None),
        ("--split=first", "first"),
        ("--image_size=32,24", (32, 24)),
        ("--image_size=none", None),
        ("--widths=5,6", (5, 6)),
        ("--use_bias", True),
        ("--activation=tanh", "tanh"),
        ("--batch_norm=true", True),
        ("--dropout=0.1", 0.1),
        ("--seeds=0,1,2", (0, 1, 2)),
        ("--nokeep_best", False),
        ("--keep_best=false", False),
        ("--monitor=val_accuracy", "val_accuracy"),
        ("--k_vals=0,0.25,0.5", (0.0, 0.25, 0.5)),
        ("--k_vals=0.9", (0.9,)),
        ("--k_vals=0, .5", (0.0, 0.5)),
        ("--kinds=unit", ("unit",)),
        ("--scope=global", "global"),
        ("--finetune_epochs=2", 2),
        ("--finetune_learning_rate=0.1", 0.1),
        ("--distribute=mirrored", "mirrored"),
        ("--output_dir=/x/y", "/x/y"),
        ("--experiment_id=mine", "mine"),
        ("--force_train", True),
    ],
)
def test_each_flag(word, value):
    name = word.lstrip("-").partition("=")[0]
    name = "keep_best" if name == "nokeep_best" else name
    assert parse(word) == dataclasses.replace(SweepConfig(), **{name: value})
    assert type(getattr(parse(word), name)) is type(value)


def test_k_vals_of_the_command_line_are_numbers():
    typed = parse("--k_vals=" + ",".join(map(str, K_VALS)))
    assert typed == SweepConfig()
    assert all(type(k) is float for k in typed.k_vals)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--epochs=x"], "flag --epochs=x: got 'x', expected a whole number"),
        (["--epochs=1.5"], "got '1.5', expected a whole number"),
        (["--epochs="], "got '', expected a whole number"),
        (["--l1_reg=much"], "got 'much', expected a number"),
        (["--k_vals="], "got '', expected values separated by single commas"),
        (["--k_vals=0,,1"], "separated by single commas"),
        (["--k_vals=0,half"], "got 'half', expected a number"),
        (["--k_vals=0,1"], r"k_vals: got 1.0, expected fractions"),
        (["--k_vals=nan"], "k_vals: got nan"),
        (["--k_vals=0.5,0.50"], "k_vals: got 0.5 twice"),
        (["--k_vals", "0", "0.5"], "got '0.5' after the flags"),
        (["--keep_best", "false"], "got 'false' after the flags"),
        (["stray"], "got 'stray' after the flags, expected --name=value"),
        (["--split=odd"], "value should be one of <random|first>"),
        (["--keep_best=maybe"], "Non-boolean"),
        (["--nothing=1"], "Unknown command line flag 'nothing'"),
        (["--experiment_id=a/b"], "experiment_id: got 'a/b'"),
    ],
)
def test_unfit_flags_are_errors(words, message):
    with pytest.raises(flags.Error, match=message):
        parse(*words)


def test_help_shows_every_flag_with_its_default():
    text = cli.help_text(SweepConfig, "\nDoes things.\n")
    assert text.startswith("Does things.\n")
    for field in dataclasses.fields(SweepConfig):
        assert f"  --{field.name}=" in text
        assert field.metadata["help"] in text
    assert "--epochs=20\n" in text
    assert "--keep_best=true\n" in text
    assert "--k_vals=0.0,0.25," in text
    assert "--experiment_id=none\n" in text
    assert "(random|first)" in text


@dataclasses.dataclass(frozen=True)
class Small:
    """A command of its own."""

    count: int = dataclasses.field(default=1, metadata={"help": "How many."})
    mode: Literal["a", "b"] = dataclasses.field(default="a", metadata={"help": "How."})


def run(monkeypatch, words, work=lambda config: None, check=lambda config: None):
    """Runs a command in this process; returns its exit code."""
    monkeypatch.setattr(sys, "argv", ["small", *words])
    monkeypatch.setattr(cli, "_set_up_logging", lambda: None)
    with pytest.raises(SystemExit) as left:
        cli.run(Small, work, "Small.", check)
    return left.value.code or 0


def error_line(capfd):
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


def test_the_work_gets_the_config(monkeypatch):
    got = []
    assert run(monkeypatch, ["--count=3", "--mode=b"], got.append) == 0
    assert got == [Small(3, "b")]


def test_help_leaves_with_zero_and_does_no_work(monkeypatch, capfd):
    got = []
    for word in ("--help", "-h"):
        assert run(monkeypatch, [word, "--nothing"], got.append) == 0
        assert capfd.readouterr().out.startswith("Small.\n\nFlags:\n  --count=1\n")
    assert got == []


def test_an_unknown_flag_gets_a_hint(monkeypatch, capfd):
    assert run(monkeypatch, ["--cout=3"]) == cli.USAGE == 2
    found = error_line(capfd)
    assert found == (
        "error: unknown flag --cout: did you mean --count? --help lists them"
    )
    assert run(monkeypatch, ["--xyz"]) == 2
    assert error_line(capfd) == "error: unknown flag --xyz: --help lists them"


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ValueError("not\n this"), 2, "error: not this"),
        (DivergedError("no number"), 1, "error: no number"),
        (HeldRun("held"), 1, "error: held"),
        (CertificateError("differs"), 1, "error: differs"),
        (
            OSError(errno.ENOSPC, "No space left on device", "/r/x.npz"),
            1,
            "error: the disk is full (/r/x.npz): what was complete is kept; "
            "free some space and type the same command",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            1,
            "error: the disk is full (while writing): what was complete is kept; "
            "free some space and type the same command",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "/r"),
            1,
            "error: [Errno 13] Permission denied: '/r'",
        ),
        (
            KeyboardInterrupt(),
            130,
            "error: interrupted: the same command goes on from here",
        ),
    ],
)
def test_faults_of_the_work_are_one_line(monkeypatch, capfd, error, code, line):
    def work(config):
        raise error

    assert run(monkeypatch, [], work) == code
    assert error_line(capfd) == line


def test_a_defect_is_not_hidden(monkeypatch):
    def work(config):
        raise KeyError("a defect")

    monkeypatch.setattr(sys, "argv", ["small"])
    with pytest.raises(KeyError):
        cli.run(Small, work, "Small.")


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ValueError("no such set"), 2, "error: no such set"),
        (OSError(36, "File name too long", "x"), 2, "File name too long: 'x'"),
        (ModuleNotFoundError("No module named 'data'"), 1, "pip install -e ."),
    ],
)
def test_what_the_check_refuses_starts_no_work(monkeypatch, capfd, error, code, line):
    got = []

    def check(config):
        raise error

    assert run(monkeypatch, [], got.append, check) == code
    assert line in error_line(capfd)
    assert got == []


def test_start_up_chatter_is_dropped_and_all_else_kept(capfd):
    with cli.quiet_tensorflow():
        os.write(2, b"I0000 port.cc:153] oneDNN custom operations are on.\n\n")
        os.write(2, b"W0000 a real trouble\n")
        os.write(2, b"E0000 failed call to cuInit: INTERNAL: CUDA error\n")
    assert capfd.readouterr().err == "W0000 a real trouble\n"


def test_jobs_speak_and_others_only_warn(capfd):
    root = logging.getLogger()
    filters = list(logging.getLogger("tensorflow").filters)
    before = root.handlers[:], root.level
    try:
        cli._set_up_logging()
        logging.getLogger("network_pruning.jobs.sweep").info("taken from there")
        logging.getLogger("network_pruning.pruning.x").info("chatter")
        logging.getLogger("somebody").info("chatter")
        for _ in range(2):
            logging.getLogger("somebody").warning("%s", "trouble")
        logging.getLogger("tensorflow").warning(
            "%d out of 9 calls triggered tf.function retracing", 5
        )
    finally:
        root.handlers[:] = before[0]
        root.setLevel(before[1])
        logging.getLogger("tensorflow").filters[:] = filters
    assert capfd.readouterr().err == "taken from there\ntrouble\n"


def command(*words):
    """Runs the command in a process of its own, with a spy on TensorFlow."""
    spy = (
        "import atexit, runpy, sys\n"
        "atexit.register(lambda: print('loaded', 'tensorflow' in sys.modules))\n"
        "runpy.run_module('network_pruning.train', run_name='__main__')\n"
    )
    return subprocess.run(
        [sys.executable, "-c", spy, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_of_the_main_job_loads_no_tensorflow():
    done = command("--help")
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout.startswith("Train a network, prune it over k")
    assert done.stdout.endswith("loaded False\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--k_vals=0,2"], "k_vals: got 2.0"),
        (["--nothing"], "unknown flag --nothing"),
        (["--dataset=fashon"], "did you mean 'fashion'?"),
        (["--keep_best=so"], "keep_best: got 'so', expected --keep_best or --nokeep"),
        (["--dataset=" + 300 * "x"], "x"),
        (["--dataset=no/such.npz"], "looks like a path"),
        (["--dataset=uci_digits", "--model=mpl"], "Did you mean 'mlp'?"),
        (["--experiment_id=../x"], "experiment_id: got '../x'"),
        (["--distribute=multi_worker"], "TF_CONFIG: not set"),
    ],
)
def test_flags_are_judged_without_tensorflow(words, message):
    done = command(*words)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == "loaded False\n"
