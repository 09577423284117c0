"""Times calls."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from network_pruning.types import FloatArray

_WARM_UP = 10


def repeat(call: Callable[[], object], runs: int, seconds: float) -> FloatArray:
    """Times a call again and again, after a warm-up.

    Args:
        call: Returns when its work is done.
        runs: At least so many.
        seconds: And at least so long in all.

    Returns:
        Seconds of each run [>= runs].
    """
    for _ in range(_WARM_UP):
        call()
    times: list[float] = []
    total = 0.0
    while len(times) < runs or total < seconds:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
        total += times[-1]
    return np.asarray(times)
