"""Suite sparsity: what zeros buy, on one hidden kernel."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

import numpy as np
from tqdm import tqdm

from experiments.benchmarks import machine
from experiments.benchmarks.config import BenchmarkConfig
from experiments.benchmarks.table import csv_of, markdown_of
from experiments.benchmarks.trained import trained_network
from network_pruning.evaluation import figures, sparse
from network_pruning.pruning.masks import keep_largest, removed_count
from network_pruning.pruning.weights import hidden_kernels
from network_pruning.runs import RunDir
from network_pruning.types import FloatArray

BATCHES = 256, 1
REPEATS = 5
KERNEL = "hidden_2/kernel"
Columns = dict[str, list[float]]
"""Name -> value for each sparsity."""


def run(config: BenchmarkConfig) -> str:
    """Measures, writes sparsity.csv, sparsity.md and a figure for each batch.

    Returns:
        The text of sparsity.md.
    """
    load = machine.load_average()
    kernel, source = read_kernel(config)
    storage = storage_of(kernel, config.k_vals)
    seconds = {batch: seconds_of(kernel, batch, config) for batch in BATCHES}
    facts = {
        "kernel": f"{kernel.shape[0]} x {kernel.shape[1]}, {source}",
        "shrunk": "the same share of its input and output units cut out",
        "timing": f"medians over {config.rounds} round(s) of all k, of the median of "
        f"{REPEATS} products after a warm-up; SciPy uses one thread",
    }
    text = (
        "# Benchmark: sparsity\n\n"
        + machine.header(config, load, facts)
        + "\nBytes over those of the dense kernel, seconds over those of the dense "
        "product (NumPy), at each sparsity k:\n\n"
        + markdown_of(*ratio_table(config.k_vals, storage, seconds))
    )
    folder = RunDir(config.output_dir)
    columns = {"k": list(config.k_vals), **_all_columns(storage, seconds)}
    rows = zip(*columns.values(), strict=True)
    folder.write_text(
        "sparsity.csv", csv_of(list(columns), [[f"{v:.6g}" for v in r] for r in rows])
    )
    folder.write_text("sparsity.md", text)
    for batch, times in seconds.items():
        name = "sparsity.png" if batch == BATCHES[0] else f"sparsity_batch{batch}.png"
        _draw(folder, name, config.k_vals, storage, times)
    return text


def read_kernel(config: BenchmarkConfig) -> tuple[FloatArray, str]:
    """Finds the kernel to measure.

    Returns:
        The kernel [in, out], and where it comes from.

    Raises:
        ValueError: If the run's network has no such kernel.
    """
    if config.run is None:
        shape = config.widths[:2]
        limit = np.sqrt(6 / sum(shape))
        drawn = np.random.default_rng(0).uniform(-limit, limit, shape)
        return drawn.astype(np.float32), "Glorot-uniform, not trained"
    network, source = trained_network(config.run)
    kernels = hidden_kernels(network)
    if KERNEL not in kernels or kernels[KERNEL].ndim != 2:
        raise ValueError(
            f"run: got a network with the kernels {list(kernels)}, expected "
            f"{KERNEL} of an mlp"
        )
    return kernels[KERNEL], f"{KERNEL} of {source}"


def storage_of(kernel: FloatArray, k_vals: Sequence[float]) -> Columns:
    """Counts bytes.

    Args:
        kernel: [in, out].
        k_vals: Sparsities.

    Returns:
        Bytes by format: dense, csr, bitmask, gzip, shrunk.
    """
    columns: Columns = {n: [] for n in ("dense", "csr", "bitmask", "gzip", "shrunk")}
    for k in k_vals:
        pruned = _pruned(kernel, k)
        columns["dense"].append(sparse.dense_bytes(pruned))
        columns["csr"].append(sparse.csr_bytes(pruned))
        columns["bitmask"].append(sparse.bitmask_bytes(pruned))
        columns["gzip"].append(sparse.gzip_bytes(pruned))
        columns["shrunk"].append(sparse.dense_bytes(np.empty(_kept(kernel, k))))
    return columns


def seconds_of(kernel: FloatArray, batch: int, config: BenchmarkConfig) -> Columns:
    """Times products of a batch with the kernel.

    Args:
        kernel: [in, out].
        batch: Rows of the other factor.
        config: Says how many rounds, and which sparsities.

    Returns:
        Median seconds by form, see `sparse.matmul_times`.
    """
    rounds: list[list[dict[str, float]]] = []
    for _ in tqdm(range(config.rounds), desc=f"batch {batch}", disable=None):
        rounds.append([
            sparse.matmul_times(_pruned(kernel, k), batch, REPEATS, _kept(kernel, k))
            for k in config.k_vals
        ])
    return {
        form: [
            statistics.median(times[i][form] for times in rounds)
            for i in range(len(config.k_vals))
        ]
        for form in rounds[0][0]
    }


def ratio_table(
    k_vals: Sequence[float], storage: Columns, seconds: Mapping[int, Columns]
) -> tuple[list[str], list[list[str]]]:
    """Divides by the dense form.

    Args:
        k_vals: Sparsities.
        storage: Bytes by format.
        seconds: Batch -> seconds by form.

    Returns:
        Header, and one line of cells for each sparsity.
    """
    columns = {"k": [f"{k:g}" for k in k_vals]}
    columns |= _over("dense", storage, "{} bytes")
    for batch, times in seconds.items():
        columns |= _over("dense (numpy)", times, f"{{}}, batch {batch}")
    return list(columns), [list(line) for line in zip(*columns.values(), strict=True)]


def _over(base: str, columns: Columns, title: str) -> dict[str, list[str]]:
    return {
        title.format(name): [
            f"{value / dense:.3g}"
            for value, dense in zip(values, columns[base], strict=True)
        ]
        for name, values in columns.items()
        if name != base
    }


def _pruned(kernel: FloatArray, k: float) -> FloatArray:
    return np.where(keep_largest(np.abs(kernel), k), kernel, np.float32(0))


def _kept(kernel: FloatArray, k: float) -> tuple[int, int]:
    units_in, units_out = kernel.shape
    return units_in - removed_count(units_in, k), units_out - removed_count(
        units_out, k
    )


def _all_columns(storage: Columns, seconds: Mapping[int, Columns]) -> Columns:
    columns = {f"{name} bytes": values for name, values in storage.items()}
    for batch, times in seconds.items():
        columns |= {
            f"{name} s, batch {batch}": values for name, values in times.items()
        }
    return columns


def _draw(
    folder: RunDir, name: str, k_vals: Sequence[float], storage: Columns, times: Columns
) -> None:
    folder.write(name, lambda path: figures.sparsity_buys(k_vals, storage, times, path))
