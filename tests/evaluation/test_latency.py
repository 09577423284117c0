import dataclasses
import time

import numpy as np

from models import build
from network_pruning.evaluation import latency
from network_pruning.evaluation.rows import LatencyRow


def test_repeat_runs_at_least_so_often():
    calls = []
    times = latency.repeat(lambda: calls.append(1), runs=25, seconds=0.0)
    assert len(times) == 25
    assert len(calls) > 25  # the warm-up is not among the times


def test_repeat_runs_at_least_so_long():
    times = latency.repeat(lambda: time.sleep(1e-3), runs=1, seconds=0.02)
    assert times.sum() >= 0.02
    assert times[:-1].sum() < 0.02


def test_the_summary_is_in_the_units_it_names(monkeypatch):
    seconds = np.arange(1, 102) * 1e-3
    monkeypatch.setattr(latency, "repeat", lambda *_, **__: seconds)
    model = build("mlp", (4, 4, 1), 3, widths=(5,))
    got = latency.measure(model, threads=1)
    assert np.allclose(dataclasses.astuple(got), (51_000, 91_000, 51, 91, 1), rtol=1e-9)


def test_a_measured_latency_makes_a_row():
    model = build("mlp", (4, 4, 1), 3, widths=(5,))
    got = latency.measure(model)
    assert 0 < got.litert_median_us <= got.litert_p90_us
    assert 0 < got.tf256_median_ms <= got.tf256_p90_ms
    row = LatencyRow(0, 0.5, "unit", **dataclasses.asdict(got))
    assert row.threads == 1
