"""Whether numbers lie in a range: flags' and arguments' alike.

What is no number lies in none; the message says what was got and what is expected.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any

Values = Mapping[str, Any]
"""By name; of a tuple every number is judged."""


def check_above(values: Values, least: float = 0) -> None:
    """Judges numbers that must be greater than one.

    Args:
        values: To judge.
        least: The number below all that are fit.

    Raises:
        ValueError: For the first that is not, or is not finite.
    """
    expected = f"a number above {least}"
    _judge(values, lambda value: least < _real(value) < math.inf, expected)


def check_from(values: Values, least: float = 0) -> None:
    """Judges numbers that must be no smaller than one.

    Args:
        values: To judge.
        least: The smallest that is fit.

    Raises:
        ValueError: For the first that is not, or is not finite.
    """
    expected = f"{least} or more"
    _judge(values, lambda value: least <= _real(value) < math.inf, expected)


def check_whole(values: Values, least: int = 0) -> None:
    """Judges whole numbers that must be no smaller than one.

    Args:
        values: To judge.
        least: The smallest that is fit.

    Raises:
        ValueError: For the first that is not.
    """
    expected = f"a whole number, {least} or more"
    _judge(
        values,
        lambda value: isinstance(value, Integral) and _real(value) >= least,
        expected,
    )


def check_share(values: Values, low: str = "[", high: str = "]") -> None:
    """Judges shares of a whole.

    Args:
        values: To judge.
        low: Whether 0 is one of them: [ if so, else (.
        high: Likewise, of 1: ] or ).

    Raises:
        ValueError: For the first that is none.
    """

    def fits(value: Any) -> bool:
        share = _real(value)
        return 0 < share < 1 or share == 0 and low == "[" or share == 1 and high == "]"

    _judge(values, fits, f"a share in {low}0,1{high}")


def _judge(values: Values, fits: Callable[[Any], bool], expected: str) -> None:
    for name, value in values.items():
        for one in value if isinstance(value, tuple) else (value,):
            if not fits(one):
                raise ValueError(f"{name}: got {one!r}, expected {expected}")


def _real(value: Any) -> float:
    """Returns a real number as a float, and nan, which no range holds, for the rest."""
    return float(value) if isinstance(value, Real) else math.nan
