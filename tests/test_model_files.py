"""Trained networks from files, and all that a file can have wrong with it."""

import json
import subprocess
import sys
import zipfile

import h5py
import numpy as np
import pytest
import tf_keras as keras

import models
from network_pruning.classifiers import ends_in_softmax

SHAPE, CLASSES = (6, 6, 1), 3


def make_network(classes=CLASSES):
    layers = keras.layers
    x = inputs = keras.Input(SHAPE, name="images")
    x = layers.Conv2D(4, 3, activation="relu", name="conv")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(classes, name="logits")(x)
    return keras.Model(inputs, x, name="small")


def with_lambda():
    inputs = keras.Input(SHAPE)
    x = keras.layers.Lambda(lambda x: x * 2)(inputs)
    x = keras.layers.Dense(CLASSES)(keras.layers.Flatten()(x))
    return keras.Model(inputs, x)


def rewrite(path, name, change):
    """Writes a .keras file anew, one member changed."""
    with zipfile.ZipFile(path) as archive:
        members = {n: archive.read(n) for n in archive.namelist()}
    members[name] = change(members[name])
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in members.items():
            if content is not None:
                archive.writestr(member, content)


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5")
@pytest.mark.parametrize("name", ["a.keras", "a.h5", "saved"])
def test_a_file_is_the_network_at_its_weights(tmp_path, name):
    network, path = make_network(), str(tmp_path / name)
    network.save(path)
    models.check(path)
    loaded = models.build(path, SHAPE, CLASSES)
    images = np.random.default_rng(0).random((5, *SHAPE), np.float32)
    np.testing.assert_allclose(loaded(images), network(images), atol=1e-6)
    assert [layer.name for layer in loaded.layers] == [
        layer.name for layer in network.layers
    ]
    assert loaded.optimizer is None


def test_judging_a_file_loads_no_tensorflow(tmp_path):
    make_network().save(tmp_path / "a.keras")
    code = (
        "import sys, models; models.check(sys.argv[1]); models.options(sys.argv[1]);"
        "print([m for m in ('tensorflow', 'tf_keras') if m in sys.modules])"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "a.keras")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def says(path, message):
    with pytest.raises(ValueError, match=message) as caught:
        models.check(str(path))
    assert "\n" not in str(caught.value)


def test_what_is_no_file_is_said(tmp_path):
    says(tmp_path / "no.keras", "there is no .*no.keras, expected a .keras or .h5 file")
    says(tmp_path, "is no SavedModel, expected .*saved_model.pb")
    (tmp_path / "a.txt").write_text("x")
    says(tmp_path / "a.txt", "expected a file that ends in .keras, .h5, .hdf5")
    (tmp_path / "saved_model.pb").write_text("x")
    says(tmp_path, "was not saved by Keras")
    for name in ("a.keras", "a.h5"):
        (tmp_path / name).write_text("no model")
        says(tmp_path / name, "is no whole model file")


