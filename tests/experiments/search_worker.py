"""A process that searches on a tiny chain; test_search.py starts several, kills some.

Arguments: the folder of all runs, in which the chain is walked already; and "hold" for
one that takes a batch up and never ends.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from pathlib import Path

from experiments.gpeds import search
from network_pruning.posterior import chains, students
from tests.experiments.gped_cases import TINY, build, make_sets

SEARCH = dataclasses.replace(TINY, trials=8, population=2, search_updates=4)


def main(folder: str, *words: str) -> None:
    train = search._train

    def noted(config, sets, build, record, batch, *rest):
        what = {"name": batch.name, "numbers": batch.numbers, "factors": batch.factors}
        kind = "held" if words else "taught"
        note = Path(folder) / f"{kind}-{os.getpid()}-{batch.name}.json"
        note.write_text(json.dumps(what))
        if words:
            time.sleep(1_000)
        return train(config, sets, build, record, batch, *rest)

    search._train = noted
    search.PATIENCE = 0.1
    for module in (chains, students):
        module.is_dense = lambda network: False
    config = dataclasses.replace(SEARCH, output_dir=folder)
    search.search(config, make_sets(), build)


if __name__ == "__main__":
    main(*sys.argv[1:])
