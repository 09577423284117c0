"""The flags of rank and prune, judged before anything is loaded."""

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags

from network_pruning import cli
from network_pruning.network_config import NetworkConfig
from network_pruning.prune_config import PruneConfig
from network_pruning.rank_config import RankConfig

ROOT = Path(__file__).parents[1]


def rank(*words):
    return cli.parse(RankConfig, ["rank", *words])


def prune(*words):
    return cli.parse(PruneConfig, ["prune", *words])


def test_a_ranking_needs_no_flag_and_a_cut_needs_one():
    assert rank() == RankConfig()
    assert prune("--sparsity=0.5") == PruneConfig(sparsity=0.5)
    with pytest.raises(
        flags.Error, match=r"got no cut, expected exactly one of --keep"
    ):
        prune()


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("--keep=8,9,36,17", (8, 9, 36, 17)),
        ("--keep=5", (5,)),
        ("--sparsity=0", 0.0),
        ("--budget=macs:0.5", ("macs:0.5",)),
        ("--budget=macs:0.5,latency:1", ("macs:0.5", "latency:1")),
        ("--max_drop=0.01", 0.01),
    ],
)
def test_each_way_to_cut(word, value):
    name = word.lstrip("-").partition("=")[0]
    assert getattr(prune(word), name) == value


def test_a_budget_is_read_as_shares():
    config = prune("--budget=macs:0.5,params:.25")
    assert config.budgets() == {"macs": 0.5, "params": 0.25}
    assert prune("--keep=3").budgets() is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--keep=3", "--sparsity=0.5"], "got --keep and --sparsity, expected exactly"),
        (["--keep=3", "--retrain"], "got --keep and --retrain"),
        (["--keep=3,0"], r"keep: got \(3, 0\), expected at least one unit"),
        (["--keep=-1"], r"keep: got \(-1,\)"),
        (["--keep="], "separated by single commas"),
        (["--keep=3.5"], "expected a whole number"),
        (["--sparsity=1"], r"sparsity: got 1.0, expected a share to remove in \[0,1\)"),
        (["--sparsity=-0.1"], "sparsity: got -0.1"),
        (["--sparsity=nan"], "sparsity: got nan"),
        (["--budget=macs"], "budget: got 'macs', expected cost:share"),
        (["--budget=macs:0"], "budget: got 'macs:0'"),
        (["--budget=macs:1.5"], "budget: got 'macs:1.5'"),
        (["--budget=macs:nan"], "budget: got 'macs:nan'"),
        (["--budget=flops:0.5"], "costs are params, macs, bytes, latency"),
        (["--budget=macs:0.5,macs:0.3"], "budget: got macs twice, expected one share"),
        (["--max_drop=1"], "max_drop: got 1.0"),
        (["--max_drop=-0.1"], "max_drop: got -0.1"),
        (["--max_drop=0.1", "--steps=2"], "max_drop: got --steps above 1"),
        (["--keep=3", "--scores=x", "--steps=2"], "scores: got --steps above 1"),
        (["--keep=3", "--scores=x", "--criterion=l1"], "scores: got --criterion=l1 as"),
        (["--retrain", "--retrain_epochs=1", "--scores=x"], "retrain: got --scores"),
        (["--keep=3", "--samples=9"], "Unknown command line flag 'samples'"),
        (["--keep=3", "--round_to=2"], "round_to: got --keep as well"),
        (["--retrain"], "retrain: got --retrain_epochs=0"),
        (["--retrain", "--retrain_epochs=1", "--steps=2"], "got --steps above 1, but"),
        (["--retrain", "--retrain_epochs=1", "--plan"], "retrain: got --plan, but"),
        (["--retrain", "--retrain_epochs=1", "--round_to=4"], "got --round_to, but it"),
        (["--retrain", "--retrain_epochs=1", "--scope=global"], "got --scope, but it"),
        (["--keep=3", "--scope=global"], "scope: got global and --keep, whose counts"),
        (
            ["--keep=3", "--seed=4294967296"],
            "seed: got 4294967296, expected a whole",
        ),
        (["--keep=3", "--export=onnx"], "export: got 'onnx', expected some of tflite"),
        (["--keep=3", "--scope=all"], "value should be one of <layer|global>"),
        (["--keep=3", "--steps=0"], "steps: got 0, expected a number above 0"),
        (["--keep=3", "--round_to=0"], "round_to: got 0"),
        (["--keep=3", "--batch_size=0"], "batch_size: got 0"),
        (["--keep=3", "--learning_rate=inf"], "learning_rate: got inf"),
        (["--keep=3", "--retrain_epochs=-1"], "retrain_epochs: got -1"),
        (["--keep=3", "--weight_decay=-1"], "weight_decay: got -1.0"),
        (["--keep=3", "--augment=shift"], "augment: got --retrain_epochs=0, expected"),
        (
            ["--keep=3", "--momentum=.5", "--retrain_epochs=1"],
            "momentum: got 0.5, which says nothing with --optimizer=adam",
        ),
        (["--keep=3", "--run_name=a/b"], "run_name: got 'a/b', expected a plain name"),
        (["--keep=3", "--seed=-1"], "seed: got -1"),
        (["--keep=3", "--output_dir="], "output_dir: got none"),
        (["--keep=3", "--criterion=l3"], "criterion: got 'l3'"),
        (["--keep=3", "--criterion_options=x=1"], "expected none: that is what l2"),
        (["--keep=3", "--input_range=1,0"], "input_range"),
        (["--keep=3", "--model_checkpoint=mlp"], "model_checkpoint: got 'mlp'"),
    ],
)
def test_unfit_flags_of_a_cut(words, message):
    pattern = message if "\\" in message else re.escape(message)
    with pytest.raises(flags.Error, match=pattern):
        prune(*words)