def test_a_truncated_file_is_said(tmp_path):
    path = tmp_path / "a.keras"
    make_network().save(path)
    content = path.read_bytes()
    path.write_bytes(content[:-200])
    says(path, "no whole model file .*: get it anew")
    altered = bytearray(content)
    altered[len(content) // 2] ^= 1
    path.write_bytes(altered)
    says(path, "no whole model file")
    path.write_bytes(content)
    rewrite(path, "model.weights.h5", lambda content: None)
    says(path, "no model.weights.h5")


def test_a_file_of_keras_3_is_said(tmp_path):
    path = tmp_path / "a.keras"
    make_network().save(path)

    def later(content):
        return json.dumps(json.loads(content) | {"keras_version": "3.4.1"})

    rewrite(path, "metadata.json", later)
    says(path, "saved by Keras 3.4.1, expected tf_keras .*TF_USE_LEGACY_KERAS=1")


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5")
@pytest.mark.parametrize("name", ["a.keras", "a.h5", "saved"])
def test_code_in_a_file_is_refused(tmp_path, name):
    path = tmp_path / name
    with_lambda().save(path)
    says(path, "holds a Lambda, code that loading it would run")


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5")
@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`")
@pytest.mark.parametrize("name", ["a.keras", "a.h5"])
def test_a_lambda_for_an_activation_is_code_too(tmp_path, name):
    inputs = keras.Input((6, 6, 1))
    x = keras.layers.Flatten()(inputs)
    x = keras.layers.Dense(4, activation=lambda x: x * x)(x)
    keras.Model(inputs, keras.layers.Dense(3)(x)).save(tmp_path / name)
    says(tmp_path / name, "holds a Lambda, code that loading it would run")


def test_pixels_that_are_no_floats_are_refused(tmp_path):
    inputs = keras.Input((6, 6, 1), dtype="uint8")
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))
    keras.Model(inputs, keras.layers.Dense(3)(x)).save(tmp_path / "a.keras")
    with pytest.raises(ValueError, match="takes uint8, expected floats: begin it"):
        models.build(str(tmp_path / "a.keras"), (6, 6, 1), 3)


def test_weights_alone_are_said(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["kernel"] = np.zeros(3)
    says(tmp_path / "a.h5", "holds weights and no model")


def test_another_shape_or_number_of_classes_is_said(tmp_path):
    path = str(tmp_path / "a.keras")
    make_network().save(path)
    with pytest.raises(
        ValueError,
        match="takes images 6x6x1, the dataset's are 8x8x1: "
        "resize them, --image_size=6,6",
    ):
        models.build(path, (8, 8, 1), CLASSES)
    with pytest.raises(ValueError, match="6x6x1, .* 6x6x3: choose another dataset"):
        models.build(path, (6, 6, 3), CLASSES)
    with pytest.raises(ValueError, match="gives 3 outputs, the dataset has 10 classes"):
        models.build(path, SHAPE, 10)


def test_two_outputs_are_said(tmp_path):
    path = str(tmp_path / "a.keras")
    inputs = keras.Input(SHAPE)
    x = keras.layers.Flatten()(inputs)
    outputs = [keras.layers.Dense(CLASSES)(x) for _ in range(2)]
    keras.Model(inputs, outputs).save(path)
    with pytest.raises(ValueError, match="has 1 inputs and 2 outputs"):
        models.build(path, SHAPE, CLASSES)


def test_a_network_without_a_graph_is_said(tmp_path):
    path = str(tmp_path / "a.keras")
    with pytest.warns(UserWarning, match="not yet been built"):
        keras.Sequential([keras.layers.Dense(CLASSES)]).save(path)
    with pytest.raises(ValueError, match="no graph that can be read.*keras.Input"):
        models.build(path, SHAPE, CLASSES)


def test_layers_of_ones_own_are_said(tmp_path):
    class Own(keras.layers.Layer):
        pass

    path = str(tmp_path / "a.keras")
    inputs = keras.Input(SHAPE)
    x = keras.layers.Dense(CLASSES)(keras.layers.Flatten()(Own()(inputs)))
    keras.Model(inputs, x).save(path)
    with pytest.raises(
        ValueError, match="cannot be loaded .* tf_keras' own layers"
    ) as e:
        models.build(path, SHAPE, CLASSES)
    assert "\n" not in str(e.value)


def test_options_are_those_of_the_network(tmp_path):
    taken = ("widths", "use_bias", "activation", "batch_norm", "dropout", "l1", "l2")
    assert models.options("mlp") == taken
    make_network().save(tmp_path / "a.keras")
    path = str(tmp_path / "a.keras")
    assert models.options(path) == ()
    with pytest.raises(
        ValueError, match="got 'widths', expected none: the file says all"
    ):
        models.check_options(path, {"widths": (3,)})
    with pytest.raises(
        ValueError, match="got .depth., expected one of widths, use_bias"
    ):
        models.build("mlp", SHAPE, CLASSES, depth=3)


ENDS = {
    "fused": lambda x: keras.layers.Dense(CLASSES, "softmax")(x),
    "layer": lambda x: keras.layers.Softmax()(keras.layers.Dense(CLASSES)(x)),
    "activation": lambda x: keras.layers.Activation("softmax")(
        keras.layers.Dense(CLASSES)(x)
    ),
    "looked through": lambda x: keras.layers.Activation("linear")(
        keras.layers.Dropout(0.1)(keras.layers.Dense(CLASSES, "softmax")(x))
    ),
    "nested": lambda x: keras.Sequential([
        keras.layers.Dense(CLASSES, "softmax", input_shape=x.shape[1:])
    ])(x),
    "function": lambda x: __import__("tensorflow").nn.softmax(
        keras.layers.Dense(CLASSES)(x)
    ),
    "average": lambda x: keras.layers.Average()([
        keras.layers.Dense(CLASSES, "softmax")(x) for _ in range(2)
    ]),
}


@pytest.mark.parametrize("end", ENDS)
def test_a_softmax_at_the_end_is_found(end):
    inputs = keras.Input((4,))
    assert ends_in_softmax(keras.Model(inputs, ENDS[end](inputs)))
    x = keras.layers.Dense(3)(ENDS[end](inputs))
    assert not ends_in_softmax(keras.Model(inputs, x))


def test_what_has_no_graph_or_no_softmax_on_a_way_ends_in_logits():
    inputs = keras.Input((4,))
    pair = [keras.layers.Dense(3, end)(inputs) for end in ("softmax", None)]
    assert not ends_in_softmax(keras.Model(inputs, keras.layers.Average()(pair)))
    assert not ends_in_softmax(keras.Sequential([keras.layers.Dense(3)]))
