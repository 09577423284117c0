"""The figures of a sweep: PNG and GIF files from plain arrays.

Every function writes one file; the same arrays give the same bytes. Matplotlib is used
through its object interface: no window, no global state.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps, style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator, PercentFormatter
from PIL import Image

from network_pruning.evaluation.metrics import Float64, Reliability, per_seed

# Okabe and Ito's palette: told apart under every common colour blindness.
BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"
PURPLE, SKY, GREY = "#CC79A7", "#56B4E9", "#666666"
COLOURS = {"weight": BLUE, "unit": ORANGE, "train": GREY, "validation": BLUE}
LABELS = {"weight": "weights", "unit": "units"}
FORMS = {
    "dense": GREY,
    "csr": GREEN,
    "bitmask": PURPLE,
    "gzip": BLUE,
    "shrunk": ORANGE,
}
STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#999999",
    "axes.grid": True,
    "axes.labelcolor": "#333333",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 11,
    "figure.dpi": 120,
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
    "text.color": "#222222",
    "xtick.color": "#555555",
    "ytick.color": "#555555",
}

ByKind = Mapping[str, npt.ArrayLike]
"""weight and unit, or one of them -> values [seeds, sparsities]; nan where missing."""


def training_curves(history: Mapping[str, npt.ArrayLike], path: Path) -> None:
    """Draws loss and accuracy over the epochs, training and validation.

    Args:
        history: loss, val_loss, accuracy and val_accuracy, each [epochs] or
            [seeds, epochs]; with several seeds a band shows mean +- sd.
        path: Of the PNG.
    """
    with canvas(path, (12, 4), columns=2) as axes:
        for ax, name, label in zip(
            axes.flat, ("loss", "accuracy"), ("Loss (nats)", "Accuracy"), strict=True
        ):
            for key, part in ((name, "train"), (f"val_{name}", "validation")):
                values = np.atleast_2d(np.asarray(history[key], np.float64))
                epochs = np.arange(1, values.shape[1] + 1)
                _line(ax, epochs, values, COLOURS[part], part)
            ax.set(xlabel="Epoch", ylabel=label)
            ax.xaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10], integer=True))
            ax.legend()


def weight_histograms(
    kernels: Mapping[str, npt.ArrayLike], sparsity: float, path: Path
) -> None:
    """Draws a histogram of |w| without the zeros for each layer.

    Args:
        kernels: Layer name -> kernel of any shape.
        sparsity: For the title.
        path: Of the PNG.
    """
    values = {}
    for name, kernel in kernels.items():
        magnitudes = np.abs(np.asarray(kernel)).ravel()
        values[name] = magnitudes[magnitudes > 0]
    title = f"Weights that remain at {percent(sparsity)} sparsity"
    _histograms(values, title, "Magnitude |w|", "Weights", 300, path)


def unit_histograms(
    kernels: Mapping[str, npt.ArrayLike], sparsity: float, path: Path
) -> None:
    """Draws a histogram of the units' L2 norms, zeros included, for each layer.

    Args:
        kernels: Layer name -> kernel [..., units].
        sparsity: For the title.
        path: Of the PNG.
    """
    values = {}
    for name, kernel in kernels.items():
        columns = np.asarray(kernel, np.float64)
        values[name] = np.linalg.norm(columns.reshape(-1, columns.shape[-1]), axis=0)
    title = f"Norms of the units at {percent(sparsity)} sparsity"
    _histograms(values, title, "L2 norm of the incoming weights", "Units", 100, path)


def gif(png_paths: Sequence[Path], path: Path) -> None:
    """Joins PNG files into an animation of one second a frame.

    Args:
        png_paths: The frames, in order.
        path: Of the GIF.

    Raises:
        ValueError: If there is no frame.
    """
    if not png_paths:
        raise ValueError("png_paths: got none, expected at least one frame.")
    frames = []
    for png in png_paths:
        with Image.open(png) as image:
            frames.append(image.convert("RGB").quantize(64, dither=Image.Dither.NONE))
    frames[0].save(
        path,
        format="GIF",
        save_all=True,
        append_images=frames[1:],
        duration=1000,
        loop=0,
    )


def pruned_loss_accuracy(
    sparsities: npt.ArrayLike, loss: ByKind, accuracy: ByKind, path: Path
) -> None:
    """Draws test loss and test accuracy against the sparsity.

    Args:
        sparsities: [sparsities], fractions.
        loss: Cross entropy plus penalty.
        accuracy: In [0, 1].
        path: Of the PNG.
    """
    x = np.asarray(sparsities, np.float64)
    with canvas(path, (12, 4), columns=2) as axes:
        for ax, curves, label in zip(
            axes.flat,
            (loss, accuracy),
            ("Test loss (nats)", "Test accuracy"),
            strict=True,
        ):
            for kind, values in curves.items():
                _line(ax, x, values, COLOURS[kind], LABELS[kind], marker="o")
            ax.set(xlabel="Sparsity", ylabel=label)
            ax.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
            ax.legend(title="Pruned")


def tradeoff(accuracy: ByKind, costs: Mapping[str, ByKind], path: Path) -> None:
    """Draws test accuracy against what the networks cost.

    Args:
        accuracy: In [0, 1].
        costs: Label of an axis, with its unit -> cost; one panel each, two in a row.
        path: Of the PNG.
    """
    rows = -(-len(costs) // 2)
    with canvas(path, (10, 3.75 * rows), rows, columns=2) as axes:
        for ax, (label, by_kind) in zip(axes.flat, costs.items(), strict=False):
            for kind, cost in by_kind.items():
                x, _ = _mean_sd(cost)
                _line(ax, x, accuracy[kind], COLOURS[kind], LABELS[kind], marker="o")
            ax.set(xlabel=label, ylabel="Test accuracy", xscale="log")
        axes.flat[0].legend(title="Pruned")
        for ax in list(axes.flat)[len(costs) :]:
            ax.set_axis_off()


def sparsity_buys(
    sparsities: npt.ArrayLike,
    storage: Mapping[str, npt.ArrayLike],
    seconds: Mapping[str, npt.ArrayLike],
    path: Path,
) -> None:
    """Draws what zeros buy: bytes of a kernel and time of its product.

    Args:
        sparsities: [sparsities], fractions.
        storage: Format -> bytes [sparsities]; the first word of a name, one of
            `FORMS`, sets its colour in both panels.
        seconds: Form -> seconds of one product [sparsities]; likewise.
        path: Of the PNG.
    """
    x = np.asarray(sparsities, np.float64)
    with canvas(path, (12, 4.5), columns=2) as axes:
        for ax, curves, scale, label in (
            (axes[0, 0], storage, 1e-6, "Size of the kernel (MB)"),
            (axes[0, 1], seconds, 1e3, "Time of one product (ms)"),
        ):
            for name, values in curves.items():
                y = np.asarray(values, np.float64) * scale
                ax.plot(x, y, marker="o", label=name, **_form(name))
            ax.set(xlabel="Sparsity", ylabel=label, yscale="log")
            ax.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
            ax.legend()


def _form(name: str) -> dict[str, Any]:
    colour = FORMS.get(name.split()[0].rstrip(",").lower(), SKY)
    return {"color": colour, "ls": "--" if "tensorflow" in name.lower() else "-"}


def reliability(curves: Mapping[str, Reliability], path: Path) -> None:
    """Draws accuracy against confidence, and how often each confidence is claimed.

    On the diagonal a network is as often right as it says; below it, it is too sure.

    Args:
        curves: By name of who predicts.
        path: Of the PNG.
    """
    with canvas(path, (11, 4.5), columns=2) as axes:
        left, right = axes.flat
        left.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls="--")
        for place, (name, curve) in enumerate(curves.items()):
            colour = colormaps["turbo"]((place + 0.5) / len(curves))
            there = curve.share > 0
            options: dict[str, Any] = {"color": colour, "marker": "o", "label": name}
            x = curve.confidence[there]
            left.plot(x, curve.accuracy[there], **options)
            right.plot(x, curve.share[there], **options)
        left.set(xlabel="Confidence", ylabel="Accuracy", xlim=(0, 1), ylim=(0, 1))
        right.set(xlabel="Confidence", ylabel="Share of the images", yscale="log")
        right.legend(fontsize=8)


def percent(sparsity: float) -> str:
    """Writes a fraction as a percentage, exactly.

    Args:
        sparsity: A fraction.

    Returns:
        Such as 25 % or 99.5 %.
    """
    return f"{(Decimal(str(sparsity)) * 100).normalize():f} %"


def _histograms(
    values: Mapping[str, Float64],
    title: str,
    xlabel: str,
    ylabel: str,
    bins: int,
    path: Path,
) -> None:
    columns = 3
    rows = max(2, -(-len(values) // columns))
    with canvas(path, (12, 3.5 * rows), rows, columns, title) as axes:
        for ax, (name, data) in zip(axes.flat, values.items(), strict=False):
            ax.set_title(name)
            if len(data):
                counts, edges = np.histogram(data, bins)
                ax.stairs(counts, edges, fill=True, color=BLUE)
                ax.yaxis.set_major_locator(MaxNLocator(5, integer=True))
            else:
                ax.set(xticks=[], yticks=[])
                ax.text(0.5, 0.5, "none left", transform=ax.transAxes, ha="center")
        for ax in axes[-1]:
            ax.set_xlabel(xlabel)
        for ax in axes[:, 0]:
            ax.set_ylabel(ylabel)
        for ax in list(axes.flat)[len(values) :]:
            ax.set_axis_off()


def _line(
    ax: Axes,
    x: Float64,
    values: npt.ArrayLike,
    colour: str,
    label: str,
    marker: str | None = None,
) -> None:
    """Draws the mean over seeds and, with several, a band of one sd."""
    mean, sd = _mean_sd(values)
    ax.plot(x, mean, color=colour, label=label, marker=marker)
    if np.isfinite(sd).any():
        ax.fill_between(x, mean - sd, mean + sd, color=colour, alpha=0.18, lw=0)


def _mean_sd(values: npt.ArrayLike) -> tuple[Float64, Float64]:
    seeds = np.atleast_2d(np.asarray(values, np.float64))
    pairs = [
        per_seed(v[~np.isnan(v)]) if (~np.isnan(v)).any() else (np.nan, np.nan)
        for v in seeds.T
    ]
    mean, sd = zip(*pairs, strict=True)
    return np.asarray(mean, np.float64), np.asarray(sd, np.float64)


@contextlib.contextmanager
def canvas(
    path: Path,
    size: tuple[float, float],
    rows: int = 1,
    columns: int = 1,
    title: str | None = None,
) -> Generator[npt.NDArray[Any], None, None]:
    """Opens a figure, and writes it when it is drawn.

    Args:
        path: Of the PNG.
        size: Width and height in inches.
        rows: Of panels.
        columns: Likewise.
        title: Above all of them.

    Yields:
        The axes [rows, columns].
    """
    with style.context(STYLE, after_reset=True):
        layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1)
        figure = Figure(figsize=size, layout=layout)
        FigureCanvasAgg(figure)
        axes = figure.subplots(rows, columns, squeeze=False)
        if title:
            figure.suptitle(title)
        yield axes
        # Without metadata, matplotlib would write its own version into the file.
        figure.savefig(path, format="png", metadata={"Software": None})
