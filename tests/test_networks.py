"""The networks of Dirichlet pruning: their sizes, their layers, their options."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import models
from network_pruning import graph
from network_pruning.evaluation import cost
from network_pruning.evaluation.macs import count_macs

IMAGE = (32, 32, 3)
LENET, VGG = ("lenet5", (28, 28, 1)), ("vgg16_cifar", IMAGE)
R56, WRN = ("resnet56", IMAGE), ("wrn_28_10", IMAGE)

DEFAULT = (34, 34, 60, 60, 70, 101, 97, 88, 95, 85, 86, 67, 61, 55)
COMP = (34, 34, 68, 68, 75, 106, 101, 92, 102, 92, 67, 67, 62, 62)
COMMENT = (39, 39, 63, 48, 55, 88, 87, 52, 62, 22, 42, 47, 47, 47)
OLD = (25, 25, 65, 80, 201, 158, 159, 460, 450, 490, 470, 465, 465, 450)
KEPT = (75, 85, 80, 80, 159, 159, 154, 159, 315, 315, 314, 316)

# Counted by hand: size^2 * k^2 * in * out summed over the convolutions, in * out over
# the dense layers. Last, the figures published with the lists of kept units.
TABLE = [
    (LENET, {}, 40_225, 498_750, ("40225", "0.499M")),
    (LENET, {"widths": (8, 9, 36, 17)}, 8_080, 236_366, ("8080", "0.236M")),
    (LENET, {"widths": (8, 20, 50, 20)}, 21_564, 388_400, ("21564", "0.388M")),
    (LENET, {"widths": (7, 10, 40, 20)}, 9_446, 220_200, ("9446", "0.220M")),
    (LENET, {"widths": (6, 7, 35, 17)}, 5_986, 158_285, ("5986", "0.158M")),
    (LENET, {"widths": (5, 7, 45, 20)}, 7_251, 134_140, ("7251", "0.134M")),
    (
        LENET,
        {"widths": (20, 50, 800, 500)},
        1_072_020,
        2_933_000,
        ("1072020", "2.933M"),
    ),
    (VGG, {}, 14_990_922, 313_463_808, ("14.99M", "313.5M")),
    (VGG, {"widths": DEFAULT}, 637_639, 40_940_333, ("0.638M", "40.9M")),
    (VGG, {"widths": COMP}, 680_793, 45_835_884, ("0.681M", "45.8M")),
    (VGG, {"widths": COMMENT}, 333_075, 37_941_027, ("0.333M", "37.9M")),
    (VGG, {"widths": OLD}, 11_440_549, 160_449_570, ("11.44M", "160.4M")),
    (R56, {}, 853_018, 125_485_696, ("0.853M", "125.5M")),
    (R56, {"inner": (11, 18, 30)}, 425_824, 72_217_216, ("0.426M", "72.2M")),
    (WRN, {}, 36_489_290, 5_951_117_568, ("36.49M", "5.95G")),
    (WRN, {"inner": KEPT}, 18_124_643, 2_966_239_488, ("18.12M", "2.97G")),
]
NAMES = ("lenet5", "vgg16_cifar", "resnet20", "wrn_28_10", "resnet50")
SCALES = {"M": 1e6, "G": 1e9}


def published(count, figure):
    """Writes a count as the figure is written."""
    if figure[-1] not in SCALES:
        return str(count)
    decimals = len(figure[:-1].partition(".")[2])
    return f"{count / SCALES[figure[-1]]:.{decimals}f}{figure[-1]}"


@pytest.fixture
def unfilled(monkeypatch):
    """Lets networks whose shapes alone are looked at start with zeros."""
    monkeypatch.setattr(
        keras.initializers.VarianceScaling,
        "__call__",
        lambda self, shape, dtype=None, **options: tf.zeros(shape, dtype),
    )


@pytest.mark.parametrize(
    ("network", "options", "params", "macs", "figures"),
    TABLE,
    ids=[f"{row[0][0]}-{'kept' if row[1] else 'dense'}-{row[2]}" for row in TABLE],
)
def test_params_and_macs_of_the_published_lists(
    unfilled, network, options, params, macs, figures
):
    name, shape = network
    model = models.build(name, shape, 10, **options)
    counts = cost.count_params(model), count_macs(model)
    assert counts == (params, macs)
    assert tuple(map(published, counts, figures)) == figures


def test_resnet50_has_torchvisions_size(unfilled):
    model = models.build("resnet50", (224, 224, 3), 1000)
    assert cost.count_params(model) == 25_557_032
    assert count_macs(model) == 4_089_184_256


def test_resnet20_has_the_published_size():
    model = models.build("resnet20", IMAGE, 10)
    assert cost.count_params(model) == 269_722
    assert count_macs(model) == 40_551_040


def layer_names(model, kind):
    return [layer.name for layer in model.layers if isinstance(layer, kind)]


def test_lenet5_layer_by_layer():
    model = models.build("lenet5", (28, 28, 1), 10)
    assert [layer.name for layer in model.layers] == [
        *("images", "c1", "c1_pool", "c1_relu", "c1_norm"),
        *("c3", "c3_pool", "c3_relu", "c3_norm", "flatten", "c5", "f6", "out7"),
    ]
    assert model.get_layer("flatten").output_shape == (None, 4 * 4 * 20)
    dense = [model.get_layer(name) for name in ("c5", "f6", "out7")]
    assert [layer.activation.__name__ for layer in dense] == ["linear"] * 3
    assert (
        model.get_layer("c1_norm").epsilon,
        model.get_layer("c1_norm").momentum,
    ) == (1e-5, 0.9)
    relu = models.build("lenet5", (28, 28, 1), 10, fc_activation="relu")
    dense = [relu.get_layer(name) for name in ("c5", "f6", "out7")]
    assert [layer.activation.__name__ for layer in dense] == ["relu", "relu", "linear"]


def test_vgg_layer_by_layer():
    model = models.build("vgg16_cifar", IMAGE, 10)
    convs = layer_names(model, keras.layers.Conv2D)
    assert convs == [f"c{i}" for i in range(1, 14)]
    assert layer_names(model, keras.layers.Dense) == ["l1", "logits"]
    pools = layer_names(model, keras.layers.MaxPooling2D)
    assert pools == ["c2_pool", "c4_pool", "c7_pool", "c10_pool", "c13_pool"]
    assert model.get_layer("flatten").output_shape == (None, 512)
    assert all(model.get_layer(name).use_bias for name in convs)
    assert model.get_layer("l1").activation is keras.activations.linear


def test_a_block_adds_its_input_to_its_convolutions():
    model = models.build("resnet20", (8, 8, 3), 10, normalise=None)
    x = np.random.default_rng(0).random((2, 8, 8, 3), np.float32)
    ends = ["stage1_block3_relu2", "stage2_block1_norm2", "stage2_block1_relu2"]
    outputs = [model.get_layer(name).output for name in ends]
    before, inside, after = (y.numpy() for y in keras.Model(model.input, outputs)(x))
    # He's option A: every other pixel, and zeros in half of the new channels each side.
    carried = np.pad(before[:, ::2, ::2], [(0, 0), (0, 0), (0, 0), (8, 8)])
    np.testing.assert_allclose(after, np.maximum(carried + inside, 0), atol=1e-6)


def test_a_strided_convolution_is_centred_on_the_pixels_its_shortcut_picks():
    model = models.build("resnet20", (8, 8, 3), 10)
    kernel = model.get_layer("stage2_block1_conv1").kernel
    picks = np.zeros(kernel.shape, np.float32)
    picks[1, 1, :16, :16] = np.eye(16)
    kernel.assign(picks)
    source = model.get_layer("stage1_block3_relu2").output
    conv = model.get_layer("stage2_block1_conv1").output
    x = np.random.default_rng(0).random((2, 8, 8, 3), np.float32)
    before, after = keras.Model(model.input, [source, conv])(x)
    np.testing.assert_array_equal(after[..., :16], before[:, ::2, ::2])


@pytest.mark.parametrize(("widths", "pads"), [((4, 7, 7), (1, 2)), ((4, 4, 5), None)])
def test_option_a_adds_as_many_zeros_as_channels_are_missing(widths, pads):
    model = models.build("resnet20", (9, 7, 1), 3, widths=widths)
    zeros = layer_names(model, keras.layers.ZeroPadding2D)
    named = "stage2_block1_shortcut_zeros"
    assert (named in zeros) == (pads is not None)
    if pads:
        assert model.get_layer(named).padding == ((0, 0), pads)
    assert model(np.zeros((2, 9, 7, 1), np.float32)).shape == (2, 3)


def test_option_b_projects():
    model = models.build("resnet20", IMAGE, 10, shortcut="B")
    shortcuts = [x.name for x in model.layers if "shortcut" in x.name]
    assert shortcuts == [
        *("stage2_block1_shortcut_conv", "stage2_block1_shortcut_norm"),
        *("stage3_block1_shortcut_conv", "stage3_block1_shortcut_norm"),
    ]
    assert cost.count_params(model) == 269_722 + 16 * 32 + 64 + 32 * 64 + 128


def test_inner_widths_one_to_a_stage_or_one_to_a_block():
    by_block = models.build("resnet20", IMAGE, 10, inner=range(3, 12))
    filters = [
        by_block.get_layer(f"stage{i}_block{j}_conv1").filters
        for i in (1, 2, 3)
        for j in (1, 2, 3)
    ]
    assert filters == list(range(3, 12))
    assert by_block.get_layer("stage3_block2_conv2").filters == 64
    by_stage = models.build("resnet50", IMAGE, 10, inner=(3, 4, 5, 6), width=0.125)
    block = [by_stage.get_layer(f"stage2_block4_conv{i}").filters for i in (1, 2, 3)]
    assert block == [4, 4, 64]


def test_wide_resnets_of_other_sizes():
    model = models.build("wrn_28_10", IMAGE, 10, depth=10, widen=2, dropout=0)
    assert model.name == "wrn_10_2"
    assert not layer_names(model, keras.layers.Dropout)
    assert model.get_layer("stage3_block1_conv2").filters == 128
    assert model.get_layer("stage3_block1_conv2").strides == (2, 2)
    assert model.get_layer("final_norm").momentum == 0.1
    assert model(np.zeros((1, *IMAGE), np.float32)).shape == (1, 10)
    dropped = models.build("wrn_28_10", IMAGE, 10, depth=10, widen=1)
    rates = [x.rate for x in dropped.layers if isinstance(x, keras.layers.Dropout)]
    assert rates == [0.3] * 3


def test_layers_do_not_start_with_the_same_kernel():
    model = models.build("wrn_28_10", IMAGE, 10, depth=16, widen=1)
    first, second = (
        model.get_layer(f"stage1_block{i}_conv2").kernel.numpy() for i in (1, 2)
    )
    assert np.abs(first - second).max() > 0.01
    limit = np.sqrt(6 * 2 / (9 * 16 + 9 * 16))
    assert 0.9 * limit < np.abs(first).max() <= limit


@pytest.mark.parametrize("name", NAMES)
def test_width_multiplies_every_hidden_width(unfilled, name):
    small = {"depth": 10, "widen": 1} if name == "wrn_28_10" else {}
    shape = (28, 28, 1) if name == "lenet5" else IMAGE
    whole = models.build(name, shape, 10, **small)
    half = models.build(name, shape, 10, width=0.5, **small)
    kinds = keras.layers.Conv2D | keras.layers.Dense
    pairs = [
        (layer.kernel.shape[-1], half.get_layer(layer.name).kernel.shape[-1])
        for layer in whole.layers[:-1]
        if isinstance(layer, kinds)
    ]
    assert [int(a / 2 + 0.5) for a, _ in pairs] == [b for _, b in pairs]
    assert half.output_shape == (None, 10)


def test_a_stage_keeps_at_least_one_channel():
    model = models.build("lenet5", (28, 28, 1), 10, width=0.01)
    assert model.get_layer("c1").filters == 1


def test_normalisation_is_a_layer_of_the_model():
    x = np.random.default_rng(0).random((3, *IMAGE), np.float32)
    mean, sd = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
    model = models.build("vgg16_cifar", IMAGE, 10, width=0.1)
    inside = keras.Model(model.input, model.get_layer("normalise").output)
    np.testing.assert_allclose(inside(x), (x - mean) / sd, rtol=1e-4, atol=1e-5)
    assert not model.get_layer("normalise").weights


@pytest.mark.parametrize(
    ("name", "shape", "options", "has"),
    [
        ("resnet20", IMAGE, {}, True),
        ("resnet20", IMAGE, {"normalise": None}, False),
        ("resnet20", (32, 32, 1), {}, False),
        ("resnet20", (32, 32, 1), {"normalise": ((0.5,), (0.25,))}, True),
        ("lenet5", (32, 32, 3), {}, False),
        ("lenet5", (32, 32, 3), {"normalise": "auto"}, False),
    ],
)
def test_who_normalises(name, shape, options, has):
    model = models.build(name, shape, 10, **options)
    assert bool(layer_names(model, keras.layers.Normalization)) == has


@pytest.mark.parametrize("name", NAMES)
def test_penalties_are_on_every_kernel_but_the_last(name):
    small = {"depth": 10, "widen": 1} if name == "wrn_28_10" else {"width": 0.1}
    shape = (28, 28, 1) if name == "lenet5" else IMAGE
    model = models.build(name, shape, 10, l1=1e-3, l2=1e-2, **small)
    assert model.losses
    assert models.build(name, shape, 10, **small).losses == []
    kernels = [layer.kernel for layer in model.layers[:-1] if hasattr(layer, "kernel")]
    values = [kernel.numpy().astype(float) for kernel in kernels]
    expected = sum(1e-3 * np.abs(w).sum() + 1e-2 * (w**2).sum() for w in values)
    assert float(sum(model.losses)) == pytest.approx(expected, rel=1e-4)


LOAD = """
import sys
for name in ("models", "network_pruning", "data"):
    sys.modules[name] = None  # importing it fails
