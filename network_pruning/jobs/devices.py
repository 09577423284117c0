"""Where training runs: one device, all of a machine, or several machines."""

from __future__ import annotations

import functools
import json
import os
from typing import Any

import tensorflow as tf


@functools.cache
def make_strategy(distribute: str) -> Any:
    """Returns the strategy of --distribute; one for the whole process.

    Args:
        distribute: none, mirrored (all GPUs, else all logical CPUs) or multi_worker
            (the machines of TF_CONFIG, this process one of them).
    """
    if distribute == "mirrored":
        return tf.distribute.MirroredStrategy()
    if distribute == "multi_worker":
        return tf.distribute.MultiWorkerMirroredStrategy()
    return tf.distribute.get_strategy()


def is_chief(distribute: str) -> bool:
    """Returns whether this process writes files: worker 0, or the only one."""
    if distribute != "multi_worker":
        return True
    return int(json.loads(os.environ["TF_CONFIG"])["task"]["index"]) == 0


def distributed(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Lets tf.distribute split each global batch (never the files) between workers."""
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.DATA
    )
    return batches.with_options(options)
