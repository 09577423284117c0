"""What the flags may say, and what names a run."""

import dataclasses
import json
import math

import pytest

from network_pruning.configs import K_VALS, SweepConfig, differences
from network_pruning.flags import is_model_file

OTHER = {
    "dataset": "fashion",
    "model": "lenet",
    "epochs": 21,
    "batch_size": 64,
    "learning_rate": 0.01,
    "l1_reg": 0.5,
    "l2_reg": 0.5,
    "num_valid": 100,
    "split": "first",
    "input_range": (0.0, 255.0),
    "early_stopping": 3,
    "optimizer": "sgd",
    "momentum": 0.5,
    "nesterov": True,
    "weight_decay": 5e-4,
    "schedule": "cosine",
    "milestones": (0.5,),
    "step_factor": 0.2,
    "warmup_epochs": 1,
    "augment": "shift",
    "shift": 4,
    "erase": 8,
    "criterion": "random",
    "criterion_options": ("samples=3",),
    "image_size": (32, 32),
    "widths": (10,),
    "width": 0.5,
    "pretrained": True,
    "use_bias": True,
    "activation": "tanh",
    "batch_norm": True,
    "dropout": 0.5,
    "seeds": (0, 1),
    "keep_best": False,
    "monitor": "val_accuracy",
    "k_vals": (0.5,),
    "kinds": ("unit",),
    "scope": "global",
    "finetune_epochs": 1,
    "finetune_learning_rate": 0.01,
    "distribute": "mirrored",
    "output_dir": "elsewhere",
    "experiment_id": "mine",
    "force_train": True,
}
"""Another value than the default, for every field there is."""
COMPANIONS = {
    "momentum": {"optimizer": "sgd"},
    "nesterov": {"optimizer": "sgd"},
    "milestones": {"schedule": "step"},
    "step_factor": {"schedule": "step"},
    "shift": {"augment": "shift"},
}
"""What must be given with a field for it to say anything."""

FIELDS = dataclasses.fields(SweepConfig)
KIND = {field.name: field.metadata["changes"] for field in FIELDS}


def test_the_defaults_are_those_of_the_original():
    config = SweepConfig()
    assert (config.batch_size, config.dataset, config.epochs) == (128, "digits", 20)
    assert (config.learning_rate, config.l1_reg, config.l2_reg) == (0.001, 0, 0)
    assert config.k_vals == K_VALS
    assert K_VALS == (0, 0.25, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.97, 0.99, 0.995, 0.999)
    assert (config.keep_best, config.monitor) == (True, "val_loss")
    assert (config.force_train, config.experiment_id) == (False, None)
    assert config.widths == (1000, 1000, 500, 200)


def test_every_field_is_tried_below_and_documented():
    assert set(OTHER) == set(KIND)
    assert set(KIND.values()) == {"training", "rows", "view"}
    assert all(field.metadata["help"].endswith((".", ".npz.")) for field in FIELDS)


def _any_option(criterion):
    return ["samples"]


@pytest.mark.parametrize("name", OTHER)
def test_digest_and_differences_know_every_field(name, monkeypatch):
    monkeypatch.setattr("network_pruning.criterion_flags.option_names", _any_option)
    beside = COMPANIONS.get(name, {})
    plain, other = SweepConfig(**beside), SweepConfig(**beside, **{name: OTHER[name]})
    assert other.as_dict() != plain.as_dict()
    same = [
        plain.digest(kind) == other.digest(kind)
        for kind in ("training", "rows", "view")
    ]
    assert same == [KIND[name] != kind for kind in ("training", "rows", "view")]
    found = differences(other.as_dict(), plain.as_dict())
    if KIND[name] == "view":
        assert found == []
    else:
        assert len(found) == 1
        assert found[0].startswith(f"{name}: ")
    if name != "experiment_id":
        assert (other.run_id() == plain.run_id()) == (KIND[name] == "view")


def test_what_says_how_weights_are_trained_counts_as_training():
    measured_later = {"seeds", "keep_best", "monitor", "scope"}
    measured_later |= {"finetune_epochs", "finetune_learning_rate"}
    measured_later |= {"criterion", "criterion_options"}
    views = {"k_vals", "kinds", "output_dir", "experiment_id", "force_train"}
    assert {name for name, kind in KIND.items() if kind == "rows"} == measured_later
    assert {name for name, kind in KIND.items() if kind == "view"} == views


