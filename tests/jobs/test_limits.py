"""What a cut may cost: measures beside slow twins, and the deepest cut allowed."""

import json
import math

import numpy as np
import pytest

from network_pruning.jobs import choices, limits
from network_pruning.jobs.networks import load_strangers
from network_pruning.prune_config import LIMITS, PruneConfig
from network_pruning.pruning.sensitivity import masked_logits
from network_pruning.runs import RunDir
from tests.jobs.cutting import CONV, masked, slow_logits, widths
from tests.jobs.folders import load


def slow_softmax(row):
    top = max(row)
    each = [math.exp(z - top) for z in row]
    return [e / sum(each) for e in each]


def slow_measures(logits, labels, strangers):
    """Accuracy, NLL, calibration error in 15 bins, area over all pairs; plain loops."""
    p = [slow_softmax(row) for row in logits]
    q = [slow_softmax(row) for row in strangers]
    right = [max(row) == row[label] for row, label in zip(p, labels, strict=True)]
    nll = [-math.log(row[label]) for row, label in zip(p, labels, strict=True)]
    error = 0.0
    for place in range(15):
        inside = [
            i for i, row in enumerate(p) if place / 15 < max(row) <= (place + 1) / 15
        ]
        error += abs(sum(right[i] - max(p[i]) for i in inside))
    entropies = [
        [-sum(x * math.log(x) for x in row) for row in some] for some in (p, q)
    ]
    wins = [(b > a) + 0.5 * (b == a) for a in entropies[0] for b in entropies[1]]
    n = len(p)
    return {
        "accuracy": sum(right) / n,
        "nll": sum(nll) / n,
        "ece": error / n,
        "auroc": sum(wins) / len(wins),
    }


def test_measures_have_slow_twins():
    generator = np.random.default_rng(0)
    logits, others = 3 * generator.normal(size=(40, 5)), generator.normal(size=(30, 5))
    labels = generator.integers(0, 5, 40)
    found = limits.measure(logits, labels, others)
    assert found == pytest.approx(slow_measures(logits, labels, others))
    assert set(limits.measure(logits, labels)) == {"accuracy", "nll", "ece"}
    assert set(limits.MEASURES) == set(LIMITS)


def test_costs_are_how_much_worse_a_cut_is():
    before = {"accuracy": 0.9, "nll": 0.3, "ece": 0.02, "auroc": 0.95}
    after = {"accuracy": 0.89, "nll": 0.4, "ece": 0.01, "auroc": 0.96}
    asked = {
        "max_drop": 0.01,
        "max_nll_increase": 0.1,
        "max_ece_increase": 0.0,
        "max_auroc_drop": 0.0,
    }
    cost = limits.costs(before, after, asked)
    assert cost == pytest.approx({
        "max_drop": 0.01,
        "max_nll_increase": 0.1,
        "max_ece_increase": -0.01,
        "max_auroc_drop": -0.01,
    })
    assert limits.are_kept(cost, asked)
    tighter = asked | {"max_nll_increase": 0.09}
    assert not limits.are_kept(cost, tighter) and not limits.is_hopeless(cost, tighter)
    assert limits.is_hopeless({"max_drop": 0.05}, {"max_drop": 0.01})


@pytest.fixture
def noise_file(tmp_path):
    """Images of nothing, in a file."""
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (90, 8, 8)).astype(np.uint8)
    labels = generator.integers(0, 10, 90)
    np.savez(tmp_path / "noise.npz", x_train=pixels, y_train=labels)
    return tmp_path / "noise.npz"


