"""Whether numbers lie in a range: flags' and arguments' alike.

What is no number lies in none; the message says what was got and what is expected.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterator, Mapping
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
    for name, value in _each(values):
        if not least < _real(value) < math.inf:
            raise ValueError(f"{name}: got {value!r}, expected a number above {least}")


def check_from(values: Values, least: float = 0) -> None:
    """Judges numbers that must be no smaller than one.

    Args:
        values: To judge.
        least: The smallest that is fit.

    Raises:
        ValueError: For the first that is not, or is not finite.
    """
    for name, value in _each(values):
        if not least <= _real(value) < math.inf:
            raise ValueError(f"{name}: got {value!r}, expected {least} or more")


def check_whole(values: Values, least: int = 0) -> None:
    """Judges whole numbers that must be no smaller than one.

    Args:
        values: To judge.
        least: The smallest that is fit.

    Raises:
        ValueError: For the first that is not.
    """
    for name, value in _each(values):
        if not isinstance(value, numbers.Integral) or value < least:
            raise ValueError(
                f"{name}: got {value!r}, expected a whole number, {least} or more"
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
    for name, value in _each(values):
        share = _real(value)
        fits = 0 < share < 1 or low == "[" and share == 0 or high == "]" and share == 1
        if not fits:
            raise ValueError(
                f"{name}: got {value!r}, expected a share in {low}0,1{high}"
            )


def _each(values: Values) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        for one in value if isinstance(value, tuple) else (value,):
            yield name, one


def _real(value: Any) -> float:
    """Returns a real number as a float, and nan, which no range holds, for the rest."""
    return float(value) if isinstance(value, numbers.Real) else math.nan
