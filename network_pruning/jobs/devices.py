"""Where training runs: one device, all of a machine, or several machines.

Of several workers only the chief has a run folder. What it knows (whether a training is
finished, the state a stopped one goes on from) reaches the others through `from_chief`,
so workers share no files and cannot disagree about them.

At equal global batch every strategy takes the same steps, ragged batches and penalties
included. Dropout and BatchNormalization are the exceptions: each replica draws masks
and normalises on its own part of the batch.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Generator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

log = logging.getLogger(__name__)

PEER_SECONDS = 120
"""How long a worker waits for the others before it gives up."""

# TensorFlow waits inside one C++ call: no thread and no signal handler of this process
# runs meanwhile, so another process must watch.
_WATCHDOG = """
import os, select, signal, sys
if not select.select([sys.stdin], [], [], float(sys.argv[1]))[0]:
    print(sys.argv[2], file=sys.stderr, flush=True)
    os.kill(os.getppid(), signal.SIGKILL)
"""

_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
)

Array = npt.NDArray[Any]


@functools.cache
def make_strategy(distribute: str) -> Any:
    """Returns the strategy of --distribute; one for the whole process.

    Args:
        distribute: none, mirrored (all GPUs, else all logical CPUs) or multi_worker
            (the machines of TF_CONFIG, this process one of them; TensorFlow wants it
            made before anything is computed).
    """
    if distribute == "mirrored":
        return tf.distribute.MirroredStrategy()
    if distribute == "multi_worker":
        return _meet_workers()
    return tf.distribute.get_strategy()


def _meet_workers() -> Any:
    """Waits for all workers; kills this process where one does not come.

    Returns:
        The strategy.

    Raises:
        ValueError: If this worker cannot open its port.
    """
    names = ", ".join(_workers())
    log.info("waiting for the workers %s", names)
    message = (
        f"error: not all workers came within {PEER_SECONDS} s: expected the same "
        f"command, each with its own TF_CONFIG, on {names}"
    )
    watchdog = [sys.executable, "-c", _WATCHDOG, str(PEER_SECONDS), message]
    with subprocess.Popen(watchdog, stdin=subprocess.PIPE):
        try:
            return tf.distribute.MultiWorkerMirroredStrategy()
        except tf.errors.UnknownError as error:
            raise ValueError(
                f"TF_CONFIG: {error.message}: is the port of this worker free?"
            ) from None


def is_chief(distribute: str) -> bool:
    """Returns whether this process has the run folder: one of all workers does."""
    if distribute != "multi_worker":
        return True
    given = json.loads(os.environ["TF_CONFIG"])
    if "chief" in given["cluster"]:
        return given["task"]["type"] == "chief"
    return given["task"]["index"] == 0


def _workers() -> list[str]:
    """Returns host:port of every process of TF_CONFIG."""
    cluster = json.loads(os.environ["TF_CONFIG"])["cluster"]
    return [*cluster.get("chief", []), *cluster.get("worker", [])]


def from_chief(distribute: str, values: Sequence[Array]) -> list[Array]:
    """Gives every worker the arrays of the chief.

    Every worker must call it, with arrays of the same shapes and types.

    Args:
        distribute: none, mirrored or multi_worker.
        values: Numbers; only the chief's are looked at.

    Returns:
        The chief's arrays.
    """
    if distribute != "multi_worker":
        return list(values)
    mine = is_chief(distribute)
    return _sum([value if mine else np.zeros_like(value) for value in values])


def chief_number(distribute: str, number: int) -> int:
    """Gives every worker a number of the chief.

    Args:
        distribute: none, mirrored or multi_worker.
        number: Only the chief's is looked at; every worker must call it.

    Returns:
        The chief's number.
    """
    return int(from_chief(distribute, [np.array(number, np.int64)])[0])


def check_same(distribute: str, what: str) -> None:
    """Judges whether all workers do the same job; every worker must call it.

    Args:
        distribute: none, mirrored or multi_worker.
        what: The job in words, settings and data.

    Raises:
        ValueError: If a worker was given another one.
    """
    if distribute != "multi_worker":
        return
    mark = int.from_bytes(hashlib.sha256(what.encode()).digest()[:6], "big")
    if _sum([np.array(mark)])[0] != mark * len(_workers()):
        raise ValueError(
            "the workers of TF_CONFIG were given different flags or data: type the "
            "same command on each, with the same dataset"
        )


def _sum(values: Sequence[Array]) -> list[Array]:
    """Returns the sums over all workers."""
    strategy = make_strategy("multi_worker")

    def share(*values: tf.Tensor) -> list[tf.Tensor]:
        replicas = tf.distribute.get_replica_context()
        counts = replicas.replica_id_in_sync_group % local == 0
        mine = [tf.where(counts, value, tf.zeros_like(value)) for value in values]
        return [replicas.all_reduce("sum", value) for value in mine]

    local = strategy.num_replicas_in_sync // len(_workers())
    sums = tf.function(strategy.run)(share, args=tuple(map(tf.constant, values)))
    return [strategy.experimental_local_results(total)[0].numpy() for total in sums]


def dismiss_workers(distribute: str) -> None:
    """Lets the workers end that are not the chief; every worker must call it."""
    if distribute != "multi_worker":
        return
    barrier = [np.array(0)]
    _sum(barrier)
    # All have arrived; but a worker that ended now would tear the others out of theirs.
    with contextlib.suppress(tf.errors.OpError):
        _sum(barrier)
    if is_chief(distribute) and len(_workers()) > 1:
        log.info(
            "the training is complete, the other workers end here; TensorFlow may say "
            "that they have crashed"
        )


@contextlib.contextmanager
def explaining_lost_workers(distribute: str) -> Generator[None, None, None]:
    """Says in plain words that another worker is gone.

    Yields:
        Nothing.

    Raises:
        ConnectionError: If a collective operation failed.
    """
    try:
        yield
    except _LOST:
        if distribute != "multi_worker":
            raise
        raise ConnectionError(
            "a worker of TF_CONFIG is gone, its own output says why: type the same "
            "command on every worker again, it goes on after the last complete epoch"
        ) from None


def distributed(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Lets tf.distribute split each global batch, never the files, between workers.

    Args:
        batches: Global batches, the same on every worker.

    Returns:
        The same batches.
    """
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.DATA
    )
    return batches.with_options(options)
