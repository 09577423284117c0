"""Records: moments as numpy finds them, files that tell, refusals in one line."""

import pickle

import numpy as np
import pytest
import tf_keras as keras

from data.arrays import ArrayDataset
from network_pruning.inversion import collectors, recording, spectral, tallies
from network_pruning.inversion import records as module
from network_pruning.inversion.moments import FORMS
from network_pruning.inversion.records import ActivationRecords
from network_pruning.runs import DamagedFile
from tests.inversion.conftest import PATHS, layers, make_network


def activations(network, images):
    """Pre-activations by layer [n, d], by another way than taps: linear twins."""
    found, x = {}, images
    for layer in network.layers[1:]:
        if isinstance(layer, keras.layers.Dropout):
            continue
        if layer.name in PATHS:
            twin = type(layer).from_config(layer.get_config() | {"activation": None})
            twin.build(x.shape)
            twin.set_weights(layer.get_weights())
            x = twin(x)
            found[layer.name] = np.asarray(x).reshape(len(images), -1)
            x = x if layer.name == "logits" else keras.activations.relu(x)
        else:
            x = layer(x)
    return found


@pytest.fixture(scope="module")
def seen(teacher, digits):
    return activations(teacher, digits.x_train)


def joined(seen, scales, rows):
    return np.hstack([seen[path][rows] / scales[path] for path in PATHS])


def test_scales_are_the_rms_of_what_passes_a_relu(records, seen):
    for path in PATHS:
        rms = np.sqrt(np.mean(np.maximum(seen[path], 0) ** 2))
        assert records.scales[path] == pytest.approx(rms, rel=1e-4)
    assert records.layers == tuple(PATHS)
    assert records.shapes["c1"] == (6, 6, 4)


