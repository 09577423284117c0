"""The model whose input moves, and nothing else."""

import functools

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from network_pruning.inversion import objectives
from network_pruning.inversion.aims import make_aim
from network_pruning.inversion.recipe import Recipe
from network_pruning.inversion.reconstructor import (
    Reconstructor,
    dropout_sites,
    mask_name,
)
from network_pruning.inversion.records import ActivationRecords
from network_pruning.taps import call_tapped
from tests import cases
from tests.inversion.conftest import PATHS, layers


@pytest.fixture(scope="module")
def make(teacher, records):
    """Makes a reconstructor of n images and targets for them; traced once for all."""

    @functools.cache
    def build(n, **options):
        recipe = Recipe(**options)
        aim = make_aim(teacher, records, recipe)
        return Reconstructor(teacher, aim, n, recipe)

    def start(n=10, **options):
        reconstructor = build(n, **options)
        labels = np.arange(n) % 10
        drawn = reconstructor.aim.draw(labels, np.random.default_rng(0))
        noise = np.random.default_rng(1).normal(0.3, 0.3, (n, 8, 8, 1))
        reconstructor.start(noise.astype(np.float32))
        return reconstructor, {k: tf.constant(v) for k, v in drawn.items()}

    return start


def test_the_loss_falls_and_no_weight_moves(make, teacher, records):
    before = teacher.get_weights()
    reconstructor, targets = make()
    trace = reconstructor.run(targets, 150)
    assert trace.shape == (150,)
    assert trace[-1] < trace[0] / 10
    for old, new in zip(before, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert teacher.trainable
    assert reconstructor.trainable_weights == [reconstructor.images]
    found = reconstructor(None).numpy().argmax(axis=1)
    assert (found == np.arange(10)).mean() >= 0.9


def test_adam_by_hand(make):
    reconstructor, targets = make(clip=False, learning_rate=0.1, jit=False)
    x = reconstructor.images.numpy().astype(np.float64)
    m = v = 0
    for step in range(1, 4):
        image = tf.constant(x, tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(image)
            _, taps = call_tapped(
                reconstructor.network, image, reconstructor.aim.taps, False
            )
            loss = tf.reduce_sum(reconstructor.aim.loss(taps, targets))
        g = tape.gradient(loss, image).numpy().astype(np.float64)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        step_m, step_v = m / (1 - 0.9**step), v / (1 - 0.999**step)
        x -= 0.1 * step_m / (np.sqrt(step_v) + 1e-12)
        reconstructor.train_step(targets)
    moved = reconstructor.images.numpy()
    # Gradients of rounding size have signs of chance.
    assert np.mean(np.abs(moved - x) < 1e-3) > 0.98


def test_images_do_not_depend_on_how_many_there_are(make):
    ten, targets = make()
    noise = ten.images.numpy()
    ten.run(targets, 20)
    moved = ten.images.numpy()
    five, _ = make(5)
    five.start(noise[:5])
    five.run({name: values[:5] for name, values in targets.items()}, 20)
    np.testing.assert_allclose(five.images, moved[:5], atol=2e-3)


def test_steps_continue_and_a_start_forgets(make):
    reconstructor, targets = make()
    noise = reconstructor.images.numpy()
    whole = reconstructor.run(targets, 20)
    end = reconstructor.images.numpy()
    reconstructor.start(noise)
    parts = [reconstructor.run(targets, steps) for steps in (5, 15)]
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-4)
    np.testing.assert_allclose(reconstructor.images, end, atol=1e-3)


def test_pixels_are_clipped_or_not(make):
    reconstructor, targets = make()
    assert reconstructor.images.numpy().min() == 0
    reconstructor.run(targets, 30)
    images = reconstructor.images.numpy()
    assert (images.min(), images.max()) == (0, 1)
    free, targets = make(clip=False, learning_rate=0.1, jit=False)
    assert free.images.numpy().min() < 0


def test_blurring_comes_when_it_is_due(make):
    reconstructor, targets = make(blur=True, blur_every=2)
    rough = []
    for _ in range(4):
        reconstructor.run(targets, 1)
        rough.append(roughness(reconstructor))
    assert rough[1] < rough[0] / 1.5
    assert rough[2] > rough[1]
    assert rough[3] < rough[2] / 1.2


def roughness(reconstructor):
    images = tf.convert_to_tensor(reconstructor.images)
    return float(tf.reduce_mean(objectives.total_variation(images)))


def test_total_variation_smoothes(make):
    rough, targets = make()
    smooth, _ = make(total_variation=100.0)
    for each in (rough, smooth):
        each.run(targets, 60)
    assert roughness(smooth) < roughness(rough) / 3


def test_a_loss_that_is_no_number_ends_the_run(make):
    reconstructor, targets = make()
    targets["f1"] *= np.nan
    trace = reconstructor.run(targets, 30)
    assert len(trace) == 1
    assert np.isnan(trace[0])


def test_a_linear_network_is_inverted_to_its_least_squares():
    generator = np.random.default_rng(0)
    inputs = keras.Input((4, 1, 1))
    outputs = layers.Dense(6, name="out")(layers.Flatten()(inputs))
    network = keras.Model(inputs, outputs)
    kernel, bias = generator.normal(size=(4, 6)), generator.normal(size=6)
    network.set_weights([kernel, bias])
    targets = generator.normal(size=(3, 6)).astype(np.float32)
    recipe = Recipe(rectify=False, clip=False, jit=False)
    aim = Fixed(recipe)
    reconstructor = Reconstructor(network, aim, 3, recipe)
    reconstructor.start(np.zeros((3, 4, 1, 1), np.float32))
    reconstructor.run({"out": tf.constant(targets)}, 1500)
    solution = np.linalg.lstsq(kernel.T, (targets - bias).T, rcond=None)[0].T
    np.testing.assert_allclose(
        reconstructor.images.numpy().reshape(3, 4), solution, atol=2e-3
    )


class Fixed:
    """An aim at given activations of one layer."""

    taps = ("out",)

    def __init__(self, recipe):
        self.recipe = recipe

    def loss(self, taps, drawn):
        return objectives.layers_apart(taps, drawn, {"out": 1.0}, self.recipe.rectify)


def test_dropout_sites_are_found(teacher):
    sites = {"drop_1": (0.25, (24,)), "drop_2": (0.5, (16,))}
    assert dropout_sites(teacher, (8, 8, 1)) == sites
    x = inputs = keras.Input((4, 4, 2))
    whole_channels = layers.SpatialDropout2D(0.5, name="drop")(x)
    spatial = keras.Model(inputs, whole_channels)
    assert dropout_sites(spatial, (4, 4, 2)) == {"drop": (0.5, (1, 1, 2))}
    bare = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
    with pytest.raises(ValueError, match="has no Dropout layer.*choose all_layers"):
        dropout_sites(bare, (3,))


def test_masks_drop_the_units_they_name(make, teacher):
    reconstructor, targets = make(7)
    rates = {"drop_1": 0.25, "drop_2": 0.5}
    ones = {
        mask_name("drop_1"): tf.ones((7, 24)),
        mask_name("drop_2"): tf.ones((7, 16)),
    }
    zeros = {**ones, mask_name("drop_2"): tf.zeros((7, 16))}
    bias = teacher.get_layer("logits").bias
    seen = {}

    class Watching(Fixed):
        taps = tuple(PATHS)

        def loss(self, taps, drawn):
            seen.update(taps)
            return tf.zeros(7)

    reconstructor.aim = Watching(Recipe())
    reconstructor._apart({**targets, **zeros})
    np.testing.assert_allclose(seen["logits"], np.tile(bias, (7, 1)))
    reconstructor._apart({**targets, **ones})
    _, plain = call_tapped(teacher, reconstructor.images, PATHS, False)
    f1 = teacher.get_layer("f1")
    scaled = (plain["f1"] - f1.bias) / (1 - rates["drop_1"]) + f1.bias
    np.testing.assert_allclose(seen["f1"], scaled, rtol=1e-4, atol=1e-4)


def normalised_network(images):
    x = inputs = keras.Input((8, 8, 1))
    for i in (1, 2):
        x = layers.Conv2D(4, 3, name=f"c{i}")(x)
        x = layers.BatchNormalization(momentum=0.0, name=f"norm{i}")(x)
        x = layers.ReLU()(x)
    x = layers.GlobalAveragePooling2D()(x)
    network = keras.Model(inputs, layers.Dense(10, name="logits")(x))
    # Without momentum, one pass leaves it with the statistics of these images.
    network(images, training=True)
    return network


def test_statistics_of_batches_come_to_match_those_that_are_kept(digits):
    network = normalised_network(digits.x_train)
    before = network.get_weights()
    records = ActivationRecords.from_data(network, digits, ["logits"])
    norm = network.get_layer("norm2")
    kept = [norm.moving_mean], [norm.moving_variance]
    recipe = Recipe("top_layer", batch_norm=10.0)
    aim = make_aim(network, records, recipe)
    drawn = aim.draw(np.arange(50) % 10, np.random.default_rng(0))
    reconstructor = Reconstructor(network, aim, 50, recipe)
    noise = np.random.default_rng(1).normal(0.3, 0.3, (50, 8, 8, 1))
    reconstructor.start(noise.astype(np.float32))
    ends = []
    for steps in (0, 60):
        reconstructor.run({k: tf.constant(v) for k, v in drawn.items()}, steps)
        maps = entering(norm, network, reconstructor)
        mean, variance = tf.nn.moments(maps, (0, 1, 2))
        ends.append(float(objectives.batch_norm_apart([mean], [variance], *kept)))
    assert ends[1] < ends[0] / 5
    for old, new in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def entering(layer, network, reconstructor):
    part = keras.Model(network.inputs, layer.input)
    return part(reconstructor.images, training=False)


def test_statistics_need_layers_that_keep_them(make):
    with pytest.raises(ValueError, match="batch_norm: got 0.5, but 'tiny' has no"):
        make(batch_norm=0.5)


@pytest.mark.gpu
def test_a_gpu_runs_it_unchanged(make):
    reconstructor, targets = make()
    trace = reconstructor.run(targets, 150)
    assert trace[-1] < trace[0] / 10
    assert "GPU" in reconstructor.images.device


def test_no_loss_is_scaled_under_a_policy_of_mixed_precision(teacher, records):
    recipe = Recipe()
    with cases.precision("mixed_float16"):
        made = Reconstructor(teacher, make_aim(teacher, records, recipe), 4, recipe)
    assert type(made.optimizer) is keras.optimizers.Adam
