import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from network_pruning.evaluation import figures, metrics, ranking_figures

RNG = np.random.default_rng(0)
K = [0.0, 0.5, 0.9]
BY_KIND = {kind: RNG.random((3, 3)) + 0.1 for kind in ("weight", "unit")}
KERNELS = {f"layer_{i}": RNG.normal(size=(6, 4)) for i in range(5)}
HISTORY = {
    name: RNG.random((2, 4))
    for name in ("loss", "val_loss", "accuracy", "val_accuracy")
}
SCORES = {"c1": ([0.1, 0.3, 0.2], [0.01, 0.02, 0.03]), "f6": ([1.0, 2.0], None)}
RELIABLE = {
    name: metrics.reliability(scale * RNG.normal(size=(50, 3)), RNG.integers(0, 3, 50))
    for name, scale in (("timid", 0.1), ("bold", 9.0))
}
DRAW = {
    "training": lambda path: figures.training_curves(HISTORY, path),
    "weights": lambda path: figures.weight_histograms(KERNELS, 0.25, path),
    "units": lambda path: figures.unit_histograms(KERNELS, 0.25, path),
    "pruned": lambda path: figures.pruned_loss_accuracy(K, BY_KIND, BY_KIND, path),
    "tradeoff": lambda path: figures.tradeoff(
        BY_KIND, {"Parameters": BY_KIND, "MACs": BY_KIND, "Bytes": BY_KIND}, path
    ),
    "scores": lambda path: ranking_figures.unit_scores(SCORES, "shapley", path),
    "sensitivity": lambda path: ranking_figures.sensitivity(
        [0.5, 0.9], {"c1": [0.9, 0.5], "c3": [0.8, 0.2]}, path
    ),
    "agreement": lambda path: ranking_figures.agreement(
        np.eye(2), np.zeros((2, 2)), ["l1", "l2"], path
    ),
    "correlations": lambda path: ranking_figures.switch_correlations(
        {"c1": {"dirichlet": [-0.5, -0.1], "generalised dirichlet": [-0.2, 0.4]}}, path
    ),
    "reliability": lambda path: figures.reliability(RELIABLE, path),
    "sparsity": lambda path: figures.sparsity_buys(
        K, {"dense": [3, 3, 3], "CSR": [6, 3, 1]}, {"dense, NumPy": [1, 1, 1]}, path
    ),
}


@pytest.fixture(name="drawn")
def spy_on_axes(monkeypatch):
    """Collects the axes of every figure that is written."""
    seen = []
    save = figures.Figure.savefig

    def savefig(self, *args, **kwargs):
        seen.extend(self.axes)
        save(self, *args, **kwargs)

    monkeypatch.setattr(figures.Figure, "savefig", savefig)
    return seen


