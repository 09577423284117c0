"""What all tests share."""

from __future__ import annotations

import pytest

from tests import cases


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
