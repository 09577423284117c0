"""A stopped chain goes on bit for bit; another's file is refused."""

import numpy as np
import pytest

from network_pruning.posterior import checkpoints
from network_pruning.posterior.chains import ResidentChain
from network_pruning.posterior.ensembles import Ensemble
from network_pruning.posterior.samplers.sghmc import sghmc
from network_pruning.posterior.students import Student
from network_pruning.runs import DamagedFile, RunDir
from tests.posterior.small import BATCH, network

NAME = "chain.npz"


def students():
    options = {"thin": 2, "batch_size": BATCH}
    return [
        lambda: Student(network("kept", 4, dropout=0.5), "both", "uo", **options),
        lambda: Student(network("noisy"), input_noise=0.1, **options),
    ]


@pytest.fixture
def begin(make, images, labels):
    def build(made=None, **options):
        ensemble = Ensemble("test", images[:4], labels[:4], every=2)
        sampler = sghmc(0.001, friction=0.2, noise="two_point")
        made = students() if made is None else made
        distiller = make(made, sampler, burn_in=1, ensembles=[ensemble], **options)
        return distiller, ResidentChain(distiller, images, labels, BATCH, jit=False)

    return build


def everything(distiller):
    arrays = checkpoints.variables(distiller)
    return {name: value.numpy() for name, value in arrays.items()}


def test_a_chain_goes_on_bit_for_bit(begin, tmp_path):
    run = RunDir(tmp_path)
    distiller, chain = begin()
    assert not checkpoints.restore(distiller, run, NAME, "me")
    chain.advance(7)
    checkpoints.save(distiller, run, NAME, "me")
    chain.advance(6)
    again, other = begin()
    assert checkpoints.restore(again, run, NAME, "me")
    assert other.steps == 7
    other.advance(6)
    expected, got = everything(distiller), everything(again)
    assert set(expected) == set(got)
    for name, value in expected.items():
        np.testing.assert_array_equal(got[name], value, err_msg=name)
    assert distiller.ensembles[0].trace == again.ensembles[0].trace
    kinds = {name.split("/")[2] for name in expected if name.startswith("students/")}
    assert kinds == {"weights", "optimizer", "means", "generators"}


def test_what_is_not_this_chain_is_refused(begin, tmp_path):
    run = RunDir(tmp_path)
    distiller, _ = begin()
    checkpoints.save(distiller, run, NAME, "me")
    with pytest.raises(ValueError, match="holds a chain of another model, of other"):
        checkpoints.restore(distiller, run, NAME, "you")
    fewer, _ = begin(students()[:1])
    with pytest.raises(ValueError, match="another chain: it has lessons/1"):
        checkpoints.restore(fewer, run, NAME, "me")
    wide, _ = begin(teacher=network("teacher", width=9))
    before = everything(wide)
    with pytest.raises(ValueError, match=r"chain/0 has the shape \(4, 5\), exp.* 9\)"):
        checkpoints.restore(wide, run, NAME, "me")
    for name, value in everything(wide).items():
        np.testing.assert_array_equal(before[name], value)


def test_a_damaged_file_is_said(begin, tmp_path):
    run = RunDir(tmp_path)
    (tmp_path / NAME).write_bytes(b"no zip")
    with pytest.raises(DamagedFile, match=r"chain\.npz is damaged"):
        checkpoints.restore(begin()[0], run, NAME)