@pytest.mark.parametrize("name", DRAW)
def test_the_same_arrays_give_the_same_bytes_and_no_metadata(name, tmp_path):
    DRAW[name](tmp_path / "a.png")
    DRAW[name](tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as image:
        assert image.format == "PNG"
        assert set(image.info) <= {"dpi"}


def test_the_users_settings_neither_count_nor_change(tmp_path):
    DRAW["training"](tmp_path / "a.png")
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red"}):
        DRAW["training"](tmp_path / "b.png")
        assert mpl.rcParams["font.size"] == 30
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_the_reliability_diagram_has_the_bins_that_are_not_empty(tmp_path, drawn):
    DRAW["reliability"](tmp_path / "a.png")
    left, right = drawn
    diagonal, *lines = left.lines
    np.testing.assert_array_equal(diagonal.get_xdata(), diagonal.get_ydata())
    for line, (name, curve) in zip(lines, RELIABLE.items(), strict=True):
        there = curve.share > 0
        assert 0 < there.sum() < 15 and line.get_label() == name
        np.testing.assert_array_equal(line.get_xdata(), curve.confidence[there])
        np.testing.assert_array_equal(line.get_ydata(), curve.accuracy[there])
    assert sum(right.lines[1].get_ydata()) == pytest.approx(1)


def test_the_training_figure_is_12_by_4_with_two_panels(tmp_path, drawn):
    DRAW["training"](tmp_path / "a.png")
    assert len(drawn) == 2
    assert tuple(drawn[0].figure.get_size_inches()) == (12, 4)
    train = drawn[1].lines[0]
    np.testing.assert_array_equal(train.get_xdata(), [1, 2, 3, 4])
    np.testing.assert_allclose(train.get_ydata(), HISTORY["accuracy"].mean(axis=0))
    assert len(drawn[1].collections) == 2  # the bands


def test_one_seed_has_no_band(tmp_path, drawn):
    one = {name: values[0] for name, values in HISTORY.items()}
    figures.training_curves(one, tmp_path / "a.png")
    np.testing.assert_array_equal(drawn[0].lines[1].get_ydata(), one["val_loss"])
    assert not drawn[0].collections


def test_weight_histograms_leave_the_zeros_out(tmp_path, drawn):
    kernels = {**KERNELS, "layer_0": np.array([[0.0, -2.0], [1.0, 0.0]])}
    figures.weight_histograms(kernels, 0.25, tmp_path / "a.png")
    assert len(drawn) == 6  # 2 x 3
    counts, edges, _ = drawn[0].patches[0].get_data()
    assert len(counts) == 300
    assert counts.sum() == 2
    assert (edges[0], edges[-1]) == (1.0, 2.0)
    assert "25 %" in drawn[0].figure.get_suptitle()


def test_a_layer_without_weights_left_is_said_so(tmp_path, drawn):
    kernels = {**KERNELS, "layer_1": np.zeros((3, 3))}
    figures.weight_histograms(kernels, 0.999, tmp_path / "a.png")
    assert [text.get_text() for text in drawn[1].texts] == ["none left"]


def test_unit_histograms_keep_the_zeros(tmp_path, drawn):
    kernels = {"a": np.array([[3.0, 0.0, 0.0], [4.0, 0.0, 0.0]])}
    figures.unit_histograms(kernels, 0.9, tmp_path / "a.png")
    counts, edges, _ = drawn[0].patches[0].get_data()
    assert len(counts) == 100
    assert (counts[0], counts[-1]) == (2, 1)
    assert (edges[0], edges[-1]) == (0.0, 5.0)


def test_seeds_that_lack_a_cell_are_left_out_of_its_mean(tmp_path, drawn):
    values = {"weight": np.array([[0.2, 0.4], [np.nan, 0.6]])}
    figures.pruned_loss_accuracy([0, 0.5], values, values, tmp_path / "a.png")
    np.testing.assert_allclose(drawn[1].lines[0].get_ydata(), [0.2, 0.5])


def test_tradeoff_has_a_panel_for_each_cost(tmp_path, drawn):
    DRAW["tradeoff"](tmp_path / "a.png")
    assert [ax.get_xlabel() for ax in drawn] == ["Parameters", "MACs", "Bytes", ""]
    assert drawn[0].get_xscale() == "log"


def test_sizes_are_drawn_in_the_units_of_the_axis(tmp_path, drawn):
    figures.sparsity_buys([0.5], {"csr": [3e6]}, {"csr": [2e-3]}, tmp_path / "a.png")
    assert drawn[0].lines[0].get_ydata() == pytest.approx([3.0])
    assert drawn[1].lines[0].get_ydata() == pytest.approx([2.0])
    assert "(MB)" in drawn[0].get_ylabel() and "(ms)" in drawn[1].get_ylabel()


def test_units_are_drawn_best_first(tmp_path, drawn):
    DRAW["scores"](tmp_path / "a.png")
    assert drawn[0].lines[0].get_ydata().tolist() == [0.3, 0.2, 0.1]
    assert drawn[1].lines[0].get_ydata().tolist() == [2.0, 1.0]
    (bars,) = drawn[0].collections
    spans = [np.ptp(segment[:, 1]) for segment in bars.get_segments()]
    assert spans == pytest.approx([0.08, 0.12, 0.04])


def test_an_agreement_says_its_numbers(tmp_path, drawn):
    mean, sd = np.array([[1, 0.25], [0.25, 1]]), np.full((2, 2), 0.125)
    ranking_figures.agreement(mean, sd, ["l1", "l2"], tmp_path / "a.png")
    said = [text.get_text() for text in drawn[0].texts]
    assert said == ["1.00\n±0.12", "0.25\n±0.12", "0.25\n±0.12", "1.00\n±0.12"]


@pytest.mark.parametrize(
    ("sparsity", "text"),
    [(0, "0 %"), (0.25, "25 %"), (0.29, "29 %"), (0.995, "99.5 %"), (0.1, "10 %")],
)
def test_percent_is_exact(sparsity, text):
    assert figures.percent(sparsity) == text


def test_a_gif_shows_each_frame_for_a_second(tmp_path):
    paths = []
    for i, colour in enumerate(("red", "green", "blue")):
        paths.append(tmp_path / f"{i}.png")
        Image.new("RGB", (8, 8), colour).save(paths[-1])
    figures.gif(paths, tmp_path / "a.gif")
    figures.gif(paths, tmp_path / "b.gif")
    assert (tmp_path / "a.gif").read_bytes() == (tmp_path / "b.gif").read_bytes()
    with Image.open(tmp_path / "a.gif") as image:
        assert image.n_frames == 3
        for frame in range(3):
            image.seek(frame)
            assert image.info["duration"] == 1000
        assert image.convert("RGB").getpixel((0, 0)) == (0, 0, 255)


def test_a_gif_needs_a_frame(tmp_path):
    with pytest.raises(ValueError, match="at least one frame"):
        figures.gif([], tmp_path / "a.gif")
