"""What all tests share."""

from __future__ import annotations

import os
import signal

import pytest

# Commands that tests start and functions that they call use the same kernels.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
# scikit-learn's threads wait by spinning: on shared cores minutes instead of seconds.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# As commands have it: else the first compiled step of a process writes on stderr.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from tests import cases

# A shell's background job ignores the keyboard's signal, and so would all its children.
signal.signal(signal.SIGINT, signal.default_int_handler)

DEAR = (
    *("test_distribute", "test_distribute_command", "test_prune_job", "test_killed"),
    *("test_main_job", "test_faults", "test_criteria", "test_parsimonious"),
    *("test_certificate", "test_rank_job", "test_datafree", "test_flags_at_work"),
    *("test_gates_and_surgery", "test_run_again", "test_gradual", "test_networks"),
)
"""Files that take longest, by name."""


def pytest_collection_modifyitems(items):
    """Begins with the dear files, lest one process waits for the other's last one."""
    places = {name: place for place, name in enumerate(DEAR)}
    items.sort(key=lambda item: places.get(item.path.stem, len(DEAR)))


@pytest.fixture(autouse=True)
def fresh_session():
    """Gives every test the same seeds and Keras names."""
    import tf_keras as keras

    keras.backend.clear_session()
    keras.utils.set_random_seed(0)


@pytest.fixture(params=cases.CASES)
def case(request):
    """Yields each shared network, its weights random."""
    return cases.randomise(cases.CASES[request.param]())
