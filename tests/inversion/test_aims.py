"""What is drawn from records: whose law, together or apart, weighed how."""

import numpy as np
import pytest
import tensorflow as tf

from network_pruning.inversion.aims import SpectralAim, make_aim
from network_pruning.inversion.recipe import OBJECTIVES, Recipe
from network_pruning.inversion.records import ActivationRecords
from network_pruning.taps import call_tapped
from tests.inversion.conftest import PATHS


@pytest.fixture
def aim(teacher, records):
    return lambda objective="all_layers", **options: make_aim(
        teacher, records, Recipe(objective=objective, **options)
    )


def draw(aim, labels, seed=0):
    return aim.draw(np.asarray(labels), np.random.default_rng(seed))


def test_layers_are_drawn_from_the_laws_of_their_classes(aim, records):
    labels = np.repeat([3, 8], 4000)
    drawn = draw(aim(), labels)
    assert set(drawn) == set(PATHS)
    (block,) = records.blocks
    stops = np.cumsum([np.prod(records.shapes[path]) for path in PATHS])
    for path, stop in zip(PATHS, stops, strict=True):
        some = slice(stop - drawn[path].shape[1], stop)
        for label in (3, 8):
            mean = drawn[path][labels == label].mean(axis=0)
            law = block.law.mean[label, some]
            np.testing.assert_allclose(mean, law, atol=0.25)
    assert drawn["f1"].dtype == np.float32


def test_layers_are_drawn_together_or_apart(aim, records):
    labels = np.zeros(20_000, int)
    (block,) = records.blocks
    last = block.law.factor[0][-26:]
    between = last[:16] @ last[16:].T
    for joint, expected in ((True, between), (False, 0 * between)):
        drawn = draw(aim(joint=joint), labels)
        one, other = (drawn[p] - drawn[p].mean(axis=0) for p in ("f1", "logits"))
        found = one.T @ other / len(labels)
        np.testing.assert_allclose(found, expected, atol=0.06)
    assert np.abs(between).max() > 0.3


def test_what_factors_leave_out_is_drawn_or_not(aim, records):
    labels = np.zeros(4000, int)
    (block,) = records.blocks
    left = block.law.residual[0, :144].sum()
    with_, without = (
        draw(aim(residual=residual), labels)["c1"].var(axis=0).sum()
        for residual in (True, False)
    )
    assert left > 0.5
    assert with_ - without == pytest.approx(left, rel=0.2)


