"""The ranges of numbers: what passes, what is refused, in which words."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from network_pruning import flags, ranges


def test_what_is_fit_passes():
    ranges.check_above({"a": 0.1, "b": np.float32(2), "c": (1, 2), "d": ()})
    ranges.check_from({"a": 0, "c": (3, 4)})
    ranges.check_from({"a": 2}, 2)
    ranges.check_whole({"a": 0, "b": np.int64(7), "c": (3, 4)})
    ranges.check_whole({"a": 1}, 1)
    ranges.check_share({"a": 0, "b": 1, "c": 0.5, "e": (0.0, 1.0)})
    ranges.check_share({"a": 0.001, "b": 0.999}, low="(", high=")")


@pytest.mark.parametrize(
    ("check", "values", "message"),
    [
        (ranges.check_above, {"lr": 0.0}, "lr: got 0.0, expected a number above 0"),
        (ranges.check_above, {"a": 1, "lr": math.nan}, "lr: got nan"),
        (ranges.check_above, {"k": (1, -2)}, "k: got -2"),
        (ranges.check_from, {"n": -1}, "n: got -1, expected 0 or more"),
        (ranges.check_from, {"n": math.inf}, "n: got inf"),
        (ranges.check_share, {"s": 1.1}, r"s: got 1.1, expected a share in \[0,1\]"),
        (ranges.check_share, {"s": math.nan}, "s: got nan"),
        (ranges.check_share, {"s": None}, "s: got None"),
        (ranges.check_above, {"lr": "1"}, "lr: got '1'"),
        (ranges.check_from, {"n": [1]}, r"n: got \[1\]"),
        (ranges.check_whole, {"n": 1.0}, "n: got 1.0, expected a whole number, 0 or"),
        (ranges.check_whole, {"n": -1}, "n: got -1"),
    ],
)
def test_what_is_unfit_is_told_in_one_line(check, values, message):
    with pytest.raises(ValueError, match=message):
        check(values)


@pytest.mark.parametrize(("low", "high"), ["()", "(]", "[)", "[]"])
def test_a_share_may_or_may_not_be_nothing_or_all(low, high):
    for value, bracket in ((0, low), (1, high)):
        if bracket in "[]":
            ranges.check_share({"share": value}, low, high)
        else:
            with pytest.raises(ValueError, match="share: got"):
                ranges.check_share({"share": value}, low, high)


def test_flags_that_are_not_given_are_not_judged():
    config = SimpleNamespace(given=3, zero=0, empty=(), missing=None)
    fields = flags.fields_of(config, "given", "zero", "empty", "missing")
    assert fields == {"given": 3, "zero": 0, "empty": ()}
