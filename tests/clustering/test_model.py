"""A model that clusters as it learns, against the loops and under every trainer."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import network_pruning as npr
from data.arrays import ArrayDataset
from network_pruning.clustering.model import ClusteringModel
from network_pruning.jobs.fit import fit
from network_pruning.jobs.plans import FitPlan
from network_pruning.resident import ResidentLoop
from network_pruning.runs import RunDir
from network_pruning.taps import call_tapped
from network_pruning.training import Trainer
from network_pruning.types import SPLITS
from tests import cases
from tests.clustering import twins
from tests.jobs.fitting import stopping

layers = keras.layers
PATHS = ["conv", "fc", "logits"]
EXAMPLES, CLASSES = 22, 3


def make_network(end=None):
    x = inputs = keras.Input((6, 5, 2))
    x = layers.Conv2D(4, 3, activation="relu", name="conv")(x)
    x = layers.Flatten()(layers.MaxPooling2D(2)(x))
    x = layers.Dense(5, "tanh", name="fc")(x)
    return keras.Model(inputs, layers.Dense(CLASSES, end, name="logits")(x))


def make_dense():
    x = inputs = keras.Input((6, 5, 2))
    x = layers.Dense(7, "relu", name="fc")(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(CLASSES, name="logits")(x))


@pytest.fixture
def images():
    return np.random.default_rng(0).random((EXAMPLES, 6, 5, 2), np.float32)


@pytest.fixture
def labels():
    return np.random.default_rng(1).integers(0, CLASSES, EXAMPLES)


@pytest.mark.parametrize("kind", ["sample", "spatial", "channel"])
@pytest.mark.parametrize("legacy", [False, True])
def test_a_call_is_a_step_of_the_loops(images, kind, legacy):
    weights = {"conv": 0.1, "fc": 0.5, "logits": 0.0}
    momenta = {"conv": 0.1, "fc": 0.0, "logits": 0.5}
    model = ClusteringModel(
        make_network(), PATHS, kind, 6, weights, momenta, legacy=legacy
    )
    model(images[:12], training=True)
    before = [layer.centres.numpy() for layer in model.clusters]
    outputs = model(images[12:], training=True)
    _, taps = call_tapped(model.network, images[12:], PATHS)
    np.testing.assert_array_equal(outputs, model.network(images[12:]))
    for path, layer, old, loss in zip(
        PATHS, model.clusters, before, model.losses, strict=True
    ):
        rows = twins.embed(taps[path].numpy(), kind)
        clusters = twins.assign(rows, old)
        moved = twins.move(old, rows, clusters, momenta[path], legacy)
        np.testing.assert_allclose(layer.centres, moved, rtol=1e-4, atol=1e-5)
        total = twins.regulariser(rows, moved, clusters, weights[path])
        assert float(loss) == pytest.approx(total / rows.size, rel=1e-3, abs=1e-9)
        assert float(layer.regulariser.total) >= float(loss)


def test_the_gradient_sees_centres_as_constants(images):
    model = ClusteringModel(make_network(), ["fc"], clusters=4, weight=2.0)
    model(images, training=True)
    before = model.clusters[0].centres.numpy()
    with tf.GradientTape() as tape:
        model(images, training=True)
        (loss,) = model.losses
    found = tape.gradient(loss, model.trainable_variables[:4])
    centres = model.clusters[0].centres.numpy()
    with tf.GradientTape() as tape:
        _, taps = call_tapped(model.network, images, ["fc"])
        nearest = centres[twins.assign(taps["fc"].numpy(), before)]
        slow = tf.reduce_mean((taps["fc"] - nearest) ** 2)
    expected = tape.gradient(slow, model.trainable_variables[:4])
    for gradient, slow_one in zip(found, expected, strict=True):
        np.testing.assert_allclose(gradient, slow_one, rtol=1e-3, atol=1e-6)


def test_centres_begin_when_there_are_rows_enough(images):
    model = ClusteringModel(make_network(), ["fc"], clusters=10, weight=1.0)
    (layer,) = model.clusters
    rows = call_tapped(model.network, images, ["fc"])[1]["fc"].numpy()
    for held in (4, 8):
        model(images[held - 4 : held], training=True)
        assert int(layer.held) == held
        assert int(layer.steps) == float(model.losses[0]) == 0
        np.testing.assert_allclose(layer.centres[:held], rows[:held], atol=1e-6)
    model(images[8:12], training=True)
    assert (int(layer.held), int(layer.steps)) == (10, 1)
    assert float(layer.counts.numpy().sum()) == 4
    drawn = layer.centres.numpy()
    gaps = np.abs(drawn[None] - rows[:8, None]).max(axis=2).min(axis=1)
    assert np.sum(gaps < 1e-5) >= 6
    np.testing.assert_allclose(layer.occupancy.result(), 0.4)


def test_starved_centres_are_drawn_anew(images):
    model = ClusteringModel(
        make_network(), ["fc"], clusters=3, reset_every=2, min_count=5
    )
    (layer,) = model.clusters
    model(images, training=True)
    far = np.full(5, 90, np.float32)
    layer.centres.assign([far, layer.centres[1], far + 1])
    layer.counts.assign(tf.zeros(3))
    model(images, training=True)
    np.testing.assert_array_equal(layer.counts, [0, EXAMPLES, 0])
    model(images, training=True)
    assert float(layer.revivals.result()) == 2
    assert np.abs(layer.centres).max() < 9
    assert layer.counts.numpy().sum() == EXAMPLES
    never = ClusteringModel(make_network(), ["fc"], clusters=3, reset_every=0)
    for _ in range(4):
        never(images, training=True)
    assert float(never.clusters[0].revivals.result()) == 0


def test_inference_is_the_network(images, tmp_path):
    model = ClusteringModel(make_network(), clusters=4)
    assert model.layer_paths == ("conv", "fc", "logits")
    before = model.get_weights()
    np.testing.assert_array_equal(model(images), model.network(images))
    # Traced and eager calls may round differently.
    np.testing.assert_allclose(
        model.predict(images, verbose=0), model(images), rtol=1e-4, atol=1e-6
    )
    for weight, kept in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, kept)
    model.network.save(tmp_path / "plain.keras")
    plain = keras.models.load_model(tmp_path / "plain.keras")
    np.testing.assert_array_equal(plain(images), model(images))


def test_formats_that_lose_the_trainer_are_refused(tmp_path):
    model = ClusteringModel(make_network(), clusters=4)
    with pytest.raises(ValueError, match="filepath: got .*, expected a .keras file"):
        model.save(tmp_path / "folder")
    model.network.save(tmp_path / "folder")


def test_fit_alone_saves_and_goes_on(images, labels, tmp_path):
    model = ClusteringModel(make_network(), ["conv", "fc"], "spatial", 4, seed=3)
    model.compile(keras.optimizers.SGD(0.1, 0.9), run_eagerly=True)
    history = model.fit(
        images,
        labels,
        batch_size=8,
        epochs=2,
        verbose=0,
        validation_data=(images, labels),
    ).history
    own = [f"{p}_{q}" for p in ("conv", "fc") for q in ("regulariser", "occupancy")]
    assert {*own, "conv_revivals", "fc_revivals"} < set(history)
    assert {"loss", "cross_entropy", "accuracy"} < set(history)
    validated = [name for name in history if name.startswith("val_")]
    assert validated == ["val_loss", "val_cross_entropy", "val_accuracy"]
    extra = np.sum([history[f"{p}_regulariser"] for p in ("conv", "fc")], axis=0)
    gap = np.subtract(history["loss"], history["cross_entropy"])
    np.testing.assert_allclose(gap, extra, rtol=0.2)
    model.save(tmp_path / "model.keras")
    tf.train.Checkpoint(model=model).write(str(tmp_path / "point"))
    again = keras.models.load_model(tmp_path / "model.keras")
    restored = ClusteringModel.from_config(model.get_config())
    tf.train.Checkpoint(model=restored).read(str(tmp_path / "point"))
    for copy in (again, restored):
        for weight, kept in zip(copy.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_array_equal(weight, kept)
    assert again.clusters[0].how == model.clusters[0].how
    more = [
        each.train_on_batch(images, labels, return_dict=True, reset_metrics=True)
        for each in (model, again)
    ]
    assert more[0] == more[1]


def test_any_loss_that_compile_takes(images):
    model = ClusteringModel(make_network(), ["conv"], clusters=4, weight=5.0)
    model.compile("sgd", "mse", metrics=["mae"], run_eagerly=True)
    targets = np.zeros((EXAMPLES, CLASSES), np.float32)
    history = model.fit(images, targets, batch_size=8, verbose=0).history
    names = ["loss", "mae", "conv_regulariser", "conv_occupancy", "conv_revivals"]
    assert list(history) == names
    outputs = model.predict(images, verbose=0)
    told = model.evaluate(images, targets, verbose=0, return_dict=True)
    assert list(told) == ["loss", "mae"]
    assert told["loss"] == pytest.approx(np.mean(outputs**2), rel=1e-4)


@pytest.mark.parametrize("within", [list, dict])
def test_several_outputs_are_known_by_name(images, within, tmp_path):
    network = make_network()
    first, second = (layers.Dense(2, name=name)(network.output) for name in "ab")
    ends = [first, second] if within is list else {"a": first, "b": second}
    model = ClusteringModel(keras.Model(network.inputs, ends), ["fc"], clusters=4)
    model.compile("sgd", {"a": "mse", "b": "mae"}, loss_weights={"a": 2.0, "b": 1.0})
    targets = {name: np.ones((EXAMPLES, 2), np.float32) for name in "ab"}
    told = model.fit(images, targets, verbose=0).history
    assert list(told)[:3] == ["loss", "a_loss", "b_loss"]
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.evaluate(images, targets, verbose=0, return_dict=True) == (
        model.evaluate(images, targets, verbose=0, return_dict=True)
    )


def test_callbacks_may_come_as_keras_holds_them(images, labels):
    model = ClusteringModel(make_network(), ["fc"], clusters=30)
    model.compile("sgd")
    held = keras.callbacks.CallbackList(add_history=True, model=model, epochs=1)
    with pytest.raises(ValueError, match="clusters of fc: got 30, expected at most 22"):
        model.fit(images, labels, callbacks=held, verbose=0)
    assert held.callbacks[-2] is model.history


@pytest.mark.parametrize("policy", ["mixed_float16", "float64"])
def test_other_precisions(images, labels, policy):
    with cases.precision(policy):
        network = make_network()
        network.get_layer("fc").activity_regularizer = keras.regularizers.L2(1e-3)
        model = ClusteringModel(network, ["fc"], clusters=4)
        model.compile(keras.optimizers.SGD(0.1))
        history = model.fit(images, labels, batch_size=8, epochs=3, verbose=0).history
    assert all(layer.centres.dtype == tf.float32 for layer in model.clusters)
    assert history["loss"][-1] < history["loss"][0]
    assert min(history["fc_regulariser"]) > 0


@pytest.mark.parametrize("jit", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_trainer_that_merely_calls_it_trains_it(images, labels, jit):
    model = ClusteringModel(make_dense(), ["fc"], clusters=4, weight=1.0, reset_every=0)
    # XLA draws other numbers.
    model(images, training=True)
    twin = ClusteringModel.from_config(model.get_config())
    twin.set_weights(model.get_weights())
    trainer = Trainer(model)
    assert not trainer.jit_pays  # It would be compiled anew at each step.
    trainer.compile(keras.optimizers.SGD(0.1, 0.9))
    means = ResidentLoop(trainer, images, labels, 8, jit).epoch(np.arange(EXAMPLES))
    twin.compile(keras.optimizers.SGD(0.1, 0.9), run_eagerly=True)
    history = twin.fit(images, labels, batch_size=8, shuffle=False, verbose=0).history
    assert set(means) == set(history)
    for name, values in history.items():
        assert means[name] == pytest.approx(values[0], rel=1e-3), name
    for weight, expected in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_allclose(weight, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_centres_begin_and_are_drawn_anew_under_xla(images, labels):
    model = ClusteringModel(make_dense(), clusters=10, weight=1.0, reset_every=1)
    trainer = Trainer(model)
    trainer.compile(keras.optimizers.SGD(0.1, 0.9))
    loop = ResidentLoop(trainer, images, labels, 8, True)
    loop.epoch(np.arange(EXAMPLES))
    means = loop.epoch(np.arange(EXAMPLES))
    assert means["fc_revivals"] > 0 < means["fc_regulariser"]


def test_the_hybrid_is_a_distiller_whose_student_clusters(images, labels):
    def distil(weight):
        keras.utils.set_random_seed(4)
        teacher = make_dense()
        student = ClusteringModel(make_dense(), clusters=4, weight=weight)
        distiller = npr.Distiller(student, teacher)
        distiller.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
        return student, distiller.fit(
            images, labels, batch_size=11, epochs=2, shuffle=False, verbose=0
        ).history

    (alone, without), (pulled, found) = distil(0.0), distil(3.0)
    assert found["fc_regulariser"][-1] > 0 == without["fc_regulariser"][-1]
    kernels = [each.network.get_layer("fc").kernel.numpy() for each in (alone, pulled)]
    assert np.abs(kernels[0] - kernels[1]).max() > 1e-3
    names = ["fc_regulariser", "logits_regulariser"]
    parts = 0.9 * 25 * found["soft"][0] + 0.1 * found["hard"][0]
    assert found["loss"][0] - parts == pytest.approx(
        sum(found[name][0] for name in names), rel=0.2
    )


def test_a_clustering_student_learns_by_hints_as_well(images, labels):
    student, teacher = ClusteringModel(make_dense(), clusters=4), make_dense()
    taught = npr.Distiller(student, teacher, hints={"fc": "fc"})
    plain = npr.Distiller(student.network, teacher, hints={"fc": "fc"})
    batch = (tf.constant(images), tf.constant(labels))
    gap = float(plain.test_step(batch)["hints"])
    assert float(taught.test_step(batch)["hints"]) == pytest.approx(gap, rel=1e-6)
    assert student.clusters[0].held.numpy() == 0
    taught.compile("sgd")
    told = taught.fit(images, labels, batch_size=11, epochs=2, verbose=0).history
    assert {"hints", "fc_regulariser", "logits_regulariser"} <= set(told)
    assert told["fc_regulariser"][-1] > 0 < told["hints"][-1]
    assert {layer.held.numpy() for layer in student.clusters} == {4}


def test_hints_of_a_clustering_student_are_measured_after_training(images, labels):
    student = ClusteringModel(make_dense(), clusters=4)
    taught = npr.Distiller(student, make_dense(), hints={"fc": "fc"})
    taught.compile("sgd")
    batch = {"batch_size": 11, "verbose": 0}
    told = taught.fit(images, labels, validation_data=(images, labels), **batch)
    measured = taught.evaluate(images, labels, return_dict=True, **batch)
    for name, value in measured.items():
        assert told.history[f"val_{name}"] == [pytest.approx(value)]
    # Penalties of training are none of a measurement's.
    names = {"loss", "soft", "hard", "hints", "accuracy", "agreement"}
    assert set(measured) == names
    parts = 0.9 * 25 * measured["soft"] + 0.1 * measured["hard"] + measured["hints"]
    assert measured["loss"] == pytest.approx(parts, rel=1e-5)


def test_a_distiller_too_refuses_more_clusters_than_rows(images, labels):
    student = ClusteringModel(make_dense(), clusters=30)
    taught = npr.Distiller(student, make_dense())
    taught.compile("sgd")
    with pytest.raises(ValueError, match="clusters of fc: got 30, expected at most 22"):
        taught.fit(images, labels, batch_size=11, epochs=3, verbose=0)


def test_labels_are_taken_as_keras_takes_them(images, labels):
    model = ClusteringModel(make_network(), ["fc"], clusters=4)
    model.compile("sgd")
    told = [
        model.evaluate(images, given, verbose=0, return_dict=True)
        for given in (labels, labels[:, None], labels.astype("float32"))
    ]
    assert told[0] == told[1] == told[2]
    model = ClusteringModel(make_network(), ["fc"], clusters=4)
    model.compile("sgd")
    with pytest.raises(ValueError, match=r"labels: got shape \(None, 3\), expected"):
        model.evaluate(images, np.eye(3)[labels], verbose=0)
    with pytest.raises(ValueError, match="labels: got none, expected the number"):
        model.evaluate(images, verbose=0)


@pytest.mark.parametrize("kind", ["float32", "int64"])
def test_weights_of_examples_are_taken_as_keras_takes_them(images, labels, kind):
    network = make_network()
    weights = np.arange(1, EXAMPLES + 1).astype(kind)
    network.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    expected = network.evaluate(images, labels, 8, 0, sample_weight=weights)
    model = ClusteringModel(network, ["fc"], clusters=4)
    model.compile("sgd")
    for given in (weights, weights[:, None]):
        told = model.evaluate(images, labels, 8, 0, sample_weight=given)
        assert told[0] == pytest.approx(expected, rel=1e-5)


def two_ends():
    network = make_network()
    return keras.Model(network.inputs, [*network.outputs, *network.outputs])


def named_end():
    network = make_network()
    return keras.Model(network.inputs, {"logits": network.output})


def one_logit():
    x = inputs = keras.Input((6, 5, 2))
    return keras.Model(inputs, layers.Dense(1, name="fc")(layers.Flatten()(x)))


@pytest.mark.parametrize(
    ("make", "gives"),
    [
        (two_ends, "outputs .*, expected one"),
        (named_end, r"outputs \[\[None, 3\]\] within a dict, expected one"),
        (one_logit, r"outputs \[\[None, 1\]\]"),
        (lambda: make_network("sigmoid"), "a sigmoid, expected one"),
    ],
)
def test_networks_without_logits_need_a_loss(images, labels, make, gives):
    model = ClusteringModel(make(), ["fc"], clusters=4)
    model.compile("sgd")
    with pytest.raises(ValueError, match=f"loss: got none .* gives {gives}"):
        model.fit(images, labels, verbose=0)


def test_probabilities_are_not_put_through_a_softmax_twice(images, labels):
    model = ClusteringModel(make_network("softmax"), ["fc"], clusters=4)
    expected = -np.mean(np.log(model(images).numpy()[np.arange(EXAMPLES), labels]))
    for each in (model, Trainer(model)):
        each.compile("sgd")
        told = each.evaluate(images, labels, verbose=0, return_dict=True)
        assert told["cross_entropy"] == pytest.approx(expected, rel=1e-4)


def test_a_stopped_training_ends_as_an_undisturbed_one(images, labels, tmp_path):
    part = (images, labels)
    data = ArrayDataset("tiny", dict.fromkeys(SPLITS, part), num_classes=3)
    run, plan = RunDir(tmp_path), FitPlan(2, 8, 0.1, seed=5, optimizer="sgd")

    def train(folder):
        make = lambda: ClusteringModel(  # noqa: E731
            make_network(), ["conv"], clusters=9, reset_every=2
        )
        export = lambda model: model.network  # noqa: E731
        return fit(make, data, plan, run, folder, export=export).load(run, "last")

    with stopping():
        train("stopped")
    resumed, straight = train("stopped"), train("straight")
    for weight, kept in zip(resumed.get_weights(), straight.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, kept)


def test_more_clusters_than_rows_are_refused(images, labels):
    model = ClusteringModel(make_network(), ["conv", "fc"], "spatial", 30)
    message = "clusters of fc: got 30, expected at most 22"
    with pytest.raises(ValueError, match=message):
        model.check_examples(EXAMPLES)
    model.check_examples(30)
    model.compile("sgd", run_eagerly=True)
    with pytest.raises(ValueError, match=message):
        model.fit(images, labels, batch_size=11, epochs=9, verbose=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": ["cnv"]}, "'cnv', expected one of .*conv.*mean 'conv'"),
        ({"layers": []}, "layers: got none, expected some of conv, fc, logits"),
        ({"layers": "fc"}, "layers: got 'fc', expected a list: \\['fc'\\]"),
        ({"clusters": 0}, "clusters of conv: got 0, expected a whole number above 0"),
        ({"clusters": 2.5}, "clusters of conv: got 2.5"),
        ({"clusters": float("inf")}, "clusters of conv: got inf"),
        ({"weight": None}, "weight of conv: got None, expected a number of 0 or more"),
        ({"weight": -1}, "weight of conv: got -1, expected a number of 0 or more"),
        ({"weight": float("nan")}, "weight of conv: got nan"),
        ({"momentum": 1.0}, r"momentum of conv: got 1.0, expected a share .* \[0,1\)"),
        ({"kind": "pixel"}, "kind of conv: got 'pixel', expected one of sample"),
        ({"weight": {"conv": 1.0}}, "values for conv, expected .* conv, fc, logits"),
        ({"reset_every": -1}, "reset_every of conv"),
        ({"legacy": "no"}, "legacy of conv: got 'no', expected True or False"),
    ],
)
def test_bad_input_is_answered_in_one_line(options, message):
    with pytest.raises(ValueError, match=message) as caught:
        ClusteringModel(make_network(), **options)
    assert "\n" not in str(caught.value)


def test_places_must_be_settled_for_kinds_that_need_them():
    x = inputs = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, name="conv")(x)
    x = layers.Dense(2, name="logits")(layers.GlobalAveragePooling2D()(x))
    network = keras.Model(inputs, x)
    assert ClusteringModel(network, kind="spatial", clusters=4).clusters
    with pytest.raises(ValueError, match="layer conv: got .* take kind='spatial'"):
        ClusteringModel(network, kind="channel", clusters=4)


def test_settings_are_told_apart():
    clusters = {"conv": 3, "fc": 2}
    model = ClusteringModel(make_network(), ["conv", "fc"], clusters=clusters)
    config = model.get_config()
    assert config["clusters"] == {"conv": 3, "fc": 2}
    how = dataclasses.asdict(model.clusters[1].how)
    assert how["clusters"] == 2
