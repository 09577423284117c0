"""What a step goes on from: the teacher, its records, the images; or who makes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tf_keras as keras

from experiments.datafrees.config import STUDENTS, DatafreeConfig
from experiments.stages import Chain, Stage
from network_pruning.graph import fingerprint
from network_pruning.inversion.reconstructed import Reconstructed
from network_pruning.inversion.records import ActivationRecords
from network_pruning.inversion.shards import SETTINGS, load_reconstructed
from network_pruning.runs import RunDir
from network_pruning.types import Dataset

TEACHER = "network.keras"
RECORDS = "records.npz"
IMAGES = "images"
"""Among what a step has read: the fingerprint of the images it learnt from."""
Build = Callable[..., keras.Model]
Load = Callable[..., Any]
RECORDING = ("layers", "form", "rank", "joint", "basis", "fraction")
"""Flags that say which records."""


@dataclass(frozen=True)
class Teacher:
    """A trained network.

    Attributes:
        network: Images -> logits.
        mark: Its fingerprint.
        fields: Settings it was trained by; none of a file.
    """

    network: keras.Model
    mark: str
    fields: Mapping[str, Any]


def usual_dataset(model: str) -> str:
    """Returns what a published network was trained on."""
    return "mnist_conv" if model in {"lenet", "lenet_half"} else "mnist"


def usual_student(model: str) -> str:
    """Returns the published student of a teacher."""
    return STUDENTS.get(model, "hinton800")


def load_real(
    name: str,
    config: DatafreeConfig,
    load: Load,
    usual: Mapping[str, Any] | None = None,
) -> Dataset:
    """Loads real images, with one class each or with attributes.

    Args:
        name: Of the dataset.
        config: The flags.
        load: `data.load`.
        usual: num_valid and image_size where no flag gives them.

    Returns:
        Them.
    """
    options = {}
    for flag in ("num_valid", "image_size"):
        given = getattr(config, flag)
        options[flag] = (usual or {}).get(flag) if given is None else given
    data: Dataset = load(name, **options)
    return data


def find_teacher(
    config: DatafreeConfig,
    chain: Chain,
    build: Build,
    shape: tuple[int, ...] | None = None,
    classes: int | None = None,
) -> Teacher:
    """Returns the teacher that the flags name: a file, or the newest that fits.

    Args:
        config: The flags.
        chain: The run.
        build: `models.build`.
        shape: Of one image, which a file must fit; None fits any.
        classes: Their number, likewise.

    Returns:
        The teacher.

    Raises:
        ValueError: If there is none, with the command that makes it.
    """
    given = config.model_checkpoint
    if given is not None and not Path(given).is_dir():
        if shape is None or classes is None:
            network = RunDir(Path(given).parent).read_model(Path(given).name)
        else:
            network = build(given, shape, classes)
        return Teacher(network, fingerprint(network), {})
    stage = _trained(config, chain)
    network = stage.run.read_model(TEACHER)
    mark = fingerprint(network)
    if mark != (stage.made or {}).get("fingerprint", mark):
        raise stage.run.damaged(TEACHER, "it is not the network that was trained here")
    return Teacher(network, mark, stage.fields)


def trained_on(config: DatafreeConfig, chain: Chain) -> str:
    """Returns the name of the images that the teacher has seen.

    Raises:
        ValueError: If neither a train step nor, for a model file, the flags say it.
    """
    if not _names_file(config):
        return str(_trained(config, chain).fields["dataset"])
    named = config.eval_dataset or real_name(config)
    if named is None:
        raise ValueError(
            "eval_dataset: a model file does not say what it was trained on: give "
            "--eval_dataset"
        )
    return named


def real_name(config: DatafreeConfig) -> str | None:
    """Returns the --dataset that is no folder of reconstructed images."""
    named = config.dataset
    return None if named is None or is_reconstructed(named) else named


def _names_file(config: DatafreeConfig) -> bool:
    given = config.model_checkpoint
    return given is not None and not Path(given).is_dir()


def _trained(config: DatafreeConfig, chain: Chain) -> Stage:
    if config.model_checkpoint is not None:
        folder = Path(config.model_checkpoint).resolve()
        stages = [
            stage for stage in Chain(folder.parent).all() if _is_at(stage, folder)
        ]
        if not stages or stages[0].procedure != "train":
            raise ValueError(
                f"model_checkpoint: got {config.model_checkpoint}, expected a .keras "
                "file or the folder of a finished train step"
            )
        return stages[0]
    wanted = config.given("model", "init", "rng_seed")
    # With distill it names what the student learns from.
    named = None if config.procedure == "distill" else real_name(config)
    if named is not None:
        wanted["dataset"] = named
    stage = chain.find("train", wanted, {})
    if stage is None:
        raise ValueError(_first("trained teacher", "train", config, chain, wanted))
    return stage


def _is_at(stage: Stage, folder: Path) -> bool:
    return stage.run.path.resolve() == folder


def find_taught(
    config: DatafreeConfig,
    chain: Chain,
    load: Load,
    build: Build,
    judging: bool = False,
) -> tuple[Dataset, Teacher]:
    """Returns the images that the teacher has seen, and the teacher.

    Args:
        config: The flags.
        chain: The run.
        load: `data.load`.
        build: `models.build`.
        judging: Whether --eval_dataset may name other images instead.

    Returns:
        Both.

    Raises:
        ValueError: If one is missing, with what makes it.
    """
    name = trained_on(config, chain)
    seen = None if _names_file(config) else _trained(config, chain)
    asked = config.eval_dataset
    if asked is not None and asked != name:
        if judging:
            name, seen = asked, None
        elif config.procedure != "all":
            raise ValueError(
                f"eval_dataset: got {asked}, expected {name} or none: what "
                f"{config.procedure} reads is what the teacher has learnt from"
            )
    real = load_real(name, config, load, None if seen is None else seen.fields)
    if seen is not None and seen.inputs.get(IMAGES) not in {None, real.fingerprint}:
        raise ValueError(
            f"dataset: {name} now has other training images than {seen.run.path} has "
            "learnt from: another file, --num_valid or --image_size; repeat that "
            "training's, or train again"
        )
    shape, classes = real.input_shape, real.num_classes
    teacher = find_teacher(config, chain, build, shape, classes)
    flag = "eval_dataset" if name == config.eval_dataset else "dataset"
    check_fit(flag, real, teacher.network)
    return real, teacher


def check_fit(flag: str, data: Dataset | Reconstructed, network: keras.Model) -> None:
    """Judges whether a network takes images, and tells as many classes.

    Args:
        flag: That named the images.
        data: They.
        network: Images -> logits.

    Raises:
        ValueError: If not.
    """
    takes, tells = network.inputs[0].shape[1:], network.outputs[0].shape[-1]
    if not takes.is_compatible_with(data.input_shape) or tells != data.num_classes:
        raise ValueError(
            f"{flag}: got {data.name}, {list(data.input_shape)} with "
            f"{data.num_classes} classes, expected {list(takes)} with {tells} as the "
            "teacher has it"
        )


def find_records(
    config: DatafreeConfig, chain: Chain, teacher_mark: str | None
) -> ActivationRecords:
    """Returns the records that the flags name: a file, or the newest that fit.

    Args:
        config: The flags.
        chain: The run.
        teacher_mark: Fingerprint of the teacher they must be of; None for any.

    Returns:
        The records.

    Raises:
        ValueError: If there are none, with the command that makes them.
    """
    if config.records is not None:
        return ActivationRecords.load(config.records)
    wanted: dict[str, Any] = config.given(*RECORDING)
    if config.recipe().objective.startswith("spectral"):
        wanted["spectra"] = True
    read = {} if teacher_mark is None else {"teacher": teacher_mark}
    stage = chain.find("compute_stats", wanted, read)
    if stage is None:
        if wanted.pop("spectra", False):
            wanted["compute_graphwise_stats"] = True
        raise ValueError(_first("records", "compute_stats", config, chain, wanted))
    return ActivationRecords.load(stage.run.path / RECORDS)


def is_reconstructed(name: str) -> bool:
    """Returns whether a dataset is a folder of reconstructed images."""
    return (Path(name) / SETTINGS).is_file()


def find_images(
    config: DatafreeConfig, chain: Chain, teacher_mark: str
) -> tuple[Reconstructed, Path]:
    """Returns the reconstructed images that the flags name, and their folder.

    Raises:
        ValueError: If there are none, with the command that makes them.
    """
    if config.dataset is not None and is_reconstructed(config.dataset):
        return load_reconstructed(config.dataset), Path(config.dataset)
    wanted = {}
    if config.optimization_objective is not None:
        wanted["objective"] = config.optimization_objective
    read = {"teacher": teacher_mark}
    if config.given("records", *RECORDING):
        read["records"] = find_records(config, chain, teacher_mark).digest
    stage = chain.find("optimize_dataset", wanted, read)
    if stage is None:
        flags = config.given("optimization_objective", "records", *RECORDING)
        what = "reconstructed images"
        raise ValueError(_first(what, "optimize_dataset", config, chain, flags))
    return load_reconstructed(stage.run.path), stage.run.path


def _first(
    what: str,
    procedure: str,
    config: DatafreeConfig,
    chain: Chain,
    wanted: Mapping[str, Any],
) -> str:
    teacher = config.given("model", "init", "rng_seed", "model_checkpoint")
    if procedure == "train":
        teacher.pop("model_checkpoint", None)
    flags = {"procedure": procedure, "run_name": config.run_name, **teacher, **wanted}
    if config.summary_folder != DatafreeConfig.summary_folder:
        flags["summary_folder"] = config.summary_folder
    words = " ".join(f"--{name}={_text(value)}" for name, value in flags.items())
    return (
        f"{chain.root} holds no {what} that would fit: make it with python -m "
        f"experiments.datafree {words}"
    )


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def started(name: str, init: str, options: Callable[[str], Any]) -> dict[str, Any]:
    """Returns how weights of a network start, where it has a choice."""
    return {"init": init} if "init" in options(name) else {}
