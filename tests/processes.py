"""Starts processes, and lets none stay."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SECONDS = 250
STARTED: list[subprocess.Popen] = []


def start(words: Sequence[str], tf_config: str | None = None) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    if tf_config is not None:
        environment["TF_CONFIG"] = tf_config
    process = subprocess.Popen(
        [sys.executable, *words],
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    STARTED.append(process)
    return process


def finish(*processes: subprocess.Popen) -> list[tuple[str, str]]:
    """Returns (output, errors) of each; fails if one hangs."""
    return [process.communicate(timeout=SECONDS) for process in processes]


def clusters(with_chief: bool = False) -> list[str]:
    """Returns TF_CONFIG of two processes here, the chief's first."""
    doors = [socket.create_server(("localhost", 0)) for _ in range(2)]
    addresses = [f"localhost:{door.getsockname()[1]}" for door in doors]
    for door in doors:
        door.close()
    if with_chief:
        cluster = {"chief": addresses[:1], "worker": addresses[1:]}
        tasks = [("chief", 0), ("worker", 0)]
    else:
        cluster = {"worker": addresses}
        tasks = [("worker", 0), ("worker", 1)]
    return [
        json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})
        for kind, index in tasks
    ]


def stop_all() -> None:
    while STARTED:
        with STARTED.pop() as process:
            process.kill()


def last_json(code: str) -> Any:
    """Runs code in a process of its own; returns the JSON it prints last."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])
