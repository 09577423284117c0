"""Experiments: flags, presets and published tables over the library; no formula."""
