"""The published tables are whole, and hold the numbers of the original's files."""

from collections import Counter

from experiments.published import read_sweep


def value(dataset, setting, run, k, kind, metric):
    found = [
        each.value
        for each in read_sweep()
        if (each.dataset, each.setting, each.run) == (dataset, setting, run)
        and (each.k, each.kind, each.metric) == (k, kind, metric)
    ]
    assert len(found) == 1
    return found[0]


def test_every_table_is_whole():
    cells = Counter((p.dataset, p.setting, p.run) for p in read_sweep())
    wanted = {}
    for dataset in ("digits", "fashion"):
        wanted[dataset, "none", "first"] = 10 * 4
        wanted[dataset, "none", "second"] = 12 * 4
        wanted[dataset, "l1=1e-3", "only"] = 12 * 4
        wanted[dataset, "l2=1e-2", "only"] = 12 * 4
    assert cells == wanted


def test_the_first_run_has_its_headers_swapped_back():
    # Pruning weights is the milder cut: .9688 belongs to the loss 1.2375.
    first = ("digits", "none", "first", 0.9)
    assert value(*first, "weight", "accuracy") == 0.9688
    assert value(*first, "unit", "accuracy") == 0.3849
    assert value(*first, "weight", "loss") == 1.2375
    assert value(*first, "unit", "loss") == 2.2381
    assert {p.provenance for p in read_sweep() if p.run == "first"} == {
        "justincosentino/network-pruning ca15458, accuracy headers swapped back"
    }


def test_corners_of_the_other_tables():
    assert value("fashion", "none", "second", 0.999, "unit", "accuracy") == 0.1
    assert value("fashion", "l1=1e-3", "only", 0.995, "weight", "accuracy") == 0.8337
    assert value("digits", "l2=1e-2", "only", 0.99, "unit", "loss") == 2.3556


def test_dense_networks_are_the_same_for_weights_and_units():
    for kind in ("weight", "unit"):
        dense = [p.value for p in read_sweep() if p.k == 0 and p.kind == kind]
        assert len(dense) == 16
        other = "unit" if kind == "weight" else "weight"
        assert dense == [p.value for p in read_sweep() if p.k == 0 and p.kind == other]
