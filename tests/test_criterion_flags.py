"""Criteria by flag, judged without TensorFlow."""

import pytest

from network_pruning.configs import SweepConfig
from network_pruning.criterion_flags import (
    check_criterion,
    criterion_names,
    is_option,
    option_names,
    read_option,
)


def test_the_names_are_those_of_the_criteria():
    from network_pruning.pruning.criteria import CRITERIA

    assert criterion_names() == sorted(CRITERIA)


def test_the_options_are_those_the_criteria_take():
    import inspect

    from network_pruning.pruning.criteria import CRITERIA

    for name, function in CRITERIA.items():
        assert option_names(name) == list(inspect.signature(function).parameters)[4:]


@pytest.mark.parametrize(
    ("option", "name", "value"),
    [
        ("samples=100", "samples", 100),
        ("share=0.5", "share", 0.5),
        ("paired=True", "paired", True),
        ("split=valid", "split", "valid"),
        ("metric=a=b", "metric", "a=b"),
    ],
)
def test_options_are_read_as_python_writes_them(option, name, value):
    assert read_option(option) == (name, value)


@pytest.mark.parametrize("option", ["", "samples", "=3", "samples=", "a b=3"])
def test_what_is_no_option_is_said(option):
    with pytest.raises(ValueError, match="criterion_options: got .* name=value"):
        read_option(option)


def test_an_unknown_criterion_is_said_with_its_neighbour():
    with pytest.raises(ValueError, match=r"got 'radnom', expected .*mean 'random'\?"):
        SweepConfig(criterion="radnom")


def test_an_option_that_is_not_taken_is_said(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"got samples=3, expected none: .* l2 takes"):
        SweepConfig(criterion_options=("samples=3",))
    text = "def score(model, groups, data=None, seed=0, *, samples=10): ...\n"
    (tmp_path / "lately.py").write_text(text)
    monkeypatch.setattr("network_pruning.criterion_flags._FOLDER", tmp_path)
    assert criterion_names() == ["lately"]
    check_criterion("lately", ["samples=3"])
    assert SweepConfig(
        criterion="lately", criterion_options=("samples=3",)
    ).score_options() == {"samples": 3}
    for given in (["samples=3", "samples=4"], ["sample=3"]):
        with pytest.raises(ValueError, match="expected each once of samples"):
            check_criterion("lately", given)


def test_what_a_job_keeps_its_samples_in_is_no_flag():
    for option in ("earlier", "checkpoint"):
        assert option in option_names("shapley") and not is_option(option)
        with pytest.raises(ValueError, match="each once of estimator, .* tolerance:"):
            check_criterion("shapley", [f"{option}=3"])
    assert is_option("samples") and not is_option("nothing")
