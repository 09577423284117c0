"""The command of the tiny run, and what must come of it."""

FLAGS = (
    "--dataset=uci_digits",
    "--epochs=2",
    "--widths=32,16",
    "--l2_reg=0.001",
    "--k_vals=0,0.5",
    "--experiment_id=tiny",
)
"""The command of the tiny run."""


def lasting_files(folder):
    """Every file but config.json, which says where the run lies now."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "config.json"
    }


def assert_same_tables(folder, expected):
    for name in ("rows.csv", "results.csv", "history.csv"):
        assert (folder / name).read_bytes() == (expected / name).read_bytes(), name
