"""TF_CONFIG is judged with the flags."""

import json

import pytest

from network_pruning.configs import SweepConfig
from network_pruning.tf_config import check_tf_config


def cluster(index=0, kind="worker", **addresses):
    listed = addresses or {"worker": ["a:1", "b:2"]}
    return json.dumps({"cluster": listed, "task": {"type": kind, "index": index}})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "TF_CONFIG: not set"),
        ("", "TF_CONFIG: not set"),
        ("{", "no JSON"),
        ("[]", "no JSON"),
        ("{}", "no JSON"),
        (cluster(2), "it lists no worker 2"),
        (cluster(-1), "it lists no worker -1"),
        (cluster(True), "it lists no worker True"),
        (cluster(0, "chief"), "it lists no chief 0"),
        (cluster(0, worker=["a:1", "a:1"]), "the same host:port"),
        (cluster(0, worker=["a"]), "needs its own host:port"),
        (cluster(0, worker=["a:1"], ps=["b:2"]), "workers, and at most one chief"),
    ],
)
def test_tf_config_is_judged_with_the_flags(monkeypatch, text, message):
    with pytest.raises(ValueError, match=message):
        check_tf_config(text)
    if text is None:
        monkeypatch.delenv("TF_CONFIG", raising=False)
    else:
        monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match="TF_CONFIG"):
        SweepConfig(distribute="multi_worker")
    SweepConfig(distribute="mirrored")


def test_a_fit_tf_config_is_taken():
    check_tf_config(cluster(1))
    check_tf_config(cluster(0, "chief", chief=["c:3"], worker=["a:1"]))