def test_the_names_of_old_runs_stay():
    assert SweepConfig().digest("training") == "44136fa355"
    assert SweepConfig().digest("training", "rows") == "44136fa355"
    old = SweepConfig(
        dataset="fashion",
        epochs=3,
        l1_reg=1e-3,
        widths=(32, 16),
        monitor="val_accuracy",
    )
    assert old.digest("training") == "4b0ac835d7"
    assert old.digest("training", "rows") == "10d16ffca8"


def test_the_monitor_counts_as_training_where_it_ends_it():
    plain = [SweepConfig(monitor=name) for name in ("val_loss", "val_accuracy")]
    assert len({config.digest("training") for config in plain}) == 1
    patient = [dataclasses.replace(config, early_stopping=3) for config in plain]
    assert len({config.digest("training") for config in patient}) == 2


def test_what_is_asked_of_the_network():
    assert SweepConfig().network_options() == {}
    config = SweepConfig(l2_reg=0.1, dropout=0.2, batch_norm=True)
    expected = {"l2": 0.1, "dropout": 0.2, "batch_norm": True}
    assert config.network_options() == expected


@pytest.mark.parametrize(
    ("model", "is_file"),
    [("mlp", False), ("a.keras", True), ("a.H5", True), ("./saved", True)],
)
def test_a_model_file_is_known_by_its_name(model, is_file):
    from models import files

    assert is_model_file(model) == files.is_path(model) == is_file
    if is_file:
        assert SweepConfig(model=model, epochs=0).epochs == 0


def test_momentum_of_sgd_is_judged():
    with pytest.raises(ValueError, match=r"momentum: got 1.0, expected .* in \[0,1\)"):
        SweepConfig(optimizer="sgd", momentum=1.0)
    with pytest.raises(ValueError, match="above 0 with --nesterov"):
        SweepConfig(optimizer="sgd", momentum=0.0, nesterov=True)
    with pytest.raises(ValueError, match="milestones: got -1.0"):
        SweepConfig(schedule="step", milestones=(-1.0,))
    with pytest.raises(ValueError, match="milestones: got 9.* less than the 9 epochs"):
        SweepConfig(schedule="step", milestones=(0.5, 9.0, 20.0), epochs=9)
    with pytest.raises(ValueError, match="milestones: got 0.2,0.5, the start of 2 epo"):
        SweepConfig(schedule="step", milestones=(0.2, 0.5), epochs=2)
    with pytest.raises(ValueError, match="milestones: got 0.75, expected less than"):
        SweepConfig(schedule="step", milestones=(0.5, 0.75), epochs=2)
    with pytest.raises(ValueError, match="warmup_epochs: got 9, expected fewer than"):
        SweepConfig(warmup_epochs=9, epochs=9)


def test_the_run_id_is_readable_and_one_folder():
    config = SweepConfig(dataset="fashion", epochs=3, l1_reg=1e-3)
    start, _, digest = config.run_id().rpartition("-")
    assert start == "fashion-3-lr=0.001-l1=0.001-l2=0"
    assert digest == config.digest("training", "rows")
    assert SweepConfig(experiment_id="mine").run_id() == "mine"
    for path in ("/data/my set.npz", "../x/", "~/é", "/" + 300 * "long/", "..."):
        name = SweepConfig(dataset=path).run_id()
        assert "/" not in name
        assert name[0].isalnum()
        assert len(name) < 150
    ids = {SweepConfig(dataset=path).run_id() for path in ("a/x.npz", "a_x.npz")}
    assert len(ids) == 2


def test_as_dict_is_json():
    config = SweepConfig(image_size=(8, 9))
    assert json.loads(json.dumps(config.as_dict())) == config.as_dict()
    assert config.as_dict()["image_size"] == [8, 9]


def test_differences_name_both_values():
    ours = SweepConfig(epochs=3, l1_reg=0.1, k_vals=(0.5,)).as_dict()
    theirs = SweepConfig(epochs=5).as_dict()
    assert differences(ours, theirs) == [
        "epochs: 5 there, 3 now",
        "l1_reg: 0.0 there, 0.1 now",
    ]


def test_a_run_of_a_version_with_fewer_fields_is_known_again():
    old = SweepConfig(epochs=5).as_dict()
    del old["scope"]
    assert differences(SweepConfig(epochs=5).as_dict(), old) == []
    changed = SweepConfig(epochs=5, scope="global").as_dict()
    assert differences(changed, old) == ["scope: layer there, global now"]


