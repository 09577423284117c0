"""A search that processes share: nothing is trained twice, nothing is lost."""

import dataclasses
import functools
import json
import time

import pytest

from experiments import gped
from experiments.gpeds import distill, procedures, search, sets
from experiments.gpeds.batches import Batches
from experiments.grids import parse
from network_pruning.runs import RunDir, hold_run
from tests.experiments.gped_cases import TINY, build, make_sets
from tests.experiments.search_worker import SEARCH
from tests.processes import finish, start, stop_all


def values_of(batch):
    return [(float(n), 1.0 + n, 9.0 - n) for n in batch.numbers]


def test_a_batch_has_one_holder_and_is_taken_up_when_it_is_left(tmp_path):
    config = dataclasses.replace(TINY, trials=5, population=2)
    one, other = (Batches(config, RunDir(tmp_path)) for _ in range(2))
    with one.claim() as first, other.claim() as second:
        assert (first.numbers, second.numbers) == ((0, 1), (2, 3))
        with Batches(config, RunDir(tmp_path)).claim() as third:
            assert third.numbers == (4,)
            with one.claim() as fourth:
                assert fourth is None, "no more are wanted"
    with other.claim() as again:
        assert again == first
        other.tell(dataclasses.replace(again, numbers=(0,)), values_of(again)[:1])
    with one.claim() as again:
        assert again == first, "half of it was told"
        one.tell(again, values_of(again))
    for expected in (second, third):
        assert not one.are_told()
        with one.claim() as again:
            assert again == expected
            one.tell(again, values_of(again))
    assert one.are_told() and other.are_told()
    assert [trial.values for trial in other.told()] == [
        [n, 1.0 + n, 9.0 - n] for n in range(5)
    ]
    with other.claim() as nothing:
        assert nothing is None


def test_a_batch_that_was_never_entered_is_asked_for_again(tmp_path):
    config = dataclasses.replace(TINY, trials=4, population=2)
    whole, broken = (Batches(config, RunDir(tmp_path / n)) for n in ("a", "b"))
    broken._study.ask()  # killed now
    for _ in range(2):
        with whole.claim() as expected, broken.claim() as found:
            assert found.factors == expected.factors
            assert found.numbers == tuple(n + 1 for n in expected.numbers)
            for batches, batch in ((whole, expected), (broken, found)):
                batches.tell(batch, values_of(expected))
    assert whole.are_told() and broken.are_told()
    assert len(broken.front()) == len(whole.front())


def test_searches_alone_share_a_run(tmp_path, monkeypatch):
    taken = []
    for name in ("search", "distill"):
        took = functools.partial(lambda name, *words: taken.append(name), name)
        monkeypatch.setitem(procedures.PROCEDURES, name, took)
    monkeypatch.setattr(sets, "load", lambda *words: None)
    config = dataclasses.replace(TINY, output_dir=str(tmp_path), procedure="search")
    other = dataclasses.replace(config, procedure="distill")
    with hold_run(tmp_path / config.run_id(), shared=True):
        gped.run(config, None, None)
        with pytest.raises(ValueError, match="give this one its own --run_name"):
            gped.run(other, None, None)
    gped.run(other, None, None)
    assert taken == ["search", "distill"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_processes_share_a_search_and_one_that_is_killed_is_replaced(
    tmp_path, monkeypatch
):
    for module in ("chains", "students"):
        name = f"network_pruning.posterior.{module}.is_dense"
        monkeypatch.setattr(name, lambda network: False)
    config = dataclasses.replace(SEARCH, output_dir=str(tmp_path))
    distill.distill(config, make_sets(), build)
    words = ("-m", "tests.experiments.search_worker", str(tmp_path))
    try:
        holder = start((*words, "hold"))
        held = wait_for(tmp_path, "held-*", 1)[0]
        both = start(words), start(words)
        wait_for(tmp_path, "taught-*", 3)  # all that is not held
        assert held["name"] not in {one["name"] for one in notes(tmp_path, "taught-*")}
        assert all(process.poll() is None for process in both), "they wait for it"
        holder.kill()
        finish(*both)
    finally:
        stop_all()
    assert [process.returncode for process in both] == [0, 0]
    taught = notes(tmp_path, "taught-*")
    numbers = [number for one in taught for number in one["numbers"]]
    assert sorted(numbers) == list(range(8)), "each once"
    (again,) = [one for one in taught if one["name"] == held["name"]]
    assert again == held
    (path,) = tmp_path.rglob(f"search-*/{search.RESULTS}")
    tried = parse(search.Tried, path.read_text())
    assert [one.number for one in tried] == list(range(8))
    assert any(one.front for one in tried) and (path.parent / search.FIGURE).exists()
    assert not list(path.parent.glob("batch-*.npz"))


def notes(folder, pattern):
    return [json.loads(path.read_text()) for path in sorted(folder.glob(pattern))]


def wait_for(folder, pattern, count):
    """Returns what so many files say, once they are there."""
    for _ in range(2_000):
        if len(list(folder.glob(pattern))) >= count:
            time.sleep(0.5)  # until they are written
            return notes(folder, pattern)
        time.sleep(0.1)
    raise AssertionError(f"{pattern} did not come")
