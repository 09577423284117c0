"""TF_CONFIG, which tells several machines who they are; read without TensorFlow."""

from __future__ import annotations

import json
import re
from typing import Any


def check_tf_config(text: str | None) -> None:
    """Judges TF_CONFIG before TensorFlow reads it.

    Args:
        text: Its value; the cluster may have workers, or one chief and workers.

    Raises:
        ValueError: If it is missing, no JSON, or does not say which of the cluster's
            processes this one is.
    """
    wanted = (
        '{"cluster": {"worker": ["host1:port", "host2:port"]}, '
        '"task": {"type": "worker", "index": 0}}'
    )
    if not text:
        raise ValueError(
            f"TF_CONFIG: not set, --distribute=multi_worker needs {wanted}"
        )
    try:
        given = json.loads(text)
        problem = _cluster_problem(given["cluster"], given["task"])
    except (ValueError, KeyError, TypeError, AttributeError):
        problem = "it is no JSON of this form"
    if problem:
        raise ValueError(f"TF_CONFIG: got {text!r}, {problem}; expected {wanted}")


def _cluster_problem(cluster: dict[str, list[str]], task: dict[str, Any]) -> str:
    """Returns what is wrong with a cluster and this process's place in it, or ""."""
    addresses = [address for listed in cluster.values() for address in listed]
    chiefs = len(cluster["chief"]) if "chief" in cluster else 1
    if not set(cluster) <= {"chief", "worker"} or chiefs != 1:
        return "a training has workers, and at most one chief beside them"
    if not all(re.fullmatch(r"\S+:\d+", address) for address in addresses):
        return "every process needs its own host:port"
    if len(set(addresses)) < len(addresses):
        return "two processes have the same host:port"
    listed, index = cluster.get(task["type"], []), task["index"]
    if type(index) is not int or index not in range(len(listed)):
        return f"it lists no {task['type']} {index}"
    return ""
