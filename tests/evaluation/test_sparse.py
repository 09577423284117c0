import gzip
import io

import numpy as np
import pytest
import scipy.sparse

from network_pruning.evaluation import sparse


@pytest.fixture(name="kernel")
def make_kernel():
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(30, 17)).astype(np.float32)
    return kernel * (rng.random(kernel.shape) < 0.2)


def test_dense_is_the_arrays_own_size(kernel):
    assert sparse.dense_bytes(kernel) == kernel.nbytes == 4 * 30 * 17


def test_csr_is_what_scipy_holds(kernel):
    csr = scipy.sparse.csr_matrix(kernel)
    assert csr.indices.dtype == csr.indptr.dtype == np.int32
    held = csr.data.nbytes + csr.indices.nbytes + csr.indptr.nbytes
    assert sparse.csr_bytes(kernel) == held


def test_csr_of_a_convolution_is_that_of_its_matrix():
    kernel = np.random.default_rng(0).normal(size=(3, 3, 4, 5))
    assert sparse.csr_bytes(kernel) == sparse.csr_bytes(kernel.reshape(36, 5))


def test_bitmask_is_nonzeros_and_packed_bits(kernel):
    values, bits = kernel[kernel != 0], np.packbits(kernel != 0)
    assert sparse.bitmask_bytes(kernel) == values.nbytes + bits.nbytes


def test_gzip_is_that_of_the_float32_entries_and_comes_back(kernel):
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=6, mtime=0) as file:
        file.write(kernel.tobytes())
    assert sparse.gzip_bytes(kernel) == len(out.getvalue())
    assert sparse.gzip_bytes(kernel.astype(np.float64)) == len(out.getvalue())


def test_matmul_times_has_every_form(kernel):
    times = sparse.matmul_times(kernel, batch=4, repeats=3, kept=(5, 2))
    assert list(times) == [
        "dense (numpy)",
        "dense (tensorflow)",
        "csr (scipy)",
        "shrunk (numpy)",
    ]
    assert all(0 < seconds < 1 for seconds in times.values())
    assert "shrunk (numpy)" not in sparse.matmul_times(kernel, batch=4, repeats=1)


def test_every_form_computes_the_same_product(kernel, monkeypatch):
    products = []

    def once(call, runs, seconds):
        products.append(np.asarray(call()))
        return np.ones(1)

    monkeypatch.setattr(sparse, "repeat", once)
    sparse.matmul_times(kernel, batch=4, repeats=1)
    x = np.random.default_rng(0).random((4, 30), np.float32)
    expected = [
        [sum(a * b for a, b in zip(r, c, strict=True)) for c in kernel.T] for r in x
    ]
    for product in (products[0], products[1], products[2].T):
        np.testing.assert_allclose(product, expected, rtol=1e-4, atol=1e-5)
