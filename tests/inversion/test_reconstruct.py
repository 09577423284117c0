"""From a network and its records to a dataset, in shards, again and again the same."""

import numpy as np
import pytest
import tf_keras as keras

import network_pruning as npr
from network_pruning.inversion import reconstruct as module
from network_pruning.inversion.recipe import OBJECTIVES, Recipe
from network_pruning.inversion.reconstruct import make_recipe, reconstruct
from network_pruning.inversion.records import ActivationRecords
from network_pruning.inversion.shards import SETTINGS, load_reconstructed, read_all
from network_pruning.runs import DamagedFile, RunDir
from network_pruning.training import DivergedError
from tests.inversion.conftest import make_network

FEW = {"n": 4, "steps": 8, "batch": 25}


@pytest.fixture(scope="module")
def made(teacher, records, tmp_path_factory):
    """A folder of finished shards; not to be written to."""
    folder = tmp_path_factory.mktemp("made")
    return reconstruct(teacher, records, folder=folder, **FEW), folder


def test_every_class_has_its_images_in_both_splits(made):
    data, _ = made
    assert (data.size("train"), data.size("valid")) == (30, 10)
    np.testing.assert_array_equal(np.bincount(data.y_train), [3] * 10)
    np.testing.assert_array_equal(np.bincount(data.y_valid), [1] * 10)
    assert data.input_shape == (8, 8, 1)
    assert data.num_classes == 10
    assert 0 <= data.x_train.min() < data.x_train.max() <= 1


def test_shards_hold_all_classes_equally(made):
    _, folder = made
    shards = read_all(RunDir(folder))
    assert [len(shard.labels) for shard in shards] == [20, 20]
    for shard in shards:
        np.testing.assert_array_equal(shard.labels, np.arange(len(shard.labels)) % 10)
        assert shard.trace.shape == (8,)
    assert module._sizes(50, 10, 25) == [20, 20, 10]
    assert module._sizes(3000, 1000, 64) == [64] * 46 + [56]
    assert module._sizes(30, 10, 1000) == [30]


def test_the_same_seed_gives_the_same_images(made, teacher, records):
    data, _ = made
    again = reconstruct(teacher, records, **FEW)
    np.testing.assert_array_equal(again.x_train, data.x_train)
    assert again.fingerprint == data.fingerprint


def test_every_shard_and_seed_has_draws_of_its_own(made, teacher, records):
    _, folder = made
    first, second = read_all(RunDir(folder))
    assert np.abs(first.images - second.images).max() > 0.1
    other = reconstruct(teacher, records, n=2, seed=1, steps=8)
    ours = np.concatenate([other.x_train, other.x_valid])
    assert np.abs(ours - first.images).max() > 0.1


def test_an_interrupted_call_goes_on(made, teacher, records, tmp_path, monkeypatch):
    data, _ = made
    make = module._Maker.make
    calls = []

    def stops(self, number, bar):
        if number == 1 and "stopped" not in calls:
            calls.append("stopped")
            raise KeyboardInterrupt
        calls.append(number)
        return make(self, number, bar)

    monkeypatch.setattr(module._Maker, "make", stops)
    with pytest.raises(KeyboardInterrupt):
        reconstruct(teacher, records, folder=tmp_path, **FEW)
    with pytest.raises(ValueError, match="holds 20 of 40 images"):
        load_reconstructed(tmp_path)
    again = reconstruct(teacher, records, folder=tmp_path, **FEW)
    assert calls == [0, "stopped", 1]
    assert again.fingerprint == data.fingerprint
    assert load_reconstructed(tmp_path).fingerprint == data.fingerprint


def test_a_folder_of_other_settings_is_refused(made, teacher, records):
    _, folder = made
    with pytest.raises(ValueError, match="other settings .steps: 8, now 9.: choose"):
        reconstruct(teacher, records, folder=folder, **{**FEW, "steps": 9})


def test_what_is_refused_leaves_no_folder(teacher, records, tmp_path):
    with pytest.raises(ValueError, match="has no BatchNormalization"):
        reconstruct(teacher, records, folder=tmp_path / "made", batch_norm=1.0)
    assert not (tmp_path / "made").exists()


