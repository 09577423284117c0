"""The checks that configs share: what passes, what is refused, in which words."""

import math

import pytest

from network_pruning import flags


def test_what_is_fit_passes_and_what_is_not_given_too():
    flags.check_above({"a": 0.1, "b": None, "c": (1, 2), "d": ()})
    flags.check_from({"a": 0, "b": None, "c": (3, 4)})
    flags.check_from({"a": 2}, 2)
    flags.check_share({"a": 0, "b": 1, "c": 0.5, "d": None, "e": (0.0, 1.0)})
    flags.check_share({"a": 0.001, "b": 0.999}, low="(", high=")")


@pytest.mark.parametrize(
    ("check", "values", "message"),
    [
        (flags.check_above, {"lr": 0.0}, "lr: got 0.0, expected a number above 0"),
        (flags.check_above, {"a": 1, "lr": math.nan}, "lr: got nan"),
        (flags.check_above, {"k": (1, -2)}, "k: got -2"),
        (flags.check_from, {"n": -1}, "n: got -1, expected 0 or more"),
        (flags.check_from, {"n": math.inf}, "n: got inf"),
        (flags.check_share, {"s": 1.1}, r"s: got 1.1, expected a share in \[0,1\]"),
        (flags.check_share, {"s": math.nan}, "s: got nan"),
    ],
)
def test_what_is_unfit_is_told_in_one_line(check, values, message):
    with pytest.raises(ValueError, match=message):
        check(values)


@pytest.mark.parametrize(("low", "high"), ["()", "(]", "[)", "[]"])
def test_a_share_may_or_may_not_be_nothing_or_all(low, high):
    for value, bracket in ((0, low), (1, high)):
        if bracket in "[]":
            flags.check_share({"share": value}, low, high)
        else:
            with pytest.raises(ValueError, match="share: got"):
                flags.check_share({"share": value}, low, high)