def test_the_deepest_cut_within_all_limits_is_taken(
    prune, tmp_path, conv_file, small_digits, load_data, noise_file, monkeypatch
):
    from network_pruning.evaluation import cost

    monkeypatch.setattr(cost, "_converted", lambda *words, **options: b"none")
    asked = {"max_drop": 0.3, "max_nll_increase": 0.5, "max_auroc_drop": 0.1}
    words = [f"--{name}={value}" for name, value in asked.items()]
    where = f"--model={conv_file}", *CONV, f"--output_dir={tmp_path}"
    assert prune(*where, *words, f"--ood={noise_file}") == (0, "")
    (path,) = tmp_path.rglob("prune-*/report.md")
    folder = path.parent
    said = json.loads((folder / "step-1/limits.json").read_text())
    assert said["limits"] == asked
    dense, small = load(conv_file), load(folder / "pruned.keras")
    noise = load_data(str(noise_file), image_size=(8, 8)).x_valid
    valid, labels = small_digits.x_valid, small_digits.y_valid

    def slow(network):
        others = slow_logits(network, noise[: len(labels)])
        return slow_measures(slow_logits(network, valid), labels, others)

    before = slow(dense)
    assert said["before"] == pytest.approx(before, abs=1e-5)
    assert said["after"] == pytest.approx(slow(small), abs=1e-5)
    assert limits.are_kept(limits.costs(before, slow(small), asked), asked)
    assert sum(widths(small)) < 14
    scores = choices.Ranking.load(RunDir(folder / "step-1")).scores
    for place in range(1, choices.DEPTHS):
        masks = choices.keep_units(scores, sparsity=place / choices.DEPTHS)
        if sum(int(mask.sum()) for mask in masks.values()) < sum(widths(small)):
            deeper = slow(masked(dense, masks))
            assert not limits.are_kept(limits.costs(before, deeper, asked), asked)
            break
    assert "auroc" in path.read_text() and "(max_auroc_drop 0.1)" in path.read_text()


def test_other_strangers_are_another_cut(
    prune, light, tmp_path, conv_file, noise_file, load_data, monkeypatch
):
    monkeypatch.setattr(choices, "DEPTHS", 3)
    where = f"--model={conv_file}", *CONV, f"--output_dir={tmp_path}"
    words = [*where, "--max_auroc_drop=0.3", f"--ood={noise_file}", "--criterion=l1"]
    assert prune(*words, "--run_name=mine") == (0, "")
    with np.load(noise_file) as kept:
        other = {"x_train": 255 - kept["x_train"], "y_train": kept["y_train"]}
    np.savez(noise_file, **other)
    load_data.cache_clear()
    assert prune(*words) == (0, "")
    both = [json.loads(path.read_text()) for path in tmp_path.rglob("identity.json")]
    assert len(both) == 2 and both[0]["strangers"] != both[1]["strangers"]
    code, line = prune(*words, "--run_name=mine")
    assert (code, "mine holds a cut of another network, or of" in line) == (2, True)


def test_masked_logits_are_those_of_erased_units(conv_file, small_digits):
    network = load(conv_file)
    masks = {"c1": np.array([1, 0, 1, 1, 0, 1], bool)}
    found = masked_logits(network)(masks, small_digits)
    twin = slow_logits(masked(network, masks), small_digits.x_valid)
    np.testing.assert_allclose(found, twin, atol=1e-4)


def test_the_images_themselves_are_no_strangers(small_digits):
    config = PruneConfig(model="mlp", max_auroc_drop=0.1, ood="same")
    with pytest.raises(ValueError, match="ood: got same, whose test images are those"):
        load_strangers(config, small_digits, lambda name, **options: small_digits)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--max_auroc_drop=0.1"], "max_auroc_drop: got it without --ood, expected"),
        (["--max_drop=0.1", "--ood=x"], "ood: got it without --max_auroc_drop"),
        (["--max_nll_increase=-1"], "max_nll_increase: got -1.0, expected a rise in"),
        (["--max_ece_increase=1"], "max_ece_increase: got 1.0, expected a rise in"),
        (["--max_ece_increase=.1", "--steps=2"], "max_ece_increase: got --steps above"),
        (
            ["--max_nll_increase=.1", "--keep=3"],
            "got --keep and --max_nll_increase, expected exactly one of",
        ),
        (["--max_auroc_drop=.1", "--ood=nowhere"], "ood: got 'nowhere'"),
    ],
)
def test_unfit_limits_are_one_line(prune, tmp_path, words, message):
    given = ("--model=mlp", "--dataset=uci_digits", f"--output_dir={tmp_path}")
    got, line = prune(*given, *words)
    assert (got, message in line) == (2, True), line