def test_short_flags_of_shapley_are_options_of_the_criterion():
    config = rank(
        *("--criterion=shapley", "--estimator=kernel", "--samples=100"),
        "--criterion_options=images=50,value=accuracy",
    )
    assert config.score_options() == {
        **{"images": 50, "value": "accuracy"},
        **{"estimator": "kernel", "samples": 100},
    }
    cases = [
        (["--samples=3"], "that is what l2 takes"),
        (["--criterion=shapley", "--samples=0"], "samples: got 0"),
        (["--extend=-1"], "extend: got -1"),
        (
            ["--criterion=shapley", "--samples=3", "--criterion_options=samples=4"],
            "expected each once of",
        ),
    ]
    for words, message in cases:
        with pytest.raises(flags.Error, match=message):
            rank(*words)


def test_options_are_given_one_by_one_or_together():
    shapley = "--criterion=shapley"
    one_by_one = [shapley, "--option=images=50", "--option=value=accuracy"]
    together = [shapley, "--criterion_options=images=50,value=accuracy"]
    for command in (rank, lambda *words: prune("--keep=3", *words)):
        configs = [command(*words) for words in (one_by_one, together)]
        for config in configs:
            assert config.score_options() == {"images": 50, "value": "accuracy"}
        assert configs[0].digest() == configs[1].digest()
        assert configs[0].digest() != command(shapley).digest()
        mixed = command(shapley, "--option=samples=3", "--criterion_options=images=9")
        assert mixed.score_options() == {"samples": 3, "images": 9}
    several = rank("--criterion=combined", "--option=of=l1,taylor")
    assert several.score_options() == {"of": "l1,taylor"}
    for words, message in (
        ([shapley, "--option=images=5", "--option=images=6"], "each once of"),
        ([shapley, "--option=images"], "expected name=value"),
        (["--option=images=5"], "that is what l2 takes"),
    ):
        with pytest.raises(flags.Error, match=message):
            rank(*words)


def test_views_change_no_digest_and_all_else_does():
    for config, other in ((RankConfig(), {}), (PruneConfig(sparsity=0.5), {})):
        assert len(config.digest()) == 8
        changed = {
            **{"output_dir": "x", "model_checkpoint": "a.keras", "plan": True},
            **{"extend": 5, "run_name": "x", "export": ("tflite",)},
        }
        known = {field.name for field in dataclasses.fields(config)}
        for name in changed.keys() & known:
            other = dataclasses.replace(config, **{name: changed[name]})
            assert other.digest() == config.digest(), name
        values = {
            **{"seed": 1, "criterion": "l1", "dataset": "fashion", "num_valid": 9},
            **{"layer": "c1", "round_to": 1, "scope": "global", "retrain_epochs": 1},
        }
        for name in (values.keys() & known) - {"round_to"}:
            other = dataclasses.replace(config, **{name: values[name]})
            assert other.digest() != config.digest(), name


def test_fields_at_their_default_are_not_in_the_digest():
    @dataclasses.dataclass(frozen=True)
    class Later(NetworkConfig):
        more: int = dataclasses.field(default=3, metadata={"changes": "training"})

    assert Later().digest() == NetworkConfig().digest()
    assert Later(more=4).digest() != NetworkConfig().digest()
    assert json.loads(json.dumps(Later().as_dict())) == Later().as_dict()


@pytest.mark.parametrize("command", ["rank", "prune"])
def test_help_and_bad_flags_load_no_tensorflow(command):
    spy = (
        "import atexit, runpy, sys\n"
        "atexit.register(lambda: print('loaded', 'tensorflow' in sys.modules))\n"
        f"runpy.run_module('network_pruning.{command}', run_name='__main__')\n"
    )

    def run(*words):
        return subprocess.run(
            [sys.executable, "-c", spy, *words],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )

    done = run("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"python -m network_pruning.{command} --model=lenet5" in done.stdout
    assert done.stdout.endswith("loaded False\n")
    cut = ["--sparsity=0.5"] if command == "prune" else []
    for words, message in (
        (["--model=lente5"], "Did you mean 'lenet5'?"),
        (["--images=9"], "did you mean --option=images=...?"),
        (["--model_checkpoint=no.keras"], "there is no no.keras"),
    ):
        done = run(*cut, *words)
        assert done.returncode == 2
        assert message in done.stderr
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1
        assert done.stdout == "loaded False\n"
