"""Scores on disk: what a criterion said of a network, and what it was asked."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tf_keras as keras

from network_pruning.graph import fingerprint
from network_pruning.pruning.criteria import score_units
from network_pruning.pruning.units import UnitGroup
from network_pruning.runs import RunDir
from network_pruning.types import Dataset, Price, Scores
from network_pruning.views import watched, without_test

FILE = "scores.npz"
TABLE = "ranking.csv"
COLUMNS = ("group", "rank", "unit", "score", "standard error")


@dataclass(frozen=True)
class Asked:
    """What a ranking answers; equal questions have equal answers.

    Attributes:
        model: Fingerprint of the network.
        criterion: By name.
        options: Of the criterion.
        seed: Of what it draws.
        data: Fingerprint of the dataset, with its splits; none for criteria that read
            weights alone.
    """

    model: str
    criterion: str
    options: Mapping[str, Any]
    seed: int
    data: str | None = None


def images_mark(data: Dataset, input_range: tuple[float, ...]) -> str:
    """Returns what tells images from others: content, splits, and pixels' range."""
    if input_range == (0.0, 1.0):
        return data.fingerprint
    low, high = input_range
    return f"{data.fingerprint} in {low:g},{high:g}"


def ask(
    network: keras.Model,
    criterion: str,
    options: Mapping[str, Any],
    seed: int,
    data: Dataset,
    images: str,
    groups: Sequence[UnitGroup] | None = None,
) -> Ranking:
    """Has a criterion judge a network, the test split hidden from it.

    Args:
        network: Trained.
        criterion: By name.
        options: Of it.
        seed: Of what it draws.
        data: What it may look at.
        images: Their mark, see `images_mark`.
        groups: Those to score; None: all.

    Returns:
        The ranking; of a criterion that looked at no image it belongs to no dataset.
    """
    seen = watched(without_test(data))
    scores = score_units(network, criterion, seen, groups, seed, **options)
    read = images if seen.read else None
    return Ranking(Asked(fingerprint(network), criterion, options, seed, read), scores)


@dataclass(frozen=True)
class Ranking:
    """A criterion's verdict on a network.

    Attributes:
        asked: The question.
        scores: By group name.
    """

    asked: Asked
    scores: dict[str, Scores]

    def save(self, run: RunDir, name: str = FILE) -> None:
        """Writes the scores as arrays, and as a table beside them."""
        arrays = {"asked": np.array(json.dumps(dataclasses.asdict(self.asked)))}
        for group, scores in self.scores.items():
            price = dataclasses.astuple(scores.price)
            arrays[f"values/{group}"] = scores.values
            arrays[f"price/{group}"] = np.array(price, np.float64)
            if scores.standard_error is not None:
                arrays[f"standard_error/{group}"] = scores.standard_error
            if scores.parts:
                arrays[f"parts/{group}"] = np.stack(scores.parts)
            for what in ("samples", "decided"):
                if getattr(scores, what) is not None:
                    arrays[f"{what}/{group}"] = np.array(getattr(scores, what))
        run.write_arrays(name, arrays)

    @classmethod
    def load(cls, run: RunDir, name: str = FILE) -> Ranking:
        """Reads what `save` has written.

        Returns:
            The ranking.

        Raises:
            DamagedFile: If the file is none.
        """
        arrays = run.read_arrays(name)
        try:
            asked = Asked(**json.loads(str(arrays["asked"])))
            values = [key for key in arrays if key.startswith("values/")]
            groups = [key.removeprefix("values/") for key in values]
            scores = {group: _scores(arrays, group) for group in groups}
        except (KeyError, TypeError, ValueError) as error:
            raise run.damaged(
                name, f"expected the scores of a ranking, {error}"
            ) from None
        return cls(asked, scores)

    def check(self, model: str, data: str, where: str) -> None:
        """Refuses scores of another network, or of other images or splits.

        Raises:
            ValueError: If a fingerprint differs.
        """
        if self.asked.model != model:
            raise ValueError(
                f"scores: {where} ranks another network ({self.asked.model[:12]}, this "
                f"one is {model[:12]}): rank this one with python -m "
                f"network_pruning.rank --criterion={self.asked.criterion}"
            )
        if self.asked.data not in {None, data}:
            raise ValueError(
                f"scores: {where} was made on other images or another split "
                f"({self.asked.data:.12}, these are {data:.12}): give the --dataset, "
                "--num_valid, --split, --image_size and --input_range it was made with"
            )

    def digest(self) -> str:
        """Returns 16 hex digits of what the scores say."""
        return hashlib.sha256(self.table().encode()).hexdigest()[:16]

    def table(self) -> str:
        """Returns every unit, best first within its group, as csv."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(COLUMNS)
        for group, scores in self.scores.items():
            for rank, unit in enumerate(order(scores)):
                error = scores.standard_error
                uncertain = "" if error is None else repr(float(error[unit]))
                value = repr(float(scores.values[unit]))
                writer.writerow((group, rank, unit, value, uncertain))
        return out.getvalue()

    def stops(self) -> list[str]:
        """Says how the sampling ended, of each group that was ranked for a known cut.

        Returns:
            A line a group.
        """
        ends = {
            True: "the cut is decided",
            False: "the cut is not decided: some unit kept and some unit cut are alike",
        }
        return [
            f"{group}: {scores.samples} samples, {ends[scores.decided]}"
            for group, scores in self.scores.items()
            if scores.decided is not None
        ]

    def ties(self) -> list[str]:
        """Says where the scores choose nothing.

        Returns:
            A line a group of several units whose scores are all the same.
        """
        return [
            f"{group}: all {len(scores.values)} units have one score, those in front "
            "stay: another criterion would tell them apart"
            for group, scores in self.scores.items()
            if len(scores.values) > 1 and np.ptp(scores.values) == 0
        ]

    @property
    def price(self) -> Price:
        """What all groups together have cost."""
        prices = [scores.price for scores in self.scores.values()]
        return Price(
            forward=sum(price.forward for price in prices),
            backward=sum(price.backward for price in prices),
            seconds=sum(price.seconds for price in prices),
        )


def order(scores: Scores) -> list[int]:
    """Returns the units, best first, the first of equal ones before the others."""
    return np.argsort(-scores.values, kind="stable").tolist()


def _scores(arrays: Mapping[str, Any], group: str) -> Scores:
    forward, backward, seconds = arrays[f"price/{group}"].tolist()
    return Scores(
        values=arrays[f"values/{group}"],
        standard_error=arrays.get(f"standard_error/{group}"),
        price=Price(int(forward), int(backward), seconds),
        parts=tuple(arrays.get(f"parts/{group}", ())),
        samples=_scalar(arrays, f"samples/{group}"),
        decided=_scalar(arrays, f"decided/{group}"),
    )


def _scalar(arrays: Mapping[str, Any], name: str) -> Any:
    return arrays[name].item() if name in arrays else None