REFUSED = [
    ("epochs", 0, "epochs: got 0, expected a number above 0"),
    ("epochs", -1, "epochs: got -1, expected 0 or more"),
    ("early_stopping", -1, "early_stopping: got -1, expected 0 or more"),
    ("warmup_epochs", -1, "0 or more"),
    ("weight_decay", -1e-4, "0 or more"),
    ("weight_decay", math.nan, "got nan"),
    ("momentum", 0.5, "says nothing with --optimizer=adam: expected --optimizer=sgd"),
    ("nesterov", True, "says nothing with --optimizer=adam"),
    ("milestones", (1.0, 2.0), "milestones: got 1.0,2.0, which .* --schedule=step"),
    ("step_factor", 0.5, "expected --schedule=step"),
    ("shift", 4, "expected --augment=affine or flip_shift or shift"),
    ("shift", 0, "shift: got 0, expected a number above 0"),
    ("step_factor", 0.0, "above 0"),
    ("input_range", (1.0,), "input_range: got 1.0, expected low,high"),
    ("input_range", (255.0, 0.0), "got 255.0,0.0"),
    ("input_range", (0.0, math.inf), "got 0.0,inf"),
    ("criterion", "taylr", "criterion: got 'taylr', expected one of .*l2"),
    ("criterion_options", ("samples",), "got 'samples', expected name=value"),
    ("criterion_options", ("n=1",), "got n=1, expected none: that is what l2 takes"),
    ("batch_size", 0, "batch_size: got 0"),
    ("learning_rate", 0.0, "above 0"),
    ("learning_rate", math.nan, "got nan"),
    ("learning_rate", math.inf, "got inf"),
    ("finetune_learning_rate", -1.0, "above 0"),
    ("l1_reg", -0.1, "l1_reg: got -0.1, expected 0 or more"),
    ("l2_reg", math.nan, "got nan"),
    ("l2_reg", math.inf, "got inf"),
    ("finetune_epochs", -1, "0 or more"),
    ("num_valid", 0, "num_valid: got 0, expected at least 1"),
    ("num_valid", -5, "num_valid: got -5"),
    ("dropout", 1.0, r"dropout: got 1.0, expected a share in \[0,1\)"),
    ("dropout", -0.1, "dropout: got -0.1"),
    ("dropout", math.nan, "dropout: got nan"),
    ("widths", (), "widths: got"),
    ("widths", (10, 0), "positive whole numbers"),
    ("image_size", (32,), "image_size: got 32, expected height,width"),
    ("image_size", (1, 2, 3), "got 1,2,3"),
    ("image_size", (0, 8), "got 0,8"),
    ("seeds", (), "seeds: got none"),
    ("seeds", (0, 0), "got 0,0, expected different"),
    ("seeds", (-1,), "got -1"),
    ("seeds", (2**32,), "got 4294967296"),
    ("kinds", (), "kinds: got none"),
    ("kinds", ("unit", "unit"), "got unit,unit"),
    ("kinds", ("filter",), "got filter, expected weight, unit or both"),
    ("k_vals", (), "k_vals: got none"),
    ("k_vals", (1.0,), r"k_vals: got 1.0, expected fractions to remove in \[0,1\)"),
    ("k_vals", (90.0,), "0.9 for 90 %"),
    ("k_vals", (-0.1,), "got -0.1"),
    ("k_vals", (math.nan,), "got nan"),
    ("k_vals", (math.inf,), "got inf"),
    ("k_vals", (0.5, 0.9, 0.5), "got 0.5 twice"),
    ("k_vals", (0.0, -0.0), "got -0.0 twice"),
    ("experiment_id", "", "experiment_id: got ''"),
    ("experiment_id", "a/b", "expected a plain name"),
    ("experiment_id", "..", "expected a plain name"),
    ("experiment_id", ".hidden", "expected a plain name"),
    ("experiment_id", "a b", "expected a plain name"),
    ("experiment_id", "a\n", "expected a plain name"),
    ("experiment_id", 101 * "x", "at most 100"),
    ("output_dir", "", "output_dir: got none"),
]


@pytest.mark.parametrize(("name", "value", "message"), REFUSED)
def test_unfit_values_are_refused_in_one_line(name, value, message):
    with pytest.raises(ValueError, match=message) as caught:
        SweepConfig(**{name: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 1),
        ("l1_reg", 0.0),
        ("num_valid", None),
        ("num_valid", 1),
        ("dropout", 0.0),
        ("seeds", (2**32 - 1, 0)),
        ("k_vals", (0.0,)),
        ("k_vals", (0.9999,)),
        ("image_size", None),
        ("experiment_id", "A-b_c.d=1+2"),
    ],
)
def test_edges_are_taken(name, value):
    assert getattr(SweepConfig(**{name: value}), name) == value