def test_draws_are_named_by_their_seed(aim):
    labels = np.arange(20) % 10
    one, same, other = (draw(aim(), labels, seed)["f1"] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def losses(aim, teacher, images, drawn):
    _, taps = call_tapped(teacher, images, aim.taps, False)
    return aim.loss(taps, drawn).numpy()


def real_targets(teacher, records, images):
    """Scaled activations of images, of the recorded layers."""
    _, taps = call_tapped(teacher, images, records.layers, False)
    return {
        path: np.reshape(taps[path], (len(images), -1)) / records.scales[path]
        for path in records.layers
    }


def rectified(targets):
    return np.hstack([np.maximum(values, 0) for values in targets.values()])


def test_activations_of_an_image_are_at_no_distance_from_it(
    aim, teacher, records, digits
):
    images = digits.x_train[:6]
    targets = real_targets(teacher, records, images)
    assert losses(aim(), teacher, images, targets) == pytest.approx(0, abs=1e-8)
    others = losses(aim(), teacher, images[::-1], targets)
    assert (others > 0.1).all()


def test_losses_are_weighed_as_published_or_balanced(aim, teacher, records, digits):
    images = digits.x_train[:4]
    drawn = draw(aim(), [1, 2, 3, 4])
    mine = real_targets(teacher, records, images)
    balanced = published = 0
    for path in PATHS:
        temperature = 8 if path == "logits" else 1
        gap = np.maximum(drawn[path], 0) - np.maximum(mine[path], 0)
        balanced += (gap**2).mean(axis=1)
        raw = gap * records.scales[path] / temperature
        published += (raw**2).mean(axis=1) / raw.shape[1]
    got = losses(aim(), teacher, images, drawn)
    np.testing.assert_allclose(got, balanced, rtol=1e-4)
    got = losses(aim(weighting="published"), teacher, images, drawn)
    np.testing.assert_allclose(got, published, rtol=1e-4)


def test_only_logits_are_divided_by_the_published_temperature(teacher, digits):
    some = ActivationRecords.from_data(teacher, digits, PATHS[:2], "diag")
    one = make_aim(teacher, some, Recipe(weighting="published"))
    images = digits.x_train[:4]
    drawn = draw(one, [1, 2, 3, 4])
    mine = real_targets(teacher, some, images)
    expected = 0
    for path in some.layers:
        gap = np.maximum(drawn[path], 0) - np.maximum(mine[path], 0)
        expected += ((gap * some.scales[path]) ** 2).mean(axis=1) / gap.shape[1]
    np.testing.assert_allclose(losses(one, teacher, images, drawn), expected, rtol=1e-4)


def test_spectra_are_drawn_with_what_their_factors_leave_out_or_without(
    teacher, digits
):
    kept = {"spectra": ["network"], "basis": "pca"}
    records = ActivationRecords.from_data(teacher, digits, PATHS, **kept)
    labels = np.zeros(2000, int)
    with_, without = (
        draw(make_aim(teacher, records, Recipe("spectral_all_layers", **more)), labels)
        for more in ({}, {"residual": False})
    )
    left = records.spectra[0].law.residual[0].sum()
    assert left > 0.01
    assert with_["0"].var(axis=0).sum() == pytest.approx(left, rel=0.2)
    assert np.ptp(without["0"], axis=0).max() == 0


def test_objectives_differ(aim, teacher, digits):
    images, labels = digits.x_train[:5], np.arange(5)
    found = {}
    for objective in OBJECTIVES:
        one = aim(objective)
        found[objective] = losses(one, teacher, images, draw(one, labels))
    # Dropout's masks come from the reconstructor: the aim is that of all layers.
    assert np.array_equal(found.pop("all_layers_dropout"), found["all_layers"])
    names = list(found)
    for i, name in enumerate(names):
        for other in names[i + 1 :]:
            assert not np.allclose(found[name], found[other], rtol=0.05)
    assert aim("top_layer").taps == ("logits",)
    assert len(aim("spectral_layer_pairs").spectra) == 3


def test_spectra_with_all_coefficients_are_all_layers(teacher, digits):
    records = ActivationRecords.from_data(
        teacher, digits, ["f1", "logits"], spectra=["network"], fraction=1.0
    )
    aim = SpectralAim(records, records.spectra)
    basis = records.spectra[0].basis
    images, others = digits.x_train[:5], digits.x_train[5:10]
    signal, mine = (
        rectified(real_targets(teacher, records, x)) for x in (others, images)
    )
    got = losses(aim, teacher, images, {"0": signal @ basis, "0 basis": basis})
    np.testing.assert_allclose(got, ((signal - mine) ** 2).mean(axis=1), rtol=1e-4)


@pytest.mark.parametrize("labels", [np.arange(20) % 10, np.array([4, 4, 0, 9])])
def test_principal_axes_are_those_of_each_images_class(teacher, digits, labels):
    records = ActivationRecords.from_data(
        teacher, digits, ["f1", "logits"], "mean", spectra=["network"], basis="pca"
    )
    aim = make_aim(teacher, records, Recipe("spectral_all_layers"))
    drawn = draw(aim, labels)
    images = digits.x_train[: len(labels)]
    got = losses(aim, teacher, images, drawn)
    signal = rectified(real_targets(teacher, records, images))
    (spectrum,) = records.spectra
    for i, label in enumerate(labels):
        gap = drawn["0"][i] - signal[i] @ spectrum.basis[label]
        assert got[i] == pytest.approx(np.mean(gap**2), rel=1e-4)


def test_what_records_lack_is_told(teacher, digits):
    some = ActivationRecords.from_data(teacher, digits, ["f1"], "mean")
    with pytest.raises(ValueError, match="no layer 'logits' in them"):
        make_aim(teacher, some, Recipe("top_layer"))
    with pytest.raises(ValueError, match="no spectra .*=\\['network'"):
        make_aim(teacher, some, Recipe("spectral_all_layers"))


def test_losses_are_differentiable(aim, teacher, digits):
    images = tf.constant(digits.x_train[:3])
    for objective in OBJECTIVES:
        one = aim(objective)
        drawn = draw(one, [0, 1, 2])
        with tf.GradientTape() as tape:
            tape.watch(images)
            _, taps = call_tapped(teacher, images, one.taps, False)
            loss = tf.reduce_sum(one.loss(taps, drawn))
        gradient = tape.gradient(loss, images).numpy()
        assert np.abs(gradient).sum(axis=(1, 2, 3)).min() > 0