import numpy as np
import tf_keras as keras
for name in sys.argv[1:]:
    model = keras.models.load_model(f"{name}.keras", safe_mode=True)
    np.save(f"{name}_y.npy", model(np.load(f"{name}_x.npy")))
"""


@pytest.mark.slow
def test_files_load_where_the_project_is_not_installed(tmp_path):
    built = {
        "lenet5": models.build("lenet5", (28, 28, 1), 10),
        "a": models.build("resnet20", IMAGE, 10),
        "b": models.build("resnet20", IMAGE, 10, shortcut="B"),
    }
    rng = np.random.default_rng(0)
    for name, model in built.items():
        np.save(
            tmp_path / f"{name}_x.npy", rng.random((4, *model.input_shape[1:]), "f")
        )
        model.save(tmp_path / f"{name}.keras")
    subprocess.run([sys.executable, "-c", LOAD, *built], check=True, cwd=tmp_path)
    for name, model in built.items():
        expected = model(np.load(tmp_path / f"{name}_x.npy"))
        np.testing.assert_array_equal(np.load(tmp_path / f"{name}_y.npy"), expected)


@pytest.mark.parametrize("name", ["lenet5", "resnet20"])
def test_a_loaded_file_is_the_same_network(name, tmp_path):
    model = models.build(name, IMAGE, 10)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    assert graph.fingerprint(loaded) == graph.fingerprint(model)


@pytest.mark.parametrize(
    ("name", "shape", "options", "message"),
    [
        ("lenet5", (28, 28), {}, r"got \(28, 28\), expected \(height, width, channels"),
        ("lenet5", (8, 8, 1), {}, r"got \(8, 8, 1\), expected at least 16x16"),
        ("vgg16_cifar", (28, 28, 1), {}, "expected at least 32x32 pixels: resize"),
        ("lenet5", IMAGE, {"widths": (1, 2)}, r"widths: got \(1, 2\), expected 4 posi"),
        ("lenet5", IMAGE, {"widths": (1, 2, 0, 4)}, "expected 4 positive whole"),
        ("lenet5", IMAGE, {"width": 0}, "width: got 0, expected a positive factor"),
        ("lenet5", IMAGE, {"fc_activation": "tanh"}, "'tanh', expected one of linear"),
        ("resnet20", IMAGE, {"shortcut": "C"}, "'C', expected one of A, B$"),
        ("resnet20", IMAGE, {"inner": (1, 2)}, "expected 3 or 9 positive whole"),
        ("resnet20", IMAGE, {"widths": (8, 4, 4)}, "8 to 4 channels, .*shortcut=.B."),
        ("wrn_28_10", IMAGE, {"depth": 27}, "depth: got 27, expected 6n"),
        ("wrn_28_10", IMAGE, {"widen": -1}, "widen: got -1, expected a positive"),
        (
            "resnet50",
            IMAGE,
            {"normalise": ((0.5,), (1,))},
            r"expected \(3 means, 3 pos",
        ),
    ],
)
def test_options_that_do_not_fit_are_said_in_one_line(name, shape, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        models.build(name, shape, 10, **options)
    assert "\n" not in str(caught.value)


def test_an_unknown_option_is_said_with_the_known_ones():
    with pytest.raises(
        ValueError,
        match=r"option of lenet5: got 'widht', expected one "
        r"of widths, width, .*l2\. Did you mean 'width'\?$",
    ):
        models.build("lenet5", IMAGE, 10, widht=2)
    with pytest.raises(ValueError, match="option of mlp: got 'inner'"):
        models.check_options("mlp", ["l1", "inner"])
    models.check_options("mlp", ["l1", "use_bias"])


def test_the_name_settles_the_depth():
    assert "depth" not in models.options("resnet20")
    assert "depth" in models.options("wrn_28_10")
    with pytest.raises(ValueError, match="option of resnet20: got 'depth'"):
        models.build("resnet20", IMAGE, 10, depth=32)


OPTIONS = """
import sys, models
models.check_options("resnet20", ["inner"])
assert "tensorflow" not in sys.modules and "tf_keras" not in sys.modules
"""


def test_options_are_known_without_tensorflow():
    subprocess.run([sys.executable, "-c", OPTIONS], check=True)
    assert models.options("mlp") == (
        *("widths", "use_bias", "activation", "batch_norm", "dropout", "l1", "l2"),
    )