def test_one_joint_law_holds_mean_leading_axes_and_variances(records, seen, digits):
    (block,) = records.blocks
    assert block.layers == tuple(PATHS)
    for label in (0, 7):
        x = joined(seen, records.scales, digits.y_train == label).astype(np.float64)
        np.testing.assert_allclose(block.law.mean[label], x.mean(axis=0), atol=1e-4)
        exact = np.cov(x.T, ddof=0)
        values, axes = np.linalg.eigh(exact)
        best = (axes[:, -20:] * values[-20:]) @ axes[:, -20:].T
        factor = block.law.factor[label]
        got = factor @ factor.T
        assert np.linalg.norm(got - best) < 1e-3 * np.linalg.norm(best)
        variances = np.diag(got) + block.law.residual[label]
        np.testing.assert_allclose(variances, np.diag(exact), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("form", ["full", "diag", "mean"])
def test_separate_laws_in_other_forms(teacher, digits, seen, form):
    found = ActivationRecords.from_data(
        teacher, digits, ["logits", "f1"], form, joint=False
    )
    assert [block.layers for block in found.blocks] == [("f1",), ("logits",)]
    assert found.form == form
    law = found.blocks[0].law
    x = seen["f1"][digits.y_train == 3] / found.scales["f1"]
    covariance = law.factor[3] @ law.factor[3].T + np.diag(law.residual[3])
    exact = np.cov(x.T, ddof=0)
    wanted = {"full": exact, "diag": np.diag(np.diag(exact)), "mean": 0 * exact}
    np.testing.assert_allclose(covariance, wanted[form], atol=1e-4 * exact.max())
    np.testing.assert_allclose(law.mean[3], x.mean(axis=0), atol=1e-4)


def test_records_say_what_the_images_were_like(records, digits):
    pixels = records.pixels
    assert (pixels.low, pixels.high) == (0.0, 1.0)
    np.testing.assert_allclose(pixels.mean, digits.x_train.mean(), rtol=1e-5)
    np.testing.assert_allclose(pixels.sd, digits.x_train.std(), rtol=1e-5)
    np.testing.assert_array_equal(records.counts, np.bincount(digits.y_train))
    assert records.input_shape == (8, 8, 1)
    assert records.classes == 10


def test_memory_is_bounded_and_does_not_change_what_is_found(
    teacher, digits, records, monkeypatch
):
    monkeypatch.setattr(collectors, "MOST_BYTES", 10_000)
    monkeypatch.setattr(recording, "BATCH", 100)
    found = ActivationRecords.from_data(teacher, digits, rank=20)
    np.testing.assert_allclose(
        found.blocks[0].law.mean, records.blocks[0].law.mean, atol=1e-4
    )


def test_a_stopped_pass_goes_on_and_ends_the_same(
    teacher, digits, tmp_path, monkeypatch
):
    monkeypatch.setattr(recording, "BATCH", 50)
    monkeypatch.setattr(tallies, "SECONDS", 0)
    batches, add = [], tallies.Tally.add

    def stop_after(most):
        def counted(tally, *words):
            if len(batches) == most:
                raise KeyboardInterrupt
            batches.append(tally.batches)
            add(tally, *words)

        monkeypatch.setattr(tallies.Tally, "add", counted)

    def record(folder):
        options = {"rank": 5, "folder": folder}
        return ActivationRecords.from_data(teacher, digits, PATHS[2:], **options)

    stop_after(None)
    whole = record(None)
    assert batches == list(range(14))
    stop_after(14 + 9)
    with pytest.raises(KeyboardInterrupt):
        record(tmp_path)
    assert len(list(tmp_path.glob("unfinished-*.npz"))) == 1
    stop_after(None)
    assert record(tmp_path).digest == whole.digest
    assert batches[14:] == list(range(14))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("form", FORMS)
def test_a_collector_that_was_packed_goes_on(form, monkeypatch):
    monkeypatch.setattr(collectors, "BATCH", 20)
    generator = np.random.default_rng(0)
    vectors = generator.random((90, 6)).astype(np.float32)
    members = np.arange(90)[:, None] % 2 == np.arange(2)
    whole, first, second = (collectors.Collector(2, form, 2) for _ in range(3))
    for start in range(0, 90, 9):
        rows = slice(start, start + 9)
        whole.add(vectors[rows], members[rows])
        if start == 45:
            second.restore(first.pack())
        (first if start < 45 else second).add(vectors[rows], members[rows])
    for name in ("mean", "factor", "residual"):
        found, expected = getattr(second.law(), name), getattr(whole.law(), name)
        np.testing.assert_array_equal(found, expected)


def test_spectra_of_weights(records, seen, digits, teacher):
    network, *pairs = records.spectra
    assert (network.scope, network.kind) == ("network", "weights")
    assert [pair.layers for pair in pairs] == [
        ("c1", "c2"),
        ("c2", "f1"),
        ("f1", "logits"),
    ]
    nodes = sum(np.prod(records.shapes[path]) for path in PATHS)
    assert network.basis.shape == (nodes, spectral.count(nodes))
    rows = digits.y_train == 5
    for each in records.spectra:
        identity = each.basis.T @ each.basis
        np.testing.assert_allclose(identity, np.eye(len(identity)), atol=1e-5)
        signal = np.hstack([
            np.maximum(seen[p][rows], 0) / records.scales[p] for p in each.layers
        ])
        coefficients = signal @ each.basis
        np.testing.assert_allclose(
            each.law.mean[5], coefficients.mean(axis=0), atol=1e-4
        )
        covariance = each.law.factor[5] @ each.law.factor[5].T
        exact = np.cov(coefficients.T, ddof=0)
        np.testing.assert_allclose(covariance, exact, atol=1e-4 * exact.max())
    kernel = np.abs(teacher.get_layer("logits").kernel.numpy())
    matrix = spectral.by_degree(spectral.adjacency([kernel]))
    expected = spectral.leading(matrix, pairs[-1].basis.shape[1])
    np.testing.assert_allclose(pairs[-1].basis, expected, atol=1e-5)


def test_spectra_of_principal_axes(teacher, digits, seen):
    found = ActivationRecords.from_data(
        teacher,
        digits,
        ["f1", "logits"],
        "mean",
        spectra=["network"],
        basis="pca",
        fraction=0.2,
    )
    (spectrum,) = found.spectra
    assert (spectrum.kind, spectrum.basis.shape) == ("pca", (10, 26, 6))
    rows = digits.y_train == 2
    signal = np.hstack([
        np.maximum(seen[p][rows], 0) / found.scales[p] for p in ("f1", "logits")
    ]).astype(np.float64)
    values, axes = np.linalg.eigh(np.cov(signal.T, ddof=0))
    leading = axes[:, :-7:-1]
    got = spectrum.basis[2]
    np.testing.assert_allclose(np.abs(np.sum(got * leading, axis=0)), 1, atol=1e-3)
    np.testing.assert_allclose(spectrum.law.residual[2], values[:-7:-1], rtol=1e-3)
    np.testing.assert_allclose(
        spectrum.law.mean[2], signal.mean(axis=0) @ got, atol=1e-3
    )


def test_attributes_count_where_they_are_present(teacher, digits, tmp_path):
    labels = np.eye(10, dtype=np.uint8)[digits.y_train]
    labels[:, 0] = 1
    parts = {s: (digits.x_train, labels) for s in ("train", "valid", "test")}
    data = ArrayDataset("attributes", parts, num_classes=10, multi_label=True)
    found = ActivationRecords.from_data(teacher, data, ["logits"], "mean")
    np.testing.assert_array_equal(found.counts, labels.sum(axis=0))
    whole = teacher.predict(digits.x_train, verbose=0).mean(axis=0)
    mean = found.blocks[0].law.mean[0] * found.scales["logits"]
    np.testing.assert_allclose(mean, whole, rtol=1e-3, atol=1e-3)
    found.save(tmp_path / "records.npz")
    again = ActivationRecords.load(tmp_path / "records.npz")
    assert found.multi_label and again.multi_label
    assert again.digest == found.digest


def test_a_rare_class_takes_no_axes_from_the_others(teacher, digits):
    rare = digits.y_train == 3
    kept = ~rare | (rare.cumsum() <= 4)
    parts = {"train": (digits.x_train[kept], digits.y_train[kept])}
    parts |= {split: (digits.x_valid, digits.y_valid) for split in ("valid", "test")}
    data = ArrayDataset("some", parts, num_classes=10)
    ((spectrum,),) = (
        ActivationRecords.from_data(
            *(teacher, data, ["f1", "logits"], "mean"),
            **{"spectra": ["network"], "basis": "pca", "fraction": 0.3},
        ).spectra,
    )
    lengths = np.linalg.norm(spectrum.basis, axis=1)
    assert lengths.shape == (10, 8)
    np.testing.assert_allclose(lengths[np.arange(10) != 3], 1, rtol=1e-5)
    # Deviations of four images from their mean lie in three dimensions.
    np.testing.assert_allclose(lengths[3, :3], 1, rtol=1e-5)
    assert not spectrum.basis[3, :, 4:].any()
    assert not spectrum.law.residual[3, 4:].any()
    assert not spectrum.law.mean[3, 4:].any()


def test_a_file_holds_all_without_pickle(records, teacher, tmp_path):
    path = tmp_path / "card" / "records.npz"
    records.save(path)
    with np.load(path, allow_pickle=False) as archive:
        assert all(archive[name].dtype != object for name in archive.files)
    again = ActivationRecords.load(path)
    again.check_model(teacher)
    assert again.shapes == records.shapes
    assert again.scales == pytest.approx(records.scales)
    assert again.sizes == records.sizes
    assert (again.form, again.rank) == ("lowrank", 20)
    pairs = zip(
        (*again.blocks, *again.spectra),
        (*records.blocks, *records.spectra),
        strict=True,
    )
    for mine, theirs in pairs:
        assert mine.layers == theirs.layers
        for part in ("mean", "factor", "residual"):
            np.testing.assert_array_equal(
                getattr(mine.law, part), getattr(theirs.law, part)
            )
    for mine, theirs in zip(again.spectra, records.spectra, strict=True):
        assert (mine.scope, mine.kind, mine.grids) == (
            theirs.scope,
            theirs.kind,
            theirs.grids,
        )
        np.testing.assert_array_equal(mine.basis, theirs.basis)


def test_sizes_are_those_of_the_arrays(records, tmp_path):
    records.save(tmp_path / "records.npz")
    total = sum(records.sizes.values())
    assert list(records.sizes)[0] == "joint"
    assert total < (tmp_path / "records.npz").stat().st_size < total + 30_000


def test_the_model_may_be_saved_in_between(records, teacher, tmp_path):
    teacher.save(tmp_path / "teacher.keras")
    records.check_model(keras.models.load_model(tmp_path / "teacher.keras"))
    with pytest.raises(ValueError, match="^records: of another network .*'tiny'"):
        records.check_model(make_network())


def test_damaged_and_foreign_files_are_refused(records, tmp_path):
    path = tmp_path / "records.npz"
    with pytest.raises(ValueError, match="no file"):
        ActivationRecords.load(path)
    records.save(path)
    whole = path.read_bytes()
    for content in (whole[:-50], whole[:5000] + b"xx" + whole[5002:], b"nothing"):
        path.write_bytes(content)
        with pytest.raises(DamagedFile, match="records.npz is damaged") as told:
            ActivationRecords.load(path)
        assert "delete" not in str(told.value)
    np.savez(path, other=np.zeros(3))
    with pytest.raises(DamagedFile, match="expected records, 'version'"):
        ActivationRecords.load(path)
    other = tmp_path / "student.keras"
    other.write_bytes(b"a network")
    with pytest.raises(ValueError, match="student.keras, expected the .npz that"):
        ActivationRecords.load(other)
    with pytest.raises(ValueError, match="expected a path ending in .npz"):
        records.save(tmp_path / "records.bin")


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was opened",))


def test_pickles_are_refused_unopened(tmp_path):
    path = tmp_path / "records.npz"
    np.savez(path, version=np.array([Trap()], object))
    with pytest.raises(DamagedFile, match="expected an npz of arrays"):
        ActivationRecords.load(path)
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(DamagedFile, match="expected an npz of arrays"):
        ActivationRecords.load(path)


def test_a_later_version_says_so(records, tmp_path):
    later = {"version": np.array(module.VERSION + 1)}
    np.savez(tmp_path / "records.npz", **(module._pack(records) | later))
    with pytest.raises(ValueError, match="is of version 2, expected at most 1"):
        ActivationRecords.load(tmp_path / "records.npz")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": ["c3"]}, "got 'c3', expected one of c1, pool"),
        ({"form": "half"}, "form: got 'half', expected one of full, lowrank"),
        ({"rank": 0}, "rank: got 0"),
        ({"rank": 2.5}, "rank: got 2.5, expected a whole number"),
        ({"layers": []}, "layers: got none, expected at least one to record"),
        ({"spectra": ["layers"]}, "spectra: got 'layers', expected network or pairs"),
        ({"spectra": ["pairs"], "layers": ["c1"]}, "got the layer c1 alone"),
        ({"basis": "fourier"}, "basis: got 'fourier'"),
        ({"fraction": 0.0}, "fraction: got 0.0"),
        (
            {"spectra": ["network"], "layers": ["c1", "f1"]},
            "expected a chain of layers",
        ),
        ({"spectra": ["network"], "layers": ["c1", "pool"]}, "'pool' has no kernel"),
    ],
)
def test_unfit_options_are_told_in_one_line(teacher, digits, options, message):
    with pytest.raises(ValueError, match=message):
        ActivationRecords.from_data(teacher, digits, **options)


def test_a_class_without_examples_is_refused(teacher, digits):
    some = digits.y_train != 4
    part = digits.x_train[some], digits.y_train[some]
    data = ArrayDataset(
        "gap", dict.fromkeys(("train", "valid", "test"), part), num_classes=10
    )
    with pytest.raises(ValueError, match="class 4 of gap has no example"):
        ActivationRecords.from_data(teacher, data, ["logits"])


def test_activations_that_are_no_numbers_are_refused(digits):
    network = make_network()
    network.get_layer("c2").bias.assign([np.nan] * 6)
    with pytest.raises(ValueError, match="no numbers"):
        ActivationRecords.from_data(network, digits)


def test_layers_that_never_fire_have_scale_one(digits):
    x = inputs = keras.Input((8, 8, 1))
    low = keras.initializers.Constant(-100.0)
    x = layers.Dense(3, "relu", bias_initializer=low, name="dead")(layers.Flatten()(x))
    network = keras.Model(inputs, layers.Dense(10, name="logits")(x))
    found = ActivationRecords.from_data(network, digits, form="mean")
    assert found.scales["dead"] == 1.0
