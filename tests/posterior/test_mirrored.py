"""Two devices walk the chain of one."""

import json

import pytest

from tests.processes import finish, start, stop_all


@pytest.mark.slow
def test_two_devices_walk_the_chain_of_one():
    try:
        (said,) = finish(start(["-m", "tests.posterior.mirrored_worker"], None))
    finally:
        stop_all()
    out, errors = said
    assert out, errors[-2000:]
    seen = json.loads(out.splitlines()[-1])
    assert seen["replicas"] == 2
    assert max(seen["gaps"].values()) < 1e-5, seen["gaps"]
    assert "the chain's predictions are no numbers at step 10" in seen["refusal"]
    assert any(name.startswith("students/s/means") for name in seen["gaps"])
