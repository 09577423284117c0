"""Comparing rankings of units: presets, the cells of a comparison, its summary."""
