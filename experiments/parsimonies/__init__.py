"""The parts of `experiments.parsimonious`."""