def test_folders_without_images_and_damaged_ones_are_told(made, tmp_path):
    with pytest.raises(ValueError, match="holds no reconstructed images"):
        load_reconstructed(tmp_path)
    _, folder = made
    run = RunDir(tmp_path)
    run.write_bytes(
        "reconstruction.json", (folder / "reconstruction.json").read_bytes()
    )
    run.write_arrays("images/00000.npz", {"images": np.zeros(3)})
    with pytest.raises(DamagedFile, match="expected images, 'labels' is missing"):
        load_reconstructed(tmp_path)
    run.write_json(SETTINGS, {"n": 5})
    run.remove("images/00000.npz")
    with pytest.raises(DamagedFile, match="expected classes and n"):
        load_reconstructed(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_makes_images_of_its_own(teacher, records, objective):
    data = reconstruct(teacher, records, objective, n=1, steps=3)
    assert (data.size("train"), data.size("valid")) == (10, 0)
    plain = reconstruct(teacher, records, "all_layers", n=1, steps=3, joint=False)
    assert np.abs(plain.x_train - data.x_train).max() > 0.01


def test_dropout_changes_the_images(made, teacher, records):
    data, _ = made
    found = reconstruct(teacher, records, "all_layers_dropout", **FEW)
    assert np.abs(found.x_train - data.x_train).max() > 0.01


def test_masks_are_drawn_at_the_rates_of_their_layers(teacher, records):
    maker = module._Maker(teacher, records, Recipe("all_layers_dropout"))
    masks = maker._masks(2000, np.random.default_rng(0))
    means = {name: mask.mean() for name, mask in masks.items()}
    assert means == pytest.approx(
        {"mask of drop_1": 0.75, "mask of drop_2": 0.5}, abs=0.01
    )


def test_images_start_as_in_the_data_or_as_asked(teacher, records):
    def noise(**options):
        maker = module._Maker(teacher, records, Recipe(**options))
        return maker._noise(500, np.random.default_rng(0))

    pixels = records.pixels
    usual = noise()
    assert usual.shape == (500, 8, 8, 1)
    assert usual.mean() == pytest.approx(pixels.mean[0], abs=0.01)
    assert usual.std() == pytest.approx(pixels.sd[0], abs=0.01)
    own = noise(start_mean=0.15, start_sd=0.1)
    assert (own.mean(), own.std()) == pytest.approx((0.15, 0.1), abs=0.01)


def test_a_path_is_no_records(teacher):
    with pytest.raises(ValueError, match=r"records: got str, expected ActivationRec"):
        reconstruct(teacher, "records.npz")


def test_records_of_another_model_are_refused(records):
    with pytest.raises(ValueError, match="records: of another network"):
        reconstruct(make_network(), records)


@pytest.fixture
def in_policy():
    """Builds networks under a policy, and puts the usual one back."""
    yield keras.mixed_precision.set_global_policy
    keras.mixed_precision.set_global_policy("float32")


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float64"])
def test_networks_of_any_precision_are_served(digits, in_policy, policy):
    in_policy(policy)
    network = keras.Sequential([
        keras.layers.Input((8, 8, 1)),
        keras.layers.Conv2D(3, 3),
        keras.layers.BatchNormalization(),
        keras.layers.ReLU(),
        keras.layers.Flatten(),
        keras.layers.Dense(10, dtype="float32"),
    ])
    records = ActivationRecords.from_data(network, digits)
    made = reconstruct(network, records, n=2, steps=20, batch_norm=0.1)
    start = reconstruct(network, records, n=2, steps=1, batch_norm=0.1)
    assert made.x_train.dtype == np.float32
    assert loss_of(network, records, made) < loss_of(network, records, start)


def loss_of(network, records, made):
    """Returns how far images are from the means of their classes, in logits."""
    (block,) = records.blocks
    logits = network(made.x_train).numpy() / records.scales[records.layers[-1]]
    return np.square(block.law.mean[made.y_train][:, -10:] - logits).mean()


@pytest.mark.parametrize("shape", [(None, None, 1), (8, 8, 1)])
def test_images_of_any_size_and_convolutions_of_more_axes(digits, shape):
    x = inputs = keras.Input(shape)
    if None not in shape:
        x = keras.layers.Reshape((1, 8, 8, 1))(x)
    x = keras.layers.Dropout(0.5)(keras.layers.Conv2D(3, 3)(x))
    pool = keras.layers.GlobalAveragePooling2D()
    x = pool(x) if None in shape else keras.layers.Flatten()(x)
    network = keras.Model(inputs, keras.layers.Dense(10)(x))
    records = ActivationRecords.from_data(network, digits)
    for objective in ("all_layers", "all_layers_dropout"):
        made = reconstruct(network, records, objective, n=2, steps=2)
        assert made.input_shape == (8, 8, 1)


def test_a_loss_that_is_no_number_is_told_in_one_line(teacher, digits, monkeypatch):
    broken = keras.models.clone_model(teacher)
    records = ActivationRecords.from_data(broken, digits, ["logits"], "mean")
    records.blocks[0].law.mean[:] = np.inf
    with pytest.raises(DivergedError, match="step 1 of shard 1 of 1: lower the learn"):
        reconstruct(broken, records, "top_layer", n=1, rectify=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objective": "all_layer"}, "got 'all_layer'.* Did you mean 'all_layers'"),
        ({"n": 0}, "n: got 0, expected a whole number, 1 or more"),
        ({"n": 2.5}, "n: got 2.5, expected a whole"),
        ({"steps": 0}, "steps: got 0"),
        ({"seed": None}, "seed: got None, expected a whole number, 0 or more"),
        ({"blur": "no"}, "blur: got 'no', expected True or False"),
        ({"learning_rate": float("nan")}, "learning_rate: got nan"),
        ({"weighting": "fair"}, "weighting: got 'fair'"),
        ({"total_variation": -1.0}, "total_variation: got -1.0, expected 0 or more"),
        (
            {"objective": "spectral_layer_pairs", "joint": False},
            "joint: got False with the objective spectral_layer_pairs, which compares",
        ),
        ({"step": 3}, "option: got 'step', expected one of objective, n"),
    ],
)
def test_unfit_options_are_told_in_one_line(options, message):
    with pytest.raises(ValueError, match=message):
        make_recipe(**options)


def test_the_names_are_public():
    assert npr.reconstruct is reconstruct
    assert npr.ActivationRecords is ActivationRecords
